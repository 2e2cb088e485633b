"""Streams that are watched over: connect, subscribe, deliver, and when anything is wrong start again.

Our own WebSocket client (aiohttp) instead of python-binance's, because that one, measured: does not subscribe
again after it reconnects, ends its read loop for good on a stray error frame, drops queued events when its queue
of 100 overflows, and gives up after some seconds of outage. Here there is no queue at all: a reader that is slow
slows down the socket, and when the exchange cuts it off, that is a `StreamDown` followed by a `StreamUp`.

Every `StreamUp` says: what happened before it has to be asked for. Nothing else is promised, neither order nor
exactly-once; Binance promises neither.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

import aiohttp

from app.domain.clock import Clock
from app.logs import get_logger
from app.services.exchange import parsing
from app.services.exchange.classification import RATE_STATUSES, retry_after_s
from app.services.exchange.parsing import BadAnswer
from app.services.exchange.protocol import BalancesChanged, KlineEvent, OrderUpdate, StreamDown, StreamUp
from app.services.exchange.signing import Signer, signed_ws_params
from app.services.exchange.weight import Purpose, WeightBudget

log = get_logger(__name__)

CONNECT_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 10.0
#: WebSocket pings of ours; no pong within half of it ends the connection.
HEARTBEAT_S = 20.0
#: After so long without a frame the exchange is asked whether the subscription still stands.
SILENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: A stream that stood for so long has proved that the way is free: the next pause is short again.
PROVED_MS = 60_000
WEIGHT_CONNECT, WEIGHT_SUBSCRIBE = 2, 2
#: How long after its end a candle may still be said to be closed.
CLOSE_GRACE_MS = 3_000
SUBSCRIBE_ID, PROBE_ID = "subscribe", "probe"

E = TypeVar("E", covariant=True)


class StreamEnded(Exception):
    """This connection is of no more use; the text says why."""


class RateLimited(StreamEnded):
    """The exchange refuses for reasons of load."""

    def __init__(self, reason: str, status: int, retry_after_s: float | None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


class Feed(Protocol, Generic[E]):
    """What differs between the streams."""

    url: str

    def subscription(self) -> str | None:
        """The frame that subscribes, its id SUBSCRIBE_ID; None if the address already does."""
        ...

    def probe(self) -> str:
        """A request with id PROBE_ID whose answer tells whether the subscription still stands."""
        ...

    def is_subscribed(self, result: Any) -> bool:
        """Whether the answer to `probe` says so."""
        ...

    def events(self, frame: dict[str, Any]) -> Sequence[E | StreamUp]:
        """The events in a frame. Raises StreamEnded (or BadAnswer) when the stream cannot go on."""
        ...


class UserFeed:
    """`userDataStream.subscribe.signature` on the WebSocket API, for any kind of key."""

    def __init__(self, url: str, api_key: str, signer: Signer, clock: Clock) -> None:
        self.url = url
        self._api_key = api_key
        self._signer = signer
        self._clock = clock

    def subscription(self) -> str:
        """Signed with the present time."""
        params: dict[str, str | int] = {"apiKey": self._api_key, "timestamp": self._clock.exchange_now_ms()}
        method = "userDataStream.subscribe.signature"
        return json.dumps({"id": SUBSCRIBE_ID, "method": method, "params": signed_ws_params(params, self._signer)})

    def probe(self) -> str:
        """Which subscriptions does this connection have?"""
        return json.dumps({"id": PROBE_ID, "method": "session.subscriptions"})

    def is_subscribed(self, result: Any) -> bool:
        """At least one."""
        return isinstance(result, list) and len(result) > 0

    def events(self, frame: dict[str, Any]) -> Sequence[OrderUpdate | BalancesChanged | StreamUp]:
        """Order updates and hints that balances moved; events of other kinds are not for us."""
        event = frame.get("event", frame)
        match event.get("e"):
            case "executionReport":
                return [OrderUpdate(parsing.execution_report(event))]
            case "outboundAccountPosition" | "balanceUpdate" | "externalLockUpdate":
                return [BalancesChanged()]
            case "eventStreamTerminated" | "serverShutdown" as kind:
                raise StreamEnded(f"the exchange announced {kind}")
        return []


class CandleFeed:
    """`<symbol>@kline_<timeframe>` streams, combined.

    When a candle is over and within some seconds nobody said that it is closed, a `StreamUp` is put in: the
    missing close has to be asked for.
    """

    def __init__(self, base_url: str, pairs: Sequence[tuple[str, str]]) -> None:
        self._names = [f"{symbol.lower()}@kline_{timeframe}" for symbol, timeframe in pairs]
        self.url = f"{base_url}/stream?streams={'/'.join(self._names)}"
        self._forming: dict[tuple[str, str, int], int] = {}  # (symbol, timeframe, open time) → close time

    def subscription(self) -> None:
        """The address says it all; a new connection has seen no candle begin."""
        self._forming.clear()

    def probe(self) -> str:
        """Which streams does this connection have?"""
        return json.dumps({"id": PROBE_ID, "method": "LIST_SUBSCRIPTIONS"})

    def is_subscribed(self, result: Any) -> bool:
        """All of ours."""
        return isinstance(result, list) and set(self._names) <= set(result)

    def events(self, frame: dict[str, Any]) -> Sequence[KlineEvent | StreamUp]:
        """Candles, forming and closed."""
        data = frame.get("data", frame)
        kind = data.get("e") if isinstance(data, dict) else None
        if "serverShutdown" in (kind, str(frame.get("stream", "")).lstrip("!")):
            raise StreamEnded("the exchange announced serverShutdown")
        if kind != "kline":
            return []
        candle, told_ms, ends_ms = parsing.kline_event(data)
        key = (candle.symbol, candle.timeframe, candle.open_time_ms)
        if candle.closed:
            self._forming.pop(key, None)
        else:
            self._forming[key] = ends_ms
        missed = [k for k, its_end_ms in self._forming.items() if its_end_ms + CLOSE_GRACE_MS < told_ms]
        for k in missed:
            del self._forming[k]
        return [StreamUp(), candle] if missed else [candle]


class Supervisor:
    """Runs feeds for ever. `jitter()` gives numbers in [0, 1) that spread the reconnects of many clients."""

    def __init__(
        self,
        *,
        clock: Clock,
        budget: WeightBudget,
        jitter: Callable[[], float],
        silence_s: float = SILENCE_S,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._jitter = jitter
        self._silence_s = silence_s
        self._reply_timeout_s = reply_timeout_s
        self._open: set[aiohttp.ClientSession] = set()
        self._closed = False

    async def run(self, feed: Feed[E]) -> AsyncGenerator[E | StreamUp | StreamDown, None]:
        """Events of the feed with StreamUp after each (re)subscription and StreamDown after each loss, until
        `close()` or until the reader leaves.
        """
        failures = 0
        while not self._closed:
            up_since_ms: int | None = None
            try:
                await self._await_turn()
                async with aclosing(self._once(feed)) as events:
                    async for event in events:
                        if up_since_ms is None:
                            up_since_ms = self._clock.now_ms()
                        yield event
                reason = "the connection was closed"
            except RateLimited as error:
                self._budget.pause(error.status, error.retry_after_s)
                reason = str(error)
            except (StreamEnded, BadAnswer) as error:
                reason = str(error)
            except aiohttp.WSServerHandshakeError as error:
                reason = f"the exchange answered the handshake with HTTP {error.status}"
                if error.status in RATE_STATUSES:
                    self._budget.pause(
                        error.status, retry_after_s(error.headers.get("Retry-After") if error.headers else None)
                    )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}".rstrip(": ")
            if self._closed:
                return
            if up_since_ms is not None and self._clock.now_ms() - up_since_ms >= PROVED_MS:
                failures = 0
            yield StreamDown(reason)
            await self._clock.sleep(pause_s(failures, self._jitter()))
            failures += 1

    async def close(self) -> None:
        """End all connections; readers' loops come to their end."""
        self._closed = True
        for session in list(self._open):
            await session.close()

    async def _await_turn(self) -> None:
        while (wait_s := self._budget.wait_s(WEIGHT_CONNECT + WEIGHT_SUBSCRIBE, Purpose.QUERY)) > 0:
            await self._clock.sleep(wait_s)

    async def _once(self, feed: Feed[E]) -> AsyncGenerator[E | StreamUp, None]:
        """One connection from its beginning to its end."""
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(_refuse_redirect)
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)
        session = aiohttp.ClientSession(trace_configs=[tracing], timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        self._open.add(session)
        try:
            async with session.ws_connect(feed.url, heartbeat=HEARTBEAT_S) as socket:
                subscription = feed.subscription()
                if subscription is None:
                    yield StreamUp()
                else:
                    await socket.send_str(subscription)
                async with aclosing(self._frames(socket, feed, replying=subscription is not None)) as frames:
                    async for frame in frames:
                        if frame.get("id") == SUBSCRIBE_ID:
                            yield StreamUp()
                        elif "id" not in frame:
                            for event in feed.events(frame):
                                yield event
        finally:
            self._open.discard(session)
            await session.close()

    async def _frames(
        self, socket: aiohttp.ClientWebSocketResponse, feed: Feed[E], *, replying: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Frames as objects. A long silence is probed; an error frame, or no answer in time, ends the stream."""
        while True:
            try:
                message = await socket.receive(timeout=self._reply_timeout_s if replying else self._silence_s)
            except TimeoutError:
                if replying:
                    raise StreamEnded(f"no answer within {self._reply_timeout_s:g} s") from None
                await socket.send_str(feed.probe())
                replying = True
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise StreamEnded(f"the connection was closed ({message.type.name} {message.data or ''})".rstrip())
            frame = _read_frame(message.data)
            if frame.get("id") in (SUBSCRIBE_ID, PROBE_ID):
                replying = False
            if frame.get("id") == PROBE_ID and not feed.is_subscribed(frame.get("result")):
                raise StreamEnded("the exchange no longer knows the subscription")
            yield frame


def pause_s(failures: int, jitter: float) -> float:
    """Seconds before the next attempt: doubling from half a second to half a minute, less up to a half by jitter."""
    longest: float = min(FIRST_PAUSE_S * 2.0 ** min(failures, 10), LONGEST_PAUSE_S)
    return longest * (1 - jitter / 2)


def _read_frame(text: str) -> dict[str, Any]:
    """The frame; StreamEnded for one that is no object or tells of an error."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StreamEnded(f"a frame that is not JSON: {error}") from error
    if not isinstance(frame, dict):
        raise StreamEnded("a frame that is not an object")
    refusal = frame.get("error")
    if refusal is None and frame.get("status", 200) == 200:
        return frame
    details = refusal if isinstance(refusal, dict) else frame
    words = f"{details.get('code', frame.get('status'))} {details.get('msg', '')}".rstrip()
    status = frame.get("status")
    if status in RATE_STATUSES:
        raise RateLimited(words, status, _waiting_time_s(details))
    raise StreamEnded(f"the exchange answered {words}")


def _waiting_time_s(details: dict[str, Any]) -> float | None:
    """The WebSocket API tells the time (`retryAfter`, epoch ms) at which to come again, and its own time."""
    data = details.get("data")
    if not isinstance(data, dict):
        return None
    until, now = data.get("retryAfter"), data.get("serverTime")
    return (until - now) / 1000 if isinstance(until, int) and isinstance(now, int) else None


async def _refuse_redirect(*_: object) -> None:
    raise StreamEnded("the exchange redirects to another address; not followed")
