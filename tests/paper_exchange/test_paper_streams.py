"""Market streams and the ws-api as raw frames."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from paper_kit import Paper


async def ask(socket: aiohttp.ClientWebSocketResponse, message: Any) -> Any:
    """Send a control message and return its answer, past whatever streams meanwhile."""
    await socket.send_str(message if isinstance(message, str) else json.dumps(message))
    while True:
        answer = json.loads((await socket.receive(timeout=5)).data)
        if "result" in answer or "code" in answer or "error" in answer:
            return answer


async def event(socket: aiohttp.ClientWebSocketResponse) -> Any:
    return json.loads((await socket.receive(timeout=5)).data)


@pytest.mark.parametrize(("path", "wrapped"), [("/ws", False), ("/stream", True)])
async def test_streams_are_joined_and_left_on_a_bare_connection(paper: Paper, path: str, wrapped: bool) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(paper.url + path) as socket:
        joined = await ask(
            socket, {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1s", "ethusdt@bookTicker"], "id": 1}
        )
        assert joined == {"result": None, "id": 1}
        assert ("stream" in await event(socket)) is wrapped
        listed = await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": "abc"})
        assert listed == {"result": ["btcusdt@kline_1s", "ethusdt@bookTicker"], "id": "abc"}
        left = await ask(socket, {"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1s"], "id": None})
        assert left == {"result": None, "id": None}
        assert (await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 2}))["result"] == ["ethusdt@bookTicker"]
        assert (await ask(socket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 3}))["result"] is wrapped
        await ask(socket, {"method": "SET_PROPERTY", "params": ["combined", not wrapped], "id": 4})
        assert (await ask(socket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 5}))["result"] is not wrapped


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{nonsense", 3),
        ({"id": 1}, 2),
        ({"method": "SHOUT", "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@kline_7m"], "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": "btcusdt@kline_1m", "id": 1}, 2),
        ({"method": "SUBSCRIBE", "params": [], "id": 1.5}, 2),
        ({"method": "SET_PROPERTY", "params": ["colour", True], "id": 1}, 0),
        ({"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 1}, 1),
    ],
)
async def test_bad_control_messages_are_answered_and_the_connection_lives(
    paper: Paper, message: Any, code: int
) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws") as socket:
        assert (await ask(socket, message))["code"] == code
        assert (await ask(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 9})) == {"result": [], "id": 9}


async def test_an_unknown_stream_name_in_the_address_is_refused(paper: Paper) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/ws/btcusdt@nonsense", "/stream?streams=btcusdt@kline_1m/x@y"):
            assert (await session.get(paper.url + path)).status == 400


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonsense", -1135),
        ("[]", -1135),
        ({"id": 7, "method": "order.dance"}, -1020),
        ({"id": 7, "method": "userDataStream.subscribe.signature", "params": {}}, -2014),
        ({"id": 7, "method": "userDataStream.subscribe.signature", "params": {"apiKey": "x"}}, -2015),
        ({"id": 7, "method": "klines", "params": {"symbol": "BTCUSDT", "interval": "1m", "limit": 2.5}}, -1100),
    ],
)
async def test_the_ws_api_refuses_with_codes_and_echoes_the_id(paper: Paper, message: Any, code: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws-api/v3") as socket:
        answer = await ask(socket, message)
        assert answer["error"]["code"] == code
        assert answer["status"] in (400, 401)
        assert answer["id"] == (7 if isinstance(message, dict) else None)
        assert answer["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"
        alive = await ask(socket, {"id": "z", "method": "v3/ping"})
        assert (alive["status"], alive["result"]) == (200, {})


async def test_ws_api_market_data_is_that_of_rest(paper: Paper) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws-api/v3") as socket:
        _, rest, _ = await paper.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1h&limit=3")
        params = {"symbol": "BTCUSDT", "interval": "1h", "limit": 3}
        over_ws = (await ask(socket, {"id": 1, "method": "klines", "params": params}))["result"]
        assert over_ws[:2] == rest[:2]
        info = await ask(socket, {"id": 1, "method": "exchangeInfo", "params": {"symbols": ["BTCUSDT"]}})
        assert [s["symbol"] for s in info["result"]["symbols"]] == ["BTCUSDT"]
