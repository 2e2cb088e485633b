"""Candles of one market: one-second candles folded into every interval as they close.

Prices and volumes are whole numbers of the symbol's smallest units (10**-decimals), so that aggregation is
exact; the quote volume is a float, for display only. A second without a candle stays a gap.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from app.paper_exchange.intervals import INTERVALS_MS as INTERVALS_MS
from app.paper_exchange.intervals import MINUTE_MS as MINUTE_MS
from app.paper_exchange.intervals import SECOND_MS as SECOND_MS
from app.paper_exchange.intervals import end_ms, open_ms, opens_ms
from app.paper_exchange.noise import Floats, Ints

if TYPE_CHECKING:
    from app.paper_exchange.archive import Archive

#: Prints of one candle of a source: open, two extremes, close.
PATH_POINTS = 4
#: One-second candles kept in memory and in the file; longer intervals are kept for ever.
KEPT_SECONDS = 100_000
LONGER = tuple(name for name in INTERVALS_MS if name != "1s")


@dataclass(slots=True)
class Candle:
    """Open time and the five numbers, in smallest units; `quote` is float quote volume, `prints` a count."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote: float
    prints: int

    def absorb(self, later: Candle) -> None:
        """Go on with a candle that follows this one inside the same interval."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.quote += later.quote
        self.prints += later.prints


class Columns:
    """Closed candles of one interval, oldest first, as eight columns."""

    def __init__(self) -> None:
        self.open_ms = array("q")
        self.open = array("q")
        self.high = array("q")
        self.low = array("q")
        self.close = array("q")
        self.volume = array("q")
        self.quote = array("d")
        self.prints = array("q")

    def _all(self) -> tuple[array[int] | array[float], ...]:
        return (self.open_ms, self.open, self.high, self.low, self.close, self.volume, self.quote, self.prints)

    def __len__(self) -> int:
        return len(self.open_ms)

    def append(self, candle: Candle) -> None:
        """Add the newest candle. Its open time must be later than all before."""
        self.open_ms.append(candle.open_ms)
        self.open.append(candle.open)
        self.high.append(candle.high)
        self.low.append(candle.low)
        self.close.append(candle.close)
        self.volume.append(candle.volume)
        self.quote.append(candle.quote)
        self.prints.append(candle.prints)

    def extend(self, other: Columns) -> None:
        """Add later candles."""
        for mine, theirs in zip(self._all(), other._all(), strict=True):
            mine.extend(theirs)  # type: ignore[arg-type]

    def at(self, index: int) -> Candle:
        """One candle; negative indices count from the newest."""
        return Candle(
            self.open_ms[index], self.open[index], self.high[index], self.low[index], self.close[index],
            self.volume[index], self.quote[index], self.prints[index],
        )  # fmt: skip

    def forget_oldest(self, count: int) -> None:
        """Drop the oldest candles."""
        for column in self._all():
            del column[:count]

    def forget_last(self) -> None:
        """Drop the newest candle."""
        for column in self._all():
            column.pop()

    def part(self, from_ms: int, to_ms: int) -> list[Candle]:
        """Those that open in [from, to]."""
        return [self.at(i) for i in range(*self.between(from_ms, to_ms))]

    def before(self, end_ms: int) -> Columns:
        """Those that open before a time."""
        part, count = Columns(), bisect_left(self.open_ms, end_ms)
        for mine, theirs in zip(part._all(), self._all(), strict=True):
            mine.extend(theirs[:count])  # type: ignore[arg-type]
        return part

    def since(self, from_ms: int) -> Columns:
        """Those that open at or after a time."""
        start = bisect_left(self.open_ms, from_ms)
        part = Columns()
        for mine, theirs in zip(part._all(), self._all(), strict=True):
            mine.extend(theirs[start:])  # type: ignore[arg-type]
        return part

    def packed(self) -> bytes:
        """All columns, one after the other."""
        return b"".join(column.tobytes() for column in self._all())

    @classmethod
    def unpack(cls, raw: bytes) -> Columns:
        """The inverse of `packed`."""
        columns = cls()
        size = len(raw) // 8
        for n, column in enumerate(columns._all()):
            column.frombytes(raw[n * size : (n + 1) * size])
        return columns

    @classmethod
    def of(
        cls, open_ms: Ints, open_: Ints, high: Ints, low: Ints, close: Ints, volume: Ints, quote: Floats, prints: Ints
    ) -> Columns:
        """Columns of whole arrays."""
        columns = cls()
        for mine, given in zip(columns._all(), (open_ms, open_, high, low, close, volume, quote, prints), strict=True):
            mine.frombytes(given.tobytes())
        return columns

    def between(self, start_ms: int | None, end_ms: int | None) -> tuple[int, int]:
        """Numbers of the candles that open in [start, end]: the first, and the one after the last."""
        low = 0 if start_ms is None else bisect_left(self.open_ms, start_ms)
        return low, len(self) if end_ms is None else bisect_right(self.open_ms, end_ms)

    def join(self, later: Columns) -> None:
        """Add later candles; where the first shares the interval of the last one here they become one."""
        if len(self) and len(later) and self.open_ms[-1] == later.open_ms[0]:
            merged = self.at(-1)
            merged.absorb(later.at(0))
            self.forget_last()
            self.append(merged)
            later.forget_oldest(1)
        self.extend(later)

    def folded(self, interval: str, zone_ms: int = 0) -> Columns:
        """The same candles folded into a longer interval; the last may be unfinished."""
        result = Columns()
        if not self.open_ms:
            return result
        times = np.frombuffer(self.open_ms, dtype=np.int64)
        buckets = opens_ms(interval, times + zone_ms) - zone_ms
        starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
        ends = np.r_[starts[1:], len(times)] - 1
        result.open_ms.frombytes(buckets[starts].tobytes())
        result.open.frombytes(np.frombuffer(self.open, dtype=np.int64)[starts].tobytes())
        result.high.frombytes(np.maximum.reduceat(np.frombuffer(self.high, dtype=np.int64), starts).tobytes())
        result.low.frombytes(np.minimum.reduceat(np.frombuffer(self.low, dtype=np.int64), starts).tobytes())
        result.close.frombytes(np.frombuffer(self.close, dtype=np.int64)[ends].tobytes())
        result.volume.frombytes(np.add.reduceat(np.frombuffer(self.volume, dtype=np.int64), starts).tobytes())
        result.quote.frombytes(np.add.reduceat(np.frombuffer(self.quote, dtype=np.float64), starts).tobytes())
        result.prints.frombytes(np.add.reduceat(np.frombuffer(self.prints, dtype=np.int64), starts).tobytes())
        return result


@dataclass(slots=True)
class History:
    """Candles of a market before it went live: minutes, then seconds that begin where the minutes end."""

    minutes: Columns = field(default_factory=Columns)
    seconds: Columns = field(default_factory=Columns)
    archive: Archive | None = None  # what came before the minutes, where the source can tell it again

    def continued(self, seconds: Columns, minutes: Columns) -> History:
        """The same with what was recorded live since: `minutes` speak where `seconds` are no longer kept."""
        whole = History(archive=self.archive)
        whole.minutes.extend(self.minutes)
        whole.seconds.extend(self.seconds)
        whole.seconds.extend(seconds)
        if not len(whole.seconds):
            return whole
        kept_from = max(whole.seconds.open_ms[0], whole.seconds.open_ms[-1] - KEPT_SECONDS * SECOND_MS)
        cut_ms = kept_from - kept_from % MINUTE_MS
        folded = self.seconds.folded("1m")
        by_time = {columns.open_ms[i]: columns.at(i) for columns in (folded, minutes) for i in range(len(columns))}
        for at_ms in sorted(t for t in by_time if t < cut_ms):
            whole.minutes.append(by_time[at_ms])
        whole.seconds = whole.seconds.since(cut_ms)
        return whole

    def packed(self) -> bytes:
        """Compressed, for the file, without the archive."""
        minutes = self.minutes.packed()
        return zlib.compress(len(minutes).to_bytes(8, "big") + minutes + self.seconds.packed(), 1)

    @classmethod
    def unpack(cls, blob: bytes) -> History:
        """The inverse of `packed`."""
        raw = zlib.decompress(blob)
        size = int.from_bytes(raw[:8], "big")
        return cls(Columns.unpack(raw[8 : 8 + size]), Columns.unpack(raw[8 + size :]))


class Candles:
    """All intervals of one market. Feed it prints and second boundaries; read closed and forming candles."""

    def __init__(self, history: History | None = None) -> None:
        history = history or History()
        self.closed: dict[str, Columns] = {name: Columns() for name in INTERVALS_MS}
        self._partial: dict[str, Candle | None] = dict.fromkeys(INTERVALS_MS)
        self.second: Candle | None = None  # the forming one
        self.archive = history.archive
        self.closed["1s"] = history.seconds
        for name in LONGER:
            columns = Columns() if self.archive is None else self.archive.rest(name)
            columns.join(history.minutes.folded(name))
            columns.join(history.seconds.folded(name))
            self.closed[name] = columns
            if len(columns):
                last = columns.at(-1)
                self._partial[name] = last
                columns.forget_last()
        self._trim()

    @property
    def last_price(self) -> int | None:
        """The newest price, in smallest units."""
        if self.second is not None:
            return self.second.close
        return self.closed["1s"].close[-1] if len(self.closed["1s"]) else None

    def print(self, open_ms: int, price: int, volume: int, quote: float) -> None:
        """A price (and volume printed on the way) in the second that opens at `open_ms`."""
        if self.second is None or self.second.open_ms != open_ms:
            self.second = Candle(open_ms, price, price, price, price, volume, quote, 1)
        else:
            self.second.absorb(Candle(open_ms, price, price, price, price, volume, quote, 1))

    def close_second(self) -> list[tuple[str, Candle]]:
        """End the forming second. Returns what closed with it: (interval, candle), "1s" first."""
        second = self.second
        if second is None:
            return []
        self.second = None
        closed = [("1s", second)]
        columns = self.closed["1s"]
        columns.append(second)
        self._trim()
        ended_ms = second.open_ms + SECOND_MS
        for name in LONGER:
            closed += self._expire(name, second.open_ms)
            partial = self._partial[name]
            if partial is None:
                self._partial[name] = replace(second, open_ms=open_ms(name, second.open_ms))
            else:
                partial.absorb(second)
            closed += self._expire(name, ended_ms)
        return closed

    def _trim(self) -> None:
        """Forget seconds beyond those kept, many at a time."""
        columns = self.closed["1s"]
        if len(columns) > KEPT_SECONDS + 20_000:
            columns.forget_oldest(len(columns) - KEPT_SECONDS)

    def close_passed(self, now_ms: int) -> list[tuple[str, Candle]]:
        """Close the candles whose time is over although no further second came (a halted market)."""
        closed: list[tuple[str, Candle]] = []
        for name in LONGER:
            closed += self._expire(name, now_ms)
        return closed

    def _expire(self, name: str, now_ms: int) -> list[tuple[str, Candle]]:
        partial = self._partial[name]
        if partial is None or end_ms(name, partial.open_ms) > now_ms:
            return []
        self._partial[name] = None
        self.closed[name].append(partial)
        return [(name, partial)]

    def forming(self, name: str) -> Candle | None:
        """The unfinished candle of an interval, or None."""
        if name == "1s":
            return None if self.second is None else replace(self.second)
        partial, second = self._partial[name], self.second
        if second is None:
            return None if partial is None else replace(partial)
        opened_ms = open_ms(name, second.open_ms)
        if partial is None or partial.open_ms != opened_ms:
            return replace(second, open_ms=opened_ms)
        whole = replace(partial)
        whole.absorb(second)
        return whole

    def read(
        self, name: str, start_ms: int | None, end_ms: int | None, limit: int, *, zone_ms: int = 0
    ) -> list[Candle]:
        """Candles whose open time lies in [start, end], forming one last; the newest ones unless a start is given.

        `zone_ms` shifts where candles of more than a minute open: the offset of a time zone from UTC.
        """
        if zone_ms and name not in ("1s", "1m"):
            return self._zoned(name, start_ms, end_ms, limit, zone_ms)
        columns = self.closed[name]
        low, high = columns.between(start_ms, end_ms)
        tail = [c for c in (self.forming(name),) if c is not None and _is_in(c, start_ms, end_ms)]
        if start_ms is not None:
            earlier = [] if self.archive is None else self.archive.read(name, start_ms, end_ms, limit)
            recent = [columns.at(i) for i in range(low, min(high, low + limit - len(earlier)))]
            return (earlier + recent + tail)[:limit]
        recent = [columns.at(i) for i in range(max(low, high - (limit - len(tail))), high)] + tail
        missing = limit - len(recent)
        return ([] if self.archive is None else self.archive.read(name, None, end_ms, missing)) + recent

    def _zoned(self, name: str, start_ms: int | None, end_ms: int | None, limit: int, zone_ms: int) -> list[Candle]:
        """The same folded from minutes while asked."""
        reach_ms = (limit + 2) * INTERVALS_MS[name]
        most_ms = self._newest_ms() if end_ms is None else end_ms
        least_ms = most_ms - reach_ms if start_ms is None else start_ms
        if start_ms is not None:
            most_ms = min(most_ms, start_ms + reach_ms)
        first_ms = open_ms(name, least_ms + zone_ms) - zone_ms
        last_ms = most_ms + INTERVALS_MS[name]
        minutes = Columns()
        if self.archive is not None:
            at = [max(0, min(len(self.archive), (t - self.archive.start_ms) // MINUTE_MS)) for t in (first_ms, last_ms)]
            minutes.extend(self.archive.minutes(at[0], at[1]))
        for candle in self.closed["1m"].part(first_ms, last_ms):
            minutes.append(candle)
        forming = self.forming("1m")
        if forming is not None and forming.open_ms <= last_ms:
            minutes.append(forming)
        folded = minutes.folded(name, zone_ms)
        low, high = folded.between(start_ms, end_ms)
        low, high = (max(low, high - limit), high) if start_ms is None else (low, min(high, low + limit))
        return [folded.at(i) for i in range(low, high)]

    def _newest_ms(self) -> int:
        forming = self.forming("1m")
        closed = self.closed["1m"].open_ms
        return forming.open_ms if forming is not None else closed[-1] if len(closed) else 0

    def average_price(self, now_ms: int, minutes: int) -> int | None:
        """Volume-weighted close of the last `minutes` of seconds, in smallest units; None without volume."""
        columns = self.closed["1s"]
        low = bisect_left(columns.open_ms, now_ms - minutes * MINUTE_MS)
        volume = sum(columns.volume[low:])
        if not volume:
            return None
        weighted = sum(p * v for p, v in zip(columns.close[low:], columns.volume[low:], strict=True))
        return weighted // volume

    def typical_volume(self, otherwise: int) -> int:
        """Mean volume of the last minute's closed seconds, in smallest units; `otherwise` when there are none."""
        recent = self.closed["1s"].volume[-60:]
        return sum(recent) // len(recent) if len(recent) else otherwise


def _is_in(candle: Candle, start_ms: int | None, end_ms: int | None) -> bool:
    return (start_ms is None or candle.open_ms >= start_ms) and (end_ms is None or candle.open_ms <= end_ms)
