"""Limits and kill switches."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.services import execution
from app.services.execution import AccountView
from app.services.identity.audit import audited
from app.services.risk.limits import Limits, limits_of, set_limits
from app.state import words
from app.state.base import PageState, Unit, amount_of, handler, live, put, say, whole, work
from app.state.kill import switch_row
from app.state.rows import Row


@live("kill", "account", "order", "run")
class RiskState(PageState, rx.State):
    """One card an account, the switch for everything, and those of strategies and runs that are engaged."""

    accounts: list[Row] = []  # noqa: RUF012
    everything: Row = {}  # noqa: RUF012
    others: list[Row] = []  # noqa: RUF012 - engaged switches of strategies and runs

    async def _reload(self, unit: Unit) -> None:
        accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        engaged = await execution.kill_switches(unit.session, user_id=unit.user_id)
        rows = []
        for account in accounts:
            switch = await switch_row(unit, engaged, "account", account.id, f"account “{account.label}”")
            rows.append(_account_row(account, await limits_of(unit.session, account.id)) | switch)
        others = [s for s in engaged if s.scope in ("strategy", "run")]
        put(
            self,
            everything=await switch_row(unit, engaged, "global", 0, "everything"),
            accounts=rows,
            others=[await switch_row(unit, engaged, s.scope, s.scope_id, s.covers) for s in others],
        )

    @handler
    async def save_limits(self, form: dict[str, Any]) -> None:
        """Set an account's limits."""
        self.errors = {}
        account_id = whole(form.get("account_id"), "account")
        order, symbol = amount_of(form, "max_order_notional"), amount_of(form, "max_symbol_exposure")
        if order is None or symbol is None:
            raise InvalidInput("Both limits need an amount.", field="limits")
        async with work(self) as unit:
            await set_limits(
                unit.session,
                user_id=unit.user_id,
                account_id=account_id,
                max_order_notional=order,
                max_symbol_exposure=symbol,
            )
            what = f"account:{account_id}"
            await audited(
                unit.session, unit.caller, "limits.set", object=what, clock=unit.clock, order=order, symbol=symbol
            )
            await self._renew(unit)
        await say(self, "success", "Limits saved", "They hold from the next order on.")


def _account_row(account: AccountView, limits: Limits) -> Row:
    return {
        "id": str(account.id),
        "label": account.label,
        "kind": account.kind,
        "max_order": words.quantity(limits.max_order_notional).replace(",", ""),
        "max_symbol": words.quantity(limits.max_symbol_exposure).replace(",", ""),
    }
