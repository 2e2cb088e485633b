"""Files of candles, good and bad, in the layout of the real ones."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stack import ROOT

HOUR_MS = 3_600_000
FIRST_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS
HEADER = "open_time,open,high,low,close,volume"
#: Real candles, when they lie beside the project.
REAL = ROOT.parent / "shared" / "data" / "BTCUSDT-1h.csv.gz"
REAL_MINUTES = REAL.with_name("BTCUSDT-1m.csv.gz")


def candle_rows(count: int, *, price: float = 100_000.0, first_ms: int = FIRST_MS, step_ms: int = HOUR_MS) -> list[str]:
    """A random walk of about 0.5 % a candle, the same each time."""
    random_walk = random.Random(7)
    rows = []
    for number in range(count):
        close = price * (1 + random_walk.gauss(0, 0.005))
        high, low = max(price, close) * 1.001, min(price, close) * 0.999
        volume = random_walk.uniform(100, 900)
        rows.append(f"{first_ms + number * step_ms},{price:.2f},{high:.2f},{low:.2f},{close:.2f},{volume:.6f}")
        price = round(close, 2)
    return rows


def csv(rows: list[str]) -> bytes:
    """The file of these rows."""
    return "\n".join([HEADER, *rows, ""]).encode()


@dataclass(frozen=True, slots=True)
class Hours:
    """A file of hourly candles, and what the platform must say about it."""

    path: Path
    rows: str
    gaps: str
    first: str
    start: str  # candle to begin a replay at
    far_below: str  # a price well below the market there, yet one that the exchange takes


def hours(folder: Path) -> Hours:
    """The real file of seven years when it is there, else a generated one with three gaps."""
    if REAL.exists():
        return Hours(REAL, "58,419", "28 gaps, 128 missing", "2017-08-17 04:00", "3000", "6,000")
    rows = candle_rows(6_000)
    del rows[4_000:4_010], rows[2_000], rows[1_000:1_004]
    path = folder / "BTCUSDT-1h.csv.gz"
    path.write_bytes(gzip.compress(csv(rows)))
    return Hours(path, "5,985", "3 gaps, 15 missing", "2023-11-14 22:00", "3000", "50,000")


def large_file(size_bytes: int) -> Iterator[bytes]:
    """A stream of valid-looking rows; never all of it in memory."""
    block = ("\n".join(candle_rows(1_000)) + "\n").encode()
    sent = 0
    while sent < size_bytes:
        piece = block[: size_bytes - sent]
        sent += len(piece)
        yield piece
