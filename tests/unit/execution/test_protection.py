"""What should rest on the exchange: prices and sizes of every part, before the entry and as the stop moves."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.orders import OrderRole, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules
from app.services.execution.protection import (
    Candle,
    Part,
    Step,
    entry_problem,
    ladder,
    part_failure,
    still_open,
    stop_price,
    trailed,
    wanted_parts,
)
from app.services.execution.store import PlanRecord
from tests.unit.execution.builders import an_order

D = Decimal
S = OrderStatus
RULES = SymbolRules(
    "BTCUSDT", "BTC", "USDT", tick_size=D("0.01"), step_size=D("0.001"), min_qty=D("0.001"), min_notional=D(5)
)
HALVES = {"targets": [{"pct": "2", "close_pct": 50}, {"pct": "4", "close_pct": 50}]}


def test_a_stop_price_lies_on_the_tick_below_the_entry() -> None:
    assert stop_price({"pct": "1.5"}, D("100.01"), RULES) == D("98.50")
    assert stop_price({"distance": "3.337"}, D(100), RULES) == D("96.66")
    assert stop_price({"none": "yes"}, D(100), RULES) is None


def test_targets_lie_on_the_tick_above_by_per_cent_by_r_and_by_a_distance() -> None:
    protect = {
        "targets": [
            {"r": "2", "close_pct": 20},
            {"pct": "1.0001", "close_pct": 30},
            {"distance": "3.333", "close_pct": 10},
        ]
    }
    assert ladder(protect, D(100), D(2), D(98), RULES) == (
        Step(D("101.01"), D("0.6")),
        Step(D("103.34"), D("0.2")),
        Step(D(104), D("0.4")),
    )


def test_targets_at_one_price_are_one_step() -> None:
    protect = {"targets": [{"r": "1", "close_pct": 20}, {"pct": "2", "close_pct": 30}]}
    assert ladder(protect, D(100), D(1), D(98), RULES) == (Step(D(102), D("0.5")),)


def test_what_no_target_sells_rests_under_its_stop_alone() -> None:
    steps = (Step(D(102), D("0.5")), Step(D(104), D("0.3")))
    assert wanted_parts(D("0.9994"), D(98), steps, RULES) == (
        Part(D("0.5"), D(98), D(102)),
        Part(D("0.3"), D(98), D(104)),
        Part(D("0.199"), D(98)),
    )


def test_a_step_too_small_to_be_an_order_stays_with_the_rest() -> None:
    steps = (Step(D(102), D("0.03")), Step(D(104), D("0.3")))
    assert wanted_parts(D(1), D(98), steps, RULES) == (Part(D("0.3"), D(98), D(104)), Part(D("0.7"), D(98)))


def test_a_rest_too_small_goes_with_the_last_target_and_so_does_all_that_is_left_of_a_whole() -> None:
    steps = (Step(D(102), D("0.5")), Step(D(104), D("0.46")))
    assert wanted_parts(D(1), D(98), steps, RULES)[-1] == Part(D("0.5"), D(98), D(104))
    fifths = (Step(D(102), D("0.5")), Step(D(104), D("0.3")))
    assert wanted_parts(D(1), D(98), fifths, RULES, whole=True)[-1] == Part(D("0.5"), D(98), D(104))


def test_less_than_was_bought_is_taken_from_the_highest_targets() -> None:
    steps = (Step(D(102), D("0.5")), Step(D(104), D("0.5")))
    assert wanted_parts(D("0.7"), D(98), steps, RULES, whole=True) == (
        Part(D("0.5"), D(98), D(102)),
        Part(D("0.2"), D(98), D(104)),
    )


def test_without_a_stop_the_targets_rest_alone() -> None:
    assert wanted_parts(D(1), None, (Step(D(102), D("0.5")),), RULES) == (Part(D("0.5"), None, D(102)),)
    assert wanted_parts(D(1), None, (), RULES) == ()


def test_too_little_for_any_order_wants_none() -> None:
    assert wanted_parts(D("0.05"), D(98), (), RULES) == ()
    failure = part_failure(Part(D("0.05"), D(98)), RULES)
    assert failure is not None
    assert failure.filter_name == "NOTIONAL"


AMOUNT = st.decimals("0.001", "50", places=4)


@given(
    quantity=AMOUNT,
    shares=st.lists(st.integers(1, 50), max_size=4).filter(lambda shares: sum(shares) <= 100),
    least=st.sampled_from([D(0), D(5), D(500)]),
    most=st.sampled_from([D(0), D("0.5"), D(7)]),
)
def test_parts_never_sell_more_than_is_held_and_each_is_an_order_the_exchange_takes(
    quantity: Decimal, shares: list[int], least: Decimal, most: Decimal
) -> None:
    rules = replace(RULES, min_notional=least, market_max_qty=most)
    protect = {"targets": [{"pct": str(n + 1), "close_pct": share} for n, share in enumerate(shares)]}
    steps = ladder(protect, D(100), quantity, D(98), rules)
    parts = wanted_parts(quantity, D(98), steps, rules, whole=sum(shares) == 100)

    assert sum((part.quantity for part in parts), D(0)) <= quantity
    assert all(part_failure(part, rules) is None for part in parts)
    assert all(not most or part.quantity <= most for part in parts)
    unplaced = quantity - sum((part.quantity for part in parts), D(0))
    if not most:
        assert unplaced < D("0.001") or (not parts and part_failure(Part(quantity, D(98)), rules) is not None)


# --- how far the ladder has come -----------------------------------------------------------------------------


def sold(quantity: str, price: str | None, **changes: Any) -> Any:
    kind = OrderType.LIMIT_MAKER if price else OrderType.MARKET
    values = {"side": Side.SELL, "type": kind, "price": D(price) if price else None, "role": OrderRole.TARGET}
    return an_order(S.FILLED, filled=D(quantity), **(values | changes))


def test_sales_count_for_the_step_at_their_price_and_all_others_for_the_lowest() -> None:
    steps = (Step(D(102), D("0.5")), Step(D(104), D("0.3")))
    assert still_open(steps, [sold("0.2", "104")]) == (Step(D(102), D("0.5")), Step(D(104), D("0.1")))
    assert still_open(steps, [sold("0.5", None)]) == (Step(D(102), D(0)), Step(D(104), D("0.3")))
    assert still_open(steps, [sold("0.4", "104")]) == (Step(D(102), D("0.4")), Step(D(104), D(0)))


def test_what_a_stop_sold_is_not_a_target() -> None:
    steps = (Step(D(102), D("0.5")),)
    assert still_open(steps, [sold("0.5", None, role=OrderRole.STOP)]) == steps


# --- before the entry ----------------------------------------------------------------------------------------


def problem(protect: dict[str, Any] | None = None, *, quantity: str = "1", **rules: Any) -> str:
    return (
        entry_problem(
            {"pct": "2"}, protect or {}, quantity=D(quantity), entry_price=D(100), rules=replace(RULES, **rules)
        )
        or ""
    )


def test_an_entry_whose_protection_the_exchange_would_take_has_no_problem() -> None:
    assert problem() == ""
    assert problem(HALVES) == ""


def test_the_value_is_checked_at_the_stop_and_not_at_the_entry() -> None:
    """F36: 0.051 BTC are worth 5.10 at the entry and 4.95 at the stop."""
    assert "below the least allowed 5" in problem(quantity="0.051")
    assert problem(quantity="0.053") == ""


def test_a_target_out_of_bounds_is_refused_before_the_entry() -> None:
    far = {"targets": [{"pct": "900", "close_pct": 100}]}
    assert "more than 5 times the average" in problem(far, ask_multiplier_up=D(5))
    assert "above the most allowed" in problem(far, max_price=D(500))


def test_more_stops_than_may_rest_at_once_are_refused_before_the_entry() -> None:
    assert "needs 2 stops" in problem(HALVES, max_num_algo_orders=1)
    assert "needs 4 stops" in problem(market_max_qty=D("0.3"), max_num_algo_orders=3)
    assert problem(HALVES, max_num_algo_orders=2) == ""


def test_a_position_without_stop_and_targets_needs_nothing() -> None:
    assert entry_problem({"none": "yes"}, {}, quantity=D("0.001"), entry_price=D(100), rules=RULES) is None


# --- the trail -----------------------------------------------------------------------------------------------

PLAN = PlanRecord(
    1, 1, 1, "BTCUSDT", "PROTECTED", 1, None, None, {"pct": "2"}, D(98), None, "", 0, entry_price=D(100),
    first_quantity=D(1), trailed_ms=0, protect={"trail": {"pct": "3"}},
)  # fmt: skip


def after(plan: PlanRecord, *candles: tuple[float, float]) -> PlanRecord:
    """The plan after candles of (high, close), one a minute from minute 1 on."""
    seen = [Candle(60_000 * n, D(str(high)), D(str(close))) for n, (high, close) in enumerate(candles, start=1)]
    return trailed(plan, seen, RULES)


def test_the_stop_follows_the_highest_price_and_never_moves_down() -> None:
    assert after(PLAN, (100, 99)).stop_price == D(98)
    assert after(PLAN, (105.5, 104)).stop_price == D("102.5")
    assert after(PLAN, (105.5, 104), (103, 102)).stop_price == D("102.5")


def test_each_candle_is_looked_at_once() -> None:
    once = after(PLAN, (105, 104), (106, 105))
    assert (once.highest, once.trailed_ms, once.stop_price) == (D(106), 120_000, D(103))
    assert after(once, (109, 108), (109, 108)) == once


def test_a_trail_begins_once_the_price_was_so_many_r_above_the_entry() -> None:
    waiting = replace(PLAN, protect={"trail": {"pct": "1"}, "trail_after_r": "1.5"})
    assert after(waiting, (102.99, 102)).stop_price == D(98)
    assert after(waiting, (102.99, 102), (103, 102)).stop_price == D(102)


@pytest.mark.parametrize(
    ("trail", "stop"), [({"distance": "1.234"}, D("104.26")), ({"r": "2"}, D("101.5")), ({"pct": "1"}, D("104.5"))]
)
def test_a_trail_is_measured_by_distance_by_r_and_in_per_cent_of_the_entry(
    trail: dict[str, str], stop: Decimal
) -> None:
    assert after(replace(PLAN, protect={"trail": trail}), (105.5, 105)).stop_price == stop


def test_of_the_candle_in_which_a_limit_was_met_only_the_close_is_certain() -> None:
    met = replace(PLAN, protect={"trail": {"pct": "3"}, "is_limit": True})
    assert after(met, (110, 101)).highest == D(101)
    assert after(met, (110, 101), (110, 101)).highest == D(110)


def test_without_a_trail_or_before_the_entry_has_ended_nothing_moves() -> None:
    assert after(replace(PLAN, protect={}), (105, 104)) == replace(PLAN, protect={})
    assert after(replace(PLAN, entry_price=None), (105, 104)) == replace(PLAN, entry_price=None)


def test_a_trail_alone_makes_the_stop_that_was_not_given() -> None:
    bare = replace(PLAN, stop_spec={"none": "yes"}, stop_price=None)
    assert after(bare, (105, 104)).stop_price == D(102)
