"""One connection takes over from the other: nobody waits for an event that fell into a gap."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from app.services.exchange.connections import ConnectionTurns
from app.services.exchange.protocol import OrderUpdate, StreamDown, StreamUp
from app.services.exchange.signing import Ed25519Key
from app.services.exchange.streams import UserFeed
from app.services.exchange.supervision import LIFE_S, LIFE_SPREAD_S, Supervisor
from app.services.exchange.weight import WeightBudget
from tests.exchange.test_stream_supervision import QuickClock, event

SHUTDOWN = {"event": {"e": "serverShutdown", "E": 1}}
DAY_S = 24 * 3_600


@dataclass(slots=True)
class Exchange:
    """Every subscribed connection is told the same things. `refuses` counts how many more are turned away."""

    url: str = ""
    sockets: list[web.WebSocketResponse] = field(default_factory=list)  # subscribed, in order of their coming
    subscribed: int = 0
    refuses: int = 0
    most_at_once: int = 0
    least_at_once: int = 99  # once there has been one

    async def tell(self, frame: Any, sockets: list[web.WebSocketResponse] | None = None) -> None:
        """To all that are open, or to these."""
        for socket in list(self.sockets if sockets is None else sockets):
            await socket.send_str(json.dumps(frame))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.refuses:
            self.refuses -= 1
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and "subscribe" in message.data:
                self.subscribed += 1
                self.sockets.append(socket)
                self.most_at_once = max(self.most_at_once, len(self.sockets))
                await socket.send_json({"id": "subscribe", "status": 200, "result": {"subscriptionId": 0}})
        if socket in self.sockets:
            self.sockets.remove(socket)
            self.least_at_once = min(self.least_at_once, len(self.sockets))
        return socket


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    made = Exchange()
    app = web.Application()
    app.router.add_get("/ws-api/v3", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/ws-api/v3"
    yield made
    await runner.cleanup()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@dataclass(slots=True)
class Listener:
    """Reads a stream in the background, as the consumer of an account does."""

    supervisor: Supervisor
    heard: list[Any] = field(default_factory=list)
    pauses_at_up: asyncio.Event | None = None  # set: the reader is busy after a StreamUp until then

    async def read(self, events: AsyncGenerator[Any, None]) -> None:
        async with aclosing(events):
            async for told in events:
                self.heard.append(told)
                if self.pauses_at_up is not None and told == StreamUp():
                    await self.pauses_at_up.wait()

    @property
    def numbers(self) -> list[int]:
        return [e.report.exchange_order_id for e in self.heard if isinstance(e, OrderUpdate)]

    @property
    def turns(self) -> list[Any]:
        return [e for e in self.heard if not isinstance(e, OrderUpdate)]


Start = Callable[..., Listener]


@pytest.fixture
async def listen(exchange: Exchange, clock: QuickClock) -> AsyncIterator[Start]:
    """Start a listener; all are ended with the test."""
    begun: list[tuple[Listener, asyncio.Task[None]]] = []

    def start(**settings: Any) -> Listener:
        budget = WeightBudget(clock=clock, limit_per_minute=1_000_000)
        budget.connections = ConnectionTurns(apart_s=0.0, most=10_000)
        busy = settings.pop("pauses_at_up", None)
        supervisor = Supervisor(clock=clock, budget=budget, jitter=lambda: 0.0, **({"overlap_s": 0.1} | settings))
        listener = Listener(supervisor, pauses_at_up=busy)
        feed = UserFeed(exchange.url, "api-key", Ed25519Key.generate(), clock)
        begun.append((listener, asyncio.create_task(listener.read(supervisor.run(feed)))))
        return listener

    yield start
    for listener, task in begun:
        await listener.supervisor.close()
        async with asyncio.timeout(5):
            await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for does not tell
            await asyncio.sleep(0.01)


async def test_after_a_shutdown_was_announced_both_connections_are_read_and_the_old_one_is_left(
    exchange: Exchange, listen: Start
) -> None:
    """F26."""
    listener = listen(overlap_s=0.5)
    await until(lambda: listener.turns == [StreamUp()])
    (old,) = exchange.sockets
    await exchange.tell(event(i=1))
    await exchange.tell(SHUTDOWN)
    await until(lambda: exchange.subscribed == 2)
    await exchange.tell(event(i=2), [old])
    await exchange.tell(event(i=3))
    await until(lambda: listener.numbers.count(3) == 2)
    assert sorted(listener.numbers) == [1, 2, 3, 3]
    assert listener.turns == [StreamUp(), StreamUp()]
    await until(lambda: old not in exchange.sockets)
    await exchange.tell(event(i=4))
    await until(lambda: 4 in listener.numbers)
    assert (exchange.subscribed, exchange.most_at_once) == (2, 2)


async def test_a_connection_is_replaced_before_it_is_old_and_nothing_is_lost(exchange: Exchange, listen: Start) -> None:
    """F26: some events a second over a dozen changes of the connection; each is heard, and there is no gap."""
    listener = listen(life_s=0.15, overlap_s=0.05)
    await until(lambda: listener.turns == [StreamUp()])
    for number in itertools.count(1):
        await exchange.tell(event(i=number))
        await asyncio.sleep(0.003)
        if exchange.subscribed > 12:
            break
    await until(lambda: number in listener.numbers)
    assert sorted(set(listener.numbers)) == list(range(1, number + 1))
    assert set(map(type, listener.turns)) == {StreamUp}
    assert (exchange.least_at_once, exchange.most_at_once) == (1, 2)


def test_two_hundred_connections_never_come_to_their_day_at_once() -> None:
    assert LIFE_S + LIFE_SPREAD_S <= DAY_S
    draw = random.Random(1).random
    ends_s = sorted(LIFE_S - LIFE_SPREAD_S * draw() for _ in range(200))
    assert max(sum(a <= b < a + 60 for b in ends_s) for a in ends_s) <= 15  # in any one minute


async def test_while_the_replacement_fails_the_old_connection_goes_on(
    exchange: Exchange, listen: Start, clock: QuickClock
) -> None:
    listener = listen()
    await until(lambda: listener.turns == [StreamUp()])
    exchange.refuses = 3
    await exchange.tell(SHUTDOWN)
    await exchange.tell(event(i=1))
    await until(lambda: exchange.subscribed == 2)
    await until(lambda: len(exchange.sockets) == 1)
    await exchange.tell(event(i=2))
    await until(lambda: 2 in listener.numbers)
    assert listener.turns == [StreamUp(), StreamUp()]
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0]


async def test_when_the_old_connection_ends_before_the_new_one_stands_that_is_said(
    exchange: Exchange, listen: Start
) -> None:
    listener = listen()
    await until(lambda: listener.turns == [StreamUp()])
    exchange.refuses = 1_000_000
    await exchange.tell(SHUTDOWN)
    await exchange.sockets[0].close()
    await until(lambda: len(listener.turns) > 1)
    exchange.refuses = 0
    await until(lambda: exchange.subscribed == 2 and listener.turns[-1] == StreamUp())
    up, down, *failures, again = listener.turns
    assert (up, again) == (StreamUp(), StreamUp())
    assert isinstance(down, StreamDown)
    assert "closed" in down.reason
    assert all("503" in failure.reason for failure in failures)


async def test_a_stream_that_stands_but_is_silent_is_replaced(
    exchange: Exchange, listen: Start, clock: QuickClock
) -> None:
    """F25: pings are answered, nothing is told."""
    listener = listen()
    await until(lambda: listener.turns == [StreamUp()])
    (old,) = exchange.sockets
    happened_ms = clock.ms + 5_000
    clock.ms += 20_000
    listener.supervisor.suspect(happened_ms=happened_ms, reason="REST shows a fill that was never told")
    await until(lambda: len(listener.turns) == 3)
    assert listener.turns == [
        StreamUp(),
        StreamDown("REST shows a fill that was never told", silent=True),
        StreamUp(),
    ]
    await exchange.tell(event(i=1), [s for s in exchange.sockets if s is not old])
    await until(lambda: listener.numbers == [1])
    await until(lambda: old not in exchange.sockets)


async def test_a_silent_stream_that_also_breaks_is_down_once(
    exchange: Exchange, listen: Start, clock: QuickClock
) -> None:
    listener = listen()
    await until(lambda: listener.turns == [StreamUp()])
    exchange.refuses = 1
    clock.ms += 60_000
    listener.supervisor.suspect(happened_ms=clock.ms - 20_000, reason="silent")
    await exchange.sockets[0].close()
    await until(lambda: listener.turns[-1] == StreamUp() and len(listener.turns) > 1)
    assert [type(e) for e in listener.turns].count(StreamDown) == 2  # silent, and the attempt that failed
    assert listener.turns[1] == StreamDown("silent", silent=True)


@pytest.mark.parametrize(
    ("since_up_ms", "age_ms"),
    [(-1, 60_000), (1_000, 60_000), (60_000, 1_000), (60_000, 9_000)],
    ids=["before it stood", "in its first moments", "just now", "perhaps on its way"],
)
async def test_what_the_stream_need_not_have_told_is_no_silence(
    exchange: Exchange, listen: Start, clock: QuickClock, since_up_ms: int, age_ms: int
) -> None:
    listener = listen()
    await until(lambda: listener.turns == [StreamUp()])
    happened_ms = clock.ms + since_up_ms
    clock.ms = happened_ms + age_ms
    listener.supervisor.suspect(happened_ms=happened_ms, reason="silent")
    await exchange.tell(event(i=1))
    await until(lambda: listener.numbers == [1])
    assert listener.turns == [StreamUp()]


async def test_what_came_and_was_not_read_yet_is_no_silence(
    exchange: Exchange, listen: Start, clock: QuickClock
) -> None:
    """The consumer is still comparing the books when REST shows what its stream has already brought."""
    busy = asyncio.Event()
    listener = listen(pauses_at_up=busy)
    await until(lambda: listener.turns == [StreamUp()])
    await exchange.tell(event(i=1))
    clock.ms += 60_000
    listener.supervisor.suspect(happened_ms=clock.ms - 20_000, reason="silent")
    busy.set()
    await until(lambda: listener.numbers == [1])
    assert listener.turns == [StreamUp()]


async def test_closing_ends_a_stream_that_is_changing_its_connection(exchange: Exchange, listen: Start) -> None:
    listener = listen(overlap_s=60.0)
    await until(lambda: listener.turns == [StreamUp()])
    await exchange.tell(SHUTDOWN)
    await until(lambda: len(exchange.sockets) == 2)
    await listener.supervisor.close()
    await until(lambda: not exchange.sockets)


async def test_two_hundred_accounts_cut_off_at_once_come_back_one_after_the_other() -> None:
    turns = ConnectionTurns()
    first, second = [[turns.take() for _ in range(200)] for _ in range(2)]
    gaps_s = [b - a for a, b in itertools.pairwise(first)]
    assert min(gaps_s) > 0.049
    assert 9 < first[-1] < 11
    # Cut off again: 40 more within these five minutes, the rest when the first turns are five minutes old.
    assert sum(wait_s < 290 for wait_s in second) == 40
    assert all(sum(a <= b < a + 299.9 for b in [*first, *second]) <= 240 for a in [*first, *second])
