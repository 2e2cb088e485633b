"""An order's life in one sentence, from the events that the book-keeping itself writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.clock import to_ms
from app.domain.orders import EventSource, Order, OrderType
from app.services.execution import bookkeeping
from app.services.execution.bookkeeping import Step
from app.services.execution.story import story
from tests.unit.execution.builders import D, a_fill, a_report, an_order

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EXECUTOR, STREAM, RECONCILER = EventSource.EXECUTOR, EventSource.EXCHANGE, EventSource.RECONCILER


@dataclass(frozen=True)
class Event:
    kind: str
    source: str
    to_status: str
    payload: dict[str, Any]
    occurred_at: datetime


class Life:
    """An order and its events so far; times are seconds after noon."""

    def __init__(self, **changes: Any) -> None:
        self.order: Order = an_order(**changes)
        self.events: list[Event] = []
        self.known: set[int] = set()
        self._keep(bookkeeping.created(self.order, EventSource.USER, _ms(1.0)), 1.0)

    def _keep(self, step: Step | None, at_s: float) -> None:
        assert step is not None
        event = step.event
        moment = NOON + timedelta(seconds=at_s)
        self.events.append(Event(event.kind.value, event.source.value, event.to_status.value, event.payload, moment))
        self.order = step.order

    def sent(self, at_s: float = 1.12) -> Life:
        at_ms = _ms(at_s)
        attempt = bookkeeping.attempt(self.order, signed_timestamp_ms=at_ms, recv_window_ms=5_000, at_ms=at_ms)
        self._keep(attempt, at_s)
        return self

    def unanswered(self, at_s: float) -> Life:
        self._keep(bookkeeping.outcome_unknown(self.order, reason="TimeoutError", at_ms=_ms(at_s)), at_s)
        return self

    def told(self, at_s: float, source: EventSource, status: str, *fills: tuple[int, str]) -> Life:
        booked = [a_fill(n, quantity) for n, quantity in fills]
        executed = str(self.order.filled + sum((fill.quantity for fill in booked), D(0)))
        report = a_report(status, *booked, executed=executed)
        applied = bookkeeping.apply_report(self.order, self.known, report, source=source, at_ms=_ms(at_s))
        for step in applied.steps:
            self._keep(step, at_s)
        self.known |= {n for n, _ in fills}
        return self

    def refused(self, at_s: float, reason: str) -> Life:
        refused = bookkeeping.refused(self.order, code="-2010", reason=reason, source=EXECUTOR, at_ms=_ms(at_s))
        self._keep(refused, at_s)
        return self

    def given_up(self, at_s: float) -> Life:
        words, code = "the exchange never had it", bookkeeping.NEVER_ARRIVED
        step = bookkeeping.expired(self.order, code=code, reason=words, source=RECONCILER, at_ms=_ms(at_s))
        self._keep(step, at_s)
        return self

    def cancel_asked(self, at_s: float) -> Life:
        self._keep(bookkeeping.cancel_requested(self.order, source=EventSource.USER, at_ms=_ms(at_s)), at_s)
        return self

    @property
    def words(self) -> str:
        return story(self.events)


def _ms(at_s: float) -> int:
    return to_ms(NOON + timedelta(seconds=at_s))


def test_an_answer_that_was_lost_and_an_order_that_was_found() -> None:
    life = Life().sent().told(9.0, RECONCILER, "FILLED", (1, "0.4"), (2, "0.6"))
    assert life.words == "Sent 12:00:01.120, no answer, found FILLED 12:00:09 by reconciliation"


@pytest.mark.parametrize(
    ("life", "words"),
    [
        (Life(), "Waiting to be sent since 12:00:01.000"),
        (Life().refused(1.0, "the kill switch is engaged"),
         "Refused 12:00:01.000 before anything was sent: the kill switch is engaged"),
        (Life().cancel_asked(3.0), "Cancelled 12:00:03.000 before anything was sent"),
        (Life().sent(), "Sent 12:00:01.120, waiting for the answer"),
        (Life().sent().unanswered(13), "Sent 12:00:01.120, no answer; the exchange is being asked"),
        (Life().sent().told(1.3, EXECUTOR, "FILLED", (1, "1")), "Sent 12:00:01.120, FILLED 12:00:01.300 by its answer"),
        (Life().sent().refused(1.4, "insufficient balance"),
         "Sent 12:00:01.120, refused 12:00:01.400: insufficient balance"),
        (Life().sent().unanswered(13).told(15, EXECUTOR, "NEW"),
         "Sent 12:00:01.120, no answer, found OPEN 12:00:15 by asking"),
        (Life().sent().unanswered(13).told(14, STREAM, "NEW").told(90, STREAM, "FILLED", (1, "1")),
         "Sent 12:00:01.120, no answer, found OPEN 12:00:14 by the exchange's stream; "
         "FILLED 12:01:30 by the exchange's stream"),
        (Life().sent().told(60, RECONCILER, "NEW"),
         "Sent 12:00:01.120, no answer, found OPEN 12:01:00 by reconciliation"),
        (Life().sent().unanswered(13).told(14.2, RECONCILER, "NEW").told(14.9, RECONCILER, "FILLED", (1, "1")),
         "Sent 12:00:01.120, no answer, found FILLED 12:00:14 by reconciliation"),
        (Life().sent().told(1.2, STREAM, "NEW").told(1.2, EXECUTOR, "NEW"),
         "Sent 12:00:01.120, OPEN 12:00:01.200 by the exchange's stream"),
        (Life().sent().told(1.3, EXECUTOR, "NEW").cancel_asked(20).told(20.2, EXECUTOR, "CANCELED"),
         "Sent 12:00:01.120, OPEN 12:00:01.300 by its answer; CANCELED after a cancel 12:00:20"),
        (Life().sent().told(1.3, EXECUTOR, "NEW").told(5, STREAM, "PARTIALLY_FILLED", (1, "0.4"))
         .told(86_400 + 7, RECONCILER, "EXPIRED"),
         "Sent 12:00:01.120, OPEN 12:00:01.300 by its answer; EXPIRED 23 Nov 12:00:07 by reconciliation"),
        (Life().sent().unanswered(13).given_up(86),
         "Sent 12:00:01.120, no answer, given up 12:01:26: the exchange never had it"),
        (Life().sent().unanswered(13).given_up(86).told(120, RECONCILER, "FILLED", (1, "1")),
         "Sent 12:00:01.120, no answer, given up 12:01:26: the exchange never had it; "
         "surfaced 12:02:00 although it had been given up; FILLED 12:02:00 by reconciliation"),
    ],
)  # fmt: skip
def test_every_course_of_events_has_its_sentence(life: Life, words: str) -> None:
    assert life.words == words


def test_a_fill_after_the_end_is_named() -> None:
    life = Life().sent().told(1.3, EXECUTOR, "NEW").told(9, STREAM, "CANCELED")
    late = bookkeeping.apply_trades(life.order, set(), [a_fill(1, "0.2")], source=RECONCILER, at_ms=_ms(70))
    for step in late.steps:
        life._keep(step, 70)
    assert life.words.endswith("; CANCELED 12:00:09 by the exchange's stream; a late fill 12:01:10")


def test_market_orders_and_no_events_do_as_well() -> None:
    assert story([]) == ""
    life = Life(type=OrderType.MARKET, price=None, time_in_force=None).sent().unanswered(13)
    assert life.told(13.5, EXECUTOR, "FILLED", (1, "1")).words.endswith("no answer, found FILLED 12:00:13 by asking")
