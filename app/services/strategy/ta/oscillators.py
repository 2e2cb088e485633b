"""Momentum and oscillators."""

from __future__ import annotations

import numpy as np

from app.services.strategy.candles import Floats
from app.services.strategy.indicators import (
    _missing,
    _placed,
    _windows,
    ema,
    highest,
    lowest,
    ratio,
    roc,
    rsi,
    sma,
    stoch_k,
)


def mom(values: Floats, length: int) -> Floats:
    """Momentum: x − x[length ago]. Valid from length."""
    out = _missing(len(values))
    out[length:] = values[length:] - values[:-length]
    return out


def cmo(values: Floats, length: int) -> Floats:
    """Chande momentum oscillator (Chande 1994): 100·(G − L)/(G + L), G and L plain sums of gains and losses.

    TA-Lib smooths them as Wilder does instead. Valid from length; missing where nothing moved.
    """
    change = _missing(len(values))
    change[1:] = values[1:] - values[:-1]
    gain, loss = np.where(change > 0, change, 0.0 * change), np.where(change < 0, -change, 0.0 * change)
    up, down = sma(gain, length), sma(loss, length)
    return 100.0 * ratio(up - down, up + down)


def willr(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """Williams %R: −100·(highest high − close)/(highest high − lowest low). Valid from length−1; missing when flat."""
    top = highest(high, length)
    return -100.0 * ratio(top - close, top - lowest(low, length))


def stochrsi_k(values: Floats, length: int) -> Floats:
    """Stochastic RSI (Chande & Kroll 1994): where RSI(length) stands in its range of `length`, 0 to 100, unsmoothed.

    Valid from 2·length−1; missing where the RSI did not move.
    """
    index = rsi(values, length)
    return stoch_k(index, index, index, length)


def stochrsi_d(values: Floats, length: int, signal: int) -> Floats:
    """SMA(signal) of the stochastic RSI. Valid from 2·length+signal−2."""
    return sma(stochrsi_k(values, length), signal)


def stoch_slow_k(high: Floats, low: Floats, close: Floats, length: int, smooth: int) -> Floats:
    """Slow stochastic %K (Lane): SMA(smooth) of the fast %K. Valid from length+smooth−2."""
    return sma(stoch_k(high, low, close, length), smooth)


def stoch_slow_d(high: Floats, low: Floats, close: Floats, length: int, smooth: int, signal: int) -> Floats:
    """Slow stochastic %D: SMA(signal) of the slow %K. Valid from length+smooth+signal−3."""
    return sma(stoch_slow_k(high, low, close, length, smooth), signal)


def ppo(values: Floats, fast: int, slow: int) -> Floats:
    """Percentage price oscillator: 100·(EMA(fast) − EMA(slow))/EMA(slow). Valid from max(fast, slow)−1."""
    slower = ema(values, slow)
    return 100.0 * ratio(ema(values, fast) - slower, slower)


def trix(values: Floats, length: int) -> Floats:
    """TRIX (Hutson 1983): per cent change a candle of the EMA of the EMA of the EMA. Valid from 3·length−2."""
    return roc(ema(ema(ema(values, length), length), length), 1)


def ultosc(high: Floats, low: Floats, close: Floats, fast: int, mid: int, slow: int) -> Floats:
    """Ultimate oscillator (Williams 1985): 100·(4·A(fast) + 2·A(mid) + A(slow))/7, A = buying pressure/true range.

    Valid from the longest length; missing where the range is 0.
    """
    pressure, reach = _missing(len(close)), _missing(len(close))
    bottom = np.minimum(low[1:], close[:-1])
    pressure[1:] = close[1:] - bottom
    reach[1:] = np.maximum(high[1:], close[:-1]) - bottom
    parts = [ratio(sma(pressure, n), sma(reach, n)) for n in (fast, mid, slow)]
    return 100.0 * (4.0 * parts[0] + 2.0 * parts[1] + parts[2]) / 7.0


def aroon_up(high: Floats, length: int) -> Floats:
    """Aroon up (Chande 1995): 100·(length − candles since the highest high of the last length+1)/length.

    Of equal highs the newest counts, as in TA-Lib. Valid from length.
    """
    return _aroon(high, length)


def aroon_down(low: Floats, length: int) -> Floats:
    """Aroon down (Chande 1995): 100·(length − candles since the lowest low of the last length+1)/length."""
    return _aroon(-low, length)


def aroon_osc(high: Floats, low: Floats, length: int) -> Floats:
    """Aroon oscillator: Aroon up − Aroon down. Valid from length."""
    return aroon_up(high, length) - aroon_down(low, length)


def _aroon(values: Floats, length: int) -> Floats:
    count = max(len(values) - length, 0)
    top, place_of_top = np.full(count, -np.inf), np.zeros(count)

    def fold(lagged: Floats, place: int) -> None:
        place_of_top[lagged >= top] = place
        np.maximum(top, lagged, out=top)

    _windows(values, length + 1, fold)
    return _placed(values, length + 1, 100.0 * place_of_top / length)


def ao(high: Floats, low: Floats, fast: int, slow: int) -> Floats:
    """Awesome oscillator (B. Williams): SMA(fast) − SMA(slow) of (high+low)/2. Valid from max(fast, slow)−1."""
    middle = (high + low) / 2.0
    return sma(middle, fast) - sma(middle, slow)


def bop(open_: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """Balance of power (Livshin 2001): (close − open)/(high − low). Valid from 0; missing where high = low."""
    return ratio(close - open_, high - low)
