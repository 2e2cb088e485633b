"""Market streams: /ws, /ws/<stream>, /stream?streams=a/b, with live subscribing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from app.paper_exchange.candles import INTERVALS_MS
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faults import Point
from app.paper_exchange.feeds import PARTIAL_LEVELS
from app.paper_exchange.hub import Outbox, dumps
from app.paper_exchange.rest import refusal
from app.paper_exchange.sockets import SocketRules, Sockets
from app.paper_exchange.tickers import WINDOWS_MS
from app.paper_exchange.timeunit import in_microseconds, is_microseconds

if TYPE_CHECKING:
    from app.paper_exchange.faulty import Faulty

MAX_STREAMS = 1024
MAX_ID_LENGTH = 36
SHUTDOWN_STREAM = "!serverShutdown"
_WINDOWS = "|".join(WINDOWS_MS)
_STREAM = re.compile(
    rf"^(?:!miniTicker@arr(?:@1000ms)?|!ticker_(?:{_WINDOWS})@arr|[a-z0-9]{{1,20}}@(?:miniTicker|ticker|ticker_(?:{_WINDOWS})"
    rf"|bookTicker|avgPrice|trade|aggTrade|depth(?:{'|'.join(map(str, PARTIAL_LEVELS))})?(?:@100ms|@1000ms)?"
    rf"|kline_(?:{'|'.join(INTERVALS_MS)})(?:@\+08:00)?))$"
)
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_INT64 = 2**63


class Refused(Exception):
    """A control message that is answered with an error."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg


class Connection:
    """One stream connection: which streams it has, and whether they come wrapped. See `sockets.Live`."""

    def __init__(
        self,
        exchange: Exchange,
        streams: list[str],
        *,
        combined: bool,
        micro: bool = False,
        faulty: Faulty | None = None,
    ) -> None:
        self.outbox = Outbox()
        self.combined = combined
        self._exchange = exchange
        self._micro = micro
        self._faulty = faulty
        self._streams: dict[str, None] = {}
        self._subscribe(streams)

    def close(self) -> None:
        """Leave all streams."""
        self._unsubscribe(list(self._streams))

    def on_text(self, text: str) -> None:
        """A control message of the client."""
        self.outbox.put(dumps(self._answer(text)))

    def shutdown_frame(self, now_ms: int) -> str:
        """`serverShutdown`, wrapped where streams come wrapped."""
        event = {"e": "serverShutdown", "E": now_ms}
        payload = dumps(in_microseconds(event) if self._micro else event)
        return _wrapped(SHUTDOWN_STREAM, payload) if self.combined else payload

    def points(self) -> list[Point]:
        """Its streams; a connection without one is still a stream connection."""
        return [_point(stream) for stream in self._streams] or [Point(stream="streams")]

    def _deliver(self, stream: str, payload: str) -> None:
        if self._faulty is not None and self._faulty.loses(_point(stream), self.outbox):
            return
        self.outbox.put(_wrapped(stream, payload) if self.combined else payload)

    def _subscribe(self, streams: list[str]) -> None:
        for stream in streams:
            if stream not in self._streams:
                self._streams[stream] = None
                self._exchange.streams.listen(stream, self._deliver, micro=self._micro)

    def _unsubscribe(self, streams: list[str]) -> None:
        for stream in streams:
            if stream in self._streams:
                del self._streams[stream]
                self._exchange.streams.forget(stream, self._deliver)

    def _answer(self, text: str) -> dict[str, Any]:
        try:
            message = json.loads(text)
        except ValueError as error:
            where = f"line {getattr(error, 'lineno', 1)} column {getattr(error, 'colno', 1)}"
            return {"code": 3, "msg": f"Invalid JSON: expected value at {where}"}
        if not isinstance(message, dict) or "method" not in message:
            return {"code": 2, "msg": "Invalid request: missing field `method` at line 1 column 1"}
        reply_to = message.get("id")
        if not _is_id(reply_to):
            return {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"}
        try:
            return {"result": self._obey(message["method"], message.get("params", [])), "id": reply_to}
        except Refused as error:
            return {"code": error.code, "msg": error.msg, "id": reply_to}

    def _obey(self, method: Any, params: Any) -> Any:
        if method not in _METHODS:
            expected = ", ".join(f"`{m}`" for m in _METHODS)
            raise Refused(
                2, f"Invalid request: unknown variant `{method}`, expected one of {expected} at line 1 column 1"
            )
        if method == "LIST_SUBSCRIPTIONS":
            return list(self._streams)
        if not isinstance(params, list):
            raise Refused(2, "Invalid request: params must be a list")
        if method in ("GET_PROPERTY", "SET_PROPERTY"):
            return self._property(params, is_set=method == "SET_PROPERTY")
        if not all(isinstance(p, str) and (method == "UNSUBSCRIBE" or _STREAM.match(p)) for p in params):
            raise Refused(2, "Invalid request: invalid stream")
        if method == "UNSUBSCRIBE":
            self._unsubscribe(params)
        elif len(set(self._streams) | set(params)) > MAX_STREAMS:
            raise Refused(2, f"Invalid request: more than {MAX_STREAMS} streams")
        else:
            self._subscribe(params)
        return None

    def _property(self, params: list[Any], *, is_set: bool) -> bool | None:
        if not params or not isinstance(params[0], str):
            raise Refused(2, "Invalid request: property name must be a string")
        if len(params) > 1 + is_set:
            raise Refused(2, "Invalid request: too many parameters")
        if params[0] != "combined":
            raise Refused(0, "Unknown property")
        if not is_set:
            return self.combined
        if len(params) != 2 or not isinstance(params[1], bool):
            raise Refused(1, "Invalid value type: expected Boolean")
        self.combined = params[1]
        return None


def _wrapped(stream: str, payload: str) -> str:
    return f'{{"stream":"{stream}","data":{payload}}}'


def _point(stream: str) -> Point:
    return Point(stream=stream, symbol=stream.partition("@")[0].upper())


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_LENGTH
    return value is None or (type(value) is int and -_INT64 <= value < _INT64)


def _queried(request: web.Request, name: str) -> str:
    """A parameter of the address; a plus in it is a plus (`@+08:00`), not a space."""
    for pair in request.rel_url.raw_query_string.split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return unquote(value)
    return ""


def add_routes(app: web.Application, exchange: Exchange, sockets: Sockets, faulty: Faulty | None) -> None:
    """Serve the stream paths."""
    settings = exchange.settings
    rules = SocketRules(life_s=settings.connection_life_s, messages_per_s=settings.stream_messages_per_s)

    async def serve(request: web.Request) -> web.StreamResponse:
        combined = request.path.startswith("/stream")
        named = _queried(request, "streams") if combined else request.match_info.get("streams", "")
        # ccxt opens connections without a stream as /ws/0, /ws/1 and so on.
        streams = [s for s in named.split("/") if s and not (s.isdigit() and not combined)]
        if not all(_STREAM.match(s) for s in streams) or len(streams) > MAX_STREAMS:
            return web.Response(
                status=400, text="Invalid stream name" if len(streams) <= MAX_STREAMS else "Too many streams"
            )
        try:
            micro = is_microseconds(request.query.get("timeUnit"))
            exchange.limits.connect(request.remote or "", exchange.clock.now_ms())
        except ApiError as error:
            return refusal(error)
        connection = Connection(exchange, streams, combined=combined, micro=micro, faulty=faulty)
        try:
            return await sockets.run(request, connection, rules)
        finally:
            connection.close()

    for path in ("/ws", "/ws/", "/stream", "/stream/", "/ws/{streams:.+}"):
        app.router.add_get(path, serve)
