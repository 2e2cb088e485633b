"""Connections: pings, deadlines, slow readers, and an end that does not hang."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import WSMsgType, web
from paper_kit import Paper, until

from app.paper_exchange import hub, sockets
from app.paper_exchange.faults import Point
from app.paper_exchange.hub import MAX_QUEUED, Outbox
from app.paper_exchange.sockets import SocketRules, Sockets


class Served:
    """A bare server with one socket path, and the connection it has open."""

    def __init__(self, rules: SocketRules) -> None:
        self.url = ""
        self.rules = rules
        self.outbox = Outbox()
        self.texts: list[str] = []
        self.has_left = asyncio.Event()
        self.sockets = Sockets()

    def on_text(self, text: str) -> None:
        self.texts.append(text)

    def close(self) -> None:
        self.has_left.set()

    def shutdown_frame(self, now_ms: int) -> str:
        return f"stopping at {now_ms}"

    def points(self) -> list[Point]:
        return []


@contextlib.asynccontextmanager
async def serving(**rules: Any) -> AsyncIterator[Served]:
    made = Served(SocketRules(**rules))

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await made.sockets.run(request, made, made.rules)
        finally:
            made.close()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(ping_every_s=0.05) as made:
        yield made


async def ending(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """What ends a connection, past whatever comes before."""
    message = await socket.receive(timeout=5)
    while message.type in (WSMsgType.PING, WSMsgType.PONG, WSMsgType.TEXT):
        message = await socket.receive(timeout=5)
    return message


async def test_the_server_pings_and_a_client_that_answers_stays(served: Served) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url, autoping=False) as socket:
        for _ in range(5):
            message = await socket.receive(timeout=5)
            assert message.type is WSMsgType.PING
            await socket.pong(message.data)
        await socket.ping(b"mine")
        answer = await socket.receive(timeout=5)
        while answer.type is WSMsgType.PING:
            answer = await socket.receive(timeout=5)
        assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"mine")


async def test_a_client_that_does_not_answer_pings_is_closed() -> None:
    async with (
        serving(ping_every_s=0.05, pong_within_s=0.2) as served,
        aiohttp.ClientSession() as session,
        session.ws_connect(served.url, autoping=False) as socket,
    ):
        message = await ending(socket)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 1008, "Pong timeout")
        await served.has_left.wait()


async def test_a_client_that_reads_too_slowly_is_closed(served: Served) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url) as socket:
        for _ in range(MAX_QUEUED + 1):
            served.outbox.put("x")
        message = await ending(socket)
        assert (message.type, message.extra) == (WSMsgType.CLOSE, "Too slow")


async def test_a_client_that_reads_nothing_at_all_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its window is full, so that not even the close can be sent."""
    monkeypatch.setattr(sockets, "CLOSE_WITHIN_S", 0.1)
    monkeypatch.setattr(hub, "MAX_QUEUED", 50)
    port = int(served.url.rsplit(":", 1)[1].strip("/"))
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    hello = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{hello}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    await until_true(lambda: bool(served.sockets.open))
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(400):
        served.outbox.put("x" * 100_000)
        await asyncio.sleep(0)
    await asyncio.wait_for(served.has_left.wait(), 5)
    assert not served.sockets.open
    writer.close()


async def test_a_client_that_talks_too_much_is_closed() -> None:
    async with (
        serving(messages_per_s=5) as served,
        aiohttp.ClientSession() as session,
        session.ws_connect(served.url) as socket,
    ):
        for n in range(5):
            await socket.send_str(str(n))
        await until_true(lambda: len(served.texts) == 5)
        await socket.ping()
        message = await ending(socket)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 1008, "Too many requests")
        assert served.texts == ["0", "1", "2", "3", "4"]


async def test_a_connection_that_has_lived_long_enough_is_closed() -> None:
    async with (
        serving(life_s=0.2) as served,
        aiohttp.ClientSession() as session,
        session.ws_connect(served.url) as socket,
    ):
        message = await ending(socket)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)


async def test_before_the_end_every_connection_is_told(served: Served) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url) as socket:
        await until_true(lambda: bool(served.sockets.open))
        served.sockets.announce_shutdown(77)
        assert (await socket.receive(timeout=5)).data == "stopping at 77"


async def until_true(condition: Callable[[], bool]) -> None:
    async def ask() -> bool:
        return condition()

    await until(ask)


@pytest.mark.parametrize("path", ["/ws-api/v3", "/ws/btcusdt@kline_1s", "/stream?streams=btcusdt@trade"])
async def test_a_close_is_answered_at_once(paper: Paper, path: str) -> None:
    socket = await websockets.connect(f"ws://127.0.0.1:{paper.port}{path}", close_timeout=8)
    began = asyncio.get_running_loop().time()
    await socket.close()
    assert socket.close_code == 1000
    assert asyncio.get_running_loop().time() - began < 4
