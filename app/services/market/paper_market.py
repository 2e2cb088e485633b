"""What the paper market of a symbol shows: asked for here, carried out by the worker, told back by the exchange."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.errors import InvalidInput
from app.models.execution import AccountKind, PaperMarket, PaperMarketRequest, SymbolRow
from app.services.market.candles import get_dataset

#: What the paper exchange can play in one replay.
FEWEST_CANDLES, MOST_CANDLES = 2, 1_000_000
MOST_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PaperMarketRequestView:
    """A wish and what became of it. `state`: REQUESTED, APPLIED or FAILED (`message` says why)."""

    id: int
    symbol: str
    source: str
    dataset_id: int | None
    options: dict[str, Any]
    state: str
    message: str
    created_at: datetime | None
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class PaperMarketView:
    """What a symbol's paper market showed when the exchange was last asked (`seen_at`).

    `progress` of `total` candles are played; both None for a synthetic or mirrored market, which has no end. `halted`:
    at its end, or because the mirrored exchange is silent; `trouble` says what is wrong with that one.
    """

    symbol: str
    venue: str
    source: str
    label: str
    progress: int | None
    total: int | None
    gaps_closed: int
    loop: bool
    halted: bool
    trouble: str
    preset: str
    seen_at: datetime


async def request_paper_market(
    session: AsyncSession,
    *,
    user_id: int,
    symbol: str,
    source: str,
    dataset_id: int | None = None,
    start: int | None = None,
    loop: bool = False,
    seed: int | None = None,
) -> PaperMarketRequestView:
    """Ask for another market: a `replay` of a data set, a `synthetic` one from a `seed`, or a `mirror` of Binance's.

    `start` is the number, from 0, of the first candle played; those before it are history. `loop` begins again at the
    end instead of halting. Raises InvalidInput naming the field, NotFound for the data set.
    """
    symbol = symbol.strip().upper()
    options: dict[str, Any] = {}
    if source == "replay":
        await _check_replay(session, symbol, dataset_id, start)
        options = {"loop": loop} | ({"start": start} if start is not None else {})
    elif source in ("synthetic", "mirror"):
        seed = seed if source == "synthetic" else None
        await _check_made(session, symbol, dataset_id, seed)
        options = {"seed": seed} if seed is not None else {}
    else:
        raise InvalidInput("The source of a paper market is “replay”, “synthetic” or “mirror”.", field="source")
    values = {"user_id": user_id, "symbol": symbol, "source": source, "dataset_id": dataset_id, "options": options}
    request_id = await session.scalar(insert(PaperMarketRequest).values(values).returning(col(PaperMarketRequest.id)))
    row = await session.get_one(PaperMarketRequest, request_id)
    await wake_worker(session, "paper_market")
    await tell_browsers(session, "market", symbol, user_id=None)
    return _request_view(row)


async def paper_markets(session: AsyncSession) -> list[PaperMarketView]:
    """The paper markets as last seen, by symbol."""
    rows = (await session.execute(select(PaperMarket).order_by(col(PaperMarket.symbol)))).scalars()
    return [_market_view(row) for row in rows]


async def latest_request(session: AsyncSession, symbol: str) -> PaperMarketRequestView | None:
    """The newest wish for a symbol's paper market, whatever became of it."""
    query = (
        select(PaperMarketRequest)
        .where(col(PaperMarketRequest.symbol) == symbol.strip().upper())
        .order_by(col(PaperMarketRequest.id).desc())
        .limit(1)
    )
    row = (await session.execute(query)).scalar_one_or_none()
    return None if row is None else _request_view(row)


async def _check_replay(session: AsyncSession, symbol: str, dataset_id: int | None, start: int | None) -> None:
    if dataset_id is None:
        raise InvalidInput("Choose the data set to replay.", field="dataset_id")
    dataset = await get_dataset(session, dataset_id)
    if dataset.symbol != symbol:
        raise InvalidInput(
            f"The data set “{dataset.name}” holds candles of {dataset.symbol}, not of {symbol}.", field="dataset_id"
        )
    if not FEWEST_CANDLES <= dataset.rows <= MOST_CANDLES:
        raise InvalidInput(
            f"A replay takes {FEWEST_CANDLES} to {MOST_CANDLES:,} candles; “{dataset.name}” has {dataset.rows:,}.",
            field="dataset_id",
        )
    if start is not None and not 0 <= start < dataset.rows:
        raise InvalidInput(
            f"The replay may start at candle 0 to {dataset.rows - 1:,} of “{dataset.name}”, not at {start:,}.",
            field="start",
        )


async def _check_made(session: AsyncSession, symbol: str, dataset_id: int | None, seed: int | None) -> None:
    if dataset_id is not None:
        raise InvalidInput("Only a replay takes a data set.", field="dataset_id")
    if seed is not None and not 0 <= seed <= MOST_SEED:
        raise InvalidInput(f"The seed must be a whole number from 0 to {MOST_SEED:,}.", field="seed")
    query = select(col(SymbolRow.symbol)).where(col(SymbolRow.kind) == AccountKind.PAPER.value)
    known = sorted((await session.execute(query)).scalars())
    if symbol not in known:
        has = f"it has {', '.join(known)}" if known else "it has not yet said which symbols it has"
        raise InvalidInput(f"The paper exchange has no symbol {symbol[:20]!r}; {has}.", field="symbol")


def _request_view(row: PaperMarketRequest) -> PaperMarketRequestView:
    return PaperMarketRequestView(
        id=row.id or 0,
        symbol=row.symbol,
        source=row.source,
        dataset_id=row.dataset_id,
        options=dict(row.options),
        state=row.state,
        message=row.message,
        created_at=row.created_at,
        applied_at=row.applied_at,
    )


def _market_view(row: PaperMarket) -> PaperMarketView:
    status: dict[str, Any] = row.status
    progress = status.get("progress") or {}
    return PaperMarketView(
        symbol=row.symbol,
        venue=row.venue,
        source=status.get("source", ""),
        label=status.get("label", ""),
        progress=progress.get("played"),
        total=progress.get("of"),
        gaps_closed=status.get("gaps_closed", 0),
        loop=status.get("loop", False),
        halted=status.get("halted", False),
        trouble=status.get("trouble", ""),
        preset=status.get("preset", ""),
        seen_at=row.seen_at,
    )
