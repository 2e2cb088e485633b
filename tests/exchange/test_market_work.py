"""Rules, prices and candles of one exchange: each kind of account has its own, and only what is needed is fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select, text
from sqlmodel import col

from app.jobs.market_work import MarketWork
from app.models.analytics import Candle, Price
from app.models.execution import SymbolRow
from app.services.exchange.binance import BinanceMarketData
from app.services.exchange.endpoints import Endpoints
from app.services.exchange.weight import WeightBudget
from app.services.runtime import SystemClock
from tests.conftest import Sessions
from tests.exchange.conftest import PaperProcess

NEEDS = {"LIVE": [("ETHUSDT", "1m", 40)], "TESTNET": [], "PAPER": [("NOSUCH", "1m", 40)]}


async def wanted(kind: str) -> list[tuple[str, str, int]]:
    return NEEDS[kind]


@pytest.fixture
async def market(paper_process: PaperProcess) -> AsyncIterator[BinanceMarketData]:
    clock = SystemClock()
    data = BinanceMarketData(
        Endpoints.paper(paper_process.url), clock=clock, budget=WeightBudget(clock=clock), jitter=lambda: 0.0
    )
    yield data
    await data.close()


def work_on(kind: str, sessions: Sessions, market: BinanceMarketData) -> MarketWork:
    return MarketWork(sessions, kind, market, SystemClock(), wanted_by_runs=wanted, on_close=lambda: None)


async def test_rules_and_prices_are_kept_apart_by_kind(worker_sessions: Sessions, market: BinanceMarketData) -> None:
    for kind in ("LIVE", "TESTNET"):
        work = work_on(kind, worker_sessions, market)
        await work.refresh_rules()
        await work.refresh_prices()
        await work.refresh_rules()  # again, over what is there
    async with worker_sessions.begin() as session:
        await session.execute(text("UPDATE analytics.prices SET price = 1 WHERE kind = 'TESTNET'"))
    await work_on("LIVE", worker_sessions, market).refresh_prices()
    async with worker_sessions.begin() as session:
        rules = (await session.execute(select(col(SymbolRow.kind), func.count()).group_by(col(SymbolRow.kind)))).all()
        of_live = select(func.min(col(Price.price))).where(col(Price.kind) == "LIVE", col(Price.symbol) == "BTCUSDT")
        of_test = select(func.max(col(Price.price))).where(col(Price.kind) == "TESTNET")
        assert {kind: count > 4 for kind, count in rules} == {"LIVE": True, "TESTNET": True}
        assert (await session.execute(of_live)).scalar_one() > 100
        assert (await session.execute(of_test)).scalar_one() == 1


async def test_only_candles_that_a_run_needs_are_fetched_into_the_venue_of_its_exchange(
    worker_sessions: Sessions, market: BinanceMarketData
) -> None:
    await work_on("LIVE", worker_sessions, market).ingest()
    await work_on("TESTNET", worker_sessions, market).ingest()
    async with worker_sessions.begin() as session:
        key = (col(Candle.venue), col(Candle.symbol), col(Candle.timeframe))
        found = (await session.execute(select(*key, func.count()).group_by(*key))).all()
    assert [(venue, symbol, timeframe) for venue, symbol, timeframe, _ in found] == [("binance", "ETHUSDT", "1m")]
    assert found[0][3] >= 40


async def test_the_base_candles_of_what_is_shown_are_followed_and_a_run_without_a_market_is_not(
    worker_sessions: Sessions, market: BinanceMarketData
) -> None:
    work = work_on("PAPER", worker_sessions, market)
    assert await work.wanted() == []
    work.shown["BTCUSDT"] = "paper:7"
    assert [(want.symbol, want.timeframe) for want in await work.wanted()] == [("BTCUSDT", "1s")]
