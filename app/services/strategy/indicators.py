"""Indicators over NumPy float64 arrays. One fixed form of each formula, so that results repeat bit for bit.

Conventions, the same for all:

* NaN means *missing*: before the warm-up, and where a division by zero would be needed. Nothing is filled in.
* Windows (`sma`, `stddev`, …) see the last `length` values; one missing value makes the window missing.
* Recursions (`ema`, Wilder's average) skip missing values: they give none there and go on from the last one.
* Sums run in one fixed order over the window, so a value depends on the window alone, not on where the data starts.
* "Valid from" counts from the first known value of the source, from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.services.strategy import recursions
from app.services.strategy.candles import DAY_MS, Floats, Ints


def _missing(size: int) -> Floats:
    return np.full(size, np.nan)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below; missing where `below` is 0 or the result is not finite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = above / below
    return np.where(np.isfinite(result), result, np.nan)


def _over_known(values: Floats, recursion: Callable[[Floats], Floats]) -> Floats:
    """Run a recursion over the known values only and put its results back in their places."""
    known = ~np.isnan(values)
    out = _missing(len(values))
    out[known] = recursion(values[known])
    return out


def _windows(values: Floats, length: int, fold: Callable[[Floats, int], None]) -> int:
    """Call `fold(values of lag k, k)` from the oldest to the newest place in the window; returns the window count."""
    count = len(values) - length + 1
    for place in range(length if count > 0 else 0):
        fold(values[place : place + count], place)
    return max(count, 0)


def _placed(values: Floats, length: int, windows: Floats) -> Floats:
    out = _missing(len(values))
    if len(values) >= length:
        out[length - 1 :] = windows
    return out


def ema(values: Floats, length: int) -> Floats:
    """Exponential moving average: y = a·x + (1−a)·y₋₁ with a = 2/(length+1).

    Source: the usual recursion, as pandas `ewm(span=length, adjust=False)`. Seed: the first known value
    (not an SMA, as TA-Lib does). Valid from length−1.
    """
    return recursions.ema(values, length)


def wilder(values: Floats, length: int) -> Floats:
    """Wilder's average: y = (y₋₁·(length−1) + x)/length. Seed: the mean of the first `length`. Valid from length−1."""
    first = values[np.flatnonzero(~np.isnan(values[: 2 * length]))[:length]]
    if len(first) < length:  # missing values among the first: look for them everywhere
        first = values[np.flatnonzero(~np.isnan(values))[:length]]
    return recursions.wilder(values, length, math.fsum(first.tolist()) / length)


def sma(values: Floats, length: int) -> Floats:
    """Arithmetic mean of the last `length` values. Valid from length−1. No seed."""
    total = np.zeros(max(len(values) - length + 1, 0))

    def fold(lagged: Floats, _place: int) -> None:
        np.add(total, lagged, out=total)

    _windows(values, length, fold)
    return _placed(values, length, total / length)


def wma(values: Floats, length: int) -> Floats:
    """Linearly weighted mean, weights 1 (oldest) … length (newest) over length·(length+1)/2. Valid from length−1."""
    total = np.zeros(max(len(values) - length + 1, 0))

    def fold(lagged: Floats, place: int) -> None:
        np.add(total, lagged * (place + 1), out=total)

    _windows(values, length, fold)
    return _placed(values, length, total / (length * (length + 1) / 2))


def stddev(values: Floats, length: int) -> Floats:
    """Population standard deviation (divided by length, as TA-Lib), in two passes. Valid from length−1."""
    mean = sma(values, length)[length - 1 :]
    total = np.zeros(len(mean))

    def fold(lagged: Floats, _place: int) -> None:
        np.add(total, (lagged - mean) ** 2, out=total)

    _windows(values, length, fold)
    deviation = _placed(values, length, np.sqrt(total / length))
    return np.where(_flat(values, length), 0.0, deviation)


def highest(values: Floats, length: int) -> Floats:
    """Largest of the last `length` values, this one included. Valid from length−1."""
    top = np.full(max(len(values) - length + 1, 0), -np.inf)

    def fold(lagged: Floats, _place: int) -> None:
        np.maximum(top, lagged, out=top)

    _windows(values, length, fold)
    return _placed(values, length, top)


def lowest(values: Floats, length: int) -> Floats:
    """Smallest of the last `length` values, this one included. Valid from length−1."""
    return -highest(-values, length)


def _flat(values: Floats, length: int) -> npt.NDArray[np.bool_]:
    """Where all values of the window are the same: there a deviation is exactly 0, not a rounding error."""
    flat: npt.NDArray[np.bool_] = highest(values, length) == lowest(values, length)
    return flat


def roc(values: Floats, length: int) -> Floats:
    """Rate of change in per cent: 100·(x / x[length ago] − 1). Valid from length."""
    out = _missing(len(values))
    out[length:] = 100.0 * (ratio(values[length:], values[:-length]) - 1.0)
    return out


def rsi(values: Floats, length: int) -> Floats:
    """Relative strength index (Wilder 1978): 100·G/(G+L), G and L Wilder's averages of gains and losses.

    Seed: the mean of the first `length` changes, as TA-Lib. Valid from length. Missing (0/0) while nothing
    has moved at all.
    """

    def recursion(known: Floats) -> Floats:
        change = np.diff(known, prepend=np.nan)
        gain = wilder(np.where(change > 0, change, np.where(np.isnan(change), np.nan, 0.0)), length)
        loss = wilder(np.where(change < 0, -change, np.where(np.isnan(change), np.nan, 0.0)), length)
        return 100.0 * ratio(gain, gain + loss)

    return _over_known(values, recursion)


def macd(values: Floats, fast: int, slow: int) -> Floats:
    """MACD line (Appel): EMA(fast) − EMA(slow), each seeded with the first value. Valid from max(fast, slow)−1."""
    return ema(values, fast) - ema(values, slow)


def macd_signal(values: Floats, fast: int, slow: int, signal: int) -> Floats:
    """EMA(signal) of the MACD line, seeded with the line's first valid value. Valid from max(fast, slow)+signal−2."""
    return ema(macd(values, fast, slow), signal)


def macd_hist(values: Floats, fast: int, slow: int, signal: int) -> Floats:
    """MACD line minus its signal. Valid from max(fast, slow)+signal−2."""
    return macd(values, fast, slow) - macd_signal(values, fast, slow, signal)


def bollinger(values: Floats, length: int, mult: float) -> Floats:
    """Bollinger band: SMA(length) + mult·population deviation (mult < 0: the lower band). Valid from length−1."""
    return sma(values, length) + mult * stddev(values, length)


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """max(high, previous close) − min(low, previous close) (Wilder 1978). Valid from 1 (the first has none)."""
    out = _missing(len(close))
    out[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    return out


def atr(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Average true range: Wilder's average of the true range, seeded with its first `length`. Valid from length."""
    return wilder(true_range(high, low, close), length)


def stoch_k(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Fast stochastic %K (Lane): 100·(close − lowest low)/(highest high − lowest low). Valid from length−1.

    Not smoothed; missing where the window has no height.
    """
    bottom = lowest(low, length)
    return 100.0 * ratio(close - bottom, highest(high, length) - bottom)


def stoch_d(high: Floats, low: Floats, close: Floats, length: int, signal: int) -> Floats:
    """%D: SMA(signal) of the fast %K. Valid from length+signal−2."""
    return sma(stoch_k(high, low, close, length), signal)


def cci(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Commodity channel index (Lambert 1980): (tp − SMA(tp)) / (0.015·mean |tp − SMA(tp)|), tp = (h+l+c)/3.

    Valid from length−1; missing where the mean deviation is 0.
    """
    typical = (high + low + close) / 3.0
    average = sma(typical, length)
    mean = average[length - 1 :]
    total = np.zeros(len(mean))

    def fold(lagged: Floats, _place: int) -> None:
        np.add(total, np.abs(lagged - mean), out=total)

    _windows(typical, length, fold)
    deviation = _placed(typical, length, total / length)
    return ratio(typical - average, np.where(_flat(typical, length), 0.0, 0.015 * deviation))


def obv(close: Floats, volume: Floats) -> Floats:
    """On-balance volume (Granville): running sum of volume, signed by the change of the close. Valid from 0.

    Seed: 0 at the first candle given, so only changes of it have a meaning, never its level.
    """
    return np.cumsum(np.sign(np.diff(close, prepend=close[:1])) * volume)


def vwap_rolling(typical: Floats, volume: Floats, length: int) -> Floats:
    """Volume-weighted mean of (h+l+c)/3 over the last `length` candles. Valid from length−1; missing without volume."""
    return ratio(sma(typical * volume, length), sma(volume, length))


def vwap_day(open_time_ms: Ints, typical: Floats, volume: Floats) -> Floats:
    """Volume-weighted mean of (h+l+c)/3 since 00:00 UTC of the candle's day.

    Missing on a first day whose beginning is not in the data, and while nothing has traded.
    """
    out = _missing(len(typical))
    day = open_time_ms // DAY_MS
    breaks = np.flatnonzero(day[1:] != day[:-1]) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(day)]):
        if start == stop or (start == 0 and open_time_ms[0] % DAY_MS):
            continue
        part = slice(start, stop)
        out[part] = ratio(np.cumsum(typical[part] * volume[part]), np.cumsum(volume[part]))
    return out


def adx(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Average directional index (Wilder 1978): Wilder's average of 100·|+DI − −DI|/(+DI + −DI).

    Seeds: the mean of the first `length` values in each average (TA-Lib sums length−1 first, so early values
    differ slightly). Valid from 2·length−1; missing where there is no direction at all.
    """
    up, down = _missing(len(close)), _missing(len(close))
    rise, fall = high[1:] - high[:-1], low[:-1] - low[1:]
    up[1:] = np.where((rise > fall) & (rise > 0), rise, 0.0)
    down[1:] = np.where((fall > rise) & (fall > 0), fall, 0.0)
    reach = wilder(true_range(high, low, close), length)
    plus, minus = ratio(wilder(up, length), reach), ratio(wilder(down, length), reach)
    return wilder(100.0 * ratio(np.abs(plus - minus), plus + minus), length)
