"""The newest price of each symbol, by kind of venue (PAPER, TESTNET, LIVE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, text
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


_STORE = text("""
    INSERT INTO analytics.prices AS known (kind, symbol, price, priced_at)
    SELECT :kind, symbol, price, :now
    FROM unnest(CAST(:symbols AS text[]), CAST(:prices AS numeric[])) AS new (symbol, price)
    ON CONFLICT (kind, symbol) DO UPDATE SET price = excluded.price, priced_at = excluded.priced_at
    WHERE known.priced_at <= excluded.priced_at
""")


async def store_prices(session: AsyncSession, *, kind: str, prices: Mapping[str, Decimal], now: datetime) -> None:
    """Keep prices as of `now`. A price that is already newer stays."""
    if not prices:
        return
    # In one order always, so that two writers cannot wait for each other. Binance has thousands of symbols, every few
    # seconds: two arrays are one statement of constant text.
    symbols = sorted(prices)
    given = {"kind": kind, "symbols": symbols, "prices": [prices[symbol] for symbol in symbols], "now": now}
    await session.execute(_STORE, given)
