"""What every WebSocket connection needs: an outbox, pings with a deadline, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from aiohttp import WSCloseCode, WSMsgType, web

from app.paper_exchange.hub import Outbox

PING_EVERY_S = 20.0
PONG_WITHIN_S = 60.0
CLOSE_WITHIN_S = 2.0
MAX_MESSAGE_BYTES = 1 << 20


async def run_socket(
    request: web.Request,
    outbox: Outbox,
    on_text: Callable[[str], None],
    sockets: set[web.WebSocketResponse],
    *,
    ping_every_s: float = PING_EVERY_S,
) -> web.WebSocketResponse:
    """Serve one connection until it ends: send what is in `outbox`, hand every text to `on_text`.

    Pings every 20 s; a connection that does not answer for a minute, or reads too slowly, is closed.
    """
    socket = web.WebSocketResponse(autoping=False, max_msg_size=MAX_MESSAGE_BYTES, timeout=CLOSE_WITHIN_S)
    await socket.prepare(request)
    sockets.add(socket)
    loop = asyncio.get_running_loop()
    answered_at = loop.time()

    async def send() -> None:
        while True:
            await socket.send_str(await outbox.get())

    async def ping() -> None:
        while loop.time() - answered_at < PONG_WITHIN_S:
            await asyncio.sleep(ping_every_s)
            await socket.ping(str(round(loop.time() * 1000)).encode())
        await _give_up(request, socket, b"Pong timeout")

    async def drop_slow() -> None:
        await outbox.overflowed.wait()
        await _give_up(request, socket, b"Too slow")

    tasks = [asyncio.create_task(job()) for job in (send, ping, drop_slow)]
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                on_text(message.data)
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                answered_at = loop.time()
            elif message.type is WSMsgType.ERROR:
                break
    finally:
        sockets.discard(socket)
        for task in tasks:
            task.cancel()
        for task in tasks:
            # A task may have ended by the broken connection itself; that is what we are cleaning up after.
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, RuntimeError):
                await task
    return socket


async def _give_up(request: web.Request, socket: web.WebSocketResponse, reason: bytes) -> None:
    """Close with a reason; a peer that does not even take that is cut off."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason)
    if request.transport is not None:
        request.transport.abort()
