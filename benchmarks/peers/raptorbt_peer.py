"""raptorbt: its own EMA (seeded with a mean), its arrays runner with all its metrics; it fills at the next open."""

from __future__ import annotations

import numpy as np
import raptorbt
from common import job, signals, tell, timed

candles, wanted = job()
stamps = candles["time_ms"] * 1_000_000
columns = [np.ascontiguousarray(candles[name]) for name in ("open", "high", "low", "close", "volume")]
settings = raptorbt.BacktestConfig(initial_capital=10_000.0, fees=0.001)


def masks(fast: int, slow: int) -> tuple[np.ndarray, np.ndarray]:
    return signals(candles["close"], fast, slow, lambda values, length: np.asarray(raptorbt.ema(values, length)))


def once() -> object:
    entries, exits = masks(wanted["fast"], wanted["slow"])
    return raptorbt.run_single_backtest(stamps, *columns, entries, exits, 1, 1.0, "BTCUSDT", settings)


def sweep() -> object:
    items = []
    for fast, slow in wanted["pairs"]:
        entries, exits = masks(fast, slow)
        items.append(raptorbt.BatchSingleItem(f"{fast}/{slow}", entries, exits))
    return raptorbt.batch_single_backtest(stamps, *columns, items, settings)


if "pairs" in wanted:
    taken, _ = timed(sweep, wanted["runs"])
    tell(taken=taken)
else:
    taken, result = timed(once, wanted["runs"])
    tell(taken=taken, trades=len(result.trades()), final=float(np.asarray(result.equity_curve())[-1]))
