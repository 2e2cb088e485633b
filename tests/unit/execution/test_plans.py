"""Entry, protection and exit are one plan: no filled position without its stop, never two orders for the same coins."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.orders import OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules
from app.models.execution import PlanState
from app.services.execution.plans import (
    CALL_AFTER_TRIES,
    RETRY_AFTER_MS,
    CancelSell,
    PlaceStop,
    PlanFacts,
    SellAll,
    decide,
    reopened,
    stop_price,
)
from app.services.execution.store import PlanRecord
from tests.unit.execution.builders import NOW_MS, an_order

D = Decimal
S = OrderStatus
RULES = SymbolRules(
    "BTCUSDT", "BTC", "USDT", tick_size=D("0.01"), step_size=D("0.001"), min_qty=D("0.001"), min_notional=D(5)
)
PLAN = PlanRecord(1, 1, 1, "BTCUSDT", PlanState.ENTERING, 1, None, None, {"pct": "2"}, None, None, "", 0)
ENTRY = an_order(S.FILLED, filled=D(1), filled_quote=D(100))
STOP = an_order(S.OPEN, id=2, side=Side.SELL, type=OrderType.STOP_LOSS, price=None, stop_price=D(98))


def facts(**changes: Any) -> PlanFacts:
    values: dict[str, Any] = {
        "entry": ENTRY,
        "stop": None,
        "exit": None,
        "held": D("0.999"),
        "free": D("0.999"),
        "price": D(100),
        "rules": RULES,
        "now_ms": NOW_MS,
    }
    return PlanFacts(**(values | changes))


def plan(state: PlanState, **changes: Any) -> PlanRecord:
    return replace(PLAN, state=state.value, **changes)


def test_a_filled_entry_gets_its_stop_from_the_price_really_paid() -> None:
    paid = facts(entry=replace(ENTRY, filled_quote=D(101)))
    protecting = decide(PLAN, paid).plan
    priced = decide(protecting, paid).plan

    assert (protecting.state, priced.stop_price) == (PlanState.PROTECTING, D("98.98"))
    assert decide(priced, paid).act == PlaceStop(D("0.999"), D("98.98"))


def test_an_entry_still_working_waits_and_one_without_fills_closes_the_plan() -> None:
    assert decide(PLAN, facts(entry=replace(ENTRY, status=S.SUBMITTED))).plan == PLAN
    assert decide(PLAN, facts(entry=an_order(S.EXPIRED))).plan.state == PlanState.CLOSED


def test_protection_covers_what_is_held_net_of_the_fee_rounded_down() -> None:
    move = decide(plan(PlanState.PROTECTING, stop_price=D(98)), facts(held=D("0.9994"), free=D("0.9994")))

    assert (move.act, move.plan.tries, move.alarm) == (PlaceStop(D("0.999"), D(98)), 1, None)


def test_a_stop_confirmed_on_the_exchange_protects_and_forgets_earlier_tries() -> None:
    protecting = plan(PlanState.PROTECTING, stop_price=D(98), stop_order_id=2, tries=3, next_try_ms=NOW_MS + 1)

    assert decide(protecting, facts(stop=replace(STOP, status=S.SUBMITTED))).plan == protecting
    after = decide(protecting, facts(stop=STOP)).plan
    assert (after.state, after.tries, after.next_try_ms) == (PlanState.PROTECTED, 0, None)


def test_a_stop_the_engine_refuses_means_sell_now() -> None:
    protecting = plan(PlanState.PROTECTING, stop_price=D(98), stop_order_id=2, next_try_ms=NOW_MS + 1)
    refused = facts(stop=replace(STOP, status=S.REJECTED, reject_code="-2010"))
    after = decide(protecting, refused).plan

    assert (after.state, after.exit_reason) == (PlanState.EXITING, "stop")
    assert decide(after, refused).act == SellAll(D("0.999"))


@pytest.mark.parametrize("code", ["NOT_SENT", "-1003", "-1015", "-1021", "ACCOUNT_NOT_ACTIVE"])
def test_a_stop_that_was_only_held_back_is_tried_again_and_never_turned_into_a_sale(code: str) -> None:
    protecting = plan(PlanState.PROTECTING, stop_price=D(98), stop_order_id=2, tries=1, next_try_ms=NOW_MS + 1_000)
    refused = replace(STOP, status=S.REJECTED, reject_code=code)

    assert decide(protecting, facts(stop=refused)).plan == protecting
    later = decide(protecting, facts(stop=refused, now_ms=NOW_MS + 1_000))
    assert later.act == PlaceStop(D("0.999"), D(98))
    assert later.plan.next_try_ms == NOW_MS + 1_000 + RETRY_AFTER_MS[1]


def test_nobody_stops_trying_and_a_person_is_called() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", tries=50)
    move = decide(exiting, facts(exit=an_order(S.REJECTED, id=3, side=Side.SELL)))

    assert move.act == SellAll(D("0.999"))
    assert move.alarm is not None
    assert move.plan.next_try_ms == NOW_MS + RETRY_AFTER_MS[-1]
    assert CALL_AFTER_TRIES < 50


def test_a_stop_that_ended_by_itself_is_placed_again() -> None:
    protected = plan(PlanState.PROTECTED, stop_price=D(98), stop_order_id=2)
    ended = facts(stop=replace(STOP, status=S.EXPIRED))

    assert decide(decide(protected, ended).plan, ended).act == PlaceStop(D("0.999"), D(98))


def test_a_filled_stop_closes_the_plan_and_leaves_dust_alone() -> None:
    protected = plan(PlanState.PROTECTED, stop_price=D(98), stop_order_id=2)
    filled = facts(stop=replace(STOP, status=S.FILLED, filled=D("0.999")), held=D("0.0004"))
    closed = decide(decide(protected, filled).plan, filled)

    assert (closed.plan.state, closed.plan.exit_reason, closed.act) == (PlanState.CLOSED, "stop", None)


def test_an_exit_waits_until_the_stop_is_confirmed_gone() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", stop_order_id=2)

    assert decide(exiting, facts(stop=STOP)).act == CancelSell(2)
    assert decide(exiting, facts(stop=replace(STOP, status=S.CANCELING))).act is None
    assert decide(exiting, facts(stop=replace(STOP, status=S.CANCELED))).act == SellAll(D("0.999"))


def test_a_stop_that_filled_while_it_was_cancelled_leaves_nothing_to_sell() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", stop_order_id=2)
    move = decide(exiting, facts(stop=replace(STOP, status=S.FILLED), held=D("0.0003")))

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


def test_a_stop_lies_on_the_tick_of_the_day_it_is_placed() -> None:
    coarser = facts(rules=replace(RULES, tick_size=D("0.1")))
    move = decide(plan(PlanState.PROTECTING, stop_price=D("98.98")), coarser)

    assert move.act == PlaceStop(D("0.999"), D("98.9"))


def test_a_position_larger_than_one_order_may_be_is_sold_in_parts_and_not_called_dust() -> None:
    small = replace(RULES, market_max_qty=D("0.5"))

    assert decide(plan(PlanState.EXITING, exit_reason="rule"), facts(rules=small)).act == SellAll(D("0.5"))


def test_a_sell_of_the_plan_that_is_neither_its_stop_nor_its_exit_is_taken_away_first() -> None:
    protecting = plan(PlanState.PROTECTING, stop_price=D(98))

    assert decide(protecting, facts(stray=replace(STOP, id=9))).act == CancelSell(9)


def test_a_closed_plan_whose_entry_bought_after_all_protects_what_it_bought() -> None:
    again = reopened(plan(PlanState.CLOSED, exit_reason="the entry was expired"))
    priced = decide(again, facts()).plan

    assert decide(priced, facts()).act == PlaceStop(D("0.999"), D(98))


def test_a_time_stop_and_a_vanished_position_leave() -> None:
    protected = plan(PlanState.PROTECTED, stop_order_id=2, time_stop_ms=NOW_MS)

    assert decide(protected, facts(stop=STOP)).plan.exit_reason == "time"
    gone = decide(replace(protected, time_stop_ms=None), facts(stop=STOP, held=D(0)))
    assert gone.plan.state == PlanState.EXITING


def test_a_plan_without_a_stop_said_on_purpose_is_held_until_its_exit() -> None:
    protecting = plan(PlanState.PROTECTING, stop_spec={"none": "yes"})

    assert decide(protecting, facts()).plan.state == PlanState.PROTECTED


def test_a_stop_price_lies_on_the_tick_below_the_entry() -> None:
    assert stop_price({"pct": "1.5"}, D("100.01"), RULES) == D("98.50")
    assert stop_price({"distance": "3.337"}, D(100), RULES) == D("96.66")
    assert stop_price({"none": "yes"}, D(100), RULES) is None
