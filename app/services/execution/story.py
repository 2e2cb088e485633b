"""An order's life in one sentence: when it was sent, what came back, who found out what became of it, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

#: Who brought the knowledge, as it stands behind "found FILLED 12:00:09".
_FOUND = {
    "executor": "by asking",
    "exchange": "by the exchange's stream",
    "reconciler": "by reconciliation",
    "operator": "by an operator",
}
_TOLD = {
    "executor": "by its answer",
    "exchange": "by the exchange's stream",
    "reconciler": "by reconciliation",
    "operator": "by an operator",
}
#: A look at an order and at its trades takes no longer.
_ONE_LOOK = timedelta(seconds=2)
_FINAL = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
#: What shows that the exchange has, or has not, the order.
_SETTLES = frozenset({"acknowledged", "rejected", "expired", "resurrected", "reconciled", "canceled"})


class Told(Protocol):
    """One event of an order, oldest first in the lists below."""

    @property
    def kind(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def to_status(self) -> str: ...
    @property
    def payload(self) -> dict[str, Any]: ...
    @property
    def occurred_at(self) -> datetime: ...


def story(events: Sequence[Told]) -> str:
    """The life of an order from its events, times in UTC. Pure. "" when there are none."""
    if not events:
        return ""
    sent = next((n for n, event in enumerate(events) if event.kind == "attempt_sent"), None)
    if sent is None:
        return _never_sent(events)
    later = events[sent + 1 :]
    settled = next((n for n, event in enumerate(later) if event.kind in _SETTLES), None)
    unanswered = any(event.kind == "outcome_unknown" for event in later[:settled])
    begun = f"Sent {_exact(events[sent].occurred_at)}"
    if settled is None:
        return f"{begun}, no answer; the exchange is being asked" if unanswered else f"{begun}, waiting for the answer"
    day = events[sent].occurred_at
    group = _told_at_once(later, settled)
    words = f"{begun}, {_outcome(group, day, unanswered=unanswered)}"
    end = later[settled + len(group) :]
    return words + _ending(group[-1], end, day)


def _never_sent(events: Sequence[Told]) -> str:
    last = events[-1]
    if last.to_status not in _FINAL:
        return f"Waiting to be sent since {_exact(events[0].occurred_at)}"
    ended = {"REJECTED": "Refused", "CANCELED": "Cancelled", "EXPIRED": "Expired"}[last.to_status]
    reason = str(last.payload.get("reason") or "")
    return f"{ended} {_exact(last.occurred_at)} before anything was sent" + (f": {reason}" if reason else "")


def _told_at_once(events: Sequence[Told], first: int) -> list[Told]:
    """The events that one answer, report or look brought, the trades fetched for it included."""
    begun = events[first]
    group = [begun]
    for event in events[first + 1 :]:
        if event.source != begun.source or event.occurred_at - begun.occurred_at > _ONE_LOOK:
            break
        group.append(event)
    return group


def _outcome(group: list[Told], day: datetime, *, unanswered: bool) -> str:
    first, last = group[0], group[-1]
    reason = str(first.payload.get("reason") or "")
    if first.kind == "rejected":
        return f"refused {_exact(first.occurred_at)}" + (f": {reason}" if reason else "")
    if first.kind == "expired" and first.payload.get("code") == "NEVER_ARRIVED":
        return f"no answer, given up {_short(first.occurred_at, day)}: {reason}"
    if unanswered or first.source == "reconciler":
        who = _FOUND.get(first.source, f"by {first.source}")
        return f"no answer, found {last.to_status} {_short(last.occurred_at, day)} {who}"
    return f"{last.to_status} {_exact(last.occurred_at)} {_TOLD.get(first.source, f'by {first.source}')}"


def _ending(known: Told, events: Sequence[Told], day: datetime) -> str:
    """What became of it after the first news: its end, and anything that came after its end."""
    words, status = "", known.to_status
    for event in events:
        who = _TOLD.get(event.source, f"by {event.source}")
        if event.kind == "resurrected":
            words += f"; surfaced {_short(event.occurred_at, day)} although it had been given up"
        elif event.kind == "late_fill":
            words += f"; a late fill {_short(event.occurred_at, day)}"
        elif event.to_status in _FINAL and event.to_status != status:
            asked = "after a cancel " if event.source == "executor" and event.to_status == "CANCELED" else ""
            words += f"; {event.to_status} {asked}{_short(event.occurred_at, day)}"
            words += "" if asked else f" {who}"
        status = event.to_status
    return words


def _exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-3]


def _short(moment: datetime, day: datetime) -> str:
    """The time, with its date when that is another one than the day it was sent on."""
    at = moment.astimezone(UTC)
    return f"{at:%H:%M:%S}" if at.date() == day.astimezone(UTC).date() else f"{at:%-d %b %H:%M:%S}"
