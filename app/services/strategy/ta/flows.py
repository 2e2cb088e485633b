"""Volume: money flow, accumulation/distribution, force."""

from __future__ import annotations

import numpy as np

from app.services.strategy.candles import Floats
from app.services.strategy.indicators import _missing, ema, ratio, sma


def mfi(high: Floats, low: Floats, close: Floats, volume: Floats, length: int) -> Floats:
    """Money flow index (Quong & Soudack 1989): 100·P/(P+N), sums of typical price × volume where it rose and fell.

    Valid from length; missing where no money moved (TA-Lib: 0).
    """
    typical = (high + low + close) / 3.0
    change = _missing(len(close))
    change[1:] = typical[1:] - typical[:-1]
    money = typical * volume
    gain, loss = np.where(change > 0, money, 0.0 * change), np.where(change < 0, money, 0.0 * change)
    up, down = sma(gain, length), sma(loss, length)
    return 100.0 * ratio(up, up + down)


def _flow(high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    """Money flow volume: volume·((close − low) − (high − close))/(high − low), 0 where high = low."""
    share = ratio((close - low) - (high - close), high - low)
    return np.where(np.isnan(share), 0.0, share) * volume


def ad(high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    """Accumulation/distribution line (Chaikin): running sum of the money flow volume. Valid from 0.

    Begins at the first candle given, so only changes of it have a meaning, never its level.
    """
    return np.cumsum(_flow(high, low, close, volume))


def adosc(high: Floats, low: Floats, close: Floats, volume: Floats, fast: int, slow: int) -> Floats:
    """Chaikin oscillator: EMA(fast) − EMA(slow) of the accumulation/distribution line. Valid from max(fast, slow)−1."""
    line = ad(high, low, close, volume)
    return ema(line, fast) - ema(line, slow)


def cmf(high: Floats, low: Floats, close: Floats, volume: Floats, length: int) -> Floats:
    """Chaikin money flow: money flow volume over volume, each summed over `length`. Valid from length−1."""
    return ratio(sma(_flow(high, low, close, volume), length), sma(volume, length))


def force(close: Floats, volume: Floats, length: int) -> Floats:
    """Force index (Elder 1993): EMA(length) of the change of the close × volume. Valid from length."""
    raw = _missing(len(close))
    raw[1:] = (close[1:] - close[:-1]) * volume[1:]
    return ema(raw, length)
