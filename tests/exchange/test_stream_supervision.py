"""Streams against a WebSocket server that does all that servers do: nothing is lost without being said."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.services.exchange.connections import ConnectionTurns
from app.services.exchange.protocol import BalancesChanged, KlineEvent, OrderUpdate, StreamDown, StreamUp
from app.services.exchange.signing import Ed25519Key
from app.services.exchange.streams import CandleFeed, Patience, UserFeed
from app.services.exchange.supervision import Supervisor, pause_s
from app.services.exchange.weight import Purpose, WeightBudget

KEY = Ed25519Key.generate()
Script = Callable[[web.WebSocketResponse], Awaitable[None]]
SUBSCRIBED = {"id": "subscribe", "status": 200, "result": {"subscriptionId": 0}}
REPORT = {
    "e": "executionReport", "E": 2, "s": "BTCUSDT", "c": "pl-a", "S": "BUY", "o": "LIMIT", "q": "1.0", "p": "9.0",
    "C": "", "x": "NEW", "X": "NEW", "r": "NONE", "i": 1, "z": "0.0", "T": 5, "t": -1, "Z": "0.0",
}  # fmt: skip


class QuickClock:
    """A time that stands until it is moved; pauses are only written down."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.ms = 1_795_000_000_000

    def now_ms(self) -> int:
        return self.ms

    exchange_now_ms = now_ms

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@dataclass(slots=True)
class WsServer:
    """Each connection runs the next script; when there are none left, connections stay open and silent."""

    url: str
    scripts: list[Script] = field(default_factory=list)
    received: list[Any] = field(default_factory=list)
    connections: int = 0
    closed: int = 0


@pytest.fixture
async def server() -> AsyncIterator[WsServer]:
    state = WsServer("")

    async def serve(request: web.Request) -> web.StreamResponse:
        number = state.connections
        state.connections += 1
        script = state.scripts[number] if number < len(state.scripts) else after_subscribing(state)
        if isinstance(script, web.Response):
            return script
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            await script(socket)
        finally:
            state.closed += 1
        return socket

    app = web.Application()
    app.router.add_get("/ws-api/v3", serve)
    app.router.add_get("/stream", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    yield state
    await runner.cleanup()


def after_subscribing(state: WsServer, *frames: Any, then: Script | None = None) -> Script:
    """Confirm the subscription, send these frames, then `then` or listen until the client leaves."""

    async def script(socket: web.WebSocketResponse) -> None:
        state.received.append(await socket.receive_json())
        for frame in (SUBSCRIBED, *frames):
            await socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))
        await (then or _listen)(socket)

    async def _listen(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                state.received.append(json.loads(message.data))

    return script


async def going_away(socket: web.WebSocketResponse) -> None:
    await socket.close(code=1001)


async def aborting(socket: web.WebSocketResponse) -> None:
    assert socket._req is not None
    assert socket._req.transport is not None
    socket._req.transport.abort()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def budget(clock: QuickClock) -> WeightBudget:
    budget = WeightBudget(clock=clock)
    budget.connections = ConnectionTurns(apart_s=0.0)
    return budget


@pytest.fixture
async def supervisor(clock: QuickClock, budget: WeightBudget) -> AsyncIterator[Supervisor]:
    made = Supervisor(clock=clock, budget=budget, jitter=lambda: 0.0, patience=Patience(0.1, 0.2))
    yield made
    await made.close()


@pytest.fixture
def events(supervisor: Supervisor, server: WsServer, clock: QuickClock) -> AsyncGenerator[Any, None]:
    return supervisor.run(UserFeed(f"{server.url}/ws-api/v3", "api-key", KEY, clock))


async def take(events: AsyncGenerator[Any, None], count: int) -> list[Any]:
    async with asyncio.timeout(5):
        return [await anext(events) for _ in range(count)]


def event(**changes: Any) -> dict[str, Any]:
    return {"subscriptionId": 0, "event": {**REPORT, **changes}}


async def test_the_subscription_is_signed(server: WsServer, events: AsyncGenerator[Any, None]) -> None:
    assert await take(events, 1) == [StreamUp()]
    (request,) = server.received
    assert request["method"] == "userDataStream.subscribe.signature"
    signature = request["params"].pop("signature")
    payload = "&".join(f"{name}={request['params'][name]}" for name in sorted(request["params"]))
    public: Any = load_pem_public_key(KEY.public_key_pem.encode())
    public.verify(b64decode(signature), payload.encode())
    assert request["params"]["apiKey"] == "api-key"
    await events.aclose()


@pytest.mark.parametrize("ending", [going_away, aborting], ids=["1001", "TCP reset"])
async def test_after_a_lost_connection_the_stream_is_subscribed_again(
    server: WsServer, events: AsyncGenerator[Any, None], ending: Script
) -> None:
    server.scripts = [
        after_subscribing(server, event(i=1), then=ending),
        after_subscribing(server, event(i=2)),
    ]
    up, first, down, again, second = await take(events, 5)
    assert (up, again) == (StreamUp(), StreamUp())
    assert isinstance(down, StreamDown)
    assert [e.report.exchange_order_id for e in (first, second)] == [1, 2]
    assert [r["method"] for r in server.received] == ["userDataStream.subscribe.signature"] * 2
    await events.aclose()


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"id": None, "status": 401, "error": {"code": -2015, "msg": "Invalid API-key"}}, "-2015 Invalid API-key"),
        ({"id": "late", "status": 503, "error": {"code": -1007, "msg": "Timeout"}}, "-1007 Timeout"),
        ({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}}, "eventStreamTerminated"),
        (event(z="a lot"), "unreadable answer"),
        (event(i=None), "unreadable answer"),
        ("<html>", "not JSON"),
        ("[]", "not an object"),
    ],
)
async def test_a_frame_that_ends_the_stream_or_cannot_be_read_is_a_stream_down_not_a_silence(
    server: WsServer, events: AsyncGenerator[Any, None], frame: Any, words: str
) -> None:
    server.scripts = [after_subscribing(server, frame)]
    up, down, again = await take(events, 3)
    assert (up, again) == (StreamUp(), StreamUp())
    assert isinstance(down, StreamDown)
    assert words in down.reason
    await events.aclose()


async def test_events_that_are_not_for_us_are_passed_over(server: WsServer, events: AsyncGenerator[Any, None]) -> None:
    strange = [{"e": "listStatus"}, {"e": "anEventOfTomorrow", "x": 1}, {}]
    frames = [{"subscriptionId": 0, "event": e} for e in strange] + [{"something": "else"}]
    moved = [{"subscriptionId": 0, "event": {"e": e}} for e in ("outboundAccountPosition", "balanceUpdate")]
    server.scripts = [after_subscribing(server, *frames, *moved)]
    assert await take(events, 3) == [StreamUp(), BalancesChanged(), BalancesChanged()]
    await events.aclose()


async def test_a_refused_subscription_is_said_and_tried_again_after_growing_pauses(
    server: WsServer, events: AsyncGenerator[Any, None], clock: QuickClock
) -> None:
    async def refuse(socket: web.WebSocketResponse) -> None:
        await socket.receive_json()
        await socket.send_json({"id": "subscribe", "status": 400, "error": {"code": -1022, "msg": "Signature"}})
        await socket.receive()

    server.scripts = [refuse] * 4
    taken = await take(events, 5)
    assert taken[:4] == [StreamDown("the exchange answered -1022 Signature")] * 4
    assert taken[4] == StreamUp()
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0]
    await events.aclose()


async def test_no_answer_to_the_subscription_is_a_stream_down(
    server: WsServer, events: AsyncGenerator[Any, None]
) -> None:
    async def mute(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    server.scripts = [mute]
    down, up = await take(events, 2)
    assert isinstance(down, StreamDown)
    assert "no answer" in down.reason
    assert up == StreamUp()
    await events.aclose()


def probed(state: WsServer, *answers: Any) -> Script:
    """Confirm the subscription, then answer each probe with the next of `answers` (None: not at all)."""

    async def script(socket: web.WebSocketResponse) -> None:
        await socket.receive_json()
        await socket.send_json(SUBSCRIBED)
        for result in answers:
            probe = await socket.receive_json()
            state.received.append(probe)
            if result is not None:
                await socket.send_json({"id": probe["id"], "status": 200, "result": result})
        await socket.send_json(event(i=9))
        await socket.receive()

    return script


async def test_a_long_silence_is_fine_while_the_exchange_knows_the_subscription(
    server: WsServer, events: AsyncGenerator[Any, None]
) -> None:
    server.scripts = [probed(server, [{"subscriptionId": 0}], [{"subscriptionId": 0}])]
    up, update = await take(events, 2)
    assert up == StreamUp()
    assert isinstance(update, OrderUpdate)
    assert [probe["method"] for probe in server.received] == ["session.subscriptions"] * 2
    await events.aclose()


@pytest.mark.parametrize(("result", "words"), [([], "no longer knows"), (None, "no answer")])
async def test_a_silence_behind_which_the_subscription_is_gone_is_a_stream_down(
    server: WsServer, events: AsyncGenerator[Any, None], result: Any, words: str
) -> None:
    server.scripts = [probed(server, result)] if result is not None else [silent_after_subscribing]
    up, down, again = await take(events, 3)
    assert (up, again) == (StreamUp(), StreamUp())
    assert isinstance(down, StreamDown)
    assert words in down.reason
    await events.aclose()


async def silent_after_subscribing(socket: web.WebSocketResponse) -> None:
    await socket.receive_json()
    await socket.send_json(SUBSCRIBED)
    async for _ in socket:
        pass


async def test_a_refusal_for_load_pauses_everybody_on_this_address(
    server: WsServer, events: AsyncGenerator[Any, None], budget: WeightBudget
) -> None:
    async def overload(socket: web.WebSocketResponse) -> None:
        await socket.receive_json()
        details = {"serverTime": 1_000_000, "retryAfter": 1_030_000}
        error = {"code": -1003, "msg": "Too many", "data": details}
        await socket.send_json({"id": "subscribe", "status": 429, "error": error})
        await socket.receive()

    server.scripts = [overload]
    assert await take(events, 1) == [StreamDown("-1003 Too many")]
    assert budget.wait_s(1, Purpose.CANCEL) == 30.0
    await events.aclose()


@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirected_handshake_is_not_followed(
    server: WsServer, events: AsyncGenerator[Any, None], status: int
) -> None:
    headers = {"Location": f"{server.url.replace('ws', 'http', 1)}/stream"}
    server.scripts = [web.Response(status=status, headers=headers)]  # type: ignore[list-item]
    down, up = await take(events, 2)
    assert down == StreamDown("the exchange redirects to another address; not followed")
    assert up == StreamUp()
    assert server.connections == 2
    await events.aclose()


async def test_a_handshake_refused_for_load_pauses_everybody(
    server: WsServer, events: AsyncGenerator[Any, None], budget: WeightBudget
) -> None:
    server.scripts = [web.Response(status=429, headers={"Retry-After": "17"})]  # type: ignore[list-item]
    (down,) = await take(events, 1)
    assert isinstance(down, StreamDown)
    assert budget.wait_s(1, Purpose.CANCEL) == 17.0
    await events.aclose()


async def test_a_slow_reader_gets_every_event_of_a_burst(server: WsServer, events: AsyncGenerator[Any, None]) -> None:
    count = 3_000
    server.scripts = [after_subscribing(server, *(event(i=n) for n in range(count)))]
    assert await take(events, 1) == [StreamUp()]
    await asyncio.sleep(0.2)  # all of it has been sent, nobody has read
    taken = await take(events, count)
    assert [e.report.exchange_order_id for e in taken] == list(range(count))
    await events.aclose()


async def test_a_reader_that_leaves_closes_the_connection(server: WsServer, events: AsyncGenerator[Any, None]) -> None:
    async with aclosing(events):
        await take(events, 1)
    async with asyncio.timeout(5):
        while server.closed < 1:  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.01)
    assert server.connections == 1


async def test_closing_ends_the_readers_loop(
    server: WsServer, events: AsyncGenerator[Any, None], supervisor: Supervisor
) -> None:
    async def read() -> list[Any]:
        return [e async for e in events]

    reader = asyncio.create_task(read())
    async with asyncio.timeout(5):
        while not server.received:  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.01)
        await supervisor.close()
        assert set(map(type, await reader)) <= {StreamUp}


@pytest.mark.parametrize(
    ("failures", "jitter", "expected"),
    [(0, 0.0, 0.5), (1, 0.0, 1.0), (3, 0.0, 4.0), (6, 0.0, 30.0), (10_000, 0.0, 30.0), (0, 0.5, 0.375), (9, 1.0, 15.0)],
)
def test_pauses_double_up_to_half_a_minute_less_up_to_half(failures: int, jitter: float, expected: float) -> None:
    assert pause_s(failures, jitter) == expected


# --- candles -------------------------------------------------------------------------------------------


def kline(open_ms: int, told_ms: int, *, closed: bool = False, timeframe: str = "1m") -> dict[str, Any]:
    candle = {
        "t": open_ms, "T": open_ms + 59_999, "s": "BTCUSDT", "i": timeframe, "o": "1", "h": "3", "l": "0.5",
        "c": "2", "v": "7", "x": closed,
    }  # fmt: skip
    data = {"e": "kline", "E": told_ms, "s": "BTCUSDT", "k": candle}
    return {"stream": f"btcusdt@kline_{timeframe}", "data": data}


def kinds(feed: CandleFeed, *frames: dict[str, Any]) -> list[str]:
    return [type(e).__name__ for frame in frames for e in feed.events(frame)]


def test_a_close_that_comes_just_after_the_next_candle_began_is_no_gap() -> None:
    feed = CandleFeed("ws://x", [("BTCUSDT", "1m")])
    frames = [kline(0, 50_000), kline(60_000, 60_010), kline(0, 60_030, closed=True), kline(60_000, 64_000)]
    assert kinds(feed, *frames) == ["KlineEvent"] * 4


def test_a_close_that_never_came_has_to_be_asked_for_once() -> None:
    feed = CandleFeed("ws://x", [("BTCUSDT", "1m")])
    frames = [kline(0, 50_000), kline(60_000, 60_010), kline(60_000, 63_000), kline(60_000, 65_000)]
    assert kinds(feed, *frames) == ["KlineEvent", "KlineEvent", "StreamUp", "KlineEvent", "KlineEvent"]


def test_a_new_connection_knows_of_no_unfinished_candle() -> None:
    feed = CandleFeed("ws://x", [("BTCUSDT", "1m")])
    assert kinds(feed, kline(0, 50_000)) == ["KlineEvent"]
    feed.subscription()
    assert kinds(feed, kline(600_000, 610_000)) == ["KlineEvent"]


def test_month_and_minute_are_told_apart() -> None:
    feed = CandleFeed("wss://s", [("BTCUSDT", "1M"), ("BTCUSDT", "1m")])
    assert feed.url == "wss://s/stream?streams=btcusdt@kline_1M/btcusdt@kline_1m"


async def test_candles_are_delivered_and_a_shutdown_is_answered_by_a_connection_that_takes_over(
    server: WsServer, supervisor: Supervisor
) -> None:
    async def send(socket: web.WebSocketResponse, *frames: dict[str, Any]) -> None:
        for frame in frames:
            await socket.send_json(frame)
        await socket.receive()

    shutdown = {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}}
    server.scripts = [
        lambda socket: send(socket, kline(0, 60_010, closed=True), shutdown),
        lambda socket: send(socket, kline(60_000, 61_000)),
    ]
    events = supervisor.run(CandleFeed(server.url, [("BTCUSDT", "1m")]))
    up, closed, again, forming = await take(events, 4)
    assert (up, again) == (StreamUp(), StreamUp())
    assert closed == KlineEvent("BTCUSDT", "1m", 0, 1.0, 3.0, 0.5, 2.0, 7.0, closed=True)
    assert not forming.closed
    await events.aclose()


async def test_silent_candle_streams_are_probed_by_name(server: WsServer, supervisor: Supervisor) -> None:
    probes: list[Any] = []

    async def forgetful(socket: web.WebSocketResponse) -> None:
        for names in (["btcusdt@kline_1m", "ethusdt@kline_1m"], ["btcusdt@kline_1m"]):
            probes.append(await socket.receive_json())
            await socket.send_json({"result": names, "id": probes[-1]["id"]})
        await socket.receive()

    server.scripts = [forgetful]
    events = supervisor.run(CandleFeed(server.url, [("BTCUSDT", "1m"), ("ETHUSDT", "1m")]))
    up, down, again = await take(events, 3)
    assert (up, again) == (StreamUp(), StreamUp())
    assert down == StreamDown("the exchange no longer knows the subscription")
    assert [probe["method"] for probe in probes] == ["LIST_SUBSCRIPTIONS"] * 2
    await events.aclose()
