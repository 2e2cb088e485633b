"""Lists longer than a page and older than a day: everything, once, in order, without asking too often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from app.services.exchange.binance import BinanceMarketData, BinanceSession, Endpoints
from app.services.exchange.protocol import AskingFailed
from app.services.exchange.signing import HmacSecret
from app.services.exchange.weight import WeightBudget

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class StillClock:
    def now_ms(self) -> int:
        return NOW_MS

    exchange_now_ms = now_ms

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


@dataclass(slots=True)
class History:
    """Rows by id, served by Binance's rules: at most 1000, from an id, or from a window of at most a day."""

    url: str = ""
    times: dict[int, int] = field(default_factory=dict)  # id → ms
    asked: list[dict[str, str]] = field(default_factory=list)
    candle_ms: int = 60_000
    candles: list[int] = field(default_factory=list)

    def select(self, query: dict[str, str], id_name: str) -> list[int]:
        self.asked.append(query)
        limit = int(query["limit"])
        if id_name in query:
            return [i for i in sorted(self.times) if i >= int(query[id_name])][:limit]
        start_ms, end_ms = int(query["startTime"]), int(query["endTime"])
        assert end_ms - start_ms <= DAY_MS, "More than 24 hours between startTime and endTime."
        return [i for i in sorted(self.times) if start_ms <= self.times[i] <= end_ms][:limit]


def order_row(number: int, ms: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "orderId": number, "clientOrderId": f"id-{number}", "price": "0", "origQty": "1",
        "executedQty": "1", "cummulativeQuoteQty": "5", "status": "FILLED", "type": "MARKET", "side": "BUY",
        "time": ms, "updateTime": ms,
    }  # fmt: skip


def trade_row(number: int, ms: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "id": number, "orderId": 1, "price": "5", "qty": "1", "quoteQty": "5",
        "commission": "0.1", "commissionAsset": "USDT", "time": ms, "isBuyer": True, "isMaker": False,
    }  # fmt: skip


@pytest.fixture
async def history() -> AsyncIterator[History]:
    state = History()

    async def all_orders(request: web.Request) -> web.Response:
        found = state.select(dict(request.query), "orderId")
        return web.json_response([order_row(i, state.times[i]) for i in found])

    async def my_trades(request: web.Request) -> web.Response:
        query = dict(request.query)
        id_name = "fromId" if "fromId" in query or "orderId" not in query else "orderId"
        return web.json_response([trade_row(i, state.times[i]) for i in state.select(query, id_name)])

    async def klines(request: web.Request) -> web.Response:
        query = dict(request.query)
        state.asked.append(query)
        start_ms, end_ms = int(query["startTime"]), int(query["endTime"])
        found = [t for t in state.candles if start_ms <= t <= end_ms][: int(query["limit"])]
        last_ms = state.candle_ms - 1
        rows = [[t, "1", "2", "0.5", "1", "3", t + last_ms, "3", 1, "1", "1", "0"] for t in found]
        return web.json_response(rows)

    app = web.Application()
    app.router.add_get("/api/v3/allOrders", all_orders)
    app.router.add_get("/api/v3/myTrades", my_trades)
    app.router.add_get("/api/v3/klines", klines)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield state
    await runner.cleanup()


@pytest.fixture
async def session(history: History) -> AsyncIterator[BinanceSession]:
    clock = StillClock()
    made = BinanceSession(
        Endpoints.paper(history.url), "key", HmacSecret("secret"), clock=clock, budget=WeightBudget(clock=clock),
        jitter=lambda: 0.0,
    )  # fmt: skip
    yield made
    await made.close()


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_500])
@pytest.mark.parametrize("first_ago_h", [1, 30, 71])
async def test_all_orders_and_trades_since_a_time_come_once_and_in_order(
    session: BinanceSession, history: History, count: int, first_ago_h: int
) -> None:
    history.times = {
        100 + n: NOW_MS - first_ago_h * HOUR_MS + n * 1_000 // 2 for n in range(count)  # two in a second
    }  # fmt: skip
    start_ms = NOW_MS - 72 * HOUR_MS
    orders = await session.orders_since("BTCUSDT", start_ms)
    assert [o.exchange_order_id for o in orders] == list(range(100, 100 + count))
    trades = await session.trades_since("BTCUSDT", start_ms)
    assert [t.fill.trade_id for t in trades] == list(range(100, 100 + count))
    assert len(history.asked) <= 2 * (4 + count // 1_000 + 1)


async def test_what_is_older_than_the_start_is_left_out(session: BinanceSession, history: History) -> None:
    history.times = {n: NOW_MS - (10 - n) * HOUR_MS for n in range(10)}
    start_ms = NOW_MS - 4 * HOUR_MS
    assert [o.exchange_order_id for o in await session.orders_since("BTCUSDT", start_ms)] == [6, 7, 8, 9]
    assert [t.fill.trade_id for t in await session.trades_since("BTCUSDT", start_ms)] == [6, 7, 8, 9]


async def test_a_gap_of_years_is_not_searched_day_by_day(session: BinanceSession, history: History) -> None:
    history.times = {n: NOW_MS - (3 - n) * 300 * DAY_MS for n in range(3)}
    orders = await session.orders_since("BTCUSDT", NOW_MS - 700 * DAY_MS)
    assert [o.exchange_order_id for o in orders] == [1, 2]
    assert len(history.asked) == 1


async def test_the_trades_of_an_order_come_over_pages(session: BinanceSession, history: History) -> None:
    history.times = dict.fromkeys(range(1, 1501), NOW_MS - 1000)
    fills = await session.trades_of("BTCUSDT", 1)
    assert [f.trade_id for f in fills] == list(range(1, 1_501))


@pytest.mark.parametrize("count", [0, 1, 1_000, 2_001])
async def test_candles_come_over_pages_with_their_gaps_and_without_the_forming_one(
    history: History, count: int
) -> None:
    clock = StillClock()
    first_ms = NOW_MS - NOW_MS % 60_000 - (count + 10) * 60_000
    history.candles = [first_ms + n * 60_000 for n in range(count + 20) if n % 7]
    market = BinanceMarketData(
        Endpoints.paper(history.url), clock=clock, budget=WeightBudget(clock=clock), jitter=lambda: 0.0
    )
    candles = await market.closed_candles("BTCUSDT", "1m", start_ms=first_ms, end_ms=NOW_MS + DAY_MS)
    await market.close()
    expected = [t for t in history.candles if t + 59_999 < NOW_MS]
    assert [candle.open_time_ms for candle in candles] == expected


async def test_a_list_is_held_back_when_the_budget_is_used_up(history: History) -> None:
    clock = StillClock()
    budget = WeightBudget(clock=clock, limit_per_minute=24)
    session = BinanceSession(
        Endpoints.paper(history.url), "key", HmacSecret("secret"), clock=clock, budget=budget, jitter=lambda: 0.0
    )
    with pytest.raises(AskingFailed, match="held back"):
        await session.orders_since("BTCUSDT", NOW_MS - HOUR_MS)
    await session.close()
    assert history.asked == []
