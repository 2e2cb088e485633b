"""Reading candles from a file: the columns, the checks, and what to say about each thing that is wrong.

Understood are comma-separated rows of open time (milliseconds or microseconds since 1970), open, high, low, close,
volume, with or without a header, with or without the further columns of Binance's bulk files; as they are, gzipped,
or as the only file of a zip. Rows are counted as a spreadsheet does: a header is row 1.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np

from app.domain.clock import to_datetime
from app.domain.errors import InvalidInput
from app.services.compiled import can_compile
from app.services.market.candle_checks import check_rows, check_scale, count, in_ms, in_words
from app.services.market.plain_rows import PlainRows, read_plain_rows
from app.services.market.uploads import MAX_UNPACKED_BYTES, not_text, open_csv
from app.services.strategy.candles import CandleColumns, timeframe_ms

COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
_ALIASES = {
    "open_time": "open_time",
    "opentime": "open_time",
    "open_time_ms": "open_time",
    "time": "open_time",
    "timestamp": "open_time",
    "date": "open_time",
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
}
_CHUNK_ROWS = 50_000
_SYMBOL = re.compile(r"[A-Z0-9]{2,20}")


@dataclass(frozen=True, slots=True)
class Gap:
    """Candles that are not there: the open time of the first missing one, and how many."""

    from_ms: int
    missing: int


@dataclass(frozen=True, slots=True)
class ParsedCandles:
    """The candles of a file, checked. `sha256` is of the candles, so it is the same however they were packed."""

    symbol: str
    timeframe: str
    candles: CandleColumns
    gaps: tuple[Gap, ...]
    sha256: str
    warnings: tuple[str, ...]


def parse_candles(
    stream: BinaryIO,
    *,
    filename: str,
    symbol: str,
    timeframe: str,
    accept_scale: bool = False,
    max_bytes: int = MAX_UNPACKED_BYTES,
    compiled: bool = False,
) -> ParsedCandles:
    """Read and check a file of candles; pure but for reading `stream`, which must be seekable.

    `compiled`: read a large well-formed file ten times faster, at the price of loading numba; the numbers are the same.
    `accept_scale` lets prices jump by more than a factor of 20 from one candle to the next. Raises InvalidInput with
    `field` file, symbol or timeframe; about a row the message names the row and the column, and `facts` holds both.
    """
    symbol = symbol.strip().upper()
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidInput(f"{symbol!r} is not a symbol; one looks like BTCUSDT.", field="symbol")
    timeframe_ms(timeframe)
    plain = _read_plain(stream, filename, max_bytes) if compiled and can_compile() else None
    if plain is not None:
        first_row = 1 if _fits(float, plain.first[0]) else 2
        raw_time, (open_, high, low, close, volume) = plain.raw_time, plain.columns
    else:
        with open_csv(stream, filename, max_bytes=max_bytes) as rows:
            table, first_row = _read(rows, filename)
        raw_time = np.asarray(table[0], dtype=np.int64)
        open_, high, low, close, volume = (np.asarray(column, dtype=np.float64) for column in table[1:])
    check_rows(raw_time, open_, high, low, close, volume, timeframe=timeframe, first_row=first_row)
    candles = CandleColumns(in_ms(raw_time), open_, high, low, close, volume, timeframe)
    if not accept_scale:
        check_scale(candles, first_row=first_row)
    gaps = find_gaps(candles)
    return ParsedCandles(symbol, timeframe, candles, gaps, _sha256(candles), _warnings(candles, gaps))


def find_gaps(candles: CandleColumns) -> tuple[Gap, ...]:
    """Where candles are missing between the first and the last."""
    span = timeframe_ms(candles.timeframe)
    steps = np.diff(candles.open_time_ms)
    at = np.flatnonzero(steps > span)
    return tuple(Gap(int(candles.open_time_ms[i]) + span, int(steps[i]) // span - 1) for i in at)


def _read_plain(stream: BinaryIO, filename: str, max_bytes: int) -> PlainRows | None:
    def places(first: list[str]) -> list[int] | None:
        if len(first) < len(COLUMNS):
            raise _too_narrow(1, first)
        return None if _fits(float, first[0]) else _places(first, filename)

    found = read_plain_rows(stream, filename, max_bytes=max_bytes, places=places)
    stream.seek(0)
    return found


def _read(rows: Iterator[list[str]], filename: str) -> tuple[list[array[Any]], int]:
    """The six columns as numbers, and the row number of the first data row."""
    rows = _without_blank_tail(rows)
    first = next(rows, None)
    if first is None:
        raise _invalid(f"{filename} has no rows.")
    if any("\0" in field for field in first):
        raise not_text(filename)
    if not any(first):
        raise _row_error(1, "", "is empty")
    has_header = not _fits(float, first[0])
    places = _places(first, filename) if has_header else list(range(len(COLUMNS)))
    if len(first) < len(COLUMNS):
        raise _too_narrow(1, first)
    first_row = 2 if has_header else 1
    rows = rows if has_header else chain([first], rows)
    table: list[array[Any]] = [array("q"), *(array("d") for _ in COLUMNS[1:])]
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        number = first_row + len(table[0])
        _check_width(chunk, number, len(first))
        fields = list(zip(*chunk, strict=True))
        for column, name, place in zip(table, COLUMNS, places, strict=True):
            _append(column, name, fields[place], number)
    if not table[0]:
        raise _invalid(f"{filename} holds a header but no candles.")
    return table, first_row


def _without_blank_tail(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Blank lines at the end of a file are no rows; elsewhere they are, and wrong."""
    blank = 0
    for row in rows:
        if not row:
            blank += 1
            continue
        for _ in range(blank):
            yield []
        blank = 0
        yield row


def _check_width(chunk: list[list[str]], number: int, width: int) -> None:
    """Raise InvalidInput about the first row that does not have `width` columns."""
    wrong = next((i for i, row in enumerate(chunk) if len(row) != width), None)
    if wrong is None:
        return
    if not chunk[wrong]:
        raise _row_error(number + wrong, "", "is empty")
    if len(chunk[wrong]) < len(COLUMNS):
        raise _too_narrow(number + wrong, chunk[wrong])
    raise _row_error(number + wrong, "", f"has {count(len(chunk[wrong]), 'column')}, but the first row has {width}")


def _too_narrow(row: int, fields: list[str]) -> InvalidInput:
    return _row_error(row, "", f"has {count(len(fields), 'column')}; {_wanted()}")


def _append(column: array[Any], name: str, values: tuple[str, ...], number: int) -> None:
    """Add a column's numbers. Raises InvalidInput for the first that is none."""
    read = int if column.typecode == "q" else float
    try:
        column.extend(map(read, values))
    except (ValueError, OverflowError):
        wrong = next(i for i, value in enumerate(values) if not _fits(read, value))
        wanted = "a whole number of milliseconds or microseconds since 1970" if read is int else "a number"
        said = f"{in_words(values[wrong])} is not {wanted}" if values[wrong].strip() else "is missing"
        raise _row_error(number + wrong, name, said) from None


def _places(header: list[str], filename: str) -> list[int]:
    """Where each wanted column stands, by the header's names."""
    names = [re.sub(r"[ \-]+", "_", name.strip().lower()) for name in header]
    names = [_ALIASES.get(name, name) for name in names]
    if missing := [name for name in COLUMNS if name not in names]:
        hint = " The columns must be separated by commas." if len(header) == 1 else ""
        raise _invalid(
            f"{filename}: the header has no column {' nor '.join(missing)}; "
            f"it says {in_words(', '.join(header))}. {_wanted().capitalize()}.{hint}"
        )
    return [names.index(name) for name in COLUMNS]


def _fits(read: type[int] | type[float], text: str) -> bool:
    try:
        return -(2**63) <= read(text) < 2**63 or read is float
    except ValueError:
        return False


def _sha256(candles: CandleColumns) -> str:
    rows = np.empty(len(candles), dtype=[("t", "<i8"), *((name, "<f8") for name in COLUMNS[1:])])
    rows["t"] = candles.open_time_ms
    for name in COLUMNS[1:]:
        rows[name] = candles.column(name)
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _warnings(candles: CandleColumns, gaps: tuple[Gap, ...]) -> tuple[str, ...]:
    found = []
    if gaps:
        longest = max(gaps, key=lambda gap: gap.missing)
        missing = sum(gap.missing for gap in gaps)
        since = to_datetime(longest.from_ms).strftime("%Y-%m-%d %H:%M")
        found.append(
            f"{count(missing, 'candle')} missing in {count(len(gaps), 'gap')}; "
            f"the longest begins {since} UTC and lacks {count(longest.missing, 'candle')}."
        )
    if empty := int((candles.volume == 0).sum()):
        found.append(f"{count(empty, 'candle')} without any volume.")
    return tuple(found)


def _wanted() -> str:
    return f"{len(COLUMNS)} are needed: {', '.join(COLUMNS)}"


def _row_error(row: int, column: str, said: str) -> InvalidInput:
    place = f"Row {row:,}, column {column}:" if column else f"Row {row:,}"
    return InvalidInput(f"{place} {said}.", field="file", row=row, column=column)


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, field="file")
