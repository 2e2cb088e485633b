"""Candles in the database: all access to `analytics.candles` and its gaps goes through here.

A candle's key is venue, symbol, timeframe and open time. Only closed candles are stored, and stored again they are
replaced: an exchange may still correct one shortly after its close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import psycopg
from sqlalchemy import ColumnElement, LargeBinary, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.models.analytics import Candle, CandleGap
from app.services.market.candle_files import Gap
from app.services.strategy.candles import CandleColumns, timeframe_ms

PRICES = ("open", "high", "low", "close", "volume")
_PACKED = np.dtype([("open_time_ms", ">i8"), *((name, ">f8") for name in PRICES)])
_COPY_ROWS = 20_000
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"


class CandleValues(Protocol):
    """A closed candle as the exchange gives it (`KlineEvent` is one)."""

    @property
    def open_time_ms(self) -> int: ...
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def volume(self) -> float: ...


async def store_candles(
    session: AsyncSession, *, venue: str, symbol: str, timeframe: str, rows: Iterable[CandleValues]
) -> int:
    """Insert or replace closed candles, and keep the gaps around them in line. Returns how many were given.

    Of candles with one open time the last given counts.
    """
    by_time = {row.open_time_ms: row for row in rows}
    if not by_time:
        return 0
    candles = [by_time[at] for at in sorted(by_time)]
    key = {"venue": venue, "symbol": symbol, "timeframe": timeframe}
    values = {name: [float(getattr(candle, name)) for candle in candles] for name in PRICES}
    await session.execute(_UPSERT, key | {"times": [candle.open_time_ms for candle in candles]} | values)
    ends = {"first": candles[0].open_time_ms, "last": candles[-1].open_time_ms}
    low, high = (await session.execute(_BOUNDS, key | ends)).one()
    await session.execute(_FORGET_GAPS, key | {"low": low, "high": high})
    await session.execute(_FIND_GAPS, key | {"low": low, "high": high, "step": timeframe_ms(timeframe)})
    return len(candles)


async def read_candles(
    session: AsyncSession,
    *,
    venue: str,
    symbol: str,
    timeframe: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    limit: int | None = None,
    newest: bool = False,
) -> CandleColumns:
    """Candles with start_ms ≤ open time < end_ms, oldest first; with `limit` the first ones, or the `newest`."""
    time = col(Candle.open_time_ms)
    query = select(time, *(getattr(Candle, name) for name in PRICES)).where(
        col(Candle.venue) == venue, col(Candle.symbol) == symbol, col(Candle.timeframe) == timeframe
    )
    if start_ms is not None:
        query = query.where(time >= start_ms)
    if end_ms is not None:
        query = query.where(time < end_ms)
    chosen = query.order_by(time.desc() if newest else time).limit(limit).subquery()
    # One value of 48 bytes a row, not a row of Python objects each: a year of minutes takes a fraction of a second.
    packed: ColumnElement[Any] = func.int8send(chosen.c.open_time_ms)
    for name in PRICES:
        packed = packed.op("||")(func.float8send(chosen.c[name]))
    in_order = aggregate_order_by(literal(b"", LargeBinary), chosen.c.open_time_ms)
    rows = np.frombuffer(await session.scalar(select(func.string_agg(packed, in_order))) or b"", dtype=_PACKED)
    open_, high, low, close, volume = (rows[name].astype(np.float64) for name in PRICES)
    return CandleColumns(rows["open_time_ms"].astype(np.int64), open_, high, low, close, volume, timeframe)


async def candle_gaps(session: AsyncSession, *, venue: str, symbol: str, timeframe: str) -> tuple[Gap, ...]:
    """Where candles are missing between the first and the last stored, oldest first."""
    query = (
        select(col(CandleGap.from_ms), col(CandleGap.missing))
        .where(col(CandleGap.venue) == venue, col(CandleGap.symbol) == symbol, col(CandleGap.timeframe) == timeframe)
        .order_by(col(CandleGap.from_ms))
    )
    return tuple(Gap(from_ms, missing) for from_ms, missing in (await session.execute(query)).all())


async def copy_candles(
    session: AsyncSession,
    *,
    venue: str,
    symbol: str,
    candles: CandleColumns,
    gaps: Sequence[Gap],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Store a whole file of candles, new to its venue, with its gaps, by COPY; `progress(done, total)` after each part.

    The copies are part of the session's transaction.
    """
    pooled = await (await session.connection()).get_raw_connection()
    connection = pooled.driver_connection
    if not isinstance(connection, psycopg.AsyncConnection):
        raise TypeError(f"COPY needs psycopg, not {type(connection).__name__}")
    total = len(candles)
    for start in range(0, total, _COPY_ROWS):
        part = candles.window(start, min(start + _COPY_ROWS, total))
        async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            await copy.write(_COPY_HEADER + _binary_rows(venue, symbol, part) + _COPY_END)
        if progress is not None:
            progress(start + len(part), total)
    if gaps:
        key = {"venue": venue, "symbol": symbol, "timeframe": candles.timeframe}
        rows = [key | {"from_ms": gap.from_ms, "missing": gap.missing} for gap in gaps]
        await session.execute(insert(CandleGap), rows)


async def delete_venue(session: AsyncSession, venue: str) -> None:
    """Remove every candle and gap of a venue."""
    await session.execute(delete(CandleGap).where(col(CandleGap.venue) == venue))
    await session.execute(delete(Candle).where(col(Candle.venue) == venue))


async def close_near(session: AsyncSession, *, venue: str, symbol: str, timeframe: str, at_ms: int) -> float | None:
    """The close of the last candle that opened at or before `at_ms`."""
    query = (
        select(col(Candle.close))
        .where(
            col(Candle.venue) == venue,
            col(Candle.symbol) == symbol,
            col(Candle.timeframe) == timeframe,
            col(Candle.open_time_ms) <= at_ms,
        )
        .order_by(col(Candle.open_time_ms).desc())
        .limit(1)
    )
    return await session.scalar(query)


def _binary_rows(venue: str, symbol: str, candles: CandleColumns) -> bytes:
    """Rows in PostgreSQL's binary COPY format: a count of fields, then each field's length and bytes."""
    constants = [text_.encode() for text_ in (venue, symbol, candles.timeframe)]
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for i, constant in enumerate(constants):
        layout += [(f"text{i}_length", ">i4"), (f"text{i}", f"S{len(constant)}")]
    layout += [("time_length", ">i4"), ("time", ">i8")]
    for name in PRICES:
        layout += [(f"{name}_length", ">i4"), (name, ">f8")]
    rows = np.zeros(len(candles), dtype=layout)
    rows["fields"] = len(constants) + 1 + len(PRICES)
    for i, constant in enumerate(constants):
        rows[f"text{i}_length"], rows[f"text{i}"] = len(constant), constant
    rows["time_length"], rows["time"] = 8, candles.open_time_ms
    for name in PRICES:
        rows[f"{name}_length"], rows[name] = 8, candles.column(name)
    return rows.tobytes()


_COPY = (
    "COPY analytics.candles (venue, symbol, timeframe, open_time_ms, open, high, low, close, volume) "
    "FROM STDIN (FORMAT binary)"
)

_UPSERT = text("""
    INSERT INTO analytics.candles (venue, symbol, timeframe, open_time_ms, open, high, low, close, volume)
    SELECT :venue, :symbol, :timeframe, given.* FROM unnest(
        CAST(:times AS bigint[]), CAST(:open AS float8[]), CAST(:high AS float8[]), CAST(:low AS float8[]),
        CAST(:close AS float8[]), CAST(:volume AS float8[])) AS given
    ON CONFLICT (venue, symbol, timeframe, open_time_ms) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low,
        close = excluded.close, volume = excluded.volume
""")

# From the candle before the first given to the candle after the last given: there gaps are found anew.
_BOUNDS = text("""
    WITH series AS NOT MATERIALIZED (
        SELECT open_time_ms AS at FROM analytics.candles
        WHERE venue = :venue AND symbol = :symbol AND timeframe = :timeframe
    )
    SELECT coalesce((SELECT max(at) FROM series WHERE at < :first), :first),
           coalesce((SELECT min(at) FROM series WHERE at > :last), :last)
""")

_FORGET_GAPS = text("""
    DELETE FROM analytics.candle_gaps
    WHERE venue = :venue AND symbol = :symbol AND timeframe = :timeframe AND from_ms BETWEEN :low AND :high
""")

_FIND_GAPS = text("""
    INSERT INTO analytics.candle_gaps (venue, symbol, timeframe, from_ms, missing)
    SELECT :venue, :symbol, :timeframe, before_ms + :step, (open_time_ms - before_ms) / :step - 1
    FROM (
        SELECT open_time_ms, lag(open_time_ms) OVER (ORDER BY open_time_ms) AS before_ms
        FROM analytics.candles
        WHERE venue = :venue AND symbol = :symbol AND timeframe = :timeframe AND open_time_ms BETWEEN :low AND :high
    ) AS pairs
    WHERE open_time_ms - before_ms > :step
""")
