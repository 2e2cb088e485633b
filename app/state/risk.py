"""Limits and kill switches."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput, NotAllowed
from app.services import execution
from app.services.execution import AccountView, KillSwitchView
from app.services.identity import Role
from app.services.identity.audit import audited
from app.services.ownership import owned_account
from app.services.risk.limits import Limits, limits_of, set_limits
from app.state import words
from app.state.auth import roles
from app.state.base import PageState, Unit, amount_of, handler, live, put, say, text_of, whole, work
from app.state.rows import Row


@live("kill", "account")
class RiskState(PageState, rx.State):
    """One card an account, and the switch for everything."""

    accounts: list[Row] = []  # noqa: RUF012
    everything: Row = {}  # noqa: RUF012
    #: What the open dialog is about: scope, id, whether it engages, and the name shown.
    asked: Row = {}  # noqa: RUF012

    async def _reload(self, unit: Unit) -> None:
        accounts = await execution.list_accounts(unit.session, user_id=unit.user_id)
        engaged = {(s.scope, s.scope_id): s for s in await execution.kill_switches(unit.session)}
        put(
            self,
            everything=_switch_row(engaged.get(("global", 0))),
            accounts=[
                _account_row(account, await limits_of(unit.session, account.id), engaged.get(("account", account.id)))
                for account in accounts
            ],
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

    @handler
    async def ask(self, account_id: str, engage: bool) -> None:
        """Ask about an account's switch."""
        row = next((row for row in self.accounts if row["id"] == account_id), None)
        if row is not None:
            self._ask("account", row["id"], row["label"], engage=engage is True)

    @handler
    @roles(Role.ADMIN)
    async def ask_everything(self, engage: bool) -> None:
        """Ask about the switch for everything."""
        self._ask("global", "0", "everything", engage=engage is True)

    def _ask(self, scope: str, scope_id: str, name: str, *, engage: bool) -> None:
        self.errors = {}
        self.asked = {"scope": scope, "id": scope_id, "name": name, "act": "engage" if engage else "release"}

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Close the question."""
        if is_open is not True:
            self.asked = {}

    @handler
    async def switch(self, form: dict[str, Any]) -> None:
        """Engage or release the switch that was asked about, with the reason of the form."""
        self.errors = {}
        asked, reason = dict(self.asked), text_of(form, "reason")
        if not asked:
            return
        async with work(self) as unit:
            await _may_switch(unit, asked)
            act = execution.engage_kill_switch if asked["act"] == "engage" else execution.release_kill_switch
            scope_id = int(asked["id"])
            await act(
                unit.session,
                actor=unit.caller.actor,
                scope=asked["scope"],
                scope_id=scope_id,
                reason=reason,
                now=unit.now,
            )
            done = "kill_switch.engaged" if asked["act"] == "engage" else "kill_switch.released"
            what = f"{asked['scope']}:{scope_id}"
            await audited(unit.session, unit.caller, done, object=what, clock=unit.clock, reason=reason)
            await self._renew(unit)
        self.asked = {}
        await say(self, "warning" if asked["act"] == "engage" else "success", f"Kill switch {asked['act']}d")


async def _may_switch(unit: Unit, asked: Row) -> None:
    if asked["scope"] == "account":
        await owned_account(unit.session, user_id=unit.user_id, account_id=int(asked["id"]))
    elif not unit.viewer.is_admin:
        raise NotAllowed("Only an admin may use the global kill switch.")


def _switch_row(switch: KillSwitchView | None) -> Row:
    if switch is None:
        return {"engaged": "", "words": "Not engaged", "reason": ""}
    return {
        "engaged": "yes",
        "words": f"Engaged {words.day_time(switch.engaged_at)} by {switch.engaged_by}",
        "reason": switch.reason,
    }


def _account_row(account: AccountView, limits: Limits, switch: KillSwitchView | None) -> Row:
    return {
        "id": str(account.id),
        "label": account.label,
        "kind": account.kind,
        "max_order": words.quantity(limits.max_order_notional).replace(",", ""),
        "max_symbol": words.quantity(limits.max_symbol_exposure).replace(",", ""),
        **_switch_row(switch),
    }
