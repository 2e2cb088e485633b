"""Channels and measures of range: Keltner, Donchian, Bollinger's width and place, NATR, choppiness."""

from __future__ import annotations

import math

import numpy as np

from app.services.strategy.candles import Floats
from app.services.strategy.indicators import atr, bollinger, ema, highest, lowest, ratio, sma, true_range


def keltner(high: Floats, low: Floats, close: Floats, length: int, mult: float, atr_length: int) -> Floats:
    """Keltner channel (Raschke's form): EMA(length) of the close + mult·ATR (mult < 0: the lower line).

    Valid from max(length−1, atr_length).
    """
    return ema(close, length) + mult * atr(high, low, close, atr_length)


def donchian_mid(high: Floats, low: Floats, length: int) -> Floats:
    """Middle of the Donchian channel, (highest high + lowest low)/2. Valid from length−1."""
    return (highest(high, length) + lowest(low, length)) / 2.0


def bb_width(values: Floats, length: int, mult: float) -> Floats:
    """Bollinger band width: (upper − lower)/middle. Valid from length−1."""
    upper, lower = bollinger(values, length, mult), bollinger(values, length, -mult)
    return ratio(upper - lower, sma(values, length))


def bb_pct(values: Floats, length: int, mult: float) -> Floats:
    """%b (Bollinger): (x − lower)/(upper − lower). Valid from length−1; missing where the bands meet."""
    lower = bollinger(values, length, -mult)
    return ratio(values - lower, bollinger(values, length, mult) - lower)


def natr(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Normalised ATR: 100·ATR/close. Valid from length."""
    return 100.0 * ratio(atr(high, low, close, length), close)


def chop(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Choppiness index (Dreiss): 100·log10(sum of true ranges / (highest high − lowest low)) / log10(length).

    Near 100: sideways; near 0: trending. Valid from length; missing where the window has no height.
    """
    total = length * sma(true_range(high, low, close), length)
    share = ratio(total, highest(high, length) - lowest(low, length))
    with np.errstate(divide="ignore"):
        value = 100.0 * np.log10(share) / math.log10(length)
    return np.where(np.isfinite(value), value, np.nan)
