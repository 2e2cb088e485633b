"""The newest price of each symbol, by kind of venue (PAPER, TESTNET, LIVE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.models.analytics import Price


@dataclass(frozen=True, slots=True)
class PriceView:
    """A price in quote units and when the exchange said it."""

    price: Decimal
    priced_at: datetime


async def prices(session: AsyncSession, *, kind: str) -> dict[str, PriceView]:
    """Newest price by symbol of an AccountKind's exchange."""
    query = select(col(Price.symbol), col(Price.price), col(Price.priced_at)).where(col(Price.kind) == kind)
    return {symbol: PriceView(price, at) for symbol, price, at in (await session.execute(query)).all()}


async def store_prices(session: AsyncSession, *, kind: str, prices: Mapping[str, Decimal], now: datetime) -> None:
    """Keep prices as of `now`. A price that is already newer stays."""
    if not prices:
        return
    # In one order always, so that two writers cannot wait for each other.
    rows = [{"kind": kind, "symbol": symbol, "price": prices[symbol], "priced_at": now} for symbol in sorted(prices)]
    statement = insert(Price).values(rows)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["kind", "symbol"],
            set_={"price": statement.excluded.price, "priced_at": statement.excluded.priced_at},
            where=col(Price.priced_at) <= statement.excluded.priced_at,
        )
    )
