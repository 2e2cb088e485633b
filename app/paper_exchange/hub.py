"""Who listens to what: user events by account, market streams by name."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.paper_exchange.timeunit import in_microseconds

MAX_QUEUED = 5_000
POLICY_VIOLATION = 1008


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection is to end: closed with a code and a reason, or, with `is_reset`, torn down without a word."""

    code: int = 1000
    reason: str = ""
    is_reset: bool = False


class Outbox:
    """Frames waiting for one connection. When a reader is too slow the connection is given up."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def put(self, frame: str) -> None:
        """Queue a text frame; never blocks. Nothing follows the end."""
        if self._ending.done():
            return
        if self._frames.qsize() >= MAX_QUEUED:
            self.end(Ending(POLICY_VIOLATION, "Too slow"))
            return
        self._frames.put_nowait(frame)

    async def get(self) -> str:
        """The next frame."""
        return await self._frames.get()

    def end(self, ending: Ending) -> None:
        """Let the connection end now; the first call counts."""
        if not self._ending.done():
            self._ending.set_result(ending)

    async def ended(self) -> Ending:
        """Wait for `end`."""
        return await asyncio.shield(self._ending)


class UserHub:
    """User stream events, by account."""

    def __init__(self) -> None:
        self._listeners: dict[int, list[Callable[[dict[str, Any]], None]]] = defaultdict(list)

    def listen(self, account_id: int, listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Hand every event of the account to `listener` until the returned function is called."""
        listeners = self._listeners[account_id]
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    def publish(self, events: list[tuple[int, dict[str, Any]]]) -> None:
        """Tell the listeners, in order."""
        for account_id, event in events:
            for listener in list(self._listeners.get(account_id, ())):
                listener(event)


Listener = Callable[[str, str], None]


class StreamHub:
    """Market streams, by name. A payload is made only for streams somebody listens to."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[Listener, bool]] = defaultdict(dict)  # listener -> in microseconds

    def listen(self, stream: str, listener: Listener, *, micro: bool = False) -> None:
        """Hand (stream, payload) to `listener`, with times in microseconds if it wants them so."""
        self._listeners[stream][listener] = micro

    def forget(self, stream: str, listener: Listener) -> None:
        """Stop listening."""
        listeners = self._listeners.get(stream)
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self._listeners[stream]

    def has(self, stream: str) -> bool:
        """Whether anybody listens."""
        return stream in self._listeners

    def wants(self, *streams: str) -> bool:
        """Whether anybody listens to one of these."""
        return any(stream in self._listeners for stream in streams)

    def publish(self, stream: str, payload: Any) -> None:
        """Send one payload to all who listen to the stream."""
        listeners = self._listeners.get(stream)
        if not listeners:
            return
        texts: dict[bool, str] = {}
        for listener, micro in list(listeners.items()):
            if micro not in texts:
                texts[micro] = dumps(in_microseconds(payload) if micro else payload)
            listener(stream, texts[micro])
