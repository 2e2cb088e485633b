"""Market streams: /ws, /ws/<stream>, /stream?streams=a/b, with live subscribing."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from app.paper_exchange.candles import INTERVALS_MS
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.hub import Outbox, dumps
from app.paper_exchange.sockets import run_socket

MAX_STREAMS = 1024
_STREAM = re.compile(
    r"^(?:!miniTicker@arr|[a-z0-9]{1,20}@(?:miniTicker|bookTicker|trade|kline_(?:" + "|".join(INTERVALS_MS) + ")))$"
)
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Connection:
    """One stream connection: which streams it has, and whether they come wrapped."""

    def __init__(self, exchange: Exchange, streams: list[str], *, combined: bool) -> None:
        self.outbox = Outbox()
        self.combined = combined
        self._exchange = exchange
        self._streams: dict[str, None] = {}
        self._subscribe(streams)

    def close(self) -> None:
        """Leave all streams."""
        self._unsubscribe(list(self._streams))

    def on_text(self, text: str) -> None:
        """A control message of the client."""
        self.outbox.put(dumps(self._answer(text)))

    def _deliver(self, stream: str, payload: str) -> None:
        self.outbox.put(f'{{"stream":"{stream}","data":{payload}}}' if self.combined else payload)

    def _subscribe(self, streams: list[str]) -> None:
        for stream in streams:
            if stream not in self._streams:
                self._streams[stream] = None
                self._exchange.streams.listen(stream, self._deliver)

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
        if isinstance(reply_to, bool) or not isinstance(reply_to, int | str | None):
            return {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"}
        method, params = message["method"], message.get("params", [])
        if method not in _METHODS:
            expected = ", ".join(f"`{m}`" for m in _METHODS)
            return {
                "code": 2,
                "msg": f"Invalid request: unknown variant `{method}`, expected one of {expected} at line 1 column 1",
                "id": reply_to,
            }
        return self._obey(method, params, reply_to)

    def _obey(self, method: str, params: Any, reply_to: Any) -> dict[str, Any]:
        result: Any = None
        if method == "LIST_SUBSCRIPTIONS":
            result = list(self._streams)
        elif not isinstance(params, list):
            return {"code": 2, "msg": "Invalid request: params must be a list", "id": reply_to}
        elif method == "GET_PROPERTY":
            if params != ["combined"]:
                return {"code": 0, "msg": "Unknown property", "id": reply_to}
            result = self.combined
        elif method == "SET_PROPERTY":
            if not params or params[0] != "combined":
                return {"code": 0, "msg": "Unknown property", "id": reply_to}
            if len(params) != 2 or not isinstance(params[1], bool):
                return {"code": 1, "msg": "Invalid value type: expected Boolean", "id": reply_to}
            self.combined = params[1]
        elif not all(isinstance(p, str) and (method == "UNSUBSCRIBE" or _STREAM.match(p)) for p in params):
            return {"code": 2, "msg": "Invalid request: invalid stream", "id": reply_to}
        elif method == "SUBSCRIBE":
            if len(self._streams) + len(params) > MAX_STREAMS:
                return {"code": 2, "msg": f"Invalid request: more than {MAX_STREAMS} streams", "id": reply_to}
            self._subscribe(params)
        else:
            self._unsubscribe(params)
        return {"result": result, "id": reply_to}


def add_routes(app: web.Application, exchange: Exchange, sockets: set[web.WebSocketResponse]) -> None:
    """Serve the stream paths."""

    async def serve(request: web.Request) -> web.StreamResponse:
        combined = request.path.startswith("/stream")
        if combined:
            streams = [s for s in request.query.get("streams", "").split("/") if s]
        else:
            streams = [s for s in request.match_info.get("streams", "").split("/") if s]
        if not all(_STREAM.match(s) for s in streams):
            return web.Response(status=400, text="Invalid stream name")
        connection = Connection(exchange, streams, combined=combined)
        try:
            return await run_socket(request, connection.outbox, connection.on_text, sockets)
        finally:
            connection.close()

    for path in ("/ws", "/ws/", "/stream", "/stream/", "/ws/{streams:.+}"):
        app.router.add_get(path, serve)
