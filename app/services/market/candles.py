"""Imported data sets: a file of candles becomes a venue of its own (`file:7`).

Reading files is `candle_files.parse_candles`, pure; storing and reading candles is `candle_store`. Both are offered
from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, require
from app.models.analytics import Dataset
from app.models.execution import PaperMarketRequest
from app.services.market.candle_checks import moment
from app.services.market.candle_files import Gap, ParsedCandles, parse_candles
from app.services.market.candle_store import (
    candle_gaps,
    close_near,
    copy_candles,
    delete_venue,
    read_candles,
    store_candles,
)
from app.services.market.prices import prices

__all__ = [
    "DatasetView",
    "Gap",
    "ParsedCandles",
    "candle_gaps",
    "delete_dataset",
    "get_dataset",
    "import_candles",
    "list_datasets",
    "parse_candles",
    "read_candles",
    "store_candles",
]

#: A price further than this factor from what is known of the symbol is taken for another symbol's.
LARGEST_SCALE_FACTOR = 5.0
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class DatasetView:
    """An imported file. Times are open times of the first and last candle; `gap_list` is empty in lists."""

    id: int
    venue: str
    name: str
    symbol: str
    timeframe: str
    rows: int
    first_ms: int
    last_ms: int
    gaps: int
    missing: int
    sha256: str
    warnings: tuple[str, ...]
    user_id: int | None
    created_at: datetime | None
    gap_list: tuple[Gap, ...] = ()


async def import_candles(
    session: AsyncSession,
    *,
    user_id: int | None,
    parsed: ParsedCandles,
    name: str,
    accept_scale: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetView:
    """Store a parsed file as a data set. `user_id` None: the operator, by command line.

    Raises Conflict naming the data set that holds the same candles already, InvalidInput when prices are far from
    what is known of the symbol (unless `accept_scale`) or the name is too long.
    """
    name = name.strip() or f"{parsed.symbol} {parsed.timeframe}"
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(f"The name may have at most {_LONGEST_NAME} characters.", field="name")
    await _refuse_twice(session, parsed)
    if not accept_scale:
        await _check_scale(session, parsed)
    times = parsed.candles.open_time_ms
    row = Dataset(
        user_id=user_id,
        venue=f"importing:{parsed.symbol}:{parsed.timeframe}:{parsed.sha256}",
        name=name,
        symbol=parsed.symbol,
        timeframe=parsed.timeframe,
        rows=len(times),
        first_ms=int(times[0]),
        last_ms=int(times[-1]),
        gaps=len(parsed.gaps),
        missing=sum(gap.missing for gap in parsed.gaps),
        sha256=parsed.sha256,
        warnings=list(parsed.warnings),
    )
    session.add(row)
    await session.flush()
    venue = f"file:{row.id}"
    await session.execute(update(Dataset).where(col(Dataset.id) == row.id).values(venue=venue))
    await copy_candles(
        session, venue=venue, symbol=parsed.symbol, candles=parsed.candles, gaps=parsed.gaps, progress=progress
    )
    await session.refresh(row)
    return replace(_view(row), gap_list=parsed.gaps)


async def list_datasets(session: AsyncSession) -> list[DatasetView]:
    """Every data set, newest first, without their lists of gaps. Data sets are shared by all users."""
    rows = (await session.execute(select(Dataset).order_by(col(Dataset.id).desc()))).scalars()
    return [_view(row) for row in rows]


async def get_dataset(session: AsyncSession, dataset_id: int) -> DatasetView:
    """One data set with its gaps. Raises NotFound."""
    view = _view(await _row(session, dataset_id))
    gaps = await candle_gaps(session, venue=view.venue, symbol=view.symbol, timeframe=view.timeframe)
    return replace(view, gap_list=gaps)


async def delete_dataset(session: AsyncSession, *, user_id: int | None, dataset_id: int) -> None:
    """Remove a data set and its candles. `user_id` None: the operator, who may remove any.

    Raises NotFound, NotAllowed for one that another user imported, Conflict while the paper market shows it.
    """
    row = await _row(session, dataset_id)
    if user_id is not None and row.user_id not in (None, user_id):
        raise NotAllowed(f"The data set “{row.name}” was imported by another user.")
    newest = (
        select(PaperMarketRequest)
        .ext(distinct_on(col(PaperMarketRequest.symbol)))
        .where(col(PaperMarketRequest.state) != "FAILED")
        .order_by(col(PaperMarketRequest.symbol), col(PaperMarketRequest.id).desc())
    )
    for request in (await session.execute(newest)).scalars():
        if request.source == "replay" and request.dataset_id == dataset_id:
            raise Conflict(
                f"The paper market of {request.symbol} replays “{row.name}”. Choose another source for it first."
            )
    await delete_venue(session, row.venue)
    await session.delete(row)
    await session.flush()


async def _refuse_twice(session: AsyncSession, parsed: ParsedCandles) -> None:
    """Raise Conflict if the same candles are there already. Two imports of them at once take turns here."""
    content = f"{parsed.symbol}:{parsed.timeframe}:{parsed.sha256}"
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:content, 0))"), {"content": content})
    same = select(Dataset).where(
        col(Dataset.sha256) == parsed.sha256,
        col(Dataset.symbol) == parsed.symbol,
        col(Dataset.timeframe) == parsed.timeframe,
    )
    if there := (await session.execute(same)).scalars().first():
        raise Conflict(f"These candles are here already, as “{there.name}” (data set {there.id}).", dataset_id=there.id)


async def _check_scale(session: AsyncSession, parsed: ParsedCandles) -> None:
    """Raise InvalidInput when the file's prices are far from those of the symbol's data sets or markets.

    Compared is the file's close with the known close nearest in time, so years of growth are no mix-up.
    """
    ours = parsed.candles
    known = (await session.execute(select(Dataset).where(col(Dataset.symbol) == parsed.symbol))).scalars().all()
    for other in known:
        at_ms = min(max(other.first_ms, int(ours.open_time_ms[0])), other.last_ms)
        theirs = await close_near(
            session, venue=other.venue, symbol=other.symbol, timeframe=other.timeframe, at_ms=at_ms
        )
        index = max(int(ours.open_time_ms.searchsorted(at_ms, side="right")) - 1, 0)
        when = moment(int(ours.open_time_ms[index]))
        if theirs is not None:
            _compare(parsed, float(ours.close[index]), when, theirs, f"the data set “{other.name}” says")
    if known:
        return
    for kind in ("LIVE", "TESTNET", "PAPER"):
        if priced := (await prices(session, kind=kind)).get(parsed.symbol):
            when = moment(int(ours.open_time_ms[-1]))
            words = f"the {kind.lower()} market now says"
            _compare(parsed, float(ours.close[-1]), when, float(priced.price), words)
            return


def _compare(parsed: ParsedCandles, ours: float, when: str, theirs: float, words: str) -> None:
    factor = max(ours / theirs, theirs / ours)
    if factor <= LARGEST_SCALE_FACTOR:
        return
    raise InvalidInput(
        f"These prices do not look like {parsed.symbol}: the file says {ours:.12g} at {when} UTC, {words} "
        f"{theirs:.12g}, {factor:,.1f} times {'less' if theirs < ours else 'more'}. Is it the file of another symbol? "
        "If it is right, confirm the scale and import it again.",
        field="file",
        confirm="accept_scale",
    )


async def _row(session: AsyncSession, dataset_id: int) -> Dataset:
    row = await session.get(Dataset, dataset_id)
    if row is None:
        raise NotFound(f"There is no data set {dataset_id}.")
    return row


def _view(row: Dataset) -> DatasetView:
    require(row.id is not None, "a stored data set has an id")
    return DatasetView(
        id=row.id or 0,
        venue=row.venue,
        name=row.name,
        symbol=row.symbol,
        timeframe=row.timeframe,
        rows=row.rows,
        first_ms=row.first_ms,
        last_ms=row.last_ms,
        gaps=row.gaps,
        missing=row.missing,
        sha256=row.sha256,
        warnings=tuple(row.warnings),
        user_id=row.user_id,
        created_at=row.created_at,
    )
