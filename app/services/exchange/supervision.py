"""Streams that are watched over: one connection takes over from the other before that one ends.

A new connection is opened, and subscribed, *while the old one still delivers*: when the exchange announces a
shutdown, well before it cuts connections that are a day old, and when REST shows something that the stream should have
told. Both are read for a while; whoever books events can be told a thing twice. When a connection is lost all the
same, that is a `StreamDown`, and attempts follow after growing, jittered pauses.

Every `StreamUp` says: what happened before it has to be asked for. Nothing else is promised, neither order nor
exactly-once; Binance promises neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import aiohttp

from app.domain.clock import Clock
from app.logs import get_logger
from app.services.exchange.classification import RATE_STATUSES, retry_after_s
from app.services.exchange.parsing import BadAnswer
from app.services.exchange.protocol import StreamDown, StreamUp
from app.services.exchange.streams import Feed, Leaving, Patience, RateLimited, StreamEnded, connection
from app.services.exchange.weight import Purpose, WeightBudget

log = get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: A stream that stood for so long has proved that the way is free: the next pause is short again.
PROVED_S = 60.0
#: Binance cuts connections that are 24 h old. Ours leave before, at most an hour apart by jitter.
LIFE_S, LIFE_SPREAD_S = 23 * 3_600.0, 3_600.0
#: So long both connections are read after one has taken over from the other.
OVERLAP_S = 2.0
#: What REST shows and the stream has not told so long afterwards, it will not tell.
LATE_MS = 10_000
#: An event of the first moments of a subscription may have been before it.
SETTLED_MS = 2_000
WEIGHT_CONNECT, WEIGHT_SUBSCRIBE = 2, 2

E = TypeVar("E")


class Supervisor:
    """Runs feeds for ever. `jitter()` gives numbers in [0, 1) that spread the reconnects of many clients."""

    def __init__(
        self,
        *,
        clock: Clock,
        budget: WeightBudget,
        jitter: Callable[[], float],
        patience: Patience = Patience(),  # noqa: B008 - frozen
        life_s: float = LIFE_S,
        overlap_s: float = OVERLAP_S,
    ) -> None:
        self.clock = clock
        self.budget = budget
        self.jitter = jitter
        self.life_s = life_s
        self.overlap_s = overlap_s
        self.closed = False
        self._patience = patience
        self._open: set[aiohttp.ClientSession] = set()
        self._relays: set[_Relay[Any]] = set()

    async def run(self, feed: Feed[E]) -> AsyncGenerator[E | StreamUp | StreamDown, None]:
        """Events of the feed with StreamUp after each subscription and StreamDown after each loss, until
        `close()` or until the reader leaves.
        """
        if self.closed:
            return
        relay = _Relay(self, feed)
        self._relays.add(relay)
        try:
            async with aclosing(relay.events()) as events:
                async for event in events:
                    yield event
        finally:
            self._relays.discard(relay)

    def suspect(self, *, happened_ms: int, reason: str) -> None:
        """REST shows something of `happened_ms` (exchange time) that the stream has not told.

        If the stream stood then, and its reader has taken all that came, it counts as silent: StreamDown says so,
        and it is replaced. Otherwise this means nothing.
        """
        for relay in self._relays:
            relay.suspect(happened_ms, reason)

    async def close(self) -> None:
        """End all connections; readers' loops come to their end."""
        self.closed = True
        for relay in self._relays:
            relay.poke()
        for session in list(self._open):
            await session.close()

    async def connect(self, feed: Feed[E], pause_s: float) -> AsyncGenerator[E | StreamUp | Leaving, None]:
        """One connection after a pause, when it is this address's turn and the budget allows."""
        if pause_s:
            await self.clock.sleep(pause_s)
        while (wait_s := self.budget.wait_s(WEIGHT_CONNECT + WEIGHT_SUBSCRIBE, Purpose.QUERY)) > 0:
            await self.clock.sleep(wait_s)
        if (turn_s := self.budget.connections.take()) > 0:
            await self.clock.sleep(turn_s)
        async with aclosing(connection(feed, self._patience, self._open)) as events:
            async for event in events:
                yield event


class _Line(Generic[E]):
    """One connection, and the task that waits for what it says next."""

    def __init__(self, events: AsyncGenerator[E | StreamUp | Leaving, None]) -> None:
        self._events = events
        self.leaves_at_s = float("inf")  # loop time: when it is to be replaced, or closed once it has been
        self.is_leaving = False
        self.next = asyncio.ensure_future(anext(events))

    def listen(self) -> None:
        """Wait for what comes next."""
        self.next = asyncio.ensure_future(anext(self._events))

    async def close(self) -> None:
        """Leave the connection."""
        self.next.cancel()
        await asyncio.gather(self.next, return_exceptions=True)
        await self._events.aclose()


class _Relay(Generic[E]):
    """One feed over its lines: the one that counts, the one that is to take over, and those just replaced."""

    def __init__(self, supervisor: Supervisor, feed: Feed[E]) -> None:
        self._supervisor = supervisor
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._lines: list[_Line[E]] = []
        self._current: _Line[E] | None = None
        self._coming: _Line[E] | None = None
        self._failures = 0
        self._is_up = False  # what the reader was told last
        self._up_since_ms, self._up_since_s = 0, 0.0
        self._doubt = ""
        self._waits = False  # the reader wants the next event
        self._poked = self._loop.create_future()

    async def events(self) -> AsyncGenerator[E | StreamUp | StreamDown, None]:
        """See `Supervisor.run`."""
        self._begin(0.0)
        try:
            while not self._supervisor.closed:
                await self._wait()
                for event in await self._news():
                    yield event
        finally:
            for line in self._lines:
                await line.close()

    def poke(self) -> None:
        """Something has changed: look."""
        if not self._poked.done():
            self._poked.set_result(None)

    def suspect(self, happened_ms: int, reason: str) -> None:
        """See `Supervisor.suspect`. What waits to be read may be the very thing, so then nothing follows."""
        all_read = self._waits and not any(line.next.done() for line in self._lines)
        since_ms, now_ms = self._up_since_ms + SETTLED_MS, self._supervisor.clock.exchange_now_ms()
        if self._is_up and all_read and since_ms < happened_ms < now_ms - LATE_MS:
            self._doubt = reason
            self.poke()

    async def _wait(self) -> None:
        if self._poked.done():
            self._poked = self._loop.create_future()
        until_s = min(line.leaves_at_s for line in self._lines)
        waiting = [self._poked, *(line.next for line in self._lines)]
        timeout_s = None if until_s == float("inf") else max(0.0, until_s - self._loop.time())
        self._waits = True
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits = False

    async def _news(self) -> list[E | StreamUp | StreamDown]:
        """What the lines have said, and what follows from it and from the time."""
        news: list[E | StreamUp | StreamDown] = []
        if self._doubt and self._is_up:
            self._is_up = False
            news.append(StreamDown(self._doubt, silent=True))
            self._replace(self._current, self._doubt)
        self._doubt = ""
        for line in list(self._lines):
            if line.next.done():
                news += self._heard(line)
            if line.leaves_at_s <= self._loop.time():
                if line is self._current:
                    self._replace(line, "it is nearly a day old")
                else:
                    self._lines.remove(line)
                    await line.close()
        return news

    def _heard(self, line: _Line[E]) -> list[E | StreamUp | StreamDown]:
        try:
            event = line.next.result()
        except ENDINGS as error:
            return self._ended(line, self._reason(error))
        line.listen()
        if isinstance(event, Leaving):
            self._replace(line, event.reason)
            return []
        if isinstance(event, StreamUp) and line is self._coming:
            self._take_over(line)
        return [event]

    def _take_over(self, line: _Line[E]) -> None:
        """From here on this line counts; the old one is read a little longer."""
        now_s, spread_s = self._loop.time(), LIFE_SPREAD_S * min(1.0, self._supervisor.life_s / LIFE_S)
        line.leaves_at_s = now_s + self._supervisor.life_s - spread_s * self._supervisor.jitter()
        if self._current is not None:
            self._current.leaves_at_s = now_s + self._supervisor.overlap_s
        self._current, self._coming, self._is_up = line, None, True
        self._up_since_ms, self._up_since_s = self._supervisor.clock.exchange_now_ms(), now_s

    def _replace(self, line: _Line[E] | None, reason: str) -> None:
        """Let another line take over from the one that counts."""
        if line is None or line is not self._current or line.is_leaving:
            return
        log.info("a stream changes its connection", reason=reason)
        line.is_leaving, line.leaves_at_s = True, float("inf")
        self._forgive()
        self._again()

    def _ended(self, line: _Line[E], reason: str) -> list[E | StreamUp | StreamDown]:
        self._lines.remove(line)
        was_up = self._is_up
        if line is self._coming:
            self._coming = None
            self._again()
            if was_up:
                log.warning("a stream could not change its connection yet", reason=reason)
            return [] if was_up else [StreamDown(reason)]
        if line is not self._current:
            return []
        self._current, self._is_up = None, False
        if self._coming is None:
            self._forgive()
            self._again()
        return [StreamDown(reason)] if was_up else []

    def _forgive(self) -> None:
        """The line that counted has come to its end: if it stood for long, earlier failures are forgotten."""
        if self._loop.time() - self._up_since_s >= PROVED_S:
            self._failures = 0

    def _again(self) -> None:
        """Another connection, after a pause that grows with each one that did not stand for long."""
        pause = pause_s(self._failures, self._supervisor.jitter())
        self._failures += 1
        self._begin(pause)

    def _begin(self, pause: float) -> None:
        self._coming = _Line(self._supervisor.connect(self._feed, pause))
        self._lines.append(self._coming)

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, RateLimited):
            self._supervisor.budget.pause(error.status, error.retry_after_s)
        elif isinstance(error, aiohttp.WSServerHandshakeError):
            if error.status in RATE_STATUSES:
                header = error.headers.get("Retry-After") if error.headers else None
                self._supervisor.budget.pause(error.status, retry_after_s(header))
            return f"the exchange answered the handshake with HTTP {error.status}"
        if isinstance(error, StreamEnded | BadAnswer):
            return str(error)
        if isinstance(error, StopAsyncIteration):
            return "the connection was closed"
        return f"{type(error).__name__}: {error}".rstrip(": ")


#: How a connection ends; everything else is a fault of ours and is raised to the reader.
ENDINGS = (StreamEnded, BadAnswer, StopAsyncIteration, aiohttp.ClientError, OSError, TimeoutError)


def pause_s(failures: int, jitter: float) -> float:
    """Seconds before the next attempt: doubling from half a second to half a minute, less up to a half by jitter."""
    longest: float = min(FIRST_PAUSE_S * 2.0 ** min(failures, 10), LONGEST_PAUSE_S)
    return longest * (1 - jitter / 2)
