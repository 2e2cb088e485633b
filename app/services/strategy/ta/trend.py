"""Direction and trailing lines: directional indicators, parabolic SAR, SuperTrend, Ichimoku."""

from __future__ import annotations

import numpy as np

from app.services.compiled import compiled
from app.services.strategy.candles import Floats
from app.services.strategy.indicators import _missing, atr, highest, lowest, ratio, true_range, wilder


def plus_di(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """+DI (Wilder 1978): 100 times Wilder's average of upward movement over that of the true range. Valid from length.

    Seeds: the mean of the first `length` (TA-Lib sums length−1 first; the difference fades).
    """
    rise, fall = _missing(len(close)), _missing(len(close))
    rise[1:], fall[1:] = high[1:] - high[:-1], low[:-1] - low[1:]
    up = np.where((rise > fall) & (rise > 0), rise, 0.0 * rise)
    return 100.0 * ratio(wilder(up, length), wilder(true_range(high, low, close), length))


def minus_di(high: Floats, low: Floats, close: Floats, length: int) -> Floats:
    """−DI (Wilder 1978): the same for downward movement. Valid from length."""
    return plus_di(-low, -high, -close, length)


def psar(high: Floats, low: Floats, step: float, limit: float) -> Floats:
    """Parabolic stop and reverse (Wilder 1978): SAR += a·(extreme − SAR), a grows by `step` to `limit` at each extreme.

    Never inside the two candles before. It begins short when the second candle's downward movement is the greater,
    else long, as in TA-Lib. Valid from 1. Each reversal forgets what was before it.
    """
    return _psar(high, low, step, limit)


@compiled
def _psar(high: Floats, low: Floats, step: float, limit: float) -> Floats:
    out = np.full(len(high), np.nan)
    if len(high) < 2:
        return out
    rise, fall = high[1] - high[0], low[0] - low[1]
    is_long = not (fall > rise and fall > 0.0)
    extreme = high[1] if is_long else low[1]
    sar = low[0] if is_long else high[0]
    gain = step
    for i in range(1, len(high)):
        before_high, before_low = high[i if i == 1 else i - 1], low[i if i == 1 else i - 1]
        if is_long:
            if low[i] <= sar:
                is_long, gain = False, step
                sar = max(extreme, before_high, high[i])
                extreme = low[i]
                out[i] = sar
                sar = max(sar + gain * (extreme - sar), before_high, high[i])
            else:
                out[i] = sar
                if high[i] > extreme:
                    extreme, gain = high[i], min(gain + step, limit)
                sar = min(sar + gain * (extreme - sar), before_low, low[i])
        elif high[i] >= sar:
            is_long, gain = True, step
            sar = min(extreme, before_low, low[i])
            extreme = high[i]
            out[i] = sar
            sar = min(sar + gain * (extreme - sar), before_low, low[i])
        else:
            out[i] = sar
            if low[i] < extreme:
                extreme, gain = low[i], min(gain + step, limit)
            sar = max(sar + gain * (extreme - sar), before_high, high[i])
    return out


def supertrend(high: Floats, low: Floats, close: Floats, length: int, mult: float) -> Floats:
    """SuperTrend (Seban): the lower band in an uptrend, the upper band in a downtrend. Valid from length.

    Bands: (high+low)/2 ± mult·ATR(length), of which the lower never falls and the upper never rises until a close is
    beyond. It begins in a downtrend unless the first close is above the upper band. A turn forgets what was before it.
    """
    line, _ = _supertrend(high, low, close, atr(high, low, close, length), mult)
    return line


def supertrend_dir(high: Floats, low: Floats, close: Floats, length: int, mult: float) -> Floats:
    """The SuperTrend's direction: 1 up, −1 down. Valid from length."""
    _, direction = _supertrend(high, low, close, atr(high, low, close, length), mult)
    return direction


@compiled
def _supertrend(high: Floats, low: Floats, close: Floats, reach: Floats, mult: float) -> tuple[Floats, Floats]:
    line, direction = np.full(len(close), np.nan), np.full(len(close), np.nan)
    upper, lower, is_up = np.inf, -np.inf, False
    for i in range(len(close)):
        if np.isnan(reach[i]):
            continue
        middle = (high[i] + low[i]) / 2.0
        top, bottom = middle + mult * reach[i], middle - mult * reach[i]
        before = close[i - 1]
        upper = top if top < upper or before > upper else upper
        lower = bottom if bottom > lower or before < lower else lower
        is_up = close[i] >= lower if is_up else close[i] > upper
        line[i] = lower if is_up else upper
        direction[i] = 1.0 if is_up else -1.0
    return line, direction


def ichimoku_mid(high: Floats, low: Floats, length: int) -> Floats:
    """Middle of the highest high and the lowest low (Hosoda 1969): conversion line (9), base line (26).

    Valid from length−1. The lagging span is left out: drawn back in time, it would be a look ahead.
    """
    return (highest(high, length) + lowest(low, length)) / 2.0


def ichimoku_span_a(high: Floats, low: Floats, fast: int, slow: int, shift: int) -> Floats:
    """Leading span A as it stands at this candle: the mean of both lines, `shift` candles ago.

    Valid from max(fast, slow)+shift−1.
    """
    return _shifted((ichimoku_mid(high, low, fast) + ichimoku_mid(high, low, slow)) / 2.0, shift)


def ichimoku_span_b(high: Floats, low: Floats, length: int, shift: int) -> Floats:
    """Leading span B as it stands at this candle: the middle of `length`, `shift` candles ago.

    Valid from length+shift−1.
    """
    return _shifted(ichimoku_mid(high, low, length), shift)


def _shifted(values: Floats, shift: int) -> Floats:
    out = _missing(len(values))
    if shift < len(values):
        out[shift:] = values[: len(values) - shift]
    return out
