"""What becomes known about an order enters the books once, completely, and never backwards."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from app.domain.errors import IllegalTransition, InvariantViolated
from app.domain.orders import FINAL, EventKind, EventSource, Order, OrderStatus, OrderType
from app.services.execution import bookkeeping
from app.services.execution.bookkeeping import Applied, apply_report, apply_trades
from tests.unit.execution.builders import NOW_MS, D, a_fill, a_report, an_order, sent, working

S = OrderStatus
STREAM = EventSource.EXCHANGE


def apply(order: Order, report: object, known: set[int] | None = None) -> Applied:
    return apply_report(order, known or set(), report, source=STREAM, at_ms=NOW_MS)  # type: ignore[arg-type]


def kinds(applied: Applied) -> list[str]:
    return [step.event.kind.value for step in applied.steps]


def path(applied: Applied) -> list[str]:
    return [step.order.status.value for step in applied.steps]


def test_an_answer_with_all_fills_takes_a_sent_order_to_filled() -> None:
    applied = apply(sent(), a_report("FILLED", a_fill(1, "0.4"), a_fill(2, "0.6")))

    assert kinds(applied) == ["acknowledged", "fill_applied", "fill_applied"]
    assert path(applied) == ["OPEN", "PARTIALLY_FILLED", "FILLED"]
    assert applied.order.filled == 1
    assert applied.order.reserved == 0


def test_the_same_report_twice_changes_nothing_the_second_time() -> None:
    report = a_report("FILLED", a_fill(1, "0.4"), a_fill(2, "0.6"))
    first = apply(sent(), report)

    assert apply(first.order, report, known={1, 2}).steps == ()


def test_reports_in_any_order_and_number_end_in_the_same_books() -> None:
    new = a_report("NEW")
    partial = a_report("PARTIALLY_FILLED", a_fill(1, "0.4"))
    full = a_report("FILLED", a_fill(2, "0.6", at_ms=NOW_MS + 1), executed="1")
    ends = set()
    for order_of_arrival in permutations([new, partial, full, partial]):
        order, known = sent(), set[int]()
        for report in order_of_arrival:
            applied = apply(order, report, known)
            order = applied.order
            known |= {step.fill.trade_id for step in applied.steps if step.fill}
        ends.add((order.status, order.filled, order.filled_quote, order.exchange_order_id))

    assert ends == {(S.FILLED, D(1), D(100), 77)}


def test_a_final_word_is_believed_only_when_its_fills_are_here() -> None:
    applied = apply(working(), a_report("CANCELED", executed="0.4"))

    assert applied.needs_trades
    assert applied.order.status is S.OPEN

    complete = apply(working(), a_report("CANCELED", a_fill(1, "0.4")))

    assert not complete.needs_trades
    assert path(complete) == ["PARTIALLY_FILLED", "CANCELED"]
    assert complete.order.filled == D("0.4")


def test_a_fill_of_a_cancelled_order_is_booked_late_without_an_edge() -> None:
    order = replace(working(), status=S.CANCELED, filled=D("0.4"))
    applied = apply_trades(order, {1}, [a_fill(2, "0.1")], source=STREAM, at_ms=NOW_MS)

    assert kinds(applied) == ["late_fill"]
    assert (applied.order.status, applied.order.filled) == (S.CANCELED, D("0.5"))


def test_an_order_given_up_as_never_arrived_is_resurrected_with_its_fills_and_an_incident() -> None:
    order = replace(sent(), status=S.EXPIRED, reject_code=bookkeeping.NEVER_ARRIVED)
    applied = apply(order, a_report("FILLED", a_fill(1, "1")))

    assert path(applied) == ["OPEN", "FILLED"]
    assert kinds(applied)[0] == "resurrected"
    assert applied.incident is not None
    assert applied.incident[0] == "RESURRECTED"


def test_an_order_cancelled_unsent_that_the_exchange_has_is_resurrected() -> None:
    applied = apply(replace(sent(), status=S.CANCELED), a_report("FILLED", a_fill(1, "1")))

    assert path(applied) == ["OPEN", "FILLED"]
    assert kinds(applied)[0] == "resurrected"
    assert applied.incident == ("RESURRECTED", "order pl-one surfaced after it was cancelled as not sent yet")


def test_a_rejected_order_that_exists_is_an_incident_and_stays_without_fills() -> None:
    applied = apply(replace(sent(), status=S.REJECTED), a_report("FILLED", a_fill(1, "1")))

    assert applied.steps == ()
    assert applied.incident is not None
    assert applied.incident[0] == "REJECTED_BUT_EXISTS"


def test_a_canceling_order_stays_canceling_while_it_fills_and_may_end_filled() -> None:
    order = replace(working(), status=S.CANCELING)

    assert path(apply(order, a_report("PARTIALLY_FILLED", a_fill(1, "0.4")))) == ["CANCELING"]
    assert path(apply(order, a_report("FILLED", a_fill(1, "1")))) == ["FILLED"]


def test_an_order_sized_in_quote_is_filled_when_the_exchange_says_so() -> None:
    order = replace(sent(), quantity=None, quote_quantity=D(50), price=None, reserved=D(50))
    partial = apply(order, a_report("PARTIALLY_FILLED", a_fill(1, "0.3")))

    assert (partial.order.status, partial.order.reserved) == (S.PARTIALLY_FILLED, D(20))

    full = apply(partial.order, a_report("FILLED", a_fill(1, "0.3"), a_fill(2, "0.1999")), known={1})

    assert (full.order.status, full.order.quantity, full.order.reserved) == (S.FILLED, D("0.4999"), D(0))


def test_an_unknown_status_word_is_held_with_an_incident_and_no_crash() -> None:
    applied = apply(working(), a_report("FROZEN_BY_MOON"))

    assert applied.order.status is S.OPEN
    assert applied.incident is not None
    assert applied.incident[0] == "UNKNOWN_STATUS"


def test_an_expiry_in_a_match_is_an_expiry() -> None:
    assert apply(working(), a_report("EXPIRED_IN_MATCH")).order.status is S.EXPIRED


def test_a_rejection_from_the_exchange_carries_no_fill() -> None:
    assert apply(sent(), a_report("REJECTED")).order.status is S.REJECTED


def test_more_filled_than_ordered_stops_the_books() -> None:
    with pytest.raises(InvariantViolated):
        apply(working(), a_report("FILLED", a_fill(1, "1.5")))


def test_two_exchange_orders_for_one_client_order_id_stop_the_books() -> None:
    with pytest.raises(InvariantViolated):
        apply(working(exchange_order_id=78), a_report("NEW"))


def test_an_unknown_outcome_is_flagged_once_and_cleared_by_news() -> None:
    flagged = bookkeeping.outcome_unknown(sent(), reason="timed out", at_ms=NOW_MS)

    assert flagged is not None
    assert flagged.order.outcome_unknown_since_ms == NOW_MS
    assert bookkeeping.outcome_unknown(flagged.order, reason="again", at_ms=NOW_MS) is None
    assert apply(flagged.order, a_report("NEW")).order.outcome_unknown_since_ms is None


def test_an_outcome_is_not_unknown_once_the_stream_has_told_it() -> None:
    assert bookkeeping.outcome_unknown(working(), reason="timed out", at_ms=NOW_MS) is None


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_order_cannot_be_cancelled_or_refused(status: OrderStatus) -> None:
    order = an_order(status)

    assert bookkeeping.cancel_requested(order, source=EventSource.USER, at_ms=NOW_MS) is None
    with pytest.raises(IllegalTransition):
        bookkeeping.refused(order, code="-2010", reason="no", source=EventSource.EXECUTOR, at_ms=NOW_MS)


def test_a_cancel_before_anything_was_sent_ends_the_order_at_once() -> None:
    step = bookkeeping.cancel_requested(an_order(), source=EventSource.USER, at_ms=NOW_MS)

    assert step is not None
    assert step.order.status is S.CANCELED


def test_a_refused_cancel_lets_the_order_live() -> None:
    order = replace(working(), status=S.CANCELING, filled=D("0.2"))
    step = bookkeeping.cancel_refused(order, code="-1013", reason="market is closed", at_ms=NOW_MS)

    assert step is not None
    assert step.order.status is S.PARTIALLY_FILLED


def test_the_death_bound_counts_from_the_signed_timestamp_in_exchange_time() -> None:
    bound = bookkeeping.death_bound_ms(sent(), engine_timeout_ms=10_000, visibility_margin_ms=60_000)

    assert bound == NOW_MS + 75_000


def test_an_order_our_restored_books_have_as_new_is_recovered() -> None:
    applied = apply(an_order(), a_report("FILLED", a_fill(1, "1")))

    assert path(applied) == ["SUBMITTED", "OPEN", "FILLED"]
    assert applied.steps[0].event.kind is EventKind.RECONCILED


def test_a_market_buy_sized_in_base_holds_back_less_with_each_fill() -> None:
    """105 are held back for a coin at about 100; what is spent is not held back as well."""
    order = sent(type=OrderType.MARKET, price=None, time_in_force=None, reserved=D(105))
    held = []
    for number, (quantity, price) in enumerate([("0.4", "100"), ("0.3", "110"), ("0.2", "200"), ("0.1", "100")], 1):
        status = "FILLED" if number == 4 else "PARTIALLY_FILLED"
        report = replace(a_report(status, a_fill(number, quantity, price)), executed=order.filled + D(quantity))
        order = apply(order, report, known=set(range(1, number))).order
        held.append(order.reserved)

    assert held == [D(65), D(32), D(0), D(0)]  # 40, 33 and 40 are spent: more than was thought, never below nothing
    assert order.status is S.FILLED
