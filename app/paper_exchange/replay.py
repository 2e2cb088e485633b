"""A market that plays given candles, one a second, as if they happened now.

The candles' own times are used only to check their order and to count the gaps, which are closed by the
replay: the one base candle after the other becomes the one second after the other.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np

from app.domain.errors import InvalidInput
from app.domain.money import parse_amount
from app.paper_exchange.archive import Archive
from app.paper_exchange.candles import PATH_POINTS, History
from app.paper_exchange.intervals import SECOND_MS
from app.paper_exchange.units import Units

MAX_CANDLES = 1_000_000
MIN_CANDLES = 2
MAX_HISTORY = 86_400
#: History before the start when the caller does not say where to start.
DEFAULT_HISTORY = 1_500


@dataclass(frozen=True, slots=True)
class Tape:
    """Candles as one array of (open, high, low, close, volume) in smallest units, and what was found reading them."""

    values: array[int]
    gaps: int  # places where the source skipped at least one candle
    missing: int  # candles skipped in all
    base_ms: int  # spacing of the source's candles

    def __len__(self) -> int:
        return len(self.values) // 5

    def at(self, index: int) -> tuple[int, int, int, int, int]:
        """One candle."""
        o, h, low, c, v = self.values[index * 5 : index * 5 + 5]
        return o, h, low, c, v

    def packed(self) -> bytes:
        """Compressed, for the file."""
        return zlib.compress(self.values.tobytes(), 1)


def unpack(blob: bytes) -> array[int]:
    """The inverse of `Tape.packed`."""
    values = array("q")
    values.frombytes(zlib.decompress(blob))
    return values


def typical_price(rows: Sequence[Any]) -> Decimal:
    """The first open, for choosing a new symbol's tick. Raises InvalidInput."""
    if not isinstance(rows, list) or len(rows) < MIN_CANDLES:
        raise InvalidInput(f"a replay needs at least {MIN_CANDLES} candles", field="candles")
    return parse_amount(_row(rows, 0)[1], field="candles[0].open", positive=True)


def read_tape(rows: Sequence[Any], units: Units) -> Tape:
    """Check `[[open_time_ms, open, high, low, close, volume], …]` and turn it into a tape.

    Prices are rounded to the symbol's tick. Raises InvalidInput that names the row, counted from 0.
    """
    if len(rows) > MAX_CANDLES:
        raise InvalidInput(f"a replay takes at most {MAX_CANDLES} candles, not {len(rows)}", field="candles")
    values = array("q")
    times = array("q")
    for index in range(len(rows)):
        row = _row(rows, index)
        time = row[0]
        if isinstance(time, bool) or not isinstance(time, int):
            raise InvalidInput(f"candle {index}: the open time must be whole milliseconds", field="candles")
        if times and time <= times[-1]:
            raise InvalidInput(f"candle {index}: its open time is not later than the one before", field="candles")
        times.append(time)
        o, h, low, c = (_price(text, index, units) for text in row[1:5])
        if not low <= min(o, c) <= max(o, c) <= h:
            raise InvalidInput(f"candle {index}: open and close must lie between low and high", field="candles")
        values.extend((o, h, low, c, _volume(row[5], index, units)))
    steps = [later - earlier for earlier, later in pairwise(times)]
    base = min(steps)
    gaps = [step for step in steps if step > base]
    return Tape(values, len(gaps), sum(step // base - 1 for step in gaps), base)


def _price(text: Any, index: int, units: Units) -> int:
    quick = _whole(text, units.price_decimals) if units.tick == 1 else None
    return quick or units.price_units(parse_amount(text, field=f"candle {index}", positive=True))


def _volume(text: Any, index: int, units: Units) -> int:
    quick = _whole(text, units.quantity_decimals)
    return units.quantity_units(parse_amount(text, field=f"candle {index}")) if quick is None else quick


def _whole(text: Any, decimals: int) -> int | None:
    """A plain decimal text in smallest units, or None when it needs a closer look. For speed: a replay has
    more than a million of them.
    """
    if type(text) is not str or not text.isascii():
        return None
    whole, _, part = text.partition(".")
    if not whole.isdigit() or len(whole) > 12 or (part and not part.isdigit()):
        return None
    part = part.rstrip("0")
    return None if len(part) > decimals else int(whole + part.ljust(decimals, "0"))


def _row(rows: Sequence[Any], index: int) -> Sequence[Any]:
    row = rows[index]
    if not isinstance(row, list) or len(row) != 6:
        raise InvalidInput(
            f"candle {index} must be [open_time_ms, open, high, low, close, volume] with amounts as text",
            field="candles",
        )
    return row


class Replay:
    """The source: plays a tape from `start`, once or (`loop`) for ever."""

    kind = "replay"

    def __init__(
        self, tape: Tape, units: Units, *, label: str, start: int | None, loop: bool, position: int | None = None
    ) -> None:
        if start is None:
            start = min(DEFAULT_HISTORY, len(tape) // 2)
        if not 0 <= start < len(tape):
            raise InvalidInput(f"start must be from 0 to {len(tape) - 1}, the last candle", field="start")
        self.tape = tape
        self.units = units
        self.label = label
        self.start = start
        self.loop = loop
        self.position = start if position is None else position  # candles played, in all rounds

    @property
    def progress(self) -> tuple[int, int] | None:
        """(candle about to be played, candles in all); a loop starts again at 0."""
        at = self.position % len(self.tape) if self.loop else self.position
        return at, len(self.tape)

    def next(self) -> tuple[int, int, int, int, int] | None:
        """Open, high, low, close, volume of the next second; None at the end."""
        if self.position >= len(self.tape) and not self.loop:
            return None
        candle = self.tape.at(self.position % len(self.tape))
        self.position += 1
        return candle

    def history(self, live_ms: int) -> History:
        """The candles before the start, as seconds that end where the market goes live."""
        history = History()
        count = min(self.start, MAX_HISTORY)
        if not count:
            return history
        rows = np.frombuffer(self.tape.values, dtype=np.int64).reshape(-1, 5)[self.start - count : self.start]
        scale = 10.0 ** (self.units.price_decimals + self.units.quantity_decimals)
        columns = history.seconds
        columns.open_ms.frombytes((live_ms + SECOND_MS * np.arange(-count, 0, dtype=np.int64)).tobytes())
        for n, column in enumerate((columns.open, columns.high, columns.low, columns.close, columns.volume)):
            column.frombytes(rows[:, n].tobytes())
        columns.quote.frombytes((rows[:, :4].mean(axis=1) * rows[:, 4] / scale).tobytes())
        columns.prints.frombytes(np.full(count, PATH_POINTS, dtype=np.int64).tobytes())
        return history

    def archive(self) -> Archive | None:
        """Nothing but what `history` gave."""
        return None

    def describe(self) -> dict[str, Any]:
        """What is needed to make this source again (tape and position apart)."""
        return {
            "source": "replay",
            "label": self.label,
            "start": self.start,
            "loop": self.loop,
            "gaps": self.tape.gaps,
            "missing": self.tape.missing,
            "base_ms": self.tape.base_ms,
        }

    def snapshot(self) -> dict[str, Any]:
        """The changing part, as JSON."""
        return {"position": self.position}
