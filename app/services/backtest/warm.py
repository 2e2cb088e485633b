"""Readying a process for backtests: compiled code loaded (or made, once, at install), freed memory kept.

`python -m app.services.backtest.warm` compiles everything and leaves it in numba's cache.
"""

from __future__ import annotations

import ctypes
import io
import sys
from typing import Any

import numpy as np

from app.services.backtest.engine import run
from app.services.backtest.kernel import simulate
from app.services.backtest.metrics import pass_over_curve, pass_over_values, sum_of
from app.services.backtest.settings import Settings
from app.services.compiled import can_compile, compiled
from app.services.market.candle_files import parse_candles
from app.services.market.plain_rows import read_block
from app.services.strategy import CandleColumns, comparisons, recursions, validate

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt
_KEPT_BYTES = 512 * 1024 * 1024

_TINY = {
    "schema": 1,
    "name": "warm-up",
    "market": {"symbols": ["BTCUSDT"], "timeframe": "1m"},
    "series": {"fast": {"fn": "ema", "len": 2}, "atr": {"fn": "atr", "len": 2}},
    "entry": {"op": "crosses_above", "left": "close", "right": "fast"},
    "exit": {"op": "crosses_below", "left": "close", "right": "fast"},
    "sizing": {"mode": "equity_pct", "pct": "100"},
    "protect": {"stop": {"series": "atr", "mult": "3"}},
}

_COMPILED: tuple[compiled[..., Any], ...] = (
    simulate,
    pass_over_curve,
    pass_over_values,
    sum_of,
    read_block,
    comparisons.crosses,
    comparisons.exceeds,
    comparisons.reaches,
    recursions.ema,
    recursions.wilder,
)


def warm_up() -> bool:
    """Load every compiled loop, compiling what is not in the cache; False where nothing can be compiled.

    After it the first backtest takes as long as any other.
    """
    if not can_compile():
        return False
    for function in _COMPILED:
        function.load()
    for compare in (comparisons.crosses, comparisons.exceeds, comparisons.reaches):
        compare(np.zeros(2), np.ones(2))
    wave = 100.0 + np.array([(bar * 7) % 11 for bar in range(64)], np.float64)
    times = 1_704_067_200_000 + np.arange(64, dtype=np.int64) * 60_000
    candles = CandleColumns(times, wave, wave + 1.0, wave - 1.0, wave, wave, "1m")
    strategy = validate(_TINY).strategy
    if strategy is not None:
        _ = run(strategy, candles, Settings()).metrics
    lines = "\n".join(
        f"{time},{price},{price + 1},{price - 1},{price},1" for time, price in zip(times, wave, strict=True)
    )
    parse_candles(io.BytesIO(lines.encode()), filename="-", symbol="BTCUSDT", timeframe="1m", compiled=True)
    return True


def keep_freed_memory() -> bool:
    """Keep freed arrays for the next run instead of giving them back: taking fresh pages costs more than a backtest.

    For processes that run many; up to 512 MB are kept. False where the C library has no such switch.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # No array is mapped by itself (and unmapped when freed), and the heap's end is given back only above the bound.
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


if __name__ == "__main__":
    warm_up()
