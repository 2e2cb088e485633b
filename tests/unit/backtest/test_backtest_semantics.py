"""What is assumed inside a candle, each assumption as a fact: docs/backtest.md states the same in words."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from backtest_kit import ENTER, LEAVE, NO_FEE, QUIET, Row, exits, flat, market, traded

from app.domain.errors import InvalidInput
from app.domain.intrabar import Preset
from app.services.backtest import Rounding, Settings

TARGET = {"stop": {"pct": "2"}, "take_profit": [{"at": {"pct": "2"}, "close_pct": 100}]}
BOTH: Row = (100, 103, 97, 101, QUIET)


def after_entry(*rows: Row, settings: Settings = NO_FEE, **rules: Any) -> list[tuple[str, float, int]]:
    """Exits of a position bought at 100 at the open of candle 1, which is the first of `rows`."""
    return exits(traded(market(flat(signal=ENTER), *rows), settings, **rules))


# --- decision and entry ---


def test_a_decision_at_a_close_acts_at_the_next_open() -> None:
    result = traded(market(flat(), (100, 101, 99, 100.5, ENTER), (107, 108, 106, 107, QUIET)))
    (trade,) = result.trades
    assert (trade.entry_price, trade.decided_ms, trade.entry_ms) == (
        107,
        int(result.candles.open_time_ms[1]),
        int(result.candles.open_time_ms[2]),
    )
    assert trade.reason == "open"


def test_a_decision_at_the_last_close_is_not_traded() -> None:
    assert traded(market(flat(), flat(signal=ENTER))).trades == ()


def test_the_exit_rule_sells_at_the_next_open() -> None:
    assert after_entry(flat(), (100, 101, 99, 100, LEAVE), (104, 105, 103, 104, QUIET)) == [("rule", 104, 3)]


def test_an_exit_rule_that_is_true_on_the_entry_candle_sells_at_the_next() -> None:
    assert after_entry(flat(signal=LEAVE), flat()) == [("rule", 100, 2)]


def test_an_entry_wins_while_flat_even_where_the_exit_rule_is_true_as_live() -> None:
    rows = [flat(signal=ENTER), flat(), flat()]
    assert len(traded(market(*rows), exit={"op": ">", "left": "volume", "right": 50}).trades) == 1


def test_slippage_moves_market_orders_and_stops_against_us_and_leaves_targets_alone() -> None:
    slip = replace(NO_FEE, slippage_bps=Decimal(100))
    result = traded(market(flat(signal=ENTER), flat(), flat(signal=LEAVE), flat()), slip)
    assert [(fill.side, fill.price) for fill in result.fills] == [("BUY", 101), ("SELL", 99)]
    assert after_entry((100, 100, 90, 95, QUIET), settings=slip) == [("stop", pytest.approx(101 * 0.98 * 0.99), 1)]
    assert after_entry(flat(), (100, 110, 100, 105, QUIET), settings=slip, protect=TARGET) == [
        ("target", pytest.approx(101 * 1.02), 2)
    ]


def test_a_preset_brings_half_its_spread_as_slippage() -> None:
    result = traded(market(flat(signal=ENTER), flat()), replace(NO_FEE, preset=Preset.HARSH))
    assert result.fills[0].price == pytest.approx(100 * 1.00015)


# --- stop and target in one candle ---


@pytest.mark.parametrize("green", [True, False])
def test_the_stop_counts_when_one_candle_touches_both_and_is_counted_as_ambiguous(green: bool) -> None:
    both = (100, 103, 97, 102 if green else 98, QUIET)
    result = traded(market(flat(signal=ENTER), flat(), both), protect=TARGET)
    assert exits(result) == [("stop", 98, 2)]
    assert (result.metrics["ambiguous_exits"], result.metrics["resolved_exits"]) == (1, 0)
    assert result.trades[0].ambiguous
    assert "Ambiguous exits: 1 of 1" in next(w.message for w in result.warnings if w.code == "ambiguous_exits")


def test_so_it_does_on_the_candle_of_the_entry() -> None:
    result = traded(market(flat(signal=ENTER), BOTH), protect=TARGET)
    assert exits(result) == [("stop", 98, 1)]
    assert result.metrics["ambiguous_exits"] == 1


def test_a_candle_that_touches_only_one_of_them_is_not_ambiguous() -> None:
    for row, expected in (
        ((100, 101, 97, 99, QUIET), ("stop", 98, 1)),
        ((100, 103, 99, 99, QUIET), ("target", 102, 1)),
    ):
        result = traded(market(flat(signal=ENTER), row), protect=TARGET)
        assert exits(result) == [expected]
        assert result.metrics["ambiguous_exits"] == 0


def test_a_gap_below_the_stop_sells_at_the_open() -> None:
    assert after_entry(flat(), (90, 91, 89, 90, QUIET)) == [("stop", 90, 2)]


def test_an_open_below_the_stop_comes_before_a_high_above_the_target_and_is_not_ambiguous() -> None:
    result = traded(market(flat(signal=ENTER), flat(), (97, 110, 96, 105, QUIET)), protect=TARGET)
    assert exits(result) == [("stop", 97, 2)]
    assert result.metrics["ambiguous_exits"] == 0


def test_a_gap_above_the_target_fills_at_the_target_unless_a_better_open_is_asked_for() -> None:
    gap = (110.0, 111.0, 109.0, 110.0, QUIET)
    assert after_entry(flat(), gap, protect=TARGET) == [("target", 102, 2)]
    at_open = replace(NO_FEE, open_beyond_fills_at_open=True)
    assert after_entry(flat(), gap, protect=TARGET, settings=at_open) == [("target", 110, 2)]


@pytest.mark.parametrize(("preset", "sold"), [(Preset.OPTIMISTIC, 1), (Preset.REALISTIC, 0), (Preset.HARSH, 0)])
def test_a_mere_touch_fills_a_target_only_in_an_optimistic_market(preset: Preset, sold: int) -> None:
    market_rules = replace(NO_FEE, preset=preset, slippage_bps=Decimal(0))
    assert len(after_entry((100, 102, 99, 101, QUIET), protect=TARGET, settings=market_rules)) == sold
    assert len(after_entry((100, 102.01, 99, 101, QUIET), protect=TARGET, settings=market_rules)) == 1


def test_a_target_that_opened_beyond_fills_before_the_exit_rule_sells() -> None:
    assert after_entry(flat(signal=LEAVE), (105, 106, 104, 105, QUIET), protect=TARGET) == [("target", 102, 2)]
    assert after_entry(flat(signal=LEAVE), (101, 106, 90, 105, QUIET), protect=TARGET) == [("rule", 101, 2)]


# --- finer candles ---

MINUTES_UP_FIRST = [(100.0, 103.0, 100.0, 103.0, 0.0), (103.0, 103.0, 97.0, 98.0, 0.0)]


def finer(rows: list[Row], hour: int) -> Any:
    return market(*rows, tf="1m", at=[hour * 60 + place for place in range(len(rows))])


def test_finer_candles_tell_which_came_first() -> None:
    data = market(flat(signal=ENTER), flat(), BOTH)
    up_first = traded(data, detail=finer(MINUTES_UP_FIRST, 2), protect=TARGET)
    assert exits(up_first) == [("target", 102, 2)]
    assert (up_first.metrics["ambiguous_exits"], up_first.metrics["resolved_exits"]) == (0, 1)
    down_first = traded(data, detail=finer([(100, 100, 97, 98, 0), (98, 103, 98, 101, 0)], 2), protect=TARGET)
    assert exits(down_first) == [("stop", 98, 2)]
    assert (down_first.metrics["ambiguous_exits"], down_first.metrics["resolved_exits"]) == (0, 1)


def test_a_finer_candle_that_touches_both_stays_ambiguous_and_the_stop_counts() -> None:
    result = traded(market(flat(signal=ENTER), BOTH), detail=finer([BOTH], 1), protect=TARGET)
    assert exits(result) == [("stop", 98, 1)]
    assert (result.metrics["ambiguous_exits"], result.metrics["resolved_exits"]) == (1, 0)


def test_where_there_are_no_finer_candles_or_they_miss_the_low_the_stop_counts() -> None:
    data = market(flat(signal=ENTER), BOTH)
    elsewhere = traded(data, detail=finer(MINUTES_UP_FIRST, 7), protect=TARGET)
    assert exits(elsewhere) == [("stop", 98, 1)]
    assert elsewhere.metrics["ambiguous_exits"] == 1
    lacking = traded(data, detail=finer([(100, 100, 100, 100, 0)], 1), protect=TARGET)
    assert exits(lacking) == [("stop", 98, 1)]


def test_candles_that_are_not_finer_are_refused() -> None:
    with pytest.raises(InvalidInput, match="the finer candles must be below 1h, not 4h"):
        traded(market(flat(signal=ENTER), BOTH), detail=market(flat(), tf="4h"), protect=TARGET)


# --- ladder, trail, time ---


def test_a_ladder_sells_parts_of_the_first_quantity_each_at_its_price() -> None:
    ladder = {
        "stop": {"pct": "2"},
        "take_profit": [{"at": {"r": "1"}, "close_pct": 50}, {"at": {"r": "2"}, "close_pct": 30}],
    }
    rows = [(100, 102.5, 100, 102, QUIET), (102, 104, 102, 103, QUIET), (99, 99, 97, 97, QUIET)]
    result = traded(market(flat(signal=ENTER), flat(), *rows), protect=ladder)
    assert exits(result) == [("target", 102, 2), ("target", 104, 3), ("stop", 98, 4)]
    assert [fill.quantity for fill in result.fills] == pytest.approx([100, 50, 30, 20])
    (trade,) = result.trades
    assert trade.exit_price == pytest.approx((50 * 102 + 30 * 104 + 20 * 98) / 100)
    assert trade.pnl == pytest.approx(50 * 2 + 30 * 4 - 20 * 2)
    assert (trade.reason, trade.r) == ("stop", pytest.approx(trade.pnl / 200))


def test_a_ladder_of_a_hundred_per_cent_leaves_nothing() -> None:
    ladder = {
        "stop": {"pct": "2"},
        "take_profit": [{"at": {"pct": str(k)}, "close_pct": 33 + (k == 3)} for k in (1, 2, 3)],
    }
    result = traded(market(flat(signal=ENTER), flat(), (100, 105, 100, 105, QUIET)), protect=ladder)
    assert [price for _, price, _ in exits(result)] == [101, 102, 103]
    assert result.trades_count == 1
    assert result.equity[-1] == pytest.approx(10_000 + 33 * 1 + 33 * 2 + 34 * 3)


def test_targets_named_in_any_order_are_met_from_the_lowest_up() -> None:
    ladder = {
        "stop": {"pct": "2"},
        "take_profit": [{"at": {"pct": "3"}, "close_pct": 30}, {"at": {"pct": "1"}, "close_pct": 20}],
    }
    assert after_entry(flat(), (100, 105, 100, 105, QUIET), protect=ladder) == [("target", 101, 2), ("target", 103, 2)]


def test_a_rest_too_small_to_be_sold_goes_with_the_last_target() -> None:
    steps = replace(NO_FEE, rounding=Rounding(min_notional=Decimal(60)))
    ladder = {"stop": {"pct": "2"}, "take_profit": [{"at": {"pct": "1"}, "close_pct": 80}]}
    rows = [flat(signal=ENTER), flat(), (100, 102, 100, 101, QUIET)]
    small = traded(market(*rows), steps, protect=ladder, sizing={"mode": "fixed_quote", "quote": "250"})
    assert [(fill.reason, fill.quantity) for fill in small.fills] == [("entry", 2.5), ("target", 2.5)]
    assert small.trades_count == 1
    enough = traded(market(*rows), steps, protect=ladder, sizing={"mode": "fixed_quote", "quote": "500"})
    assert [(fill.reason, fill.quantity) for fill in enough.fills] == [("entry", 5), ("target", 4)]


def test_on_the_candle_of_a_limit_entry_only_the_close_is_trailed_on_as_live() -> None:
    trail = {"stop": {"pct": "10"}, "trail": {"pct": "1"}}
    result = limit((98, 110, 97.9, 100, QUIET), (100, 100, 99.5, 100, QUIET), flat(98), protect=trail)
    assert exits(result) == [("trail", 98, 3)]


def test_a_trail_follows_the_highest_high_from_the_candle_after_and_never_falls() -> None:
    trail = {"stop": {"pct": "10"}, "trail": {"pct": "5"}}
    rows = [(100, 110, 100, 109, QUIET), (109, 109, 106, 107, QUIET), (107, 108, 104, 105, QUIET)]
    assert after_entry(*rows, protect=trail) == [("trail", 105, 3)]
    # The candle that makes the high does not stop itself out, however deep it falls back.
    assert after_entry((100, 120, 96, 97, QUIET), flat(), protect=trail) == [("trail", 100, 2)]


def test_a_trail_after_r_waits_until_the_price_has_come_that_far() -> None:
    trail = {"stop": {"pct": "4"}, "trail": {"pct": "1"}, "trail_after_r": "1"}
    below, at = (100, 103.9, 100, 103, QUIET), (103, 104, 103.5, 104, QUIET)
    assert after_entry(below, (103, 103, 97, 97, QUIET), protect=trail) == []
    assert after_entry(below, at, (104, 104, 101, 102, QUIET), protect=trail) == [("trail", 103, 3)]


def test_a_stop_in_a_series_takes_its_value_at_the_decision() -> None:
    rows = [
        (100, 104, 100, 102, QUIET),
        (102, 106, 102, 104, ENTER),
        (104, 104, 104, 104, QUIET),
        (104, 104, 99, 99, QUIET),
    ]
    series = {"reach": {"fn": "atr", "len": 1}}
    result = traded(market(*rows), series=series, protect={"stop": {"series": "reach", "mult": "1"}})
    assert exits(result) == [("stop", 100, 3)]  # 104 less the range of 4 of the candle of the decision


def test_a_time_stop_sells_at_the_open_after_so_many_candles() -> None:
    late = {"stop": {"pct": "50"}, "time_stop_bars": 3}
    rows = [flat(), flat(), flat(), (103, 103, 103, 103, LEAVE), flat()]
    assert after_entry(*rows, protect=late) == [("time", 103, 4)]


def test_time_comes_before_the_rule_and_the_stop_before_both() -> None:
    late = {"stop": {"pct": "2"}, "time_stop_bars": 1}
    assert after_entry(flat(signal=LEAVE), flat(101), protect=late) == [("time", 101, 2)]
    assert after_entry(flat(signal=LEAVE), flat(97), protect=late) == [("stop", 97, 2)]


def test_a_time_stop_counts_by_the_clock_across_a_gap() -> None:
    data = market(flat(signal=ENTER), flat(), flat(101), flat(102), at=[0, 1, 9, 10])
    result = traded(data, protect={"stop": {"pct": "50"}, "time_stop_bars": 5})
    assert exits(result) == [("time", 101, 9)]


# --- limit entries ---


def limit(*rows: Row, settings: Settings = NO_FEE, **rules: Any) -> Any:
    order = {"type": "limit", "limit_offset_pct": "1", "expire_bars": 2}
    return traded(market(flat(signal=ENTER), *rows), settings, **{"order": order, **rules})


def test_a_limit_entry_fills_at_its_price_when_the_market_comes_down_to_it() -> None:
    result = limit((100, 101, 99.5, 100, QUIET), (100, 100, 99, 99.5, QUIET))
    assert [(fill.reason, fill.price, fill.quantity) for fill in result.fills] == [
        ("entry (limit)", 99, pytest.approx(10_000 / 99))
    ]


def test_a_limit_entry_that_meets_a_lower_open_fills_there_at_once_but_later_at_its_own_price() -> None:
    assert limit((98, 99, 97.9, 98, QUIET)).fills[0].price == 98
    assert limit(flat(), (98, 99, 97.9, 98, QUIET)).fills[0].price == 99


def test_a_limit_entry_expires_and_an_exit_rule_cancels_it() -> None:
    expired = limit(flat(), flat(), (99, 99, 90, 95, QUIET))
    assert (expired.trades, expired.metrics["unfilled_limits"]) == ((), 1)
    cancelled = limit(flat(signal=LEAVE), (99, 99, 90, 95, QUIET))
    assert (cancelled.trades, cancelled.metrics["unfilled_limits"]) == ((), 1)


def test_on_the_candle_of_a_limit_fill_the_stop_counts_but_a_target_only_if_the_close_is_there() -> None:
    assert exits(limit((100, 105, 96, 97, QUIET), protect=TARGET)) == [("stop", pytest.approx(99 * 0.98), 1)]
    # The high may have come before the fill.
    assert exits(limit((100, 105, 98.9, 100, QUIET), protect=TARGET)) == []
    assert exits(limit((100, 105, 98.9, 104, QUIET), protect=TARGET)) == [("target", pytest.approx(99 * 1.02), 1)]


# --- brakes ---


def test_a_cooldown_counts_candles_since_the_exit_by_the_clock() -> None:
    stopped = (100, 100, 90, 95, ENTER)
    again = [flat(signal=ENTER)] * 4
    waits = {"cooldown_bars": 2}
    result = traded(market(flat(signal=ENTER), stopped, *again), limits=waits)
    assert [(t.entry_ms - int(result.candles.open_time_ms[0])) // 3_600_000 for t in result.trades] == [1, 4]
    gap = traded(market(flat(signal=ENTER), stopped, *again, at=[0, 1, 5, 6, 7, 8]), limits=waits)
    assert [(t.entry_ms - int(gap.candles.open_time_ms[0])) // 3_600_000 for t in gap.trades] == [1, 6]
    assert result.metrics["refused_entries"] == 2


def test_entries_a_day_are_counted_by_utc_days() -> None:
    rows = [flat(signal=ENTER) if bar % 2 == 0 else flat(signal=LEAVE) for bar in range(48)]
    result = traded(market(*rows), limits={"max_entries_per_day": 2})
    hours = [(trade.entry_ms - int(result.candles.open_time_ms[0])) // 3_600_000 for trade in result.trades]
    assert len(hours) == 4
    assert [hour // 24 for hour in hours] == [0, 0, 1, 1]


def test_more_than_one_position_at_a_time_is_refused_as_live() -> None:
    with pytest.raises(InvalidInput, match="a run holds one position at a time"):
        traded(market(flat(), flat()), limits={"max_open": 2})


# --- money ---


def test_everything_means_the_whole_balance_fee_included() -> None:
    for fee_in in ("quote", "received"):
        result = traded(market(flat(signal=ENTER), flat(), flat()), Settings(fee_pct=Decimal(1), fee_in=fee_in))
        (trade,) = result.trades
        assert trade.cost == 10_000
        assert trade.fees == pytest.approx(10_000 * 0.01 / (1.01 if fee_in == "quote" else 1))
        assert trade.quantity == pytest.approx(100 / 1.01 if fee_in == "quote" else 99)
        assert result.equity[-1] == pytest.approx(trade.quantity * 100)


def test_cash_and_coins_are_conserved_over_many_trades() -> None:
    rows = [
        (100 + bar % 7, 100 + bar % 7, 100 + bar % 7, 100 + bar % 7, ENTER if bar % 4 == 0 else LEAVE)
        for bar in range(400)
    ]
    result = traded(
        market(*rows), Settings(), protect={"stop": {"pct": "50"}}, sizing={"mode": "equity_pct", "pct": "40"}
    )
    cash, coins = 10_000.0, 0.0
    for fill in result.fills:
        sign = 1 if fill.side == "BUY" else -1
        cash -= sign * fill.price * fill.quantity + (0 if sign > 0 else fill.fee)
        coins += sign * fill.quantity - (fill.fee / fill.price if sign > 0 else 0)
    assert result.trades_count > 50
    assert coins == pytest.approx(0, abs=1e-9)
    assert result.final_equity == pytest.approx(cash, rel=1e-12)
    assert sum(trade.pnl for trade in result.trades) == pytest.approx(cash - 10_000, rel=1e-9)


def test_lots_and_ticks_round_as_the_exchange_does_and_too_small_is_refused() -> None:
    steps = replace(NO_FEE, rounding=Rounding(lot=Decimal("0.3"), tick=Decimal("0.5"), min_notional=Decimal(50)))
    ladder = {"stop": {"pct": "1.9"}, "take_profit": [{"at": {"pct": "1.3"}, "close_pct": 50}]}
    rows = [(100, 100, 100, 100, ENTER), flat(), (100, 102, 100, 101, QUIET), (100, 100, 90, 95, QUIET)]
    result = traded(market(*rows), steps, protect=ladder, sizing={"mode": "fixed_quote", "quote": "100"})
    assert [(fill.reason, fill.price, round(fill.quantity, 9)) for fill in result.fills] == [
        ("entry", 100, 0.9),
        ("stop", 98, 0.9),  # half of 0.9 is 0.3 in whole lots, worth 30 at 101.5: no order, so it stays with the rest
    ]
    larger = traded(market(*rows), steps, protect=ladder, sizing={"mode": "fixed_quote", "quote": "200"})
    assert [(fill.reason, fill.price, round(fill.quantity, 9)) for fill in larger.fills] == [
        ("entry", 100, 1.8),
        ("target", 101.5, 0.9),
        ("stop", 98, 0.9),
    ]
    refused = traded(market(*rows), steps, sizing={"mode": "fixed_quote", "quote": "40"})
    assert refused.trades == ()
    assert refused.warnings[0].message == "Nothing was traded: every entry was too small for the balance or the lot."
