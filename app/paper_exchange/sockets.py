"""What every WebSocket connection needs: an outbox, pings with a deadline, a life of limited length, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from app.paper_exchange.faults import Point
from app.paper_exchange.hub import Ending, Outbox

CLOSE_WITHIN_S = 2.0
MAX_MESSAGE_BYTES = 1 << 20


class Live(Protocol):
    """What the server knows of an open connection."""

    outbox: Outbox

    def on_text(self, text: str) -> None:
        """A message of the client."""

    def close(self) -> None:
        """The connection has ended: leave everything."""

    def shutdown_frame(self, now_ms: int) -> str:
        """`serverShutdown` in this connection's words."""

    def points(self) -> list[Point]:
        """What faults may aim at: its streams."""


@dataclass(frozen=True, slots=True)
class SocketRules:
    """Pings, deadlines and limits of a connection."""

    ping_every_s: float = 20.0
    pong_within_s: float = 60.0
    life_s: float = 86_400.0
    messages_per_s: int = 0  # that the client may send, pings and pongs included; 0: any number


class Sockets:
    """All open connections of a server."""

    def __init__(self) -> None:
        self.open: dict[Live, web.WebSocketResponse] = {}
        self.answers: Callable[[Live], bool] = lambda _: True  # whether a connection still sends pings and pongs

    async def run(self, request: web.Request, live: Live, rules: SocketRules) -> web.WebSocketResponse:
        """Serve one connection until it ends: send what is in its outbox, hand it every text.

        A connection that does not answer pings, reads too slowly, talks too much or is too old is closed.
        """
        socket = web.WebSocketResponse(autoping=False, max_msg_size=MAX_MESSAGE_BYTES, timeout=CLOSE_WITHIN_S)
        await socket.prepare(request)
        self.open[live] = socket
        one = _Connection(request, socket, live, rules, self.answers)
        tasks = [asyncio.create_task(job()) for job in (one.send, one.ping, one.end)]
        life = asyncio.get_running_loop().call_later(rules.life_s, live.outbox.end, _TOO_OLD)
        try:
            await one.receive()
        finally:
            life.cancel()
            del self.open[live]
            for task in tasks:
                task.cancel()
            for task in tasks:
                # A task may have ended by the broken connection itself; that is what we are cleaning up after.
                with contextlib.suppress(asyncio.CancelledError, ConnectionError, RuntimeError):
                    await task
        return socket

    def announce_shutdown(self, now_ms: int) -> None:
        """Tell every connection that the server is about to stop."""
        for live in self.open:
            live.outbox.put(live.shutdown_frame(now_ms))

    async def close_all(self) -> None:
        """Close every connection."""
        closing = [
            socket.close(code=WSCloseCode.GOING_AWAY, message=b"Server shutdown") for socket in self.open.values()
        ]
        await asyncio.gather(*closing, return_exceptions=True)


_TOO_OLD = Ending(WSCloseCode.GOING_AWAY, "Connection lifetime over")
_TOO_MANY = Ending(WSCloseCode.POLICY_VIOLATION, "Too many requests")


class _Connection:
    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        live: Live,
        rules: SocketRules,
        answers: Callable[[Live], bool],
    ) -> None:
        self._request, self._socket, self._live, self._rules = request, socket, live, rules
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._answered_at = self._loop.time()
        self._heard: deque[float] = deque(maxlen=rules.messages_per_s or None)

    async def receive(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                break
            if self._talks_too_much():
                self._live.outbox.end(_TOO_MANY)
            elif message.type is WSMsgType.TEXT:
                self._live.on_text(message.data)
            elif message.type is WSMsgType.PING:
                if self._answers(self._live):
                    await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._answered_at = self._loop.time()

    def _talks_too_much(self) -> bool:
        """Whether this message comes within a second of too many others."""
        limit = self._rules.messages_per_s
        if not limit:
            return False
        now = self._loop.time()
        is_full = len(self._heard) == limit and now - self._heard[0] < 1.0
        self._heard.append(now)
        return is_full

    async def send(self) -> None:
        while True:
            await self._socket.send_str(await self._live.outbox.get())

    async def ping(self) -> None:
        while self._loop.time() - self._answered_at < self._rules.pong_within_s:
            await asyncio.sleep(self._rules.ping_every_s)
            if self._answers(self._live):
                await self._socket.ping(str(round(self._loop.time() * 1000)).encode())
            else:
                self._answered_at = self._loop.time()
        self._live.outbox.end(Ending(WSCloseCode.POLICY_VIOLATION, "Pong timeout"))

    async def end(self) -> None:
        """Close with a reason; a peer that does not even take that is cut off."""
        ending = await self._live.outbox.ended()
        if ending.is_reset:
            reset(self._request)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._socket.close(code=ending.code, message=ending.reason.encode())
        if self._request.transport is not None:
            self._request.transport.abort()


def reset(request: web.Request) -> None:
    """Tear a connection down with a TCP reset, unsent bytes and all."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
