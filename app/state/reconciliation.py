"""Whether our books agree with the exchange, what differs, and what its owner wants done about it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.services import execution
from app.services.execution import AccountView, DifferenceView, PassView
from app.services.identity import Role
from app.services.identity.audit import audited
from app.services.portfolio.adjustments import AdjustmentView, external_adjustments
from app.state import words
from app.state.auth import roles
from app.state.base import PageState, Unit, handler, live, put, say, text_of, whole, work
from app.state.rows import Row

_STATES = {
    "OPEN": ("Open", "bad"),
    "IGNORED": ("In order", ""),
    "ADOPTED": ("Adopted", "ok"),
    "BOOKED": ("Booked", "ok"),
    "GONE": ("Healed", "ok"),
}
_TRIGGERS = {
    "schedule": "Each minute",
    "recovery": "After a start",
    "operator": "Asked for",
    "stream": "After a reconnect",
    "opened": "Account opened",
}
_KINDS = {"trade": "Trade made outside", "deposit": "Came in", "withdrawal": "Went out"}


@live("account", "incident")
class ReconciliationState(PageState, rx.State):
    """Accounts with when their books agreed, standing differences, the newest comparisons, what came from outside."""

    accounts: list[Row] = []  # noqa: RUF012
    differences: list[Row] = []  # noqa: RUF012
    closed: list[Row] = []  # noqa: RUF012
    passes: list[Row] = []  # noqa: RUF012
    outside: list[Row] = []  # noqa: RUF012
    everybody: bool = False  # an admin looks at all accounts
    ignoring: Row = {}  # noqa: RUF012 - the difference that is to be called in order

    async def _reload(self, unit: Unit) -> None:
        session, user_id = unit.session, unit.user_id
        whose = None if self.everybody and unit.viewer.is_admin else user_id
        accounts = await execution.list_accounts(session, user_id=user_id)
        own = {account.id for account in accounts}
        found = await execution.differences(session, user_id=whose, standing_only=False, limit=200)
        passes = await execution.reconciliation_passes(session, user_id=whose, limit=40)
        outside = [
            _outside_row(one, account)
            for account in accounts
            for one in await external_adjustments(session, user_id=user_id, account_id=account.id, limit=20)
        ]
        put(
            self,
            accounts=[_account_row(account, unit) for account in accounts],
            differences=[_difference_row(one, own) for one in found if one.closed_at is None],
            closed=[_difference_row(one, own) for one in found if one.closed_at is not None][:30],
            passes=[_pass_row(one) for one in passes],
            outside=sorted(outside, key=lambda row: row["at"], reverse=True)[:40],
        )

    @handler
    @roles(Role.ADMIN)
    async def set_everybody(self, everybody: bool) -> None:
        """Look at everybody's accounts, or at one's own."""
        self.everybody = everybody is True
        async with work(self) as unit:
            await self._renew(unit)

    @handler
    async def compare(self, account_id: str) -> None:
        """Compare one account with its exchange now; "" means all of one's own."""
        number = whole(account_id, "account") if account_id else None
        async with work(self) as unit:
            await execution.request_reconciliation(unit.session, user_id=unit.user_id, account_id=number)
            what = f"account:{number}" if number else ""
            await audited(unit.session, unit.caller, "reconciliation.requested", object=what, clock=unit.clock)
        await say(self, "info", "Comparison asked for", "Its result appears below in a moment.")

    @handler
    async def adopt(self, difference_id: str) -> None:
        """Take an order made elsewhere into our books."""
        number = whole(difference_id, "difference")
        async with work(self) as unit:
            await execution.adopt_foreign_order(
                unit.session, user_id=unit.user_id, actor=unit.caller.actor, difference_id=number, now=unit.now
            )
            await self._renew(unit)
        await say(self, "info", "Asked for", "The worker takes the order into the books within seconds.")

    @handler
    async def flatten(self, difference_id: str) -> None:
        """Cancel an order made elsewhere, or sell coins that came from elsewhere."""
        number = whole(difference_id, "difference")
        async with work(self) as unit:
            await execution.flatten_difference(
                unit.session, user_id=unit.user_id, actor=unit.caller.actor, difference_id=number, now=unit.now
            )
            await self._renew(unit)
        await say(self, "warning", "Asked for", "The worker sees to it within seconds.")

    @handler
    async def ask_ignore(self, difference_id: str) -> None:
        """Ask why a difference is in order; an unknown one closes the question."""
        self.errors = {}
        self.ignoring = next((row for row in self.differences if row["id"] == difference_id), {})

    @handler
    async def set_ignoring(self, is_open: bool) -> None:
        """Close the question."""
        if is_open is not True:
            self.ignoring = {}

    @handler
    async def ignore(self, form: dict[str, Any]) -> None:
        """Say that a difference is in order, and why."""
        self.errors = {}
        if not self.ignoring:
            return
        async with work(self) as unit:
            await execution.ignore_difference(
                unit.session,
                user_id=unit.user_id,
                actor=unit.caller.actor,
                difference_id=int(self.ignoring["id"]),
                reason=text_of(form, "reason"),
                now=unit.now,
            )
            await self._renew(unit)
        self.ignoring = {}


def _account_row(account: AccountView, unit: Unit) -> Row:
    agrees = account.books_agree_at
    return {
        "id": str(account.id),
        "label": account.label,
        "kind": account.kind,
        "state": words.status_words(account.state),
        "tone": words.tone(account.state),
        "reason": words.sentence(account.state_reason) if account.state_reason else "",
        "agrees": words.exact_time(agrees)[:-4] if agrees else "never yet",
        "ago": words.ago(agrees, unit.now),
        "stream": "Up" if account.stream_up else "Down",
        "stream_tone": "ok" if account.stream_up else "wait",
        "comparable": "yes" if account.state in ("ACTIVE", "RECOVERING") else "",
    }


def _difference_row(one: DifferenceView, own: set[int]) -> Row:
    state, tone = _STATES.get(one.state, (words.status_words(one.state), ""))
    is_mine = one.account_id in own and one.closed_at is None
    is_order, went_away = one.kind == "order", str(one.facts.get("difference", "")).startswith("-")
    wanted = {"adopt": "to be adopted", "flatten": "to be flattened"}.get(one.wanted, "")
    return {
        "id": str(one.id),
        "account": one.account_label,
        "words": one.words,
        "state": wanted.capitalize() or state,
        "tone": "wait" if wanted else tone,
        "since": words.day_time(one.first_seen_at),
        "closed": words.day_time(one.closed_at) if one.closed_at else "",
        "by": one.closed_by,
        "note": words.sentence(one.note) if one.note else "",
        "can_adopt": "yes" if is_mine and is_order and not one.wanted else "",
        "can_flatten": "yes" if is_mine and not went_away and not one.wanted else "",
        "can_ignore": "yes" if is_mine and one.state == "OPEN" else "",
        "flatten_words": "The order is taken into our books and cancelled."
        if is_order
        else "The coins that came are booked and sold at the market price.",
    }


def _pass_row(one: PassView) -> Row:
    found = [difference_line(difference) for difference in one.differences]
    return {
        "time": words.day_time(one.finished_at),
        "account": one.account_label,
        "trigger": _TRIGGERS.get(one.trigger, one.trigger.replace("_", " ").capitalize()),
        "took": f"{(one.finished_at - one.started_at).total_seconds():.1f} s",
        "checked": words.number(one.checked),
        "repaired": words.number(one.repaired),
        "unresolved": words.number(one.unresolved),
        "state": "Agrees" if one.agrees else "Failed" if one.error else "Differs",
        "tone": "ok" if one.agrees else "bad" if one.error else "wait",
        "found": words.sentence(one.error) if one.error else " ".join(words.sentence(line) for line in found),
    }


def difference_line(difference: dict[str, Any]) -> str:
    """What a comparison found, in words: `order 12 was SUBMITTED, is FILLED 0.5`."""
    match difference.get("what"):
        case "order":
            filled = str(difference.get("filled", "0"))
            size = "" if filled == "0" else f" {filled}"
            return f"order {difference.get('order_id')} was {difference.get('was')}, is {difference.get('is')}{size}"
        case "foreign order" | "adopted order" as what:
            done = "was adopted" if what.startswith("adopted") else "is open"
            number = difference.get("exchange_order_id")
            return f"an order made elsewhere ({difference.get('symbol')}, number {number}) {done}"
        case "balance":
            booked = ", now booked" if difference.get("repaired") else ""
            asset, theirs, ours = (difference.get(name) for name in ("asset", "exchange", "ours"))
            return f"the exchange holds {theirs} {asset}, our books said {ours}{booked}"
        case "trades made elsewhere":
            return f"{difference.get('trades')} trades made elsewhere in {difference.get('symbol')} were booked"
    told = ", ".join(f"{name} {value}" for name, value in difference.items() if name not in ("what", "repaired"))
    return f"{difference.get('what', 'something')}: {told}"


def _outside_row(one: AdjustmentView, account: AccountView) -> Row:
    at = one.occurred_at or one.recorded_at
    return {
        "at": at.isoformat() if at else "",
        "time": words.day_time(at),
        "account": account.label,
        "kind": _KINDS.get(one.kind.lower(), words.status_words(one.kind)),
        "change": words.quantity(one.change) if one.change < 0 else f"+{words.quantity(one.change)}",
        "asset": one.asset,
        "reason": words.sentence(one.reason),
    }
