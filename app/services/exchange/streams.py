"""One connection to a stream: connect, subscribe, deliver, and end loudly when anything is wrong.

Our own WebSocket client (aiohttp) instead of python-binance's, because that one, measured: does not subscribe
again after it reconnects, ends its read loop for good on a stray error frame, drops queued events when its queue
of 100 overflows, and gives up after some seconds of outage. Here there is no queue at all: a reader that is slow
slows down the socket. `supervision.py` keeps a stream going over one connection after the other.

Each account has a connection of its own. One could carry a thousand (`userDataStream.subscribe.signature` needs no
session), but then a slow account would hold up all others, and a frame that ends one stream would end all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiohttp

from app.domain.clock import Clock
from app.services.exchange import parsing
from app.services.exchange.classification import RATE_STATUSES
from app.services.exchange.protocol import BalancesChanged, KlineEvent, OrderUpdate, StreamUp
from app.services.exchange.signing import Signer, signed_ws_params

CONNECT_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 10.0
#: WebSocket pings of ours; no pong within half of it ends the connection.
HEARTBEAT_S = 20.0
#: After so long without a frame the exchange is asked whether the subscription still stands.
SILENCE_S = 60.0
#: How long after its end a candle may still be said to be closed.
CLOSE_GRACE_MS = 3_000
SUBSCRIBE_ID, PROBE_ID = "subscribe", "probe"

E = TypeVar("E", covariant=True)


@dataclass(frozen=True, slots=True)
class Leaving:
    """This connection will be cut soon, and still delivers: another one should take over."""

    reason: str


class StreamEnded(Exception):
    """This connection is of no more use; the text says why."""


class RateLimited(StreamEnded):
    """The exchange refuses for reasons of load."""

    def __init__(self, reason: str, status: int, retry_after_s: float | None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


class Feed(Protocol[E]):
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

    def events(self, frame: dict[str, Any]) -> Sequence[E | StreamUp | Leaving]:
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

    def events(self, frame: dict[str, Any]) -> Sequence[OrderUpdate | BalancesChanged | Leaving]:
        """Order updates and hints that balances moved; events of other kinds are not for us."""
        event = frame.get("event", frame)
        match event.get("e"):
            case "executionReport":
                return [OrderUpdate(parsing.execution_report(event))]
            case "outboundAccountPosition" | "balanceUpdate" | "externalLockUpdate":
                return [BalancesChanged()]
            case "serverShutdown":
                return [Leaving("the exchange announced serverShutdown")]
            case "eventStreamTerminated":
                raise StreamEnded("the exchange announced eventStreamTerminated")
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

    def events(self, frame: dict[str, Any]) -> Sequence[KlineEvent | StreamUp | Leaving]:
        """Candles, forming and closed."""
        data = frame.get("data", frame)
        kind = data.get("e") if isinstance(data, dict) else None
        if "serverShutdown" in (kind, str(frame.get("stream", "")).lstrip("!")):
            return [Leaving("the exchange announced serverShutdown")]
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


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may be silent before it is probed, and how long an answer may take."""

    silence_s: float = SILENCE_S
    reply_s: float = REPLY_TIMEOUT_S


async def connection(
    feed: Feed[E], patience: Patience, still_open: set[aiohttp.ClientSession]
) -> AsyncGenerator[E | StreamUp | Leaving, None]:
    """One connection from its beginning to its end: StreamUp once it is subscribed, then what it tells.

    Ends with StreamEnded, BadAnswer or an exception of the network. It stands in `still_open` meanwhile.
    """
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)
    session = aiohttp.ClientSession(trace_configs=[tracing], timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
    still_open.add(session)
    try:
        async with session.ws_connect(feed.url, heartbeat=HEARTBEAT_S) as socket:
            subscription = feed.subscription()
            if subscription is None:
                yield StreamUp()
            else:
                await socket.send_str(subscription)
            async with aclosing(_frames(socket, feed, patience, replying=subscription is not None)) as frames:
                async for frame in frames:
                    if frame.get("id") == SUBSCRIBE_ID:
                        yield StreamUp()
                    elif "id" not in frame:
                        for event in feed.events(frame):
                            yield event
    finally:
        still_open.discard(session)
        await session.close()


async def _frames(
    socket: aiohttp.ClientWebSocketResponse, feed: Feed[Any], patience: Patience, *, replying: bool
) -> AsyncGenerator[dict[str, Any], None]:
    """Frames as objects. A long silence is probed; an error frame, or no answer in time, ends the stream."""
    while True:
        try:
            message = await socket.receive(timeout=patience.reply_s if replying else patience.silence_s)
        except TimeoutError:
            if replying:
                raise StreamEnded(f"no answer within {patience.reply_s:g} s") from None
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
