"""The WebSocket API's sessions and user streams, as raw frames."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from paper_kit import Keys, Paper, hmac_of, running

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


class Client:
    """Requests on one connection; events that come between are kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._next_id = 0

    async def ask(self, method: str, keys: Keys | None = None, **params: Any) -> dict[str, Any]:
        """The answer to a request, signed if keys are given."""
        self._next_id += 1
        if keys is not None:
            params = {"apiKey": keys.api_key, "timestamp": now_ms(), **params}
            params["signature"] = signature(keys, "&".join(f"{k}={params[k]}" for k in sorted(params)))
        await self.socket.send_json({"id": self._next_id, "method": method, "params": params})
        while True:
            frame = json.loads((await self.socket.receive(timeout=5)).data)
            if "event" not in frame:
                assert frame["id"] == self._next_id
                return frame
            self.events.append(frame)

    async def result(self, method: str, keys: Keys | None = None, **params: Any) -> Any:
        answer = await self.ask(method, keys, **params)
        assert answer["status"] == 200, answer
        return answer["result"]

    async def code(self, method: str, keys: Keys | None = None, **params: Any) -> int:
        return int((await self.ask(method, keys, **params))["error"]["code"])

    async def next_events(self, count: int) -> list[dict[str, Any]]:
        while len(self.events) < count:
            self.events.append(json.loads((await self.socket.receive(timeout=5)).data))
        taken, self.events = self.events[:count], self.events[count:]
        return taken


def now_ms() -> int:
    return int(time.time() * 1000)


def signature(keys: Keys, payload: str) -> str:
    if keys.secret is not None:
        return hmac_of(keys, payload)
    assert keys.private_pem is not None
    key = load_pem_private_key(keys.private_pem.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return base64.b64encode(key.sign(payload.encode())).decode()


@contextlib.asynccontextmanager
async def connected(paper: Paper, query: str = "") -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws-api/v3{query}") as socket:
        yield Client(socket)


@pytest.fixture
async def keys(paper: Paper) -> Keys:
    return await paper.open_account({"USDT": "100000", "BTC": "1"})


async def test_a_session_speaks_for_the_key_that_logged_on(paper: Paper, keys: Keys) -> None:
    async with connected(paper) as client:
        assert await client.code("account.status", timestamp=now_ms()) == -2014
        view = await client.result("session.logon", keys)
        assert (view["apiKey"], view["userDataStream"], view["returnRateLimits"]) == (keys.api_key, False, True)
        assert view["connectedSince"] <= view["authorizedSince"] <= view["serverTime"]
        placed = await client.result("order.place", **MARKET, timestamp=now_ms())
        assert placed["status"] == "FILLED"
        assert await client.code("order.place", **MARKET, timestamp=now_ms() - 10_000) == -1021
        assert await client.code("order.place", **MARKET) == -1102
        assert {**view, "serverTime": 0} == {**await client.result("session.status"), "serverTime": 0}


async def test_another_key_may_sign_a_single_request_of_a_session(paper: Paper, keys: Keys) -> None:
    other = await paper.open_account({"BTC": "7"}, ed25519=False)
    async with connected(paper) as client:
        await client.result("session.logon", keys)
        theirs = await client.result("account.status", other, omitZeroBalances="true")
        assert [(b["asset"], b["free"]) for b in theirs["balances"]] == [("BTC", "7.00000000")]
        mine = await client.result("account.status", timestamp=now_ms())
        assert mine["uid"] == keys.account_id


async def test_logging_out_forgets_the_key_and_ends_its_stream_only(paper: Paper, keys: Keys) -> None:
    other = await paper.open_account({"USDT": "1000"}, ed25519=False)
    async with connected(paper) as client:
        assert await client.code("userDataStream.subscribe") == -2014
        await client.result("session.logon", keys)
        assert await client.result("userDataStream.subscribe") == {"subscriptionId": 0}
        assert await client.code("userDataStream.subscribe") == -2035
        assert await client.code("userDataStream.subscribe.signature", keys) == -2035
        assert await client.result("userDataStream.subscribe.signature", other) == {"subscriptionId": 1}
        assert (await client.result("session.status"))["userDataStream"] is True
        view = await client.result("session.logout")
        assert (view["apiKey"], view["authorizedSince"], view["userDataStream"]) == (None, None, True)
        (ended,) = await client.next_events(1)
        assert (ended["subscriptionId"], ended["event"]["e"]) == (0, "eventStreamTerminated")
        assert await client.result("session.subscriptions") == [{"subscriptionId": 1}]
        assert await client.code("account.status", timestamp=now_ms()) == -2014
        assert await client.result("userDataStream.unsubscribe") == {}
        assert (await client.next_events(1))[0]["subscriptionId"] == 1


async def test_only_ed25519_keys_log_on(paper: Paper) -> None:
    other = await paper.open_account({}, ed25519=False)
    async with connected(paper) as client:
        assert await client.code("session.logon", other) == -4056
        assert await client.code("session.logon") == -2014
        assert (await client.result("session.status"))["apiKey"] is None


async def test_two_accounts_on_one_connection_get_their_own_events(paper: Paper, keys: Keys) -> None:
    other = await paper.open_account({"USDT": "1000"}, ed25519=False)
    async with connected(paper) as client:
        for account in (keys, other):
            await client.result("userDataStream.subscribe.signature", account)
        await paper.control("POST", f"/paper/accounts/{other.account_id}/deposit", {"USDT": "5"})
        await paper.control("POST", f"/paper/accounts/{keys.account_id}/deposit", {"BTC": "2"})
        told = [(e["subscriptionId"], e["event"]["e"]) for e in await client.next_events(4)]
        kinds = ["balanceUpdate", "outboundAccountPosition"]
        assert told == [(1, kind) for kind in kinds] + [(0, kind) for kind in kinds]


@pytest.mark.parametrize("method", ["userDataStream.start", "userDataStream.ping", "userDataStream.stop"])
async def test_the_removed_listen_key_methods_are_not_supported(paper: Paper, keys: Keys, method: str) -> None:
    async with connected(paper) as client:
        assert await client.code(method, apiKey=keys.api_key) == -1020


async def test_times_come_in_microseconds_when_asked_for(paper: Paper, keys: Keys) -> None:
    async with connected(paper, "?timeUnit=MICROSECOND") as client:
        assert abs((await client.result("time"))["serverTime"] // 1000 - now_ms()) < 2_000
        candle = (await client.result("klines", symbol="BTCUSDT", interval="1m", limit=1))[0]
        assert candle[6] - candle[0] == 60_000_000 - 1
        await client.result("userDataStream.subscribe.signature", keys)
        await client.result("order.place", keys, **MARKET)
        report = (await client.next_events(1))[0]["event"]
        assert all(10**15 < report[name] < 10**16 for name in "ETOW")
        client._next_id = now_ms()
        await client.result("ping")  # the id is echoed as it was
    async with aiohttp.ClientSession() as session, session.get(f"{paper.url}/ws-api/v3?timeUnit=HOUR") as response:
        assert (response.status, (await response.json())["code"]) == (400, -1194)


async def test_before_it_stops_the_exchange_says_so_on_every_kind_of_connection(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with running(tmp_path / "paper.db") as paper:
            sockets = [
                await session.ws_connect(paper.url + path)
                for path in ("/ws-api/v3", "/ws/btcusdt@kline_1h", "/stream?streams=btcusdt@kline_1h")
            ]
        told = []
        for socket in sockets:
            while (message := await socket.receive(timeout=5)).type is WSMsgType.TEXT:
                if "serverShutdown" in message.data:
                    told.append(json.loads(message.data))
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
    api, raw, combined = told
    assert (set(api), api["event"]["e"]) == ({"event"}, "serverShutdown")
    assert (raw["e"], set(raw)) == ("serverShutdown", {"e", "E"})
    assert (combined["stream"], combined["data"]["e"]) == ("!serverShutdown", "serverShutdown")


async def test_a_connection_lives_only_so_long(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "paper.db", connection_life_s=0.3) as paper,
        connected(paper) as client,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{paper.url}/ws/btcusdt@trade") as stream,
    ):
        for socket in (client.socket, stream):
            while (message := await socket.receive(timeout=5)).type is WSMsgType.TEXT:
                pass
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
