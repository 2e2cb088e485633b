"""Candles of an exchange into a file, page by page; a download that was interrupted goes on where it stopped.

The file is what `plumbline candles import` and `plumbline backtest run` read: a header, then open time in ms and
open, high, low, close, volume as the shortest text of each double. Real gaps stay gaps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.domain.clock import Clock
from app.domain.errors import InvalidInput, Unavailable
from app.services.exchange.protocol import AskingFailed, KlineEvent, MarketData
from app.services.strategy.candles import timeframe_ms

HEADER = "open_time,open,high,low,close,volume\n"
#: Candles asked for before the file is written to and progress is told: ten pages of the exchange.
AT_ONCE = 10_000
#: Binance: this symbol does not exist.
INVALID_SYMBOL = -1121
#: Pauses after a failed question, in seconds; after the last of them the download ends, and can be gone on with.
PAUSES_S = (2.0, 10.0, 30.0, 65.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is: candles in the file, the time reached and the time aimed at (ms)."""

    rows: int
    reached_ms: int
    end_ms: int


def utc_ms(text: str, field: str) -> int:
    """A UTC day or moment, like 2024-01-31 or 2024-01-31T12:00, in milliseconds. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        message = f"{text!r} is no date; write it like 2024-01-31 or 2024-01-31T12:00 (UTC)."
        raise InvalidInput(message, field=field) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp() * 1000)


async def download_candles(
    source: MarketData,
    path: Path,
    *,
    symbol: str,
    timeframe: str,
    start_ms: int,
    end_ms: int,
    clock: Clock,
    tell: Callable[[Progress], None],
) -> int:
    """Bring the closed candles with start_ms ≤ open time < end_ms into the CSV at `path`; returns the file's rows.

    A file that is there is gone on with, from its last whole line. Raises InvalidInput for a range or a file that
    cannot be right, Unavailable when the exchange cannot be asked any more; what was fetched is in the file then.
    """
    length_ms = timeframe_ms(timeframe)
    if start_ms >= end_ms:
        raise InvalidInput("the range is empty: its end is not after its start", field="to")
    rows, last_ms = _kept(path, start_ms, length_ms)
    next_ms = start_ms if last_ms is None else last_ms + length_ms
    with path.open("a", encoding="ascii", newline="") as file:
        while next_ms < end_ms:
            until_ms = min(next_ms + AT_ONCE * length_ms, end_ms)
            candles = await _ask(source, symbol, timeframe, next_ms, until_ms, clock, rows)
            file.writelines(map(_line, candles))
            file.flush()
            os.fsync(file.fileno())
            rows += len(candles)
            next_ms = until_ms
            tell(Progress(rows, next_ms, end_ms))
    return rows


async def _ask(
    source: MarketData, symbol: str, timeframe: str, start_ms: int, end_ms: int, clock: Clock, rows: int
) -> Sequence[KlineEvent]:
    for pause_s in (*PAUSES_S, None):
        try:
            return await source.closed_candles(symbol, timeframe, start_ms=start_ms, end_ms=end_ms)
        except AskingFailed as failure:
            if failure.code == INVALID_SYMBOL:
                raise InvalidInput(f"the exchange has no symbol {symbol}", field="symbol") from None
            if pause_s is None:
                message = f"{failure.reason}. {rows:,} candles are in the file; the same command goes on from there."
                raise Unavailable(message) from None
            await clock.sleep(max(pause_s, failure.retry_after_s or 0.0))
    raise Unavailable("the exchange does not answer")


def _line(candle: KlineEvent) -> str:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return f"{candle.open_time_ms},{','.join(map(repr, values))}\n"


def _kept(path: Path, start_ms: int, length_ms: int) -> tuple[int, int | None]:
    """Rows and last open time of the file, a torn last line cut off; a new file gets its header."""
    if not path.exists() or path.stat().st_size == 0:
        path.write_text(HEADER, "ascii")
        return 0, None
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    lines = whole.decode("ascii", "replace").splitlines()
    if not lines or lines[0] + "\n" != HEADER:
        raise InvalidInput(f"{path} is there already and is not a download of ours; choose another name", field="out")
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    if len(lines) == 1:
        return 0, None
    first_ms, last_ms = _open_time(path, lines[1]), _open_time(path, lines[-1])
    if first_ms < start_ms or (last_ms - first_ms) % length_ms:
        raise InvalidInput(f"{path} holds candles of another range or timeframe; choose another name", field="out")
    return len(lines) - 1, last_ms


def _open_time(path: Path, line: str) -> int:
    text = line.split(",", 1)[0]
    if not text.isdecimal():
        raise InvalidInput(f"{path} holds a line that is no candle: {line[:60]!r}", field="out")
    return int(text)
