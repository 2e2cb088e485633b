"""Truncation: what is said at a bar is the same, bit for bit, whether or not later candles are known.

Every series and every condition is compared, not decisions only: the negative control shows an evaluator that
peeks at the unfinished higher candle, and a comparison of decisions alone that hardly notices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_kit import candles, document, example

from app.services.strategy import CandleColumns, Strategy, evaluate, validate
from app.services.strategy import candles as candle_rules
from app.services.strategy.functions import FUNCTIONS

START_MS = 1_704_067_200_000 + 3 * 3_600_000  # not at the opening of a higher candle
COUNT = 420


#: What the mixed rules below name; these series are in every strategy.
NAMED = ("ema", "sma", "rsi", "macd", "macd_signal", "atr")
OTHERS = [fn for fn in FUNCTIONS if fn not in NAMED]
AT_ONCE = 18


def every_indicator(first: int) -> dict[str, Any]:
    """Some of the indicators, from place `first`, with their usual arguments."""
    series: dict[str, Any] = {}
    for fn in (*NAMED, *OTHERS[first : first + AT_ONCE]):
        args = FUNCTIONS[fn].args
        series[fn] = {"fn": fn} | {name: 5 for name, arg in args.items() if arg.default is None and not arg.optional}
    return series


def made(series: dict[str, Any], entry: dict[str, Any]) -> Strategy:
    result = validate(document(series=series, entry=entry))
    assert result.strategy is not None, result.errors
    return result.strategy


def worked_example() -> Strategy:
    strategy = validate(example("ema_rsi_atr")).strategy
    assert strategy is not None
    return strategy


RISING = {"op": "rising", "left": "ema", "for": 2}
MIXED = {
    "any": [
        {"all": [RISING, {"op": "crosses_above", "left": "close", "right": {"ref": "sma", "ago": 3}, "within": 4}]},
        {"at_least": 2, "of": [RISING, {"not": RISING}, {"op": ">", "left": "rsi", "right": 50, "for": 3}]},
        {"op": "outside", "left": {"sub": ["macd", "macd_signal"]}, "low": {"mul": ["atr", -0.1]}, "high": "atr"},
    ]
}
STRATEGIES = {
    "example": worked_example(),
    **{f"from {first}": made(every_indicator(first), MIXED) for first in range(0, len(OTHERS), AT_ONCE)},
    "4h": made({name: one | {"tf": "4h"} for name, one in every_indicator(0).items()}, MIXED),
    "1d": made({name: one | {"tf": "1d"} for name, one in every_indicator(18).items()}, MIXED),
}


def flat(trace: dict[str, Any]) -> dict[str, Any]:
    """Truth and operand values of every condition in a trace."""
    found = {"/" + trace["path"]: (trace["truth"], trace.get("now"), str(trace.get("operands")))}
    for part in trace.get("parts", []):
        found |= flat(part)
    return found


def same(left: np.float64, right: np.float64) -> bool:
    """Bit for bit; a missing value has a sign too, which means nothing."""
    return left.tobytes() == right.tobytes() or bool(np.isnan(left) and np.isnan(right))


def mismatches(strategy: Strategy, data: CandleColumns, bars: list[int]) -> tuple[int, int]:
    """(decisions, series values) that differ between the whole run and one that ends at the bar."""
    whole = evaluate(strategy, data)
    decisions = series = 0
    for bar in bars:
        part = evaluate(strategy, data.window(0, bar + 1))
        decisions += int(part.entry[-1] != whole.entry[bar]) + int(part.exit[-1] != whole.exit[bar])
        for name, values in whole.series.items():
            series += not same(part.series[name][-1], values[bar])
    return decisions, series


@pytest.mark.parametrize("name", STRATEGIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), bars=st.lists(st.integers(0, COUNT - 1), min_size=10, max_size=20, unique=True))
def test_no_series_and_no_decision_depends_on_later_candles(name: str, seed: int, bars: list[int]) -> None:
    data = candles(COUNT, seed=seed, start_ms=START_MS)
    assert mismatches(STRATEGIES[name], data, bars) == (0, 0)


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_condition_and_no_operand_depends_on_later_candles(name: str) -> None:
    data = candles(COUNT, seed=11, start_ms=START_MS)
    whole = evaluate(STRATEGIES[name], data)
    for bar in range(0, COUNT, 23):
        part = evaluate(STRATEGIES[name], data.window(0, bar + 1))
        assert flat(part.trace(-1)["entry"]) == flat(whole.trace(bar)["entry"])


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_gap_lets_a_later_candle_in(name: str) -> None:
    data = candles(COUNT, seed=12, start_ms=START_MS)
    kept = np.random.default_rng(3).random(COUNT) > 0.3
    prices = (data.open[kept], data.high[kept], data.low[kept], data.close[kept])
    holed = CandleColumns(data.open_time_ms[kept], *prices, data.volume[kept], "1h")
    assert mismatches(STRATEGIES[name], holed, list(range(0, len(holed), 9))) == (0, 0)


def test_an_evaluator_that_shows_the_unfinished_candle_is_caught_by_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(base: CandleColumns, higher: CandleColumns) -> candle_rules.Ints:
        opened = np.searchsorted(higher.open_time_ms, base.open_time_ms, side="right")
        return opened.astype(np.int64) - 1

    data = candles(COUNT, seed=11, start_ms=START_MS)
    bars = list(range(0, COUNT, 3))
    assert mismatches(worked_example(), data, bars) == (0, 0)
    monkeypatch.setattr(candle_rules, "last_closed", leaking)
    decisions, series = mismatches(worked_example(), data, bars)
    assert series > 50
    assert decisions < series / 10
