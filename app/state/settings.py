"""One's own profile, exchange accounts and sessions."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.services import execution
from app.services.container import get_services
from app.services.execution import AccountView
from app.services.identity.audit import audited
from app.services.identity.listing import SessionView, end_session, list_sessions
from app.state import words
from app.state.auth import AuthState
from app.state.base import PageState, Unit, amount_of, handler, live, put, say, text_of, work
from app.state.rows import Row


@live("account")
class SettingsState(PageState, rx.State):
    """The settings page."""

    accounts: list[Row] = []  # noqa: RUF012
    sessions: list[Row] = []  # noqa: RUF012
    adding: bool = False

    async def _reload(self, unit: Unit) -> None:
        accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        current = (await self.get_state(AuthState))._session_hash
        found = await list_sessions(unit.session, user_id=unit.user_id, current_hash=current, now=unit.now)
        put(
            self,
            accounts=[_account_row(account) for account in accounts],
            sessions=[_session_row(one, unit) for one in found],
        )

    @handler
    async def set_adding(self, adding: bool) -> None:
        """Open or close the form for a paper account."""
        self.adding, self.errors = adding is True, {}

    @handler
    async def add_account(self, form: dict[str, Any]) -> None:
        """Ask the worker for a paper account."""
        self.errors = {}
        given = {asset: amount_of(form, asset.lower()) for asset in ("USDT", "BTC")}
        balances = {asset: amount for asset, amount in given.items() if amount is not None}
        if not balances:
            raise InvalidInput("Give it something to trade with.", field="usdt")
        async with work(self) as unit:
            account = await execution.request_paper_account(
                unit.session, user_id=unit.user_id, label=text_of(form, "label", most=60), balances=balances
            )
            what = f"account:{account.id}"
            await audited(
                unit.session, unit.caller, "account.requested", object=what, clock=unit.clock, label=account.label
            )
            await self._renew(unit)
        self.adding = False
        await say(self, "info", f"“{account.label}” asked for", "Its key is being made; it is ready within seconds.")

    @handler
    async def end(self, name: str) -> None:
        """End another of one's sessions."""
        async with work(self) as unit:
            wanted = text_of({"session": name}, "session", most=16)
            await end_session(unit.session, user_id=unit.user_id, name=wanted, now=unit.now)
            await audited(unit.session, unit.caller, "session.ended", object=f"session:{wanted}", clock=unit.clock)
            await self._renew(unit)
            get_services().session_cache.forget_user(unit.user_id)


def _account_row(account: AccountView) -> Row:
    return {
        "id": str(account.id),
        "label": account.label,
        "kind": account.kind,
        "state": words.status_words(account.state),
        "tone": words.tone(account.state),
        "why": words.sentence(account.state_reason) if account.state_reason else "",
        "key": f"…{account.api_key_hint}" if account.api_key_hint else "being made",
        "agree": words.day_time(account.books_agree_at) if account.books_agree_at else "not yet compared",
        "stream": "up" if account.stream_up else "down",
        "stream_tone": "ok" if account.stream_up else "wait",
        "created": words.day_time(account.created_at),
    }


def _session_row(one: SessionView, unit: Unit) -> Row:
    return {
        "name": one.name,
        "started": words.day_time(one.created_at),
        "seen": words.ago(one.last_seen_at, unit.now),
        "ip": one.ip,
        "agent": one.user_agent[:90],
        "current": "yes" if one.is_current else "",
    }
