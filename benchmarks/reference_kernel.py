"""The least that could do the job: EMA cross, all in, next open, fee in quote; one loop a step, six figures.

No rule language, no stops, no reasons, no metrics worth the name: what a hand-written kernel for one strategy takes.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def _ema(values, length):  # type: ignore[no-untyped-def]
    gain = 2 / (length + 1)
    keep, out, y = 1 - gain, np.empty(len(values)), values[0]
    out[0] = y
    for i in range(1, len(values)):
        y = gain * values[i] + keep * y
        out[i] = y
    return out


@numba.njit(cache=True)
def _cross(fast, slow, first):  # type: ignore[no-untyped-def]
    codes = np.zeros(len(fast), np.uint8)
    for i in range(first, len(fast)):
        up = (fast[i - 1] <= slow[i - 1]) & (fast[i] > slow[i])
        down = (fast[i - 1] >= slow[i - 1]) & (fast[i] < slow[i])
        codes[i] = up | (down << 1)
    return codes


@numba.njit(cache=True)
def _fill(opens, closes, codes, fee, cash):  # type: ignore[no-untyped-def]
    size = len(closes)
    equity, trades = np.empty(size), np.empty((size // 2 + 2, 4))
    count, held, code, entered, price = 0, 0.0, 0, 0, 0.0
    for i in range(size):
        if code == 1 and held == 0.0:
            held, cash, entered, price = cash / (opens[i] * (1 + fee)), 0.0, i, opens[i]
        elif code == 2 and held > 0.0:
            cash = held * opens[i] * (1 - fee)
            trades[count, 0], trades[count, 1], trades[count, 2], trades[count, 3] = entered, i, price, opens[i]
            held, count = 0.0, count + 1
        equity[i] = cash + held * closes[i]
        code = codes[i]
    return equity, trades[:count].copy()


@numba.njit(cache=True)
def _six(equity, trades, fee):  # type: ignore[no-untyped-def]
    peak, deepest, total, squares, wins = equity[0], 0.0, 0.0, 0.0, 0
    for i in range(1, len(equity)):
        change = equity[i] / equity[i - 1] - 1
        total += change
        squares += change * change
        peak = max(peak, equity[i])
        deepest = max(deepest, 1 - equity[i] / peak)
    for i in range(len(trades)):
        wins += trades[i, 3] * (1 - fee) > trades[i, 2] * (1 + fee)
    return equity[-1], len(trades), wins, deepest, total, squares


def reference(opens: np.ndarray, closes: np.ndarray, fast: int = 12, slow: int = 26) -> tuple[float, ...]:
    """Final equity, trades, wins, largest drawdown, and the sums behind mean and deviation of the returns."""
    equity, trades = _fill(opens, closes, _cross(_ema(closes, fast), _ema(closes, slow), slow), 0.001, 10_000.0)
    figures: tuple[float, ...] = _six(equity, trades, 0.001)
    return figures
