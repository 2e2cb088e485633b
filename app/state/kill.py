"""The kill switch's dialog: what each action would do now, then engage, make stronger or release."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.models.execution import KillAction, KillScope
from app.services import execution
from app.services.execution import DeedView, KillSwitchView, ProgressView
from app.services.identity import Role
from app.state import words
from app.state.auth import roles
from app.state.base import Unit, handler, put, say, text_of, whole, work
from app.state.rows import Row

ACTIONS = tuple(action.value for action in KillAction)
ACTION_WORDS = {"halt": "Halt", "cancel_all": "Cancel all", "flatten": "Flatten"}
_KINDS = {"cancel": ("Cancel", "bad"), "leave": ("Sell", "bad"), "sell": ("Sell", "bad"), "wait": ("Waits", "wait")}
_SHOWN = 40
_WAITS_SHOWN = 4


class KillState(rx.State):
    """One dialog for every switch. Opening it is the drill: nothing is done until a reason is given."""

    #: What the open dialog is about: scope, id, name, act (engage or release), engaged (its action, or "").
    asked: Row = {}  # noqa: RUF012
    action: str = ""
    lines: list[Row] = []  # noqa: RUF012 - what the chosen action would do now
    summary: str = ""
    as_of: str = ""
    errors: dict[str, str] = {}  # noqa: RUF012
    _drill: dict[str, list[Row]] = {}  # noqa: RUF012

    @handler
    async def ask(self, scope: str, scope_id: str, name: str, release: bool) -> None:
        """Ask about a switch of one's own."""
        await self._ask(scope, whole(scope_id, "switch"), str(name)[:200], release=release is True)

    @handler
    @roles(Role.ADMIN)
    async def ask_everything(self, release: bool) -> None:
        """Ask about the switch for everything."""
        await self._ask(KillScope.GLOBAL.value, 0, "everything", release=release is True)

    async def _ask(self, scope: str, scope_id: int, name: str, *, release: bool) -> None:
        self.errors = {}
        async with work(self) as unit:
            switches = await execution.kill_switches(unit.session, user_id=unit.user_id)
            engaged = next((s.action for s in switches if (s.scope, s.scope_id) == (scope, scope_id)), "")
            await self._rehearse(unit, scope, scope_id)
        act = "release" if release else "engage"
        self.asked = {"scope": scope, "id": str(scope_id), "name": name, "act": act, "engaged": engaged}
        stronger = [action for action in ACTIONS if not engaged or ACTIONS.index(action) > ACTIONS.index(engaged)]
        self._show(stronger[0] if stronger else engaged)

    @handler
    async def choose(self, action: str) -> None:
        """Show what another action would do."""
        if action in ACTIONS:
            self._show(action)

    @handler
    async def look_again(self) -> None:
        """Rehearse anew: the market goes on while one reads."""
        if self.asked:
            async with work(self) as unit:
                await self._rehearse(unit, self.asked["scope"], int(self.asked["id"]))
            self._show(self.action)

    @handler
    async def set_open(self, is_open: bool) -> None:
        """Close the dialog: it was a drill."""
        if is_open is not True:
            put(self, asked={}, lines=[], errors={})

    @handler
    async def engage(self, form: dict[str, Any]) -> None:
        """Engage the switch that was asked about with the chosen action, or release it, for the reason given."""
        self.errors = {}
        asked, reason = dict(self.asked), text_of(form, "reason")
        if not asked:
            return
        which: dict[str, Any] = {"scope": asked["scope"], "scope_id": int(asked["id"]), "reason": reason}
        async with work(self) as unit:
            if asked["act"] == "release":
                await execution.release_kill_switch(unit.session, caller=unit.caller, clock=unit.clock, **which)
            else:
                await execution.engage_kill_switch(
                    unit.session, caller=unit.caller, action=self.action, clock=unit.clock, **which
                )
        put(self, asked={}, lines=[])
        if asked["act"] == "release":
            await say(self, "success", f"Kill switch for {asked['name']} released")
        else:
            told = f"{ACTION_WORDS[self.action]}: {asked['name']}"
            await say(self, "warning", told, "How far it has come is shown beside it.")

    async def _rehearse(self, unit: Unit, scope: str, scope_id: int) -> None:
        found = await execution.kill_switch_drill(
            unit.session, caller=unit.caller, scope=scope, scope_id=scope_id, clock=unit.clock
        )
        self._drill = {action: [_deed_row(deed) for deed in deeds] for action, deeds in found.items()}
        self.as_of = words.clock_time(unit.now)

    def _show(self, action: str) -> None:
        rows = self._drill.get(action, [])
        put(self, action=action, lines=rows[:_SHOWN], summary=_summary(rows))


async def switch_row(unit: Unit, switches: list[KillSwitchView], scope: str, scope_id: int, name: str) -> Row:
    """A switch as a card shows it, with how far it has come."""
    row = {"scope": scope, "scope_id": str(scope_id), "covers": name}
    switch = next((s for s in switches if (s.scope, s.scope_id) == (scope, scope_id)), None)
    if switch is None:
        return row | {"engaged": "", "words": "", "reason": "", "progress": "", "waiting": "", "can_grow": "yes"}
    progress = None
    if scope != KillScope.GLOBAL.value or unit.viewer.is_admin:
        progress = await execution.kill_switch_progress(
            unit.session, caller=unit.caller, scope=scope, scope_id=scope_id, clock=unit.clock
        )
    return row | {
        "covers": switch.covers,
        "engaged": ACTION_WORDS[switch.action],
        "words": f"since {words.day_time(switch.engaged_at)} by {switch.engaged_by}",
        "reason": switch.reason,
        "progress": _progress_words(switch, progress),
        "waiting": _waiting_words(progress),
        "can_grow": "" if switch.action == KillAction.FLATTEN.value else "yes",
    }


def _progress_words(switch: KillSwitchView, progress: ProgressView | None) -> str:
    if progress is None or (switch.action == KillAction.HALT.value and not progress.orders):
        return "No new entries."
    done = "Done: " if progress.is_done else ""
    return words.sentence(f"{done}{progress.words}")


def _waiting_words(progress: ProgressView | None) -> str:
    if progress is None or not progress.waiting:
        return ""
    shown = [words.sentence(one) for one in progress.waiting[:_WAITS_SHOWN]]
    more = len(progress.waiting) - len(shown)
    return " ".join(shown) + (f" And {more} more." if more else "")


def _deed_row(deed: DeedView) -> Row:
    kind, tone = _KINDS.get(deed.kind, ("Stays", ""))
    return {
        "kind": kind,
        "tone": tone,
        "words": words.sentence(deed.words),
        "href": f"/orders/{deed.order_id}" if deed.order_id else "",
    }


def _summary(rows: list[Row]) -> str:
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in ("Cancel", "Sell", "Waits", "Stays")}
    if not rows:
        return "Nothing works and nothing is held here: only new entries are refused."
    said = [
        _count(counts["Cancel"], "order is cancelled", "orders are cancelled"),
        _count(counts["Sell"], "position is sold", "positions are sold"),
        _count(counts["Stays"], "stays as it is", "stay as they are"),
        _count(counts["Waits"], "waits", "wait"),
    ]
    hidden = f" The first {_SHOWN} are shown." if len(rows) > _SHOWN else ""
    return f"New entries are refused; {', '.join(part for part in said if part)}.{hidden}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else ""
