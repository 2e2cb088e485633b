"""A server of raw bytes that misbehaves on demand and counts what really arrives on the wire."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reply = Callable[[asyncio.StreamWriter], Awaitable[bool]]  # True: the connection stays open


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it stood on the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def form(self) -> str:
        """Query and body together."""
        return self.target.partition("?")[2] + self.body


@dataclass(slots=True)
class RawServer:
    """Answers with `replies` one by one; when there are none left, connections are cut."""

    url: str
    requests: list[Request] = field(default_factory=list)
    replies: deque[Reply] = field(default_factory=deque)

    def will(self, *replies: Reply) -> None:
        """What the next requests get."""
        self.replies.extend(replies)


def answer(status: int, body: object, headers: dict[str, str] | None = None, kind: str = "application/json") -> Reply:
    """A whole answer, connection kept. A `body` that is no text goes out as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def reply(writer: asyncio.StreamWriter) -> bool:
        lines = {"Content-Type": kind, "Content-Length": str(len(text.encode())), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n{text}".encode())
        await writer.drain()
        return True

    return reply


def cut(part: bytes = b"", *, reset: bool = False) -> Reply:
    """Send these bytes and cut the connection, with a TCP reset if asked."""

    async def reply(writer: asyncio.StreamWriter) -> bool:
        writer.write(part)
        await writer.drain()
        if reset:
            writer.transport.abort()
        return False

    return reply


def late(after_s: float, then: Reply) -> Reply:
    """Keep the client waiting first."""

    async def reply(writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(after_s)
        return await then(writer)

    return reply


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """Listens on a port the system picks."""
    state = RawServer("")
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                state.requests.append(request)
                reply = state.replies.popleft() if state.replies else cut()
                if not await reply(writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
    method, target, _ = first.split(" ", 2)
    return Request(method, target, headers, body)
