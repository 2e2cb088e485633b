"""Small building stones for tests of strategies: generated candles and documents to change."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

from app.services.strategy import CandleColumns, Evaluation, Strategy, evaluate, timeframe_ms, validate

EXAMPLES = Path(__file__).parent / "unit" / "strategy" / "examples"
MONDAY_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC

BASE: dict[str, Any] = {
    "schema": 1,
    "name": "test",
    "market": {"symbols": ["BTCUSDT"], "timeframe": "1h"},
    "series": {},
    "entry": {"op": ">", "left": "close", "right": 0},
    "exit": {"op": "<", "left": "close", "right": 0},
    "sizing": {"mode": "equity_pct", "pct": "10"},
    "protect": {"stop": {"pct": "5"}},
}


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return document


def document(**changes: Any) -> dict[str, Any]:
    """The base document with these top-level keys replaced."""
    return copy.deepcopy(BASE) | changes


def strategy(**changes: Any) -> Strategy:
    result = validate(document(**changes))
    assert result.errors == ()
    assert result.strategy is not None
    return result.strategy


def candles(count: int, *, seed: int = 1, tf: str = "1h", start_ms: int = MONDAY_MS) -> CandleColumns:
    """A random walk of positive prices, without gaps."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    open_ = np.concatenate(([100.0], close[:-1]))[:count]
    reach = np.abs(random.normal(0, 0.004, (2, count)))
    return CandleColumns(
        start_ms + np.arange(count, dtype=np.int64) * timeframe_ms(tf),
        open_,
        np.maximum(open_, close) * (1 + reach[0]),
        np.minimum(open_, close) * (1 - reach[1]),
        close,
        random.uniform(1, 50, count),
        tf,
    )


def closes(*values: float, tf: str = "1h", start_ms: int = MONDAY_MS, times: list[int] | None = None) -> CandleColumns:
    """Candles that open, stay and close at the given prices, volume 1."""
    price = np.array(values, np.float64)
    steps = np.arange(len(price)) if times is None else np.array(times)
    opened = start_ms + steps.astype(np.int64) * timeframe_ms(tf)
    return CandleColumns(opened, price, price, price, price, np.ones(len(price)), tf)


def truths(condition: dict[str, Any], given: CandleColumns, **changes: Any) -> list[int]:
    """Truth of one condition at each bar (as the exit rule, so that no stop comes into it)."""
    made = strategy(exit=condition, market={"symbols": ["BTCUSDT"], "timeframe": given.timeframe}, **changes)
    return [int(value) for value in evaluate(made, given).exit]


def run(given: CandleColumns, **changes: Any) -> Evaluation:
    return evaluate(strategy(market={"symbols": ["BTCUSDT"], "timeframe": given.timeframe}, **changes), given)
