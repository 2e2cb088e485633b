"""Which account a page looks at."""

from __future__ import annotations

from typing import Any

from app.services import execution
from app.services.execution import AccountView
from app.state.base import Unit, put
from app.state.rows import account_options


async def chosen_account(state: Any, unit: Unit) -> AccountView | None:
    """The account chosen in `state.account`, else the first; fills `state.accounts` to choose from."""
    accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
    chosen = next((a for a in accounts if str(a.id) == state.account), accounts[0] if accounts else None)
    put(state, accounts=account_options(accounts), account=str(chosen.id) if chosen else "")
    return chosen
