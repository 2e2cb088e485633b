"""Nothing looks ahead: the truncation test, and evaluators that leak on purpose and are caught by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from strategy_kit import candles, example
from strategy_kit import strategy as make_strategy

from app.services.backtest import leaks
from app.services.strategy import TEMPLATES, CandleColumns, Evaluation, Strategy, Template, evaluate, validate
from app.services.strategy import candles as candle_rules
from app.services.strategy.functions import FUNCTIONS

DATA = candles(1_200, seed=3)
BARS = sorted(np.random.default_rng(5).choice(np.arange(60, 1_200), 60, replace=False).tolist())


def named(name: str) -> Strategy:
    made = validate(example(name)).strategy
    assert made is not None
    return made


MULTI = make_strategy(
    series={
        "trend": {"fn": "ema", "src": "close", "len": 5, "tf": "4h"},
        "atr": {"fn": "atr", "len": 14},
        "fast": {"fn": "sma", "src": "close", "len": 8},
    },
    entry={"all": [{"op": ">", "left": "close", "right": "trend"}, {"op": "rising", "left": "fast", "for": 2}]},
    exit={"op": "crosses_below", "left": "close", "right": "trend"},
    protect={
        "stop": {"series": "atr", "mult": "2"},
        "trail": {"series": "atr", "mult": "3"},
        "take_profit": [{"at": {"r": "1"}, "close_pct": 50}],
        "time_stop_bars": 30,
    },
)


@pytest.mark.parametrize("strategy", [named("golden_ema_12_26"), named("ema_rsi_atr"), MULTI], ids=lambda s: s.name)
def test_a_history_cut_at_any_bar_gives_the_same_values_decisions_fills_and_equity(strategy: Strategy) -> None:
    assert leaks(strategy, DATA, BARS) == ()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda one: one.key)
def test_no_template_looks_ahead(template: Template) -> None:
    made = validate(template.document()).strategy
    assert made is not None
    data = candles(1_200, seed=9, tf=made.timeframe)
    assert leaks(made, data, BARS[::6]) == ()


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_no_indicator_looks_ahead_on_its_own_or_a_higher_timeframe(fn: str) -> None:
    args = {name: max(arg.least, 5) for name, arg in FUNCTIONS[fn].args.items() if arg.default is None}
    series = {"base": {"fn": fn, **args}, "higher": {"fn": fn, **args, "tf": "4h"}}
    assert leaks(make_strategy(series=series), DATA, BARS[::6]) == ()


def unfinished_higher_candle(strategy: Strategy, data: CandleColumns) -> Evaluation:
    """Leaks: each bar sees the candle of the higher timeframe it lies in, finished or not."""
    before = candle_rules.last_closed
    candle_rules.last_closed = lambda base, higher: (
        np.searchsorted(higher.open_time_ms, base.open_time_ms, side="right").astype(np.int64) - 1
    )
    try:
        return evaluate(strategy, data)
    finally:
        candle_rules.last_closed = before


def tomorrow(strategy: Strategy, data: CandleColumns) -> Evaluation:
    """Leaks: decides by the next candle's truth."""
    honest = evaluate(strategy, data)
    return replace(honest, entry=np.append(honest.entry[1:], np.int8(0)))


def whole_sample(strategy: Strategy, data: CandleColumns) -> Evaluation:
    """Leaks: a series normalised by the largest value of the whole history."""
    honest = evaluate(strategy, data)
    return replace(honest, series={name: values / np.nanmax(values) for name, values in honest.series.items()})


@pytest.mark.parametrize(
    ("leaking", "what"), [(unfinished_higher_candle, "trend"), (tomorrow, "entry"), (whole_sample, "fast")]
)
def test_an_evaluator_that_leaks_is_caught(leaking: Callable[[Strategy, CandleColumns], Evaluation], what: str) -> None:
    found = leaks(MULTI, DATA, BARS, evaluator=leaking)
    assert what in {leak.what for leak in found}


def test_decisions_alone_would_not_catch_an_unfinished_higher_candle_as_often_as_series_do() -> None:
    found = leaks(MULTI, DATA, BARS, evaluator=unfinished_higher_candle)
    by_series = {leak.bar for leak in found if leak.what == "trend"}
    by_decision = {leak.bar for leak in found if leak.what in ("entry", "exit")}
    assert len(by_decision) < len(by_series)
