"""Candle patterns: 1 where one is complete at this candle, else 0. Missing until what it compares with is known.

Long and short are meant as TA-Lib means them: against the mean of the ten candles before. Nothing here needs a gap
between candles, since a market that never closes has none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.services.strategy.candles import CandleColumns, Floats
from app.services.strategy.indicators import _missing, sma

#: Candles before that "long", "short" and "near" are measured against.
BODY_CANDLES, NEAR_CANDLES = 10, 5


def _before(values: Floats, steps: int = 1) -> Floats:
    out = _missing(len(values))
    out[steps:] = values[:-steps] if len(values) > steps else values[:0]
    return out


def _usual(values: Floats, length: int = BODY_CANDLES) -> Floats:
    """The mean over the `length` candles before this one."""
    return _before(sma(values, length))


def _told(truth: npt.NDArray[np.bool_], *needed: Floats) -> Floats:
    known = np.logical_and.reduce([~np.isnan(values) for values in needed])
    return np.where(known, truth.astype(np.float64), np.nan)


def _body(c: CandleColumns) -> Floats:
    return np.abs(c.close - c.open)


def _top(c: CandleColumns) -> Floats:
    return np.maximum(c.open, c.close)


def _bottom(c: CandleColumns) -> Floats:
    return np.minimum(c.open, c.close)


def doji(c: CandleColumns) -> Floats:
    """Open and close nearly equal: a body of at most a tenth of the usual high−low. As TA-Lib. Valid from 10."""
    usual = _usual(c.high - c.low)
    return _told(_body(c) <= 0.1 * usual, usual)


def hammer(c: CandleColumns) -> Floats:
    """Short body near the low before, long lower shadow, hardly an upper one. As TA-Lib. Valid from 11."""
    near = _before(c.low + 0.2 * _usual(c.high - c.low, NEAR_CANDLES))
    return _hanging(c, c.high - _top(c), _bottom(c) - c.low, _bottom(c) <= near)


def shooting_star(c: CandleColumns) -> Floats:
    """The hammer upside down: short body near the high before, long upper shadow. Valid from 11.

    TA-Lib wants a gap up instead of "near the high before"; a market without closing hours has none.
    """
    near = _before(c.high - 0.2 * _usual(c.high - c.low, NEAR_CANDLES))
    return _hanging(c, _bottom(c) - c.low, c.high - _top(c), _top(c) >= near)


def _hanging(c: CandleColumns, short: Floats, long: Floats, placed: npt.NDArray[np.bool_]) -> Floats:
    body, usual, reach = _body(c), _usual(_body(c)), _usual(c.high - c.low)
    truth = (body < usual) & (long > body) & (short < 0.1 * reach) & placed
    return _told(truth, usual, _before(usual))


def _engulfs(c: CandleColumns) -> npt.NDArray[np.bool_]:
    top, bottom = _before(_top(c)), _before(_bottom(c))
    covers: npt.NDArray[np.bool_] = (
        (_top(c) >= top) & (_bottom(c) <= bottom) & ((_top(c) > top) | (_bottom(c) < bottom))
    )
    return covers


def engulfing_bull(c: CandleColumns) -> Floats:
    """A rising body that covers the falling body before, on one side at least with room to spare. As TA-Lib. From 1."""
    before = _before(c.close - c.open)
    return _told((c.close >= c.open) & (before < 0) & _engulfs(c), before)


def engulfing_bear(c: CandleColumns) -> Floats:
    """A falling body that covers the rising body before. As TA-Lib. Valid from 1."""
    before = _before(c.close - c.open)
    return _told((c.close < c.open) & (before >= 0) & _engulfs(c), before)


def _harami(c: CandleColumns) -> tuple[npt.NDArray[np.bool_], Floats]:
    body, usual = _body(c), _usual(_body(c))
    long_before = _before(body) > _before(usual)
    top, bottom = _before(_top(c)), _before(_bottom(c))
    within = (_top(c) <= top) & (_bottom(c) >= bottom) & ((_top(c) < top) | (_bottom(c) > bottom))
    return long_before & (body <= usual) & within, _before(usual)


def harami_bull(c: CandleColumns) -> Floats:
    """A short body within the long falling body before. As TA-Lib. Valid from 11."""
    truth, needed = _harami(c)
    return _told(truth & (_before(c.close - c.open) < 0), needed)


def harami_bear(c: CandleColumns) -> Floats:
    """A short body within the long rising body before. As TA-Lib. Valid from 11."""
    truth, needed = _harami(c)
    return _told(truth & (_before(c.close - c.open) >= 0), needed)


def inside_bar(c: CandleColumns) -> Floats:
    """High below the high before and low above the low before. Valid from 1."""
    high, low = _before(c.high), _before(c.low)
    return _told((c.high < high) & (c.low > low), high)
