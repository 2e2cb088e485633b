"""A candle file for a replay: the first six columns of Binance's kline files, with or without a heading."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

from app.domain.errors import InvalidInput

COLUMNS = 6
#: Binance's files count microseconds since 2025.
_MICROSECONDS = 10**14


def read_file(path: Path) -> list[list[Any]]:
    """The rows of a CSV file (plain, .gz or .zip) as a replay takes them. Raises InvalidInput with the line."""
    try:
        return _rows(path, _text(path))
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", field="replay") from error


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return archive.read(archive.namelist()[0]).decode()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()


def _rows(path: Path, text: str) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for line, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not row or (line == 1 and not row[0].isdigit()):
            continue
        if len(row) < COLUMNS or not row[0].isdigit():
            raise InvalidInput(f"{path}, line {line}: this is no candle", field="replay")
        at = int(row[0])
        rows.append([at // 1000 if at >= _MICROSECONDS else at, *row[1:COLUMNS]])
    return rows
