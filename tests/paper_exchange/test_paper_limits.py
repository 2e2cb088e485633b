"""Rate limits: windows on the clock, unfilled orders, bans; by themselves and through real connections."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from paper_kit import Keys, ManualClock, Paper, hmac_of, running

from app.paper_exchange.errors import ApiError
from app.paper_exchange.limits import DAY_MS, LONGEST_BAN_MS, MINUTE_MS, Limits, Window, first_fills
from app.paper_exchange.model import Changes, Trade
from app.paper_exchange.settings import NO_LIMITS, PaperSettings

NOON = 1_800_014_400_000  # a whole minute
LIMIT = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "50000",
}  # fmt: skip


def limits_of(**settings: Any) -> Limits:
    return Limits(PaperSettings(Path("unused"), **{**NO_LIMITS, **settings}))


def refusal(limits: Limits, weight: int, now_ms: int) -> ApiError:
    with pytest.raises(ApiError) as caught:
        limits.admit("ip", weight, now_ms)
    return caught.value


def test_windows_begin_with_the_clocks_own_intervals() -> None:
    assert NOON % MINUTE_MS == 0
    window = Window(10_000)
    assert [window.add("a", 1, NOON + ms) for ms in (0, 9_999, 10_000)] == [1, 2, 1]
    assert window.count("b", NOON + 10_000) == 0
    assert window.add("a", -5, NOON + 10_000) == 0
    assert [window.wait_s(NOON + ms) for ms in (0, 1, 9_999)] == [11, 10, 1]


def test_weight_is_counted_by_address_and_minute() -> None:
    limits = limits_of(weight_limit_per_minute=50)
    limits.admit("ip", 50, NOON)
    limits.admit("other", 50, NOON)
    error = refusal(limits, 1, NOON + 30_000)
    assert (error.code, error.status, error.retry_after_s) == (-1003, 429, 31)
    limits.admit("ip", 50, NOON + MINUTE_MS)
    limits.give_back("ip", 20, NOON + MINUTE_MS)
    assert limits.used("ip", NOON + MINUTE_MS) == 30


def test_requests_are_counted_whatever_they_weigh() -> None:
    limits = limits_of(raw_limit_per_5_minutes=3)
    for _ in range(3):
        limits.admit("ip", 0, NOON)
    error = refusal(limits, 0, NOON)
    assert (error.code, error.status) == (-1003, 429)
    assert "3 requests per 5 MINUTE" in error.msg


def test_who_goes_on_after_a_429_is_banned_each_time_twice_as_long() -> None:
    limits = limits_of(weight_limit_per_minute=1, refusals_before_ban=2, first_ban_s=120.0)
    limits.admit("ip", 1, NOON)
    assert [refusal(limits, 1, NOON).status for _ in range(4)] == [429, 429, 418, 418]
    error = refusal(limits, 1, NOON)
    assert (error.code, error.retry_after_s) == (-1003, 120)
    assert str(NOON + 120_000) in error.msg
    limits.admit("other", 1, NOON)
    assert refusal(limits, 0, NOON + 119_999).retry_after_s == 1
    later = NOON + 120_000
    limits.admit("ip", 1, later)
    assert [refusal(limits, 1, later).status for _ in range(3)] == [429, 429, 418]
    assert refusal(limits, 0, later).retry_after_s == 240


def test_no_ban_is_longer_than_three_days() -> None:
    limits = limits_of(weight_limit_per_minute=1, refusals_before_ban=0, first_ban_s=86_400.0)
    now_ms, waits = NOON, []
    for _ in range(4):
        limits.admit("ip", 1, now_ms)
        waits.append(refusal(limits, 1, now_ms).retry_after_s)
        now_ms += LONGEST_BAN_MS
    assert waits == [86_400, 172_800, 259_200, 259_200]


def test_too_many_connections_are_refused() -> None:
    limits = limits_of(connection_limit_per_5_minutes=2)
    for _ in range(2):
        limits.connect("ip", NOON, 2)
    with pytest.raises(ApiError) as caught:
        limits.connect("ip", NOON, 2)
    assert (caught.value.code, caught.value.status, limits.used("ip", NOON)) == (-1034, 429, 4)


def test_orders_are_counted_by_account_and_all_or_none() -> None:
    limits = limits_of(order_limit_per_10_s=3, order_limit_per_day=4)
    limits.take_orders(1, 2, NOON)
    with pytest.raises(ApiError) as caught:
        limits.take_orders(1, 2, NOON)
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == (-1015, 429, 11)
    assert caught.value.msg == "Too many new orders; current limit is 3 orders per 10 SECOND."
    assert limits.order_counts(1, NOON) == (2, 2)
    limits.take_orders(2, 3, NOON)
    limits.take_orders(1, 2, NOON + 10_000)
    with pytest.raises(ApiError, match="4 orders per 1 DAY"):
        limits.take_orders(1, 1, NOON + 20_000)
    assert limits.order_counts(1, NOON + DAY_MS) == (0, 0)


def test_only_an_orders_first_fill_makes_room() -> None:
    def filled(executed: str, *quantities: str) -> list[tuple[int, bool]]:
        changes = Changes()
        order = SimpleNamespace(executed=Decimal(executed))
        changes.orders["BTCUSDT", 1] = order  # type: ignore[assignment]
        for n, quantity in enumerate(quantities):
            amounts = (Decimal(1), Decimal(quantity), Decimal(1), Decimal(0))
            changes.trades.append(Trade("BTCUSDT", n, 1, 9, *amounts, "BTC", True, n > 0, 0))
        return list(first_fills(changes))

    assert filled("3", "1", "2") == [(9, False)]
    assert filled("3", "2") == []


# -- through a server ------------------------------------------------------------------------------------


async def place(paper: Paper, keys: Keys, clock: ManualClock, **order: Any) -> tuple[int, Any, tuple[str, ...]]:
    """(status, answer, the two order counts as told)."""
    params = {**LIMIT, "timestamp": clock.now_ms(), **order}
    query = "&".join(f"{k}={v}" for k, v in params.items() if v is not None)
    status, answer, headers = await paper.raw(
        "POST", "/api/v3/order", f"{query}&signature={hmac_of(keys, query)}", keys=keys
    )
    return status, answer, tuple(headers.get(f"X-MBX-ORDER-COUNT-{i}", "") for i in ("10S", "1D"))


async def test_the_count_of_unfilled_orders_falls_with_fills_and_not_with_cancels(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with running(tmp_path / "paper.db", clock) as paper:
        keys = await paper.open_account({"USDT": "1000000", "BTC": "10"}, ed25519=False)
        assert [(await place(paper, keys, clock))[2] for _ in range(2)] == [("1", "1"), ("2", "2")]
        taker = await place(paper, keys, clock, type="MARKET", price=None, timeInForce=None)
        assert (taker[1]["status"], taker[2]) == ("FILLED", ("2", "2"))
        refused = await place(paper, keys, clock, quantity="0.000000001")
        assert (refused[0], refused[2]) == (400, ("", ""))
        query = f"symbol=BTCUSDT&timestamp={clock.now_ms()}"
        await paper.raw("DELETE", "/api/v3/openOrders", f"{query}&signature={hmac_of(keys, query)}", keys=keys)
        assert (await place(paper, keys, clock))[2] == ("3", "3")
        await clock.advance(10)
        assert (await place(paper, keys, clock))[2] == ("1", "4")


async def test_an_order_filled_as_maker_makes_room_for_five(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with running(tmp_path / "paper.db", clock) as paper:
        keys = await paper.open_account({"USDT": "1000000"}, ed25519=False)
        other = await paper.open_account({"BTC": "10"}, ed25519=False)
        price = await at_the_best_bid(paper)
        for _ in range(6):
            counts = (await place(paper, keys, clock))[2]
        assert counts == ("6", "6")
        assert (await place(paper, keys, clock, price=price))[2] == ("7", "7")
        sold = await place(paper, other, clock, side="SELL", price=price, timeInForce="IOC")
        assert sold[1]["status"] == "FILLED"
        assert (await place(paper, keys, clock))[2] == ("3", "3")


async def test_an_order_that_reached_the_engine_too_late_has_counted(tmp_path: Path) -> None:
    async with running(tmp_path / "paper.db", faults=True) as paper:
        keys = await paper.open_account({"USDT": "1000000"}, ed25519=False)
        delay = {"kind": "engine_delay", "delay_ms": 400, "count": 1}
        assert (await paper.control("POST", "/paper/faults", delay))[0] == 200
        wall = ManualClock(int(time.time() * 1000))
        status, answer, _ = await place(paper, keys, wall, recvWindow=300)
        assert (status, answer["code"]) == (400, -1021)
        wall = ManualClock(int(time.time() * 1000))
        assert (await place(paper, keys, wall))[2][1] == "2"


async def at_the_best_bid(paper: Paper) -> str:
    """A price inside the spread, so that the next seller meets this order first."""
    _, best, _ = await paper.raw("GET", "/api/v3/ticker/bookTicker", "symbol=BTCUSDT")
    return f"{float(best['bidPrice']) + 0.01:.2f}"


async def test_too_many_orders_are_refused_and_the_rules_say_how_many_are_not(tmp_path: Path) -> None:
    clock = ManualClock(NOON + 4_000)
    async with running(tmp_path / "paper.db", clock, order_limit_per_10_s=2) as paper:
        _, info, _ = await paper.raw("GET", "/api/v3/exchangeInfo")
        assert info["rateLimits"] == [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 2},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 160_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
        ]
        keys = await paper.open_account({"USDT": "1000000"}, ed25519=False)
        assert [(await place(paper, keys, clock))[0] for _ in range(3)] == [200, 200, 429]
        status, answer, _ = await place(paper, keys, clock)
        assert (status, answer["code"]) == (429, -1015)
        assert len((await paper.books(keys.account_id))["orders"]) == 2
        await clock.advance(6)
        assert (await place(paper, keys, clock))[0] == 200


async def test_a_ban_is_told_by_rest_and_by_the_ws_api_and_ends(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    settings = {"weight_limit_per_minute": 25, "refusals_before_ban": 1, "first_ban_s": 10.0}
    async with running(tmp_path / "paper.db", clock, **settings) as paper, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{paper.url}/ws-api/v3")  # weighs 2
        assert (await paper.raw("GET", "/api/v3/exchangeInfo"))[0] == 200
        await socket.send_json({"id": 1, "method": "exchangeInfo"})
        limited = json.loads((await socket.receive(timeout=5)).data)
        assert (limited["status"], limited["error"]["code"]) == (429, -1003)
        assert limited["error"]["data"] == {"serverTime": NOON, "retryAfter": NOON + 61_000}
        status, answer, headers = await paper.raw("GET", "/api/v3/exchangeInfo")
        assert (status, answer["code"], headers["Retry-After"]) == (418, -1003, "10")
        await socket.send_json({"id": 2, "method": "ping"})
        banned = json.loads((await socket.receive(timeout=5)).data)
        assert (banned["status"], banned["error"]["data"]["retryAfter"]) == (418, NOON + 10_000)
        ended = await socket.receive(timeout=5)
        assert (ended.type, ended.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        for path in ("/ws-api/v3", "/ws/btcusdt@trade"):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="418"):
                await session.ws_connect(paper.url + path)
        await clock.advance(60)
        assert (await paper.raw("GET", "/api/v3/ping"))[0] == 200


async def test_the_ws_api_tells_order_counts_unless_told_not_to(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with running(tmp_path / "paper.db", clock) as paper, aiohttp.ClientSession() as session:
        keys = await paper.open_account({"USDT": "1000000"}, ed25519=False)
        params: dict[str, Any] = {**LIMIT, "apiKey": keys.api_key, "timestamp": clock.now_ms()}
        params["signature"] = hmac_of(keys, "&".join(f"{k}={params[k]}" for k in sorted(params)))
        socket = await session.ws_connect(f"{paper.url}/ws-api/v3")
        await socket.send_json({"id": 1, "method": "order.place", "params": params})
        told = (await socket.receive_json(timeout=5))["rateLimits"]
        assert [(t["rateLimitType"], t["interval"], t["count"]) for t in told] == [
            ("ORDERS", "SECOND", 1), ("ORDERS", "DAY", 1), ("REQUEST_WEIGHT", "MINUTE", 2),
        ]  # fmt: skip
        await socket.send_json({"id": 2, "method": "ping", "params": {"returnRateLimits": False}})
        assert await socket.receive_json(timeout=5) == {"id": 2, "status": 200, "result": {}}
        quiet = await session.ws_connect(f"{paper.url}/ws-api/v3?returnRateLimits=false")
        await quiet.send_json({"id": 3, "method": "ping"})
        assert "rateLimits" not in await quiet.receive_json(timeout=5)
        await quiet.send_json({"id": 4, "method": "ping", "params": {"returnRateLimits": True}})
        assert "rateLimits" in await quiet.receive_json(timeout=5)
