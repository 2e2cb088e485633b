"""The quick way through a large, well-formed file of candles: numbers read from bytes by a compiled loop.

It reads only what cannot be misread: rows of equal width, digits with at most one point, nothing quoted, signed or in
scientific notation. For anything else it gives up, and `candle_files` reads the file again, slowly and with words.
Its numbers are those of `float`: a whole number below 2**53 divided by a power of ten up to 10**22 is rounded once.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from app.domain.errors import InvalidInput
from app.services.compiled import compiled
from app.services.market.uploads import open_bytes
from app.services.strategy.candles import Floats, Ints

_BLOCK_BYTES = 4 * 1024 * 1024
_POWERS: Floats = np.array([float(10**power) for power in range(23)])
_COMMA, _POINT, _RETURN, _NEWLINE, _ZERO, _NINE = b",.\r\n09"


@dataclass(frozen=True, slots=True)
class PlainRows:
    """The first line as text fields, and the numbers of the rows after it (of all rows where it is one itself)."""

    first: list[str]
    raw_time: Ints
    columns: tuple[Floats, ...]


@compiled
def read_block(
    block: npt.NDArray[np.uint8], place_of: Ints, powers: Floats
) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Rows in a block of whole lines; -1 rows when anything is out of the ordinary.

    `place_of`: for each field of a row which wanted column it is (0: the time), -1 for none.
    """
    width = len(place_of)
    most = 0
    for byte in block:
        most += byte == _NEWLINE
    times = np.empty(most, np.int64)
    values = np.empty((5, most), np.float64)
    row, field, at, size = 0, 0, 0, len(block)
    while at < size:
        number, digits, decimals, zeros = 0, 0, 0, 0
        has_point = False
        wanted = place_of[field]
        while at < size:
            byte = block[at]
            at += 1
            if _ZERO <= byte <= _NINE:
                digits += 1
                if has_point and byte == _ZERO:
                    zeros += 1  # they count only if another digit follows
                    continue
                if has_point:
                    decimals += zeros + 1
                    for _ in range(zeros):
                        number *= 10
                    zeros = 0
                number = number * 10 + (byte - _ZERO)
                if (wanted > 0 and number >= 9007199254740992) or number >= 10**18 or decimals > 22:
                    return -1, times, values
            elif byte == _POINT and not has_point and wanted != 0:
                has_point = True
            elif byte in (_COMMA, _NEWLINE, _RETURN):
                break
            else:
                return -1, times, values
        if byte == _RETURN:
            if at >= size or block[at] != _NEWLINE:
                return -1, times, values
            byte = block[at]
            at += 1
        if digits == 0 or (byte == _NEWLINE) != (field == width - 1):
            return -1, times, values
        if wanted == 0:
            times[row] = number
        elif wanted > 0:
            values[wanted - 1, row] = number / powers[decimals]
        field += 1
        if field == width:
            field, row = 0, row + 1
    if field != 0:
        return -1, times, values
    return row, times[:row], values[:, :row]


def read_plain_rows(
    stream: BinaryIO, filename: str, *, max_bytes: int, places: Callable[[list[str]], list[int] | None]
) -> PlainRows | None:
    """All rows, or None where the file is not as plain as this needs. `stream` is read to its end, or anywhere.

    `places`: from the first line to where the wanted columns stand when it is a header, None when it is a row.
    """
    try:
        with open_bytes(stream, filename, max_bytes=max_bytes) as raw:
            return _read(raw, places)
    except (InvalidInput, EOFError, OSError, zlib.error, zipfile.BadZipFile):
        return None


def _read(raw: BinaryIO, places: Callable[[list[str]], list[int] | None]) -> PlainRows | None:
    rest = raw.read(_BLOCK_BYTES)
    line, newline, after = rest.partition(b"\n")
    if not newline or not line.isascii() or b'"' in line:
        return None
    first = line.decode("ascii").rstrip("\r").split(",")
    stand = places(first)
    rest = rest if stand is None else after
    place_of = np.full(len(first), -1, np.int64)
    place_of[list(range(6)) if stand is None else stand] = np.arange(6)
    times: list[Ints] = []
    values: list[Floats] = []
    while rest:
        block = raw.read(_BLOCK_BYTES)
        whole, rest = _cut(rest, is_last=not block)
        count, time, numbers = read_block(np.frombuffer(whole, np.uint8), place_of, _POWERS)
        if count < 0:
            return None
        times.append(time)
        values.append(numbers)
        rest += block
    if not times:
        return None
    columns = tuple(np.concatenate([part[at] for part in values]) for at in range(5))
    return PlainRows(first, np.concatenate(times), columns)


def _cut(data: bytes, *, is_last: bool) -> tuple[bytes, bytes]:
    """Whole lines, and the beginning of the next."""
    if is_last:
        return (data if data.endswith(b"\n") else data + b"\n"), b""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]
