"""Entry, protection and exit are one plan: no filled position without its stop, never two orders for the same coins."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.domain.orders import OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules
from app.models.execution import PlanState
from app.services.execution.plans import CallAPerson, CancelStop, PlaceStop, PlanFacts, SellAll, decide, stop_price
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
        "price": D(100),
        "rules": RULES,
        "now_ms": NOW_MS,
    }
    return PlanFacts(**(values | changes))


def plan(state: PlanState, **changes: Any) -> PlanRecord:
    return replace(PLAN, state=state.value, **changes)


def test_a_filled_entry_gets_its_stop_from_the_price_really_paid() -> None:
    after, act = decide(PLAN, facts(entry=replace(ENTRY, filled_quote=D(101))))

    assert (after.state, after.stop_price, act) == (PlanState.PROTECTING, D("98.98"), None)


def test_an_entry_still_working_waits_and_one_without_fills_closes_the_plan() -> None:
    assert decide(PLAN, facts(entry=replace(ENTRY, status=S.SUBMITTED))) == (PLAN, None)
    after, _ = decide(PLAN, facts(entry=an_order(S.EXPIRED)))
    assert after.state == PlanState.CLOSED


def test_protection_covers_what_is_held_net_of_the_fee_rounded_down() -> None:
    after, act = decide(plan(PlanState.PROTECTING, stop_price=D(98)), facts(held=D("0.9994")))

    assert act == PlaceStop(D("0.999"), D(98))
    assert after.tries == 1


def test_a_stop_confirmed_on_the_exchange_protects() -> None:
    protecting = plan(PlanState.PROTECTING, stop_price=D(98), stop_order_id=2)

    assert decide(protecting, facts(stop=replace(STOP, status=S.SUBMITTED))) == (protecting, None)
    assert decide(protecting, facts(stop=STOP))[0].state == PlanState.PROTECTED


def test_a_stop_the_exchange_refuses_means_sell_now() -> None:
    protecting = plan(PlanState.PROTECTING, stop_price=D(98), stop_order_id=2)
    after, _ = decide(protecting, facts(stop=replace(STOP, status=S.REJECTED)))

    assert (after.state, after.exit_reason) == (PlanState.EXITING, "stop")
    assert decide(after, facts(stop=replace(STOP, status=S.REJECTED)))[1] == SellAll(D("0.999"))


def test_a_stop_that_ended_by_itself_is_placed_again_and_after_five_times_a_person_is_called() -> None:
    protected = plan(PlanState.PROTECTED, stop_price=D(98), stop_order_id=2, tries=1)
    after, _ = decide(protected, facts(stop=replace(STOP, status=S.EXPIRED)))
    again, act = decide(after, facts(stop=replace(STOP, status=S.EXPIRED)))

    assert (again.tries, act) == (2, PlaceStop(D("0.999"), D(98)))
    tired = replace(after, tries=5)
    last, call = decide(tired, facts(stop=replace(STOP, status=S.EXPIRED)))
    assert last.state == PlanState.EXITING
    assert isinstance(call, CallAPerson)


def test_a_filled_stop_closes_the_plan_and_leaves_dust_alone() -> None:
    protected = plan(PlanState.PROTECTED, stop_price=D(98), stop_order_id=2)
    filled = replace(STOP, status=S.FILLED, filled=D("0.999"))
    after, _ = decide(protected, facts(stop=filled, held=D("0.0004")))
    closed, act = decide(after, facts(stop=filled, held=D("0.0004")))

    assert (closed.state, closed.exit_reason, act) == (PlanState.CLOSED, "stop", None)


def test_an_exit_waits_until_the_stop_is_confirmed_gone() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", stop_order_id=2)

    assert decide(exiting, facts(stop=STOP)) == (exiting, CancelStop(2))
    assert decide(exiting, facts(stop=replace(STOP, status=S.CANCELING))) == (exiting, None)
    assert decide(exiting, facts(stop=replace(STOP, status=S.CANCELED)))[1] == SellAll(D("0.999"))


def test_a_stop_that_filled_while_it_was_cancelled_leaves_nothing_to_sell() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", stop_order_id=2)
    after, act = decide(exiting, facts(stop=replace(STOP, status=S.FILLED), held=D("0.0003")))

    assert (after.state, act) == (PlanState.CLOSED, None)


def test_one_exit_at_a_time_and_a_refused_one_is_decided_anew() -> None:
    exiting = plan(PlanState.EXITING, exit_reason="rule", exit_order_id=3, tries=2)
    leaving = an_order(S.SUBMITTED, id=3, side=Side.SELL)

    assert decide(exiting, facts(exit=leaving)) == (exiting, None)
    after, act = decide(exiting, facts(exit=replace(leaving, status=S.REJECTED)))
    assert (after.tries, act) == (3, SellAll(D("0.999")))


def test_a_time_stop_and_a_vanished_position_leave() -> None:
    protected = plan(PlanState.PROTECTED, stop_order_id=2, time_stop_ms=NOW_MS)

    assert decide(protected, facts(stop=STOP))[0].exit_reason == "time"
    assert decide(replace(protected, time_stop_ms=None), facts(stop=STOP, held=D(0)))[0].state == PlanState.EXITING


def test_a_plan_without_a_stop_said_on_purpose_is_held_until_its_exit() -> None:
    protecting = plan(PlanState.PROTECTING, stop_spec={"none": "yes"})

    assert decide(protecting, facts())[0].state == PlanState.PROTECTED


def test_a_stop_price_lies_on_the_tick_below_the_entry() -> None:
    assert stop_price({"pct": "1.5"}, D("100.01"), RULES) == D("98.50")
    assert stop_price({"distance": "3.337"}, D(100), RULES) == D("96.66")
    assert stop_price({"none": "yes"}, D(100), RULES) is None
