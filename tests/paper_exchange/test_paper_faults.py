"""Each kind of fault through a real connection: what the client gets, and what the exchange really did."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from paper_kit import Keys, ManualClock, Paper, PaperProcess, hmac_of, running, until

LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01",
    "price": "50000",
}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
PLACING = {"endpoint": ["POST /api/v3/order", "order.place"]}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    process = PaperProcess(tmp_path_factory.mktemp("faulty"), limits="off", faults="")
    yield process.start()
    assert process.stop() == 0


@pytest.fixture
async def keys(faulty: Paper) -> AsyncIterator[Keys]:
    yield await faulty.open_account({"USDT": "1000000", "BTC": "10"}, ed25519=False)
    assert (await faulty.control("DELETE", "/paper/faults"))[0] == 200


async def fault(paper: Paper, kind: str, **body: Any) -> dict[str, Any]:
    status, answer = await paper.control("POST", "/paper/faults", {"kind": kind, **body})
    assert status == 200, answer
    return answer


async def client_ids(paper: Paper, keys: Keys) -> list[str]:
    return [o["clientOrderId"] for o in (await paper.books(keys.account_id))["orders"]]


async def post(paper: Paper, keys: Keys, name: str, order: dict[str, Any] = LIMIT, **request: Any) -> tuple[int, str]:
    """Place an order: (status, text). Redirects are not followed."""
    query = "&".join(f"{k}={v}" for k, v in {**order, "newClientOrderId": name, "timestamp": _now()}.items())
    url = f"{paper.url}/api/v3/order?{query}&signature={hmac_of(keys, query)}"
    async with (
        aiohttp.ClientSession(headers={"X-MBX-APIKEY": keys.api_key}) as session,
        session.post(url, allow_redirects=False, **request) as response,
    ):
        return response.status, await response.text()


def _now() -> int:
    return int(time.time() * 1000)


@contextlib.asynccontextmanager
async def ws_api(paper: Paper) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws-api/v3") as socket:
        yield socket


async def send(socket: aiohttp.ClientWebSocketResponse, keys: Keys, method: str, **params: Any) -> None:
    params = {"apiKey": keys.api_key, "timestamp": _now(), **params}
    params["signature"] = hmac_of(keys, "&".join(f"{k}={params[k]}" for k in sorted(params)))
    await socket.send_json({"id": 1, "method": method, "params": params})


async def events(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    return [json.loads((await socket.receive(timeout=5)).data)["event"] for _ in range(count)]


# -- asking ----------------------------------------------------------------------------------------------


async def test_an_exchange_makes_no_faults_unless_it_was_started_so(paper: Paper) -> None:
    for method, path in (("GET", "/paper/faults"), ("POST", "/paper/faults"), ("DELETE", "/paper/faults/1")):
        status, answer = await paper.control(method, path, {"kind": "drop"})
        assert (status, answer["error"]) == (403, "this exchange was not started with --faults")
    assert (await paper.control("GET", "/paper/status"))[1]["faults"] is None
    assert "X-Paper-Faults" not in (await paper.raw("GET", "/api/v3/ping"))[2]


async def test_one_that_may_make_faults_says_so_everywhere(faulty: Paper, keys: Keys) -> None:
    for path in ("/api/v3/ping", "/api/v3/nothing", "/paper/status"):
        async with aiohttp.ClientSession() as session, session.get(faulty.url + path) as response:
            assert response.headers["X-Paper-Faults"] == "on"
    async with ws_api(faulty) as socket:
        assert socket._response.headers["X-Paper-Faults"] == "on"
    assert (await faulty.control("GET", "/paper/status"))[1]["faults"] == 0
    assert (await faulty.control("GET", "/paper/faults", token=None))[0] == 401


async def test_faults_are_listed_and_taken_away(faulty: Paper, keys: Keys) -> None:
    made = await fault(faulty, "drop", where=PLACING, probability=0.25, seed=3)
    listed = (await faulty.control("GET", "/paper/faults"))[1]["faults"]
    assert listed == [made]
    assert (made["kind"], made["probability"], made["seed"], made["hits"]) == ("drop", 0.25, 3, 0)
    assert (await faulty.control("DELETE", f"/paper/faults/{made['id']}"))[1] == {"faults": []}
    assert (await faulty.control("DELETE", f"/paper/faults/{made['id']}"))[0] == 404
    assert (await faulty.control("POST", "/paper/faults", {"kind": "gremlins"}))[0] == 400
    unknown = {"kind": "halt", "where": {"symbol": "NOUSDT"}}
    assert (await faulty.control("POST", "/paper/faults", unknown))[0] == 404
    assert (await faulty.control("GET", "/paper/faults"))[1] == {"faults": []}


# -- requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "params", "status", "text"),
    [
        ("http_5xx", {"status": 502}, 502, "502 Bad Gateway"),
        ("http_5xx", {"body": "json"}, 503, '"code":-1000'),
        ("unknown_outcome", {"code": -1006}, 500, '"code":-1006'),
        ("unknown_outcome", {"code": -1007}, 500, "execution status unknown"),
    ],
)
async def test_a_server_error_hides_whether_the_order_was_placed(
    faulty: Paper, keys: Keys, kind: str, params: dict[str, Any], status: int, text: str, when: str
) -> None:
    await fault(faulty, kind, where=PLACING, count=1, when=when, **params)
    answer = await post(faulty, keys, "one")
    assert answer[0] == status
    assert text in answer[1]
    assert await client_ids(faulty, keys) == (["one"] if when == "after" else [])
    assert (await post(faulty, keys, "two"))[0] == 200


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_dropped_connection_hides_it_too(faulty: Paper, keys: Keys, when: str) -> None:
    await fault(faulty, "drop", where=PLACING, count=1, when=when)
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await post(faulty, keys, "one")
    assert await client_ids(faulty, keys) == (["one"] if when == "after" else [])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_timeout_hides_it_too(faulty: Paper, keys: Keys, when: str) -> None:
    await fault(faulty, "timeout", where=PLACING, count=1, when=when, hold_ms=2_000)
    with pytest.raises(TimeoutError):
        await post(faulty, keys, "one", timeout=aiohttp.ClientTimeout(total=1))
    assert await client_ids(faulty, keys) == (["one"] if when == "after" else [])


async def test_an_answer_can_break_off_in_the_middle(faulty: Paper, keys: Keys) -> None:
    await fault(faulty, "truncated", where=PLACING, count=1)
    status, text = await post(faulty, keys, "one")
    assert status == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(text)
    assert await client_ids(faulty, keys) == ["one"]


@pytest.mark.parametrize(
    ("kind", "status", "text", "header"),
    [
        ("rate_limited", 429, '"code":-1003', ("Retry-After", "30")),
        ("banned", 418, "IP banned until", ("Retry-After", "120")),
        ("forbidden", 403, "403 Forbidden", ("Content-Type", "text/html; charset=utf-8")),
        ("maintenance", 503, "503 Service Temporarily Unavailable", ("Content-Type", "text/html; charset=utf-8")),
        ("redirect", 307, "", ("Location", "/redirected")),
    ],
)
async def test_a_request_can_be_turned_away_at_the_door(
    faulty: Paper, keys: Keys, kind: str, status: int, text: str, header: tuple[str, str]
) -> None:
    await fault(faulty, kind, where={"endpoint": "/api/v3/time"})
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{faulty.url}/api/v3/time", allow_redirects=False) as response,
    ):
        assert response.status == status
        assert text in await response.text()
        assert response.headers[header[0]] == header[1]
    assert (await faulty.raw("GET", "/api/v3/ping"))[0] == 200


async def test_filters_choose_by_account_and_symbol(faulty: Paper, keys: Keys) -> None:
    other = await faulty.open_account({"USDT": "1000000"}, ed25519=False)
    await fault(faulty, "http_5xx", where={"account": keys.account_id, "symbol": "BTCUSDT"}, when="before")
    assert (await post(faulty, keys, "a"))[0] == 503
    assert (await post(faulty, other, "b"))[0] == 200
    assert (await post(faulty, keys, "c", {**LIMIT, "symbol": "ETHUSDT", "price": "2000", "quantity": "1"}))[0] == 200


async def test_a_delay_before_the_engine_uses_up_the_window(faulty: Paper, keys: Keys) -> None:
    await fault(faulty, "engine_delay", where=PLACING, count=2, delay_ms=400)
    status, text = await post(faulty, keys, "late", {**LIMIT, "recvWindow": "300"})
    assert (status, json.loads(text)["code"]) == (400, -1021)
    began = time.monotonic()
    assert (await post(faulty, keys, "slow"))[0] == 200
    assert time.monotonic() - began > 0.4
    assert await client_ids(faulty, keys) == ["slow"]


async def test_the_clock_of_the_exchange_can_be_wrong_while_its_market_is_not(faulty: Paper, keys: Keys) -> None:
    made = await fault(faulty, "clock_skew", skew_ms=-3_600_000)
    told = (await faulty.raw("GET", "/api/v3/time"))[1]["serverTime"]
    assert abs(told - (_now() - 3_600_000)) < 2_000
    status, text = await post(faulty, keys, "early")
    assert (status, json.loads(text)["code"]) == (400, -1021)
    assert "1000ms ahead" in json.loads(text)["msg"]
    status, placed = await faulty.signed("POST", "/api/v3/order", keys, **LIMIT, timestamp=told)
    assert (status, placed["transactTime"] < _now() - 3_500_000) == (200, True)
    newest = (await faulty.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1s&limit=1"))[1][0]
    assert _now() - newest[0] < 3_000
    await faulty.control("DELETE", f"/paper/faults/{made['id']}")
    assert (await post(faulty, keys, "in-time"))[0] == 200


# -- late visibility -------------------------------------------------------------------------------------


async def seen(paper: Paper, keys: Keys) -> tuple[bool, bool, bool]:
    """Whether the order "one" shows in: the query by id, the open orders, all orders."""
    status, _ = await paper.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="one")
    _, still_open = await paper.signed("GET", "/api/v3/openOrders", keys, symbol="BTCUSDT")
    _, every = await paper.signed("GET", "/api/v3/allOrders", keys, symbol="BTCUSDT")
    return status == 200, bool(still_open), bool(every)


@pytest.mark.parametrize(
    ("kind", "at_first"), [("late_memory", (False, False, True)), ("late_database", (True, True, False))]
)
async def test_memory_and_database_can_lag_each_on_its_own(
    faulty: Paper, keys: Keys, kind: str, at_first: tuple[bool, bool, bool]
) -> None:
    await fault(faulty, kind, lag_ms=2_000)
    assert (await post(faulty, keys, "one"))[0] == 200
    assert await seen(faulty, keys) == at_first

    async def shown() -> bool:
        return await seen(faulty, keys) == (True, True, True)

    await until(shown)


async def test_a_lagging_source_shows_an_order_as_it_stood(faulty: Paper, keys: Keys) -> None:
    assert (await post(faulty, keys, "one"))[0] == 200
    await asyncio.sleep(1.6)
    await fault(faulty, "late_memory", lag_ms=1_500)
    _, canceled = await faulty.signed("DELETE", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="one")
    assert canceled["status"] == "CANCELED"
    _, then = await faulty.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="one")
    _, still_open = await faulty.signed("GET", "/api/v3/openOrders", keys, symbol="BTCUSDT")
    assert (then["status"], [o["status"] for o in still_open]) == ("NEW", ["NEW"])

    async def is_canceled() -> bool:
        _, now = await faulty.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="one")
        return bool(now["status"] == "CANCELED")

    await until(is_canceled)


async def test_fills_too_are_seen_late(faulty: Paper, keys: Keys) -> None:
    await fault(faulty, "late_memory", lag_ms=1_500)
    status, text = await post(faulty, keys, "one", MARKET)
    assert (status, json.loads(text)["status"]) == (200, "FILLED")
    assert (await faulty.signed("GET", "/api/v3/myTrades", keys, symbol="BTCUSDT"))[1] == []

    async def trades() -> Any:
        return (await faulty.signed("GET", "/api/v3/myTrades", keys, symbol="BTCUSDT"))[1]

    assert sum(float(t["qty"]) for t in await until(trades)) == pytest.approx(0.01)


async def test_order_lists_and_amendments_lag_with_the_database(faulty: Paper, keys: Keys) -> None:
    await fault(faulty, "late_database", lag_ms=2_500)
    oco = {
        "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", "aboveType": "STOP_LOSS", "aboveStopPrice": "400000",
        "belowType": "LIMIT_MAKER", "belowPrice": "50000",
    }  # fmt: skip
    status, placed = await faulty.signed("POST", "/api/v3/orderList/oco", keys, **oco)
    assert status == 200, placed
    order_id = json.loads((await post(faulty, keys, "one"))[1])["orderId"]
    status, _ = await faulty.signed(
        "PUT", "/api/v3/order/amend/keepPriority", keys, symbol="BTCUSDT", orderId=order_id, newQty="0.005"
    )
    assert status == 200

    async def told() -> tuple[int, int, int]:
        which = {"symbol": "BTCUSDT", "orderId": order_id}
        known, _ = await faulty.signed("GET", "/api/v3/orderList", keys, orderListId=placed["orderListId"])
        _, lists = await faulty.signed("GET", "/api/v3/allOrderList", keys)
        _, amendments = await faulty.signed("GET", "/api/v3/order/amendments", keys, **which)
        return known, len(lists), len(amendments)

    async def all_is_told() -> bool:
        return await told() == (200, 1, 1)

    assert await told() == (400, 0, 0)
    await until(all_is_told)


# -- the ws-api ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "code", "placed"),
    [
        ("http_5xx", 503, -1000, True),
        ("unknown_outcome", 500, -1007, True),
        ("rate_limited", 429, -1003, False),
        ("banned", 418, -1003, False),
        ("forbidden", 403, -1000, False),
    ],
)
async def test_ws_api_requests_suffer_the_same(
    faulty: Paper, keys: Keys, kind: str, status: int, code: int, placed: bool
) -> None:
    await fault(faulty, kind, where=PLACING, count=1)
    async with ws_api(faulty) as socket:
        await send(socket, keys, "order.place", **LIMIT, newClientOrderId="one")
        answer = await socket.receive_json(timeout=5)
    assert (answer["id"], answer["status"], answer["error"]["code"]) == (1, status, code)
    assert ("retryAfter" in answer["error"].get("data", {})) is (status in (429, 418))
    assert await client_ids(faulty, keys) == (["one"] if placed else [])


async def test_ws_api_answers_can_be_cut_withheld_or_lost_with_the_connection(faulty: Paper, keys: Keys) -> None:
    for kind in ("truncated", "timeout", "drop"):
        await fault(faulty, kind, where=PLACING, count=1)
    async with ws_api(faulty) as socket:
        await send(socket, keys, "order.place", **LIMIT, newClientOrderId="cut")
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads((await socket.receive(timeout=5)).data)
        await send(socket, keys, "order.place", **LIMIT, newClientOrderId="withheld")
        await socket.send_json({"id": 2, "method": "ping"})
        assert (await socket.receive_json(timeout=5))["id"] == 2
        await send(socket, keys, "order.place", **LIMIT, newClientOrderId="lost")
        assert (await socket.receive(timeout=5)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        assert socket.close_code in (1006, None)
    assert await client_ids(faulty, keys) == ["cut", "withheld", "lost"]


# -- streams ---------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def user_stream(paper: Paper, keys: Keys) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with ws_api(paper) as socket:
        await send(socket, keys, "userDataStream.subscribe.signature")
        assert (await socket.receive_json(timeout=5))["status"] == 200
        yield socket


async def test_reports_can_come_twice(faulty: Paper, keys: Keys) -> None:
    await fault(faulty, "duplicate_reports", where={"account": keys.account_id}, count=1)
    async with user_stream(faulty, keys) as socket:
        await post(faulty, keys, "one", MARKET)
        first, second, third = await events(socket, 3)
    assert first == second
    assert (first["x"], third["x"]) == ("NEW", "TRADE")


async def test_reports_can_overtake_each_other(faulty: Paper, keys: Keys) -> None:
    await fault(faulty, "reorder_reports", where={"account": keys.account_id}, count=1)
    async with user_stream(faulty, keys) as socket:
        await post(faulty, keys, "one", MARKET)
        assert [e.get("x") for e in await events(socket, 2)] == ["TRADE", "NEW"]


async def test_a_report_that_nothing_overtakes_comes_after_a_while(faulty: Paper, keys: Keys) -> None:
    where = {"stream": "user", "account": keys.account_id}
    await fault(faulty, "reorder_reports", where=where, count=1, hold_ms=300)
    await fault(faulty, "stream_silence", where=where, skip=1, count=1)  # the event that would have overtaken it
    async with user_stream(faulty, keys) as socket:
        began = time.monotonic()
        await post(faulty, keys, "one")
        assert (await events(socket, 1))[0]["c"] == "one"
        assert time.monotonic() - began > 0.3


async def test_a_stream_can_be_closed_at_once_or_with_a_frame(faulty: Paper, keys: Keys) -> None:
    async with (
        user_stream(faulty, keys) as user,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{faulty.url}/ws/btcusdt@kline_1s") as market,
    ):
        made = await fault(faulty, "stream_close", where={"stream": "user"}, code=1001)
        assert (made["hits"], made["spent"]) == (1, True)
        message = await user.receive(timeout=5)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        await fault(faulty, "stream_close", where={"stream": "btcusdt@*"}, at="frame", count=1, code=1006 + 5)
        while (message := await market.receive(timeout=5)).type is WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)


async def test_an_event_can_be_lost_with_its_connection(faulty: Paper, keys: Keys) -> None:
    where = {"stream": "user", "account": keys.account_id}
    await fault(faulty, "stream_abort", where=where, at="frame", skip=1, count=1)
    async with user_stream(faulty, keys) as socket:
        await post(faulty, keys, "one", MARKET)
        heard = []
        while (message := await socket.receive(timeout=5)).type is WSMsgType.TEXT:
            heard.append(json.loads(message.data)["event"]["x"])
    assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR)
    assert heard in ([], ["NEW"])
    assert await client_ids(faulty, keys) == ["one"]


async def test_a_stream_can_be_torn_down_without_a_word(faulty: Paper, keys: Keys) -> None:
    async with user_stream(faulty, keys) as socket:
        await fault(faulty, "stream_abort", where={"account": keys.account_id})
        assert (await socket.receive(timeout=5)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        assert socket.close_code in (1006, None)


async def test_a_stream_can_fall_silent_and_speak_again(faulty: Paper, keys: Keys) -> None:
    async with user_stream(faulty, keys) as socket:
        made = await fault(faulty, "stream_silence", where={"stream": "user"}, pings=False)
        await post(faulty, keys, "unheard")
        await socket.ping()
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.5)
        await faulty.control("DELETE", f"/paper/faults/{made['id']}")
        await post(faulty, keys, "heard")
        assert (await events(socket, 1))[0]["c"] == "heard"


# -- the exchange as a whole -----------------------------------------------------------------------------


async def test_a_halted_symbol_takes_no_orders_but_cancels_and_goes_on_later(faulty: Paper, keys: Keys) -> None:
    await post(faulty, keys, "one")
    made = await fault(faulty, "halt", where={"symbol": "BTCUSDT"})
    info = (await faulty.raw("GET", "/api/v3/exchangeInfo", "symbol=BTCUSDT"))[1]["symbols"][0]
    assert info["status"] == "BREAK"
    status, text = await post(faulty, keys, "two")
    assert (status, json.loads(text)["msg"]) == (400, "Market is closed.")
    status, _ = await faulty.signed("DELETE", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="one")
    assert status == 200
    assert (await faulty.status_of("BTCUSDT"))["halted"]
    assert not (await faulty.status_of("ETHUSDT"))["halted"]
    await asyncio.sleep(1.2)
    still = await faulty.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1s&limit=1")
    await asyncio.sleep(1.2)
    assert (await faulty.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1s&limit=1"))[1] == still[1]
    await faulty.control("DELETE", f"/paper/faults/{made['id']}")
    assert (await post(faulty, keys, "three"))[0] == 200

    async def moves() -> bool:
        return bool((await faulty.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1s&limit=1"))[1] != still[1])

    await until(moves)


async def test_a_delisted_symbol_is_unknown_and_its_orders_end(faulty: Paper, keys: Keys) -> None:
    await post(faulty, keys, "one")
    made = await fault(faulty, "delisting", where={"symbol": "BTCUSDT"})
    status, text = await post(faulty, keys, "two")
    assert (status, json.loads(text)["code"]) == (400, -1121)
    info = (await faulty.raw("GET", "/api/v3/exchangeInfo"))[1]["symbols"]
    assert [s["symbol"] for s in info] == ["ETHUSDT"]
    (order,) = (await faulty.books(keys.account_id))["orders"]
    assert (order["status"], order["expiryReason"]) == ("EXPIRED", "EXCHANGE_CANCELED")
    balances = (await faulty.books(keys.account_id))["balances"]
    assert balances["USDT"] == {"free": "1000000", "locked": "0"}
    await faulty.control("DELETE", f"/paper/faults/{made['id']}")
    assert (await post(faulty, keys, "three"))[0] == 200


async def test_in_maintenance_nothing_is_to_be_had(faulty: Paper, keys: Keys) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{faulty.url}/ws/btcusdt@kline_1s") as market:
        made = await fault(faulty, "maintenance")
        for path in ("/api/v3/ping", "/api/v3/time", "/sapi/v1/account/apiRestrictions"):
            async with session.get(faulty.url + path) as response:
                assert response.status == 503
        for path in ("/ws-api/v3", "/ws/btcusdt@trade", "/stream?streams=btcusdt@trade"):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await session.ws_connect(faulty.url + path)
        while (message := await market.receive(timeout=5)).type is WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        assert (await faulty.control("GET", "/paper/status"))[0] == 200
        await faulty.control("DELETE", f"/paper/faults/{made['id']}")
        assert (await faulty.raw("GET", "/api/v3/ping"))[0] == 200


# -- while time stands -----------------------------------------------------------------------------------


async def signed_at(paper: Paper, clock: ManualClock, method: str, path: str, keys: Keys, **params: Any) -> Any:
    status, answer = await paper.signed(method, path, keys, **params, timestamp=clock.now_ms())
    assert status == 200, answer
    return answer


async def test_an_order_that_has_filled_since_is_shown_unfilled(tmp_path: Path) -> None:
    clock = ManualClock(1_800_014_400_000)
    async with running(tmp_path / "paper.db", clock, faults=True) as paper:
        buyer = await paper.open_account({"USDT": "1000000"}, ed25519=False)
        seller = await paper.open_account({"BTC": "1"}, ed25519=False)
        best = (await paper.raw("GET", "/api/v3/ticker/bookTicker", "symbol=BTCUSDT"))[1]
        limit = {**LIMIT, "price": str(Decimal(best["bidPrice"]) + Decimal("0.01"))}
        placed = await signed_at(paper, clock, "POST", "/api/v3/order", buyer, **limit)
        assert placed["status"] == "NEW"
        await clock.advance(0.02)
        sold = await signed_at(paper, clock, "POST", "/api/v3/order", seller, **{**MARKET, "side": "SELL"})
        assert sold["fills"][0]["price"] == placed["price"]
        await fault(paper, "late_memory", lag_ms=10)
        which = {"symbol": "BTCUSDT", "orderId": placed["orderId"]}
        for lag_ms, status, executed in ((10, "NEW", "0.00000000"), (0, "FILLED", "0.01000000")):
            if not lag_ms:
                await paper.control("DELETE", "/paper/faults")
            told = await signed_at(paper, clock, "GET", "/api/v3/order", buyer, **which)
            assert (told["status"], told["executedQty"]) == (status, executed)


async def test_a_halt_in_the_middle_of_a_second_holds_its_price(tmp_path: Path) -> None:
    clock = ManualClock(1_800_014_400_000)

    async def told(paper: Paper) -> Any:
        best = (await paper.raw("GET", "/api/v3/ticker/bookTicker", "symbol=BTCUSDT"))[1]
        return best, (await paper.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=1"))[1]

    async with running(tmp_path / "paper.db", clock, faults=True, symbols=("BTCUSDT",)) as paper:
        await clock.advance(1.1)
        made = await fault(paper, "halt", where={"symbol": "BTCUSDT"})
        before = await told(paper)
        await clock.advance(3)
        assert await told(paper) == before
        await paper.control("DELETE", f"/paper/faults/{made['id']}")
        await clock.advance(2)
        best, candle = await told(paper)
        assert best != before[0]
        assert candle != before[1]


async def test_chances_over_real_requests_follow_the_seed(tmp_path: Path) -> None:
    courses = []
    for name in ("a", "b"):
        async with running(tmp_path / f"{name}.db", faults=True) as paper:
            await fault(paper, "http_5xx", when="before", probability=0.5, seed=11, body="json")
            courses.append([(await paper.raw("GET", "/api/v3/ping"))[0] for _ in range(20)])
    assert courses[0] == courses[1]
    assert set(courses[0]) == {200, 503}
