"""Hand-made candles whose volume says what to do: 100 enter, 55 leave, anything else nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from strategy_kit import MONDAY_MS, strategy

from app.services.backtest import Result, Settings, run
from app.services.strategy import CandleColumns, timeframe_ms

ENTER, LEAVE, QUIET = 100.0, 55.0, 1.0
Row = tuple[float, float, float, float, float]
NO_FEE = Settings(fee_pct=Decimal(0))


def market(*rows: Row, tf: str = "1h", at: list[int] | None = None) -> CandleColumns:
    """Candles from (open, high, low, close, signal); `at`: places on the clock, to leave gaps."""
    table = np.array(rows, np.float64)
    places = np.array(range(len(rows)) if at is None else at, np.int64)
    return CandleColumns(MONDAY_MS + places * timeframe_ms(tf), *table.T, tf)


def flat(price: float = 100.0, signal: float = QUIET) -> Row:
    return price, price, price, price, signal


def traded(
    data: CandleColumns, settings: Settings = NO_FEE, detail: CandleColumns | None = None, **rules: Any
) -> Result:
    """A run of: enter at 100, leave at 55, all in, stop of 2 % unless told otherwise."""
    given: dict[str, Any] = {
        "market": {"symbols": ["BTCUSDT"], "timeframe": data.timeframe},
        "entry": {"op": ">=", "left": "volume", "right": ENTER},
        "exit": {"op": "between", "left": "volume", "low": 50, "high": 60},
        "sizing": {"mode": "equity_pct", "pct": "100"},
        "protect": {"stop": {"pct": "2"}},
    }
    return run(strategy(**given | rules), data, settings, detail=detail)


def exits(result: Result) -> list[tuple[str, float, int]]:
    """Reason, price and candle of each sale."""
    first = int(result.candles.open_time_ms[0])
    span = timeframe_ms(result.candles.timeframe)
    sales = [fill for fill in result.fills if fill.side == "SELL"]
    return [(fill.reason, round(fill.price, 9), (fill.time_ms - first) // span) for fill in sales]
