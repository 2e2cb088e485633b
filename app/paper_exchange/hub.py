"""Who listens to what: user events by account, market streams by name."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

MAX_QUEUED = 20_000


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Outbox:
    """Frames waiting for one connection. When a reader is too slow the connection is given up."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self.overflowed = asyncio.Event()

    def put(self, frame: str) -> None:
        """Queue a text frame; never blocks."""
        if self._frames.qsize() >= MAX_QUEUED:
            self.overflowed.set()
            return
        self._frames.put_nowait(frame)

    async def get(self) -> str:
        """The next frame."""
        return await self._frames.get()


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


class StreamHub:
    """Market streams, by name. A payload is made only for streams somebody listens to."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Callable[[str, str], None]]] = defaultdict(set)

    def listen(self, stream: str, listener: Callable[[str, str], None]) -> None:
        """Hand (stream, payload) to `listener`."""
        self._listeners[stream].add(listener)

    def forget(self, stream: str, listener: Callable[[str, str], None]) -> None:
        """Stop listening."""
        listeners = self._listeners.get(stream)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[stream]

    def has(self, stream: str) -> bool:
        """Whether anybody listens."""
        return stream in self._listeners

    def publish(self, stream: str, payload: Any) -> None:
        """Send one payload to all who listen to the stream."""
        listeners = self._listeners.get(stream)
        if listeners:
            text = dumps(payload)
            for listener in list(listeners):
                listener(stream, text)
