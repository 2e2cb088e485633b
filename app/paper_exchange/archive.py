"""Minutes of long ago: compact, without gaps, never changed; every interval is read from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from app.paper_exchange.candles import PATH_POINTS, Candle, Columns
from app.paper_exchange.intervals import HOUR_MS, INTERVALS_MS, MINUTE_MS, SECOND_MS, end_ms, open_ms
from app.paper_exchange.noise import Ints

Small = npt.NDArray[np.int32]
#: (number of the first minute, open, high, low, close, volume) -> the seconds of these minutes, 60 rows each
Split = Callable[[int, Ints, Ints, Ints, Ints, Ints], "Seconds"]
Seconds = tuple[Ints, Ints, Ints, Ints, Ints]
_CHUNK = 1 << 17  # minutes folded at once


@dataclass(slots=True)
class Archive:
    """Minutes from `start_ms` on in smallest units, 16 bytes each; a minute opens where the one before closed."""

    start_ms: int
    first_open: int
    high: Small
    low: Small
    close: Small
    volume: Small
    quote_scale: float  # units of price times units of quantity in one of the quote asset
    split: Split
    count: int  # minutes that only the archive has; of the ones after, it tells the seconds
    _hours: Columns = field(default_factory=Columns)
    _long: dict[str, Columns] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    @property
    def end_ms(self) -> int:
        """Where the last minute ends."""
        return self.start_ms + len(self) * MINUTE_MS

    def ends_ms(self, interval: str) -> int:
        """Where its last *whole* candle of an interval ends; what comes after is `rest`."""
        if interval == "1s":
            return self.start_ms + len(self.close) * MINUTE_MS
        return max(self.start_ms, open_ms(interval, self.end_ms))

    def rest(self, interval: str) -> Columns:
        """The unfinished candle of an interval at its end; nothing where one ended with it."""
        first = (self.ends_ms(interval) - self.start_ms) // MINUTE_MS
        return self.minutes(first, len(self)).folded(interval)

    def until(self, count: int, seconds: int) -> Archive:
        """The first `count` minutes, and the seconds of the first `seconds` minutes."""
        return Archive(
            self.start_ms, self.first_open, self.high[:seconds], self.low[:seconds], self.close[:seconds],
            self.volume[:seconds], self.quote_scale, self.split, count,
        )  # fmt: skip

    def minutes(self, first: int, last: int) -> Columns:
        """Minutes by number, `last` excluded."""
        high, low, close, volume = (
            column[first:last].astype(np.int64) for column in (self.high, self.low, self.close, self.volume)
        )
        opens = self._opens(first, last)
        times = self.start_ms + MINUTE_MS * np.arange(first, last, dtype=np.int64)
        return self._columns(times, (opens, high, low, close, volume), PATH_POINTS * 60)

    def read(self, interval: str, start_ms: int | None, end_ms_: int | None, limit: int) -> list[Candle]:
        """Whole candles whose open time lies in [start, end]: the oldest from a start on, else the newest."""
        if limit <= 0:
            return []
        length = INTERVALS_MS[interval]
        least = self.start_ms if start_ms is None else max(start_ms, self.start_ms)
        most = self.ends_ms(interval) - 1 if end_ms_ is None else min(end_ms_, self.ends_ms(interval) - 1)
        if most < least - length:
            return []
        if length >= HOUR_MS:
            found = self._longer(interval)
        else:
            if start_ms is not None:
                most = min(most, least + limit * length)
            else:
                least = max(least, most - (limit + 1) * length)
            first = max(0, (open_ms(interval, least) - self.start_ms) // MINUTE_MS)
            last_ms = end_ms(interval, open_ms(interval, most))
            last = min(len(self.close), -((self.start_ms - last_ms) // MINUTE_MS))
            if last <= first:
                return []
            found = self.seconds(first, last) if interval == "1s" else self.minutes(first, last).folded(interval)
        low, high = found.between(start_ms, min(most, self.ends_ms(interval) - 1))
        if start_ms is None:
            low = max(low, high - limit)
        return [found.at(i) for i in islice(range(low, high), limit)]

    def _longer(self, interval: str) -> Columns:
        """Whole candles of an hour or longer; folded once, for good."""
        if interval not in self._long:
            if not len(self._hours):
                for first in range(0, len(self), _CHUNK):
                    part = self.minutes(first, min(first + _CHUNK, len(self)))
                    self._hours.join(part.folded("1h"))
            self._long[interval] = self._hours.folded(interval)
        return self._long[interval]

    def seconds(self, first: int, last: int) -> Columns:
        """The seconds of minutes by number, `last` excluded: not kept, but the same whenever asked."""
        columns = [column[first:last].astype(np.int64) for column in (self.high, self.low, self.close, self.volume)]
        values = self.split(first, self._opens(first, last), *columns)
        times = self.start_ms + first * MINUTE_MS + SECOND_MS * np.arange(len(values[0]), dtype=np.int64)
        return self._columns(times, values, PATH_POINTS)

    def _opens(self, first: int, last: int) -> Ints:
        opens = np.empty(last - first, dtype=np.int64)
        if first < last:
            opens[0] = self.first_open if first == 0 else self.close[first - 1]
            opens[1:] = self.close[first : last - 1]
        return opens

    def _columns(self, times: Ints, values: Seconds, prints: int) -> Columns:
        o, h, low, c, volume = values
        quote = (o + h + low + c) // 4 * volume / self.quote_scale
        return Columns.of(times, o, h, low, c, volume, quote, np.full(len(times), prints, dtype=np.int64))
