"""Moving averages."""

from __future__ import annotations

import math

import numpy as np

from app.services.compiled import compiled
from app.services.strategy.candles import Floats
from app.services.strategy.indicators import _over_known, _placed, _windows, ema, ratio, sma, wma


def dema(values: Floats, length: int) -> Floats:
    """Double EMA (Mulloy 1994): 2·EMA − EMA(EMA). Valid from 2·(length−1). EMAs seeded with their first value."""
    once = ema(values, length)
    return 2.0 * once - ema(once, length)


def tema(values: Floats, length: int) -> Floats:
    """Triple EMA (Mulloy 1994): 3·EMA − 3·EMA(EMA) + EMA(EMA(EMA)). Valid from 3·(length−1)."""
    once = ema(values, length)
    twice = ema(once, length)
    return 3.0 * once - 3.0 * twice + ema(twice, length)


def hma(values: Floats, length: int) -> Floats:
    """Hull average (Hull 2005): WMA(⌊√length⌋) of 2·WMA(⌊length/2⌋) − WMA(length). Valid from length+⌊√length⌋−2."""
    return wma(2.0 * wma(values, max(length // 2, 1)) - wma(values, length), math.isqrt(length))


def trima(values: Floats, length: int) -> Floats:
    """Triangular average: SMA of an SMA, of (length+1)/2 each, or length/2 and length/2+1. Valid from length−1."""
    first = (length + 1) // 2
    return sma(sma(values, first), length - first + 1)


def vwma(close: Floats, volume: Floats, length: int) -> Floats:
    """Volume-weighted mean of the source over `length` candles. Valid from length−1; missing without volume."""
    return ratio(sma(close * volume, length), sma(volume, length))


def linreg(values: Floats, length: int) -> Floats:
    """The least-squares line through the last `length` values, at the newest of them. Valid from length−1."""
    return sma(values, length) + _slope(values, length) * ((length - 1) / 2.0)


def linreg_slope(values: Floats, length: int) -> Floats:
    """Slope a candle of the least-squares line through the last `length` values. Valid from length−1."""
    return _slope(values, length)


def _slope(values: Floats, length: int) -> Floats:
    total = np.zeros(max(len(values) - length + 1, 0))
    middle = (length - 1) / 2.0

    def fold(lagged: Floats, place: int) -> None:
        np.add(total, lagged * (place - middle), out=total)

    _windows(values, length, fold)
    return _placed(values, length, total / (length * (length * length - 1) / 12.0))


def kama(values: Floats, length: int, fast: int, slow: int) -> Floats:
    """Adaptive average (Kaufman 1995): y += c²·(x − y), c between 2/(slow+1) and 2/(fast+1) by the efficiency ratio.

    Efficiency: |change over length| / sum of |changes|, 1 where nothing moved. Seed: the value before the first.
    Valid from length.
    """
    return _over_known(values, lambda known: _kama(known, length, 2.0 / (fast + 1), 2.0 / (slow + 1)))


@compiled
def _kama(values: Floats, length: int, fast: float, slow: float) -> Floats:
    out = np.full(len(values), np.nan)
    for i in range(length, len(values)):
        moved = 0.0
        for k in range(i - length + 1, i + 1):
            moved += abs(values[k] - values[k - 1])
        efficiency = abs(values[i] - values[i - length]) / moved if moved > 0.0 else 1.0
        constant = efficiency * (fast - slow) + slow
        before = values[i - 1] if i == length else out[i - 1]
        out[i] = before + constant * constant * (values[i] - before)
    return out
