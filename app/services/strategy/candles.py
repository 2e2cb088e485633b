"""Closed candles as columns, and how a higher timeframe is seen from a lower one.

A higher timeframe is built from the base candles by timestamp, never by index, and a base bar sees only candles
of it that had closed by the time the base bar closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from app.domain.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SECOND, _MINUTE, _HOUR, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
TIMEFRAMES: Mapping[str, int] = {
    "1s": _SECOND,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
}
#: 1970-01-01 was a Thursday; weeks open on Monday 00:00 UTC. Everything else counts from the epoch.
_WEEK_ANCHOR_MS = 4 * DAY_MS


def timeframe_ms(tf: str) -> int:
    """Length of a timeframe in milliseconds. Raises InvalidInput for a name that is none."""
    try:
        return TIMEFRAMES[tf]
    except KeyError:
        message = f"{tf!r} is not a timeframe; use one of {', '.join(TIMEFRAMES)}"
        raise InvalidInput(message, field="timeframe") from None


@dataclass(frozen=True, slots=True)
class CandleColumns:
    """Closed candles, oldest first, one array a column; gaps stay gaps.

    Guaranteed after construction: equal lengths, int64 times strictly increasing, float64 finite values.
    Raises InvalidInput otherwise, naming the column.
    """

    open_time_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    timeframe: str

    def __post_init__(self) -> None:
        timeframe_ms(self.timeframe)
        for column in fields(self)[:-1]:
            wanted: type[np.generic] = np.int64 if column.name == "open_time_ms" else np.float64
            values = np.asarray(getattr(self, column.name), dtype=wanted)
            object.__setattr__(self, column.name, values)
            if values.shape != (len(self.open_time_ms),):
                raise InvalidInput(f"the column {column.name} must be as long as open_time_ms", field=column.name)
            if not np.isfinite(values).all():
                raise InvalidInput(f"the column {column.name} holds a value that is not a number", field=column.name)
        if (np.diff(self.open_time_ms) <= 0).any():
            raise InvalidInput("candles must be in order of time, each time once", field="open_time_ms")

    def __len__(self) -> int:
        return len(self.open_time_ms)

    @property
    def close_time_ms(self) -> Ints:
        """When each candle closed: the first millisecond after it."""
        return self.open_time_ms + timeframe_ms(self.timeframe)

    def window(self, start: int, stop: int) -> CandleColumns:
        """Candles `start` (included) to `stop` (not included), as views."""
        part = slice(start, stop)
        return CandleColumns(
            self.open_time_ms[part],
            self.open[part],
            self.high[part],
            self.low[part],
            self.close[part],
            self.volume[part],
            self.timeframe,
        )

    def column(self, name: str) -> Floats:
        """One of open, high, low, close, volume, hl2, hlc3, ohlc4."""
        match name:
            case "hl2":
                return (self.high + self.low) / 2.0
            case "hlc3":
                return (self.high + self.low + self.close) / 3.0
            case "ohlc4":
                return (self.open + self.high + self.low + self.close) / 4.0
            case _:
                values: Floats = getattr(self, name)
                return values


def opening_of(open_time_ms: Ints, tf: str) -> Ints:
    """Opening time of the `tf` candle that each time falls into (UTC)."""
    span = timeframe_ms(tf)
    anchor = _WEEK_ANCHOR_MS if tf == "1w" else 0
    return (open_time_ms - anchor) // span * span + anchor


def aggregate(base: CandleColumns, tf: str) -> CandleColumns:
    """Candles of the higher timeframe `tf`, grouped by timestamp; the newest may be unfinished.

    A first group whose beginning lies before the first base candle is left out: its open and volume are not known.
    """
    if tf == base.timeframe or len(base) == 0:
        return CandleColumns(
            base.open_time_ms, base.open, base.high, base.low, base.close, base.volume, tf
        )
    openings = opening_of(base.open_time_ms, tf)
    starts = np.flatnonzero(np.concatenate(([True], openings[1:] != openings[:-1])))
    if openings[0] != base.open_time_ms[0]:
        starts = starts[1:]
    if len(starts) == 0:
        return aggregate(base.window(0, 0), tf)
    ends = np.append(starts[1:], len(base)) - 1
    return CandleColumns(
        openings[starts],
        base.open[starts],
        np.maximum.reduceat(base.high, starts),
        np.minimum.reduceat(base.low, starts),
        base.close[ends],
        np.add.reduceat(base.volume, starts),
        tf,
    )


def last_closed(base: CandleColumns, higher: CandleColumns) -> Ints:
    """For each base bar the index of the newest `higher` candle that had closed when the bar closed; -1: none yet."""
    return np.searchsorted(higher.close_time_ms, base.close_time_ms, side="right").astype(np.int64) - 1
