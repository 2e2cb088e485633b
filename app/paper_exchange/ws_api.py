"""The WebSocket API at /ws-api/v3: the REST endpoints by method name, and the user data stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from app.paper_exchange import endpoints as e
from app.paper_exchange import signing
from app.paper_exchange.endpoints import Call, Endpoint, Security, run
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.hub import Outbox, dumps
from app.paper_exchange.params import Params
from app.paper_exchange.rest import authenticate, error_body, sign_in
from app.paper_exchange.sockets import run_socket

log = structlog.get_logger(__name__)

MAX_SUBSCRIPTIONS = 1000
MAX_SUBSCRIPTION_IDS = 65_535
METHODS: dict[str, Endpoint] = {
    "ping": e.PING,
    "time": e.TIME,
    "exchangeInfo": e.EXCHANGE_INFO,
    "klines": e.KLINES,
    "uiKlines": e.KLINES,
    "ticker.price": e.TICKER_PRICE,
    "ticker.book": e.BOOK_TICKER,
    "depth": e.DEPTH,
    "order.place": e.NEW_ORDER,
    "order.test": e.TEST_ORDER,
    "order.cancel": e.CANCEL_ORDER,
    "order.status": e.QUERY_ORDER,
    "openOrders.status": e.OPEN_ORDERS,
    "openOrders.cancelAll": e.CANCEL_OPEN_ORDERS,
    "allOrders": e.ALL_ORDERS,
    "myTrades": e.MY_TRADES,
    "account.status": e.ACCOUNT,
    "account.commission": e.COMMISSION,
}


class Session:
    """One ws-api connection and its user stream subscriptions."""

    def __init__(self, exchange: Exchange, address: str) -> None:
        self.outbox = Outbox()
        self._exchange = exchange
        self._limits = exchange.limits
        self._address = address
        self._subscriptions: dict[int, tuple[int, Callable[[], None]]] = {}  # id -> (account, stop)
        self._next_id = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stream_methods = {
            "userDataStream.subscribe.signature": Endpoint(self._subscribe, Security.USER_STREAM, lambda _: 2),
            "userDataStream.unsubscribe": Endpoint(self._unsubscribe, Security.NONE, lambda _: 2),
            "session.subscriptions": Endpoint(self._list, Security.NONE, lambda _: 2),
        }

    def close(self) -> None:
        """End all subscriptions. Requests under way go on; their answers go nowhere."""
        for _, stop in self._subscriptions.values():
            stop()
        self._subscriptions.clear()

    def on_text(self, text: str) -> None:
        """A request of the client."""
        task = asyncio.create_task(self._serve(text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, text: str) -> None:
        request_id: Any = None
        now_ms = self._exchange.clock.now_ms()
        try:
            try:
                # Numbers stay as written: they are part of what was signed.
                message = json.loads(text, parse_float=str, parse_int=str)
                request_id = json.loads(text).get("id")
            except (ValueError, AttributeError):
                raise ApiError(-1135, "Invalid JSON Request") from None
            answer = await self._dispatch(message, now_ms)
        except ApiError as error:
            body: dict[str, Any] = error_body(error)
            if error.retry_after_s is not None:
                body["data"] = {"serverTime": now_ms, "retryAfter": now_ms + error.retry_after_s * 1000}
            self._reply({"id": request_id, "status": error.status, "error": body})
            return
        self._reply({"id": request_id, "status": 200, "result": answer})

    async def _dispatch(self, message: dict[str, Any], now_ms: int) -> Any:
        method = message.get("method")
        raw = message.get("params") or {}
        if not isinstance(method, str) or not isinstance(raw, dict):
            raise ApiError(-1135, "Invalid JSON Request")
        method = method.removeprefix("v3/")
        endpoint = METHODS.get(method) or self._stream_methods.get(method)
        if endpoint is None:
            raise ApiError(-1020, "This operation is not supported.")
        values = signing.ws_params(raw)
        params = Params(values)
        params.mark("returnRateLimits")
        weight = endpoint.weight(params)
        self._limits.admit(self._address, weight, now_ms)
        call = Call(self._exchange, params, method)
        if endpoint.security is not Security.NONE:
            params.mark("apiKey")
            account = authenticate(self._exchange, values.get("apiKey"))
            sign_in(call, account, signing.ws_payload(values), values.get("signature"))
        return await run(endpoint, call, self._address, weight)

    def _reply(self, frame: dict[str, Any]) -> None:
        frame["rateLimits"] = [self._limits.weight_described(self._address, self._exchange.clock.now_ms())]
        self.outbox.put(dumps(frame))

    async def _subscribe(self, call: Call) -> Any:
        call.params.finish()
        account_id = call.account_id
        if any(account == account_id for account, _ in self._subscriptions.values()):
            raise ApiError(-2035, "User Data Stream subscription already active.")
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS or self._next_id >= MAX_SUBSCRIPTION_IDS:
            raise ApiError(-2042, "Maximum subscription ID reached for this connection.")
        number = self._next_id
        self._next_id += 1
        # Nothing waits between here and the answer, so the answer stands before the first event.
        stop = self._exchange.users.listen(account_id, lambda event: self._tell(number, event))
        self._subscriptions[number] = (account_id, stop)
        return {"subscriptionId": number}

    def _tell(self, number: int, event: dict[str, Any]) -> None:
        self.outbox.put(dumps({"subscriptionId": number, "event": event}))

    async def _unsubscribe(self, call: Call) -> Any:
        number = call.params.long("subscriptionId")
        call.params.finish()
        if number is not None and number not in self._subscriptions:
            raise ApiError(-2036, "User Data Stream subscription not active.")
        now_ms = self._exchange.clock.now_ms()
        for ended in list(self._subscriptions) if number is None else [number]:
            _, stop = self._subscriptions.pop(ended)
            stop()
            self._tell(ended, {"e": "eventStreamTerminated", "E": now_ms})
        return {}

    async def _list(self, call: Call) -> Any:
        call.params.finish()
        return [{"subscriptionId": number} for number in self._subscriptions]


def add_routes(app: web.Application, exchange: Exchange, sockets: set[web.WebSocketResponse]) -> None:
    """Serve /ws-api/v3."""

    async def serve(request: web.Request) -> web.StreamResponse:
        session = Session(exchange, request.remote or "")
        try:
            return await run_socket(request, session.outbox, session.on_text, sockets)
        finally:
            session.close()

    app.router.add_get("/ws-api/v3", serve)
