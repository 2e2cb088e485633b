"""Connections: pings, deadlines, slow readers, and an end that does not hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import websockets
from aiohttp import WSMsgType, web
from paper_kit import Paper

from app.paper_exchange import sockets
from app.paper_exchange.hub import MAX_QUEUED, Outbox


class Served:
    """A bare server with one socket path."""

    def __init__(self) -> None:
        self.url = ""
        self.outbox = Outbox()
        self.texts: list[str] = []
        self.open: set[web.WebSocketResponse] = set()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await sockets.run_socket(request, made.outbox, made.texts.append, made.open, ping_every_s=0.05)

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


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


async def test_a_client_that_does_not_answer_pings_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PONG_WITHIN_S", 0.2)
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url, autoping=False) as socket:
        message = await socket.receive(timeout=5)
        while message.type is WSMsgType.PING:
            message = await socket.receive(timeout=5)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)


async def test_a_client_that_reads_too_slowly_is_closed(served: Served) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url) as socket:
        for _ in range(MAX_QUEUED + 1):
            served.outbox.put("x")
        message = await socket.receive(timeout=5)
        while message.type is WSMsgType.TEXT:
            message = await socket.receive(timeout=5)
        assert message.type is WSMsgType.CLOSE


@pytest.mark.parametrize("path", ["/ws-api/v3", "/ws/btcusdt@kline_1s", "/stream?streams=btcusdt@trade"])
async def test_a_close_is_answered_at_once(paper: Paper, path: str) -> None:
    socket = await websockets.connect(f"ws://127.0.0.1:{paper.port}{path}", close_timeout=8)
    began = asyncio.get_running_loop().time()
    await socket.close()
    assert socket.close_code == 1000
    assert asyncio.get_running_loop().time() - began < 4
