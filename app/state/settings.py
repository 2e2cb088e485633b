"""One's own profile, exchange accounts and sessions."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.models.execution import AccountKind, WantedState
from app.services import execution
from app.services.container import get_services
from app.services.execution import AccountView, LiveConsent, NewKey
from app.services.identity.audit import audited
from app.services.identity.listing import SessionView, end_session, list_sessions
from app.state import words
from app.state.account_rows import account_row
from app.state.auth import AuthState
from app.state.base import PageState, Unit, amount_of, handler, live, put, say, text_of, whole, work
from app.state.rows import Row


@live("account")
class SettingsState(PageState, rx.State):
    """The settings page."""

    accounts: list[Row] = []  # noqa: RUF012
    sessions: list[Row] = []  # noqa: RUF012
    adding: bool = False
    kind: str = AccountKind.PAPER.value  # of the account to add
    own_key: bool = False  # whether a key is brought, rather than made by the worker
    key_of: str = ""  # the account whose key is looked at
    looked_at: Row = {}  # noqa: RUF012 - its row

    async def _reload(self, unit: Unit) -> None:
        accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        current = (await self.get_state(AuthState))._session_hash
        found = await list_sessions(unit.session, user_id=unit.user_id, current_hash=current, now=unit.now)
        put(
            self,
            accounts=[account_row(account) for account in accounts],
            sessions=[_session_row(one, unit) for one in found],
        )
        self._look_at(self.key_of)

    def _look_at(self, account: str) -> None:
        row = next((row for row in self.accounts if row["id"] == account), None)
        put(self, key_of=account if row else "", looked_at=row or {})

    @handler
    async def set_adding(self, adding: bool) -> None:
        """Open or close the form for an account."""
        self.adding, self.errors = adding is True, {}
        self.kind, self.own_key = AccountKind.PAPER.value, False

    @handler
    async def set_kind(self, kind: str) -> None:
        """Paper, testnet or live."""
        self.kind = kind if kind in list(AccountKind) else AccountKind.PAPER.value
        self.errors = {}

    @handler
    async def set_own_key(self, own_key: bool) -> None:
        """Bring a key, or have the worker make one."""
        self.own_key, self.errors = own_key is True, {}

    @handler
    async def add_account(self, form: dict[str, Any]) -> None:
        """Ask the worker for an account. For one that is not paper, what is to be done with its key comes next."""
        self.errors = {}
        async with work(self) as unit:
            account = await self._request(unit, form)
            what = f"account:{account.id}"
            await audited(
                unit.session,
                unit.caller,
                "account.requested",
                object=what,
                clock=unit.clock,
                label=account.label,
                kind=account.kind,
            )
            await self._renew(unit)
        self.adding = False
        if account.kind == AccountKind.PAPER.value:
            await say(
                self, "info", f"“{account.label}” asked for", "Its key is being made; it is ready within seconds."
            )
        else:
            self._look_at(str(account.id))

    async def _request(self, unit: Unit, form: dict[str, Any]) -> AccountView:
        label = text_of(form, "label", most=60)
        if self.kind == AccountKind.PAPER.value:
            given = {asset: amount_of(form, asset.lower()) for asset in ("USDT", "BTC")}
            balances = {asset: amount for asset, amount in given.items() if amount is not None}
            if not balances:
                raise InvalidInput("Give it something to trade with.", field="usdt")
            return await execution.request_paper_account(
                unit.session, user_id=unit.user_id, label=label, balances=balances
            )
        consent = LiveConsent(bool(form.get("confirm_live")), text_of(form, "label_again", most=60))
        return await execution.request_exchange_account(
            unit.session,
            user_id=unit.user_id,
            label=label,
            kind=AccountKind(self.kind),
            key=_new_key(form) if self.own_key else NewKey(),
            consent=consent,
        )

    # --- keys ------------------------------------------------------------------------------------------

    @handler
    async def look_at(self, account: str) -> None:
        """Open the dialog about an account's key, or close it ("")."""
        self.errors, self.own_key = {}, False
        self._look_at(account if isinstance(account, str) else "")

    @handler
    async def close_key(self, is_open: bool) -> None:
        """Close the dialog about a key (it is opened by `look_at`)."""
        if is_open is not True:
            self._look_at("")

    @handler
    async def bring_api_key(self, form: dict[str, Any]) -> None:
        """The API key that the exchange gave for the public key shown."""
        self.errors = {}
        api_key = text_of(form, "api_key", most=200)
        async with work(self) as unit:
            account_id = whole(self.key_of, "account")
            await execution.bring_api_key(unit.session, user_id=unit.user_id, account_id=account_id, api_key=api_key)
            await self._changed_key(unit, "account.api_key_brought")

    @handler
    async def replace_key(self, form: dict[str, Any]) -> None:
        """Another key: brought, or made by the worker."""
        self.errors = {}
        key = _new_key(form) if self.own_key else NewKey()
        async with work(self) as unit:
            account_id = whole(self.key_of, "account")
            await execution.replace_key(unit.session, user_id=unit.user_id, account_id=account_id, key=key)
            await self._changed_key(unit, "account.key_requested")

    @handler
    async def check_again(self) -> None:
        """Have a refused key checked again."""
        self.errors = {}
        async with work(self) as unit:
            account_id = whole(self.key_of, "account")
            await execution.check_key_again(unit.session, user_id=unit.user_id, account_id=account_id)
            await self._changed_key(unit, "account.check_requested")

    async def _changed_key(self, unit: Unit, action: str) -> None:
        await audited(unit.session, unit.caller, action, object=f"account:{self.key_of}", clock=unit.clock)
        self.own_key = False
        await self._renew(unit)

    @handler
    async def want(self, account: str, wanted: str) -> None:
        """Switch an account off or on, or remove it."""
        if wanted not in list(WantedState):
            raise InvalidInput("This is nothing that can be done with an account.")
        account_id = whole(account, "account")
        async with work(self) as unit:
            state = WantedState(wanted)
            await execution.want_account(unit.session, user_id=unit.user_id, account_id=account_id, wanted=state)
            what = f"account:{account_id}"
            await audited(unit.session, unit.caller, f"account.wanted_{wanted.lower()}", object=what, clock=unit.clock)
            await self._renew(unit)

    @handler
    async def end(self, name: str) -> None:
        """End another of one's sessions."""
        async with work(self) as unit:
            wanted = text_of({"session": name}, "session", most=16)
            await end_session(unit.session, user_id=unit.user_id, name=wanted, now=unit.now)
            await audited(unit.session, unit.caller, "session.ended", object=f"session:{wanted}", clock=unit.clock)
            await self._renew(unit)
            get_services().session_cache.forget_user(unit.user_id)


def _new_key(form: dict[str, Any]) -> NewKey:
    """The key of a sent form. The secret goes from here into its seal, and into no state."""
    return NewKey(text_of(form, "api_key", most=200), text_of(form, "secret", most=9_000))


def _session_row(one: SessionView, unit: Unit) -> Row:
    return {
        "name": one.name,
        "started": words.day_time(one.created_at),
        "seen": words.ago(one.last_seen_at, unit.now),
        "ip": one.ip,
        "agent": one.user_agent[:90],
        "current": "yes" if one.is_current else "",
    }
