"""Entry, protection and exit are one plan: no filled position without its stop, never two orders for the same coins."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.orders import Order, OrderRole, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules
from app.models.execution import PlanState
from app.services.execution.plan_moves import (
    CALL_AFTER_TRIES,
    PAIR_AGAIN_MS,
    RETRY_AFTER_MS,
    UNPROTECTED_AFTER_MS,
    CancelOrders,
    Move,
    PlacePart,
    PlanFacts,
    SellAll,
    decide,
    reopened,
    watched,
)
from app.services.execution.protection import Part
from app.services.execution.store import PlanRecord
from tests.unit.execution.builders import NOW_MS, an_order

D = Decimal
S = OrderStatus
RULES = SymbolRules(
    "BTCUSDT", "BTC", "USDT", tick_size=D("0.01"), step_size=D("0.001"), min_qty=D("0.001"), min_notional=D(5)
)
PLAN = PlanRecord(1, 1, 1, "BTCUSDT", PlanState.ENTERING, 1, None, None, {"pct": "2"}, None, None, "", 0)
ENTRY = an_order(S.FILLED, filled=D(1), filled_quote=D(100), type=OrderType.MARKET)
STOP = an_order(
    S.OPEN,
    id=2,
    client_order_id="pl-2",
    side=Side.SELL,
    type=OrderType.STOP_LOSS,
    quantity=D("0.999"),
    price=None,
    stop_price=D(98),
    role=OrderRole.STOP,
)
EXIT = an_order(S.SUBMITTED, id=3, side=Side.SELL, type=OrderType.MARKET, price=None, role=OrderRole.EXIT)
WHOLE = Part(D("0.999"), D(98))


def facts(*sells: Order, **changes: Any) -> PlanFacts:
    values: dict[str, Any] = {
        "entry": ENTRY,
        "sells": sells,
        "held": D("0.999"),
        "free": D("0.999") if not sells else D(0),
        "price": D(100),
        "rules": RULES,
        "now_ms": NOW_MS,
    }
    return PlanFacts(**(values | changes))


def plan(state: PlanState, **changes: Any) -> PlanRecord:
    priced = {"stop_price": D(98), "entry_price": D(100), "first_quantity": D("0.999")}
    return replace(PLAN, state=state.value, **(priced | changes))


def settled(before: PlanRecord, known: PlanFacts) -> Move:
    """The move after those that need nothing but time to think."""
    for _ in range(10):
        move = decide(before, known)
        if move.act is not None or move.plan == before:
            return move
        before = move.plan
    raise AssertionError("the plan never comes to rest")


def pair(number: int, quantity: str, target: str, *, stop: str = "98", **changes: Any) -> tuple[Order, Order]:
    """Both legs of an OCO that rest."""
    legs = {"list_client_order_id": f"list-{number}", "quantity": D(quantity)}
    below = replace(STOP, id=number, client_order_id=f"pl-{number}", stop_price=D(stop), **legs)
    above = replace(
        below, id=number + 1, client_order_id=f"pl-{number + 1}", type=OrderType.LIMIT_MAKER, price=D(target),
        stop_price=None, role=OrderRole.TARGET,
    )  # fmt: skip
    return replace(below, **changes), replace(above, **changes)


# --- one stop ------------------------------------------------------------------------------------------------


def test_a_filled_entry_gets_its_stop_from_the_price_really_paid() -> None:
    paid = facts(entry=replace(ENTRY, filled_quote=D(101)))
    move = settled(PLAN, paid)

    assert (move.plan.stop_price, move.plan.entry_price, move.plan.first_quantity) == (D("98.98"), D(101), D("0.999"))
    assert move.act == PlacePart(Part(D("0.999"), D("98.98")))


def test_an_entry_still_working_waits_and_one_without_fills_closes_the_plan() -> None:
    assert decide(PLAN, facts(entry=replace(ENTRY, status=S.SUBMITTED))).plan == PLAN
    assert decide(PLAN, facts(entry=an_order(S.EXPIRED))).plan.state == PlanState.CLOSED


def test_protection_covers_what_is_held_net_of_the_fee_rounded_down() -> None:
    move = decide(plan(PlanState.PROTECTING), facts(held=D("0.9994"), free=D("0.9994")))

    assert (move.act, move.plan.tries, move.alarm) == (PlacePart(WHOLE), 1, None)


def test_a_stop_confirmed_on_the_exchange_protects_and_forgets_earlier_tries() -> None:
    protecting = plan(PlanState.PROTECTING, tries=3, next_try_ms=NOW_MS + 1)

    assert decide(protecting, facts(replace(STOP, status=S.SUBMITTED))).plan == protecting
    after = decide(protecting, facts(STOP)).plan
    assert (after.state, after.tries, after.next_try_ms) == (PlanState.PROTECTED, 0, None)


def test_a_stop_the_engine_refuses_means_sell_now() -> None:
    refused = facts(replace(STOP, status=S.REJECTED, reject_code="-2010"), free=D("0.999"))
    move = settled(plan(PlanState.PROTECTING, next_try_ms=NOW_MS + 1), refused)

    assert (move.plan.state, move.plan.exit_reason, move.act) == (PlanState.EXITING, "stop", SellAll(D("0.999")))


@pytest.mark.parametrize("code", ["NOT_SENT", "-1003", "-1015", "-1021", "ACCOUNT_NOT_ACTIVE"])
def test_a_stop_that_was_only_held_back_is_tried_again_and_never_turned_into_a_sale(code: str) -> None:
    protecting = plan(PlanState.PROTECTING, tries=1, next_try_ms=NOW_MS + 1_000)
    refused = facts(replace(STOP, status=S.REJECTED, reject_code=code), free=D("0.999"))

    assert decide(protecting, refused).plan == protecting
    later = decide(protecting, replace(refused, now_ms=NOW_MS + 1_000))
    assert later.act == PlacePart(WHOLE)
    assert later.plan.next_try_ms == NOW_MS + 1_000 + RETRY_AFTER_MS[1]


def test_nobody_stops_trying_and_a_person_is_called() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", tries=50)
    move = decide(exiting, facts(replace(EXIT, status=S.REJECTED), free=D("0.999")))

    assert move.act == SellAll(D("0.999"))
    assert move.alarm is not None
    assert move.plan.next_try_ms == NOW_MS + RETRY_AFTER_MS[-1]
    assert CALL_AFTER_TRIES < 50


def test_a_stop_that_ended_by_itself_is_placed_again() -> None:
    ended = facts(replace(STOP, status=S.EXPIRED), free=D("0.999"))

    assert settled(plan(PlanState.PROTECTED), ended).act == PlacePart(WHOLE)


def test_a_filled_stop_closes_the_plan_and_leaves_dust_alone() -> None:
    filled = facts(replace(STOP, status=S.FILLED, filled=D("0.999")), held=D("0.0004"), free=D("0.0004"))
    closed = settled(plan(PlanState.PROTECTED), filled)

    assert (closed.plan.state, closed.plan.exit_reason, closed.act) == (PlanState.CLOSED, "stop", None)


def test_what_a_stop_could_not_sell_is_sold_at_market() -> None:
    short = facts(replace(STOP, status=S.EXPIRED, filled=D("0.4")), held=D("0.599"), free=D("0.599"))
    move = settled(plan(PlanState.PROTECTED), short)

    assert (move.plan.state, move.plan.exit_reason, move.act) == (PlanState.EXITING, "stop", SellAll(D("0.599")))


def test_an_exit_waits_until_the_stop_is_confirmed_gone() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule")

    assert decide(exiting, facts(STOP)).act == CancelOrders((2,))
    assert decide(exiting, facts(replace(STOP, status=S.CANCELING))).act is None
    assert decide(exiting, facts(replace(STOP, status=S.CANCELED), free=D("0.999"))).act == SellAll(D("0.999"))


def test_a_stop_that_filled_while_it_was_cancelled_leaves_nothing_to_sell() -> None:
    move = decide(plan(PlanState.EXITING, exit_reason="rule"), facts(replace(STOP, status=S.FILLED), held=D("0.0003")))

    assert (move.plan.state, move.act) == (PlanState.CLOSED, None)


def test_only_what_the_account_has_free_is_sold_and_a_person_is_told_of_the_rest() -> None:
    move = decide(plan(PlanState.EXITING, exit_reason="rule"), facts(free=D("0.4")))

    assert move.act == SellAll(D("0.4"))
    assert move.alarm is not None
    assert move.alarm.kind == "POSITION_NOT_COVERED"
    assert decide(plan(PlanState.EXITING, exit_reason="rule"), facts(free=D(0))).act is None


def test_a_person_is_told_that_coins_are_missing_however_often_it_was_tried() -> None:
    tried = plan(PlanState.EXITING, exit_reason="rule", tries=CALL_AFTER_TRIES + 1)
    move = decide(tried, facts(free=D(0)))

    assert (move.act, move.alarm.kind if move.alarm else "") == (None, "POSITION_NOT_COVERED")


def test_coins_that_are_not_free_leave_the_plan_unprotected_and_a_person_is_told() -> None:
    some = replace(STOP, quantity=D("0.4"))
    move = decide(plan(PlanState.PROTECTED), facts(some))

    assert (move.plan.state, move.act) == (PlanState.PROTECTING, None)
    assert move.alarm is not None
    assert move.alarm.kind == "POSITION_NOT_COVERED"


def test_a_position_worth_too_little_for_a_stop_is_told_with_the_filter_it_breaks() -> None:
    poor = facts(held=D("0.051"), free=D("0.051"))
    move = decide(plan(PlanState.PROTECTING), poor)

    assert (move.plan.state, move.act) == (PlanState.PROTECTING, None)
    assert move.alarm is not None
    assert (move.alarm.kind, "below the least allowed" in move.alarm.message) == ("PROTECTION_REFUSED", True)


def test_a_stop_lies_on_the_tick_of_the_day_it_is_placed() -> None:
    coarser = facts(rules=replace(RULES, tick_size=D("0.1")))

    assert decide(plan(PlanState.PROTECTING, stop_price=D("98.98")), coarser).act == PlacePart(
        Part(D("0.999"), D("98.9"))
    )


def test_a_position_larger_than_one_order_may_be_is_protected_and_sold_in_pieces() -> None:
    small = facts(rules=replace(RULES, market_max_qty=D("0.5")))
    first = replace(STOP, quantity=D("0.5"))

    assert decide(plan(PlanState.PROTECTING), small).act == PlacePart(Part(D("0.5"), D(98)))
    rest = replace(small, sells=(first,), free=D("0.499"))
    assert decide(plan(PlanState.PROTECTING), rest).act == PlacePart(Part(D("0.499"), D(98)))
    assert decide(plan(PlanState.EXITING, exit_reason="rule"), small).act == SellAll(D("0.5"))


def test_an_order_that_came_back_is_taken_away() -> None:
    twice = facts(STOP, replace(STOP, id=9, client_order_id="pl-9"))

    assert decide(plan(PlanState.PROTECTED), twice).act == CancelOrders((9,))
    assert decide(plan(PlanState.PROTECTED), facts(STOP, replace(EXIT, status=S.OPEN))).act == CancelOrders((3,))


def test_a_closed_plan_whose_entry_bought_after_all_protects_what_it_bought() -> None:
    again = reopened(replace(PLAN, state=PlanState.CLOSED.value, exit_reason="the entry was expired"))

    assert settled(again, facts()).act == PlacePart(WHOLE)


def test_a_time_stop_and_a_vanished_position_leave() -> None:
    protected = plan(PlanState.PROTECTED, time_stop_ms=NOW_MS)

    assert decide(protected, facts(STOP)).plan.exit_reason == "time"
    gone = decide(replace(protected, time_stop_ms=None), facts(STOP, held=D(0)))
    assert gone.plan.state == PlanState.EXITING


def test_a_plan_without_a_stop_said_on_purpose_is_held_until_its_exit() -> None:
    move = settled(replace(PLAN, stop_spec={"none": "yes"}), facts())

    assert (move.plan.state, move.act, move.plan.stop_price) == (PlanState.PROTECTED, None, None)
    assert watched(move.plan, facts()).plan.unprotected_since_ms is None


# --- a ladder ------------------------------------------------------------------------------------------------

LADDER = {
    "targets": [{"r": "1", "close_pct": 50}, {"pct": "4", "close_pct": 30}],
    "timeframe_ms": 60_000,
}


def laddered(state: PlanState = PlanState.PROTECTING, **changes: Any) -> PlanRecord:
    return plan(state, protect=LADDER, first_quantity=D(1), **changes)


def test_each_target_is_a_pair_and_the_rest_has_a_stop_alone() -> None:
    protecting, placed, free = laddered(), [], D(1)
    for number in (10, 20, 30):
        move = decide(protecting, facts(*placed, held=D(1), free=free))
        assert isinstance(move.act, PlacePart)
        part = move.act.part
        new = pair(number, str(part.quantity), str(part.target_price or 0), stop=str(part.stop_price))
        placed += [order for order in new if part.target_price or order.role is OrderRole.STOP]
        if part.target_price is None:
            placed[-1] = replace(placed[-1], list_client_order_id=None)
        free -= part.quantity
        protecting = move.plan
    parts = [(order.quantity, order.price or order.stop_price) for order in placed]

    assert parts == [
        (D("0.5"), D(98)), (D("0.5"), D(102)), (D("0.3"), D(98)), (D("0.3"), D(104)), (D("0.2"), D(98)),
    ]  # fmt: skip
    assert decide(protecting, facts(*placed, held=D(1), free=D(0))).plan.state == PlanState.PROTECTED


HALF_LOST = (
    *pair(10, "0.5", "102", status=S.REJECTED, reject_code="NOT_SENT"),
    *pair(20, "0.3", "104", status=S.SUBMITTED),
)


def test_a_part_on_its_way_lets_no_other_part_that_failed_be_tried_at_once() -> None:
    waiting = laddered(tries=1, next_try_ms=NOW_MS + 900)
    known = facts(*HALF_LOST, held=D(1), free=D("0.7"))

    assert decide(waiting, known).act is None
    later = decide(waiting, replace(known, now_ms=NOW_MS + 900))
    assert later.act == PlacePart(Part(D("0.5"), D(98), D(102)))
    assert (later.plan.tries, later.plan.next_try_ms) == (2, NOW_MS + 900 + RETRY_AFTER_MS[1])


def test_all_parts_of_one_try_are_made_in_the_same_look() -> None:
    tried = laddered(tries=2, next_try_ms=NOW_MS + 2_000)
    known = facts(*HALF_LOST, held=D(1), free=D("0.7"), is_placing=True)

    assert decide(tried, known) == Move(tried, PlacePart(Part(D("0.5"), D(98), D(102))))


def test_a_target_that_filled_leaves_the_other_parts_as_they_are() -> None:
    stop, target = pair(10, "0.5", "102")
    gone = (replace(stop, status=S.EXPIRED), replace(target, status=S.FILLED, filled=D("0.5")))
    rest = replace(STOP, id=30, client_order_id="pl-30", quantity=D("0.2"))
    known = facts(*gone, *pair(20, "0.3", "104"), rest, held=D("0.5"), free=D(0))

    assert decide(laddered(PlanState.PROTECTED), known) == Move(laddered(PlanState.PROTECTED))


def test_the_last_target_closes_the_plan() -> None:
    _, target = pair(10, "1", "102")
    all_of_it = plan(PlanState.PROTECTED, protect={"targets": [{"r": "1", "close_pct": 100}]}, first_quantity=D(1))
    move = settled(all_of_it, facts(replace(target, status=S.FILLED, filled=D(1)), held=D(0)))

    assert (move.plan.state, move.plan.exit_reason) == (PlanState.CLOSED, "target")


def test_a_target_that_trades_in_part_is_taken_back_and_the_rest_gets_its_stop_again() -> None:
    stop, target = pair(10, "0.5", "102")
    rest = replace(STOP, id=30, client_order_id="pl-30", quantity=D("0.2"))
    partly = (
        replace(stop, status=S.EXPIRED),
        replace(target, status=S.PARTIALLY_FILLED, filled=D("0.1")),
        *pair(20, "0.3", "104"),
        rest,
    )
    move = decide(laddered(PlanState.PROTECTED), facts(*partly, held=D("0.9"), free=D(0)))
    assert (move.plan.state, move.act) == (PlanState.PROTECTING, CancelOrders((11,)))
    gone = (partly[0], replace(partly[1], status=S.CANCELED), *partly[2:])
    again = decide(move.plan, facts(*gone, held=D("0.9"), free=D("0.4")))
    assert again.act == PlacePart(Part(D("0.4"), D(98), D(102)))


def test_one_stop_that_sold_means_that_everything_goes() -> None:
    stop, target = pair(10, "0.5", "102")
    hit = (replace(stop, status=S.FILLED, filled=D("0.5")), replace(target, status=S.EXPIRED), *pair(20, "0.3", "104"))
    move = settled(laddered(PlanState.PROTECTED), facts(*hit, held=D("0.5"), free=D("0.2")))

    assert (move.plan.exit_reason, move.act) == ("stop", CancelOrders((20, 21)))


def test_an_exit_takes_all_parts_away_at_once() -> None:
    resting = (*pair(10, "0.5", "102"), *pair(20, "0.3", "104"))
    move = settled(laddered(PlanState.PROTECTED, exit_reason="rule"), facts(*resting, held=D(1), free=D("0.2")))

    assert move.act == CancelOrders((10, 11, 20, 21))


def test_a_pair_the_engine_refuses_becomes_a_stop_at_once_and_a_pair_again_later() -> None:
    refused = pair(10, "0.5", "102", status=S.REJECTED, reject_code="-2010")
    protecting = laddered(next_try_ms=NOW_MS + 1_000, tries=1)
    move = decide(protecting, facts(*refused, held=D(1), free=D(1)))

    assert move.act == PlacePart(Part(D("0.5"), D(98)))
    later = facts(*refused, held=D(1), free=D(1), now_ms=NOW_MS + PAIR_AGAIN_MS)
    assert decide(protecting, later).act == PlacePart(Part(D("0.5"), D(98), D(102)))


def test_a_pair_refused_because_its_target_is_reached_is_sold() -> None:
    refused = pair(10, "0.5", "102", status=S.REJECTED, reject_code="-2010")
    move = decide(laddered(), facts(*refused, held=D(1), free=D(1), price=D(102)))

    assert move.act == PlacePart(Part(D("0.5"), None, at_once=True))


def test_other_parts_are_placed_while_one_has_an_unknown_outcome() -> None:
    unknown = pair(10, "0.5", "102", status=S.SUBMITTED)
    move = decide(laddered(), facts(*unknown, held=D(1), free=D("0.5")))

    assert move.act == PlacePart(Part(D("0.3"), D(98), D(104)))


# --- a stop that moves ---------------------------------------------------------------------------------------


def test_a_raised_stop_is_moved_part_by_part_and_never_placed_beside_the_old_one() -> None:
    old = (*pair(10, "0.5", "102"), *pair(20, "0.3", "104"))
    raised = laddered(PlanState.PROTECTED, stop_price=D(99))
    rest = replace(STOP, id=30, client_order_id="pl-30", quantity=D("0.2"), stop_price=D(99))
    known = facts(*old, rest, held=D(1), free=D(0))
    move = decide(raised, known)

    assert (move.plan.state, move.act) == (PlanState.PROTECTING, CancelOrders((10, 11)))
    canceling = facts(*pair(10, "0.5", "102", status=S.CANCELING), *pair(20, "0.3", "104"), rest, held=D(1), free=D(0))
    assert decide(move.plan, canceling).act is None
    gone = facts(*pair(10, "0.5", "102", status=S.CANCELED), *pair(20, "0.3", "104"), rest, held=D(1), free=D("0.5"))
    assert decide(move.plan, gone).act == PlacePart(Part(D("0.5"), D(99), D(102)))


def test_a_stop_refused_at_the_present_price_means_sell_whatever_was_placed_after_it() -> None:
    refused = replace(STOP, id=4, quantity=D("0.5"), stop_price=D(101), status=S.REJECTED, reject_code="-2010")
    beside = replace(STOP, id=5, client_order_id="pl-5", quantity=D("0.499"), stop_price=D(101), status=S.SUBMITTED)
    raised = plan(PlanState.PROTECTING, stop_price=D(101))
    assert settled(raised, facts(refused, beside)).plan.exit_reason == "trail"
    higher = replace(raised, stop_price=D(102))  # of an older price nothing follows for the present one
    assert settled(higher, facts(refused, replace(beside, status=S.CANCELED), free=D("0.999"))).plan.exit_reason == ""


def test_a_raised_stop_above_the_price_means_sell() -> None:
    refused = facts(
        replace(STOP, status=S.CANCELED),
        replace(STOP, id=4, stop_price=D(101), status=S.REJECTED, reject_code="-2010"),
        free=D("0.999"),
    )
    move = settled(plan(PlanState.PROTECTING, stop_price=D(101)), refused)

    assert (move.plan.exit_reason, move.act) == ("trail", SellAll(D("0.999")))


# --- a limit entry -------------------------------------------------------------------------------------------

RESTING = an_order(S.OPEN, price=D(100))
LIMIT_PLAN = replace(PLAN, entry_until_ms=NOW_MS + 1_000, protect={"is_limit": True, "timeframe_ms": 60_000})


def test_a_limit_entry_is_given_up_when_its_time_is_over_or_the_run_wants_to_leave() -> None:
    waiting = facts(entry=RESTING, held=D(0), free=D(0))

    assert decide(LIMIT_PLAN, waiting) == Move(LIMIT_PLAN)
    assert decide(LIMIT_PLAN, replace(waiting, now_ms=NOW_MS + 1_000)).act == CancelOrders((1,))
    assert decide(replace(LIMIT_PLAN, exit_reason="rule"), waiting).act == CancelOrders((1,))


def test_what_a_limit_entry_has_bought_so_far_gets_its_stop() -> None:
    bought = replace(RESTING, status=S.PARTIALLY_FILLED, filled=D("0.4"), filled_quote=D(40))
    partly = facts(entry=bought, held=D("0.4"), free=D("0.4"))
    move = settled(LIMIT_PLAN, partly)

    assert move.act == PlacePart(Part(D("0.4"), D(98)))
    resting = replace(STOP, quantity=D("0.4"))
    crumbs = replace(partly, sells=(resting,), held=D("0.42"), free=D("0.02"))
    assert decide(move.plan, crumbs).act is None
    more = replace(partly, sells=(resting,), held=D("0.8"), free=D("0.4"))
    assert decide(replace(move.plan, next_try_ms=None), more).act == CancelOrders((2,))


def test_an_entry_that_is_stopped_while_it_still_buys_is_given_up_before_the_plan_ends() -> None:
    partly = replace(RESTING, status=S.PARTIALLY_FILLED, filled=D("0.4"), filled_quote=D(40))
    hit = replace(STOP, quantity=D("0.4"), status=S.FILLED, filled=D("0.4"))
    known = facts(hit, entry=partly, held=D(0))
    move = settled(replace(LIMIT_PLAN, state=PlanState.PROTECTED.value, stop_price=D(98)), known)

    assert (move.plan.state, move.act) == (PlanState.EXITING, CancelOrders((1,)))
    ended = replace(known, entry=replace(partly, status=S.CANCELED))
    assert settled(move.plan, ended).plan.state == PlanState.CLOSED


# --- by time -------------------------------------------------------------------------------------------------


def test_coins_without_their_stop_for_too_long_are_told_whatever_the_cause() -> None:
    for state in (PlanState.PROTECTING, PlanState.PROTECTED, PlanState.EXITING):
        lying = watched(plan(state), facts())
        assert (lying.plan.unprotected_since_ms, lying.alarm) == (NOW_MS, None)
        later = watched(lying.plan, facts(now_ms=NOW_MS + UNPROTECTED_AFTER_MS))
        assert later.alarm is not None
        assert later.alarm.kind == "UNPROTECTED"
        assert later.plan.unprotected_since_ms == NOW_MS
        again = watched(later.plan, facts(STOP))
        assert (again.plan.unprotected_since_ms, again.alarm) == (None, None)


def test_a_stop_that_is_on_its_way_or_on_its_way_out_does_not_count() -> None:
    for status in (S.NEW, S.SUBMITTED, S.CANCELING):
        move = watched(plan(PlanState.PROTECTING), facts(replace(STOP, status=status)))
        assert move.plan.unprotected_since_ms == NOW_MS


def test_a_target_that_trades_in_part_leaves_its_rest_exposed() -> None:
    stop, target = pair(10, "0.999", "102")
    partly = facts(replace(stop, status=S.EXPIRED), replace(target, status=S.PARTIALLY_FILLED, filled=D("0.1")))

    assert watched(plan(PlanState.PROTECTED), partly).plan.unprotected_since_ms == NOW_MS
