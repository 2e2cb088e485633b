"""Faults at work: what the requests, frames and connections suffer that a fault has struck."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from app.domain.errors import NotFound
from app.paper_exchange import errors
from app.paper_exchange.clock import SkewedClock
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faults import FRAME_KINDS, REQUEST_KINDS, Fault, FaultPlan, Point
from app.paper_exchange.hub import Ending, Outbox, dumps
from app.paper_exchange.params import parse_form
from app.paper_exchange.rest import KEY_HEADER, error_body, html_page, refusal
from app.paper_exchange.sockets import Live, Sockets, reset

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Tell = Callable[[dict[str, Any]], None]
HEADER = ("X-Paper-Faults", "on")
_PAGES = {403: "403 Forbidden", 500: "500 Internal Server Error", 502: "502 Bad Gateway",
          503: "503 Service Temporarily Unavailable", 504: "504 Gateway Time-out"}  # fmt: skip
_UNKNOWN_OUTCOMES = {
    -1006: "An unexpected response was received from the message bus. Execution status unknown.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
}
_RESET = Ending(is_reset=True)


class Faulty:
    """The faults of a running exchange that was started with them allowed."""

    def __init__(self, exchange: Exchange, plan: FaultPlan, clock: SkewedClock, sockets: Sockets) -> None:
        self._exchange = exchange
        self._plan = plan
        self._clock = clock
        self._sockets = sockets
        sockets.answers = self._answers

    # -- asking for faults -------------------------------------------------------------------------------

    async def add(self, body: Mapping[str, Any]) -> Fault:
        """Take up a fault; what is to strike at once does. Raises InvalidInput and NotFound."""
        fault = self._plan.add(body, self._clock.now_ms())
        if fault.where.symbol and fault.where.symbol not in self._exchange.live:
            self._plan.remove(fault.id)
            raise NotFound(f"there is no symbol {fault.where.symbol[:20]}")
        if fault.params.get("at") == "now":
            for live in list(self._sockets.open):
                if any(fault.strikes(point, self._clock.now_ms()) for point in live.points()):
                    self._end(fault, live.outbox)
            fault.is_over = True
        await self.settle()
        return fault

    async def remove(self, fault_id: int | None) -> None:
        """Take one fault away, or all; states end. Raises NotFound."""
        if fault_id is None:
            self._plan.clear()
        else:
            self._plan.remove(fault_id)
        await self.settle()

    def view(self) -> list[dict[str, Any]]:
        """All faults, as JSON."""
        return self._plan.view()

    async def settle(self) -> None:
        """Let the exchange be in the state the lasting faults want now. Called at every step of the markets too."""
        now_ms = self._clock.now_ms()
        self._clock.skew_ms = sum(f.params["skew_ms"] for f in self._plan.lasting("clock_skew", now_ms))
        self._exchange.suspend({f.where.symbol for f in self._plan.lasting("halt", now_ms)})
        await self._exchange.delist({f.where.symbol for f in self._plan.lasting("delisting", now_ms)})

    # -- requests ----------------------------------------------------------------------------------------

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What HTTP requests suffer, opening a WebSocket included. The control endpoints are spared."""
        if request.path.startswith("/paper/"):
            return await handler(request)
        fault = self.of_request(await self._point(request))
        if fault is None:
            return await handler(request)
        answer = await handler(request) if fault.executes else None
        return await self._suffer(fault, request, answer)

    def of_request(self, point: Point) -> Fault | None:
        """The fault that strikes this request, if any."""
        return self._plan.decide(REQUEST_KINDS, point, self._clock.now_ms())

    async def _point(self, request: web.Request) -> Point:
        endpoint = f"{request.method} {request.path}"
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return Point(endpoint=endpoint, is_handshake=True)
        body = "" if request.method == "GET" else await request.text()
        try:
            symbol = parse_form(request.rel_url.raw_query_string, body).get("symbol", "")
        except ApiError:
            symbol = ""
        account = self._exchange.accounts_by_key.get(request.headers.get(KEY_HEADER, ""))
        return Point(endpoint=endpoint, account_id=account.id if account else None, symbol=symbol)

    async def _suffer(
        self, fault: Fault, request: web.Request, answer: web.StreamResponse | None
    ) -> web.StreamResponse:
        params = fault.params
        error = _error(fault, self._exchange.clock.now_ms())
        if error is not None:
            return refusal(error)
        if fault.kind == "redirect":
            return web.Response(status=params["status"], headers={"Location": params["location"]})
        if fault.kind == "truncated":
            text = answer.text if isinstance(answer, web.Response) else None
            return web.Response(text=_cut(text or "{}"), content_type="application/json")
        if fault.kind in ("timeout", "drop"):
            await self._exchange.clock.sleep(params.get("hold_ms", 0) / 1000)
            reset(request)
            return web.Response()
        status = _http_status(fault)
        return web.Response(status=status, text=html_page(_PAGES.get(status, str(status))), content_type="text/html")

    async def ws_answer(
        self, fault: Fault, answer: dict[str, Any] | None, outbox: Outbox
    ) -> dict[str, Any] | str | None:
        """What a ws-api request gets instead of its answer: another one, a text that is not JSON, or nothing."""
        error = _error(fault, self._exchange.clock.now_ms())
        if error is not None:
            body = error_body(error)
            if error.retry_after_s is not None:
                now_ms = self._exchange.clock.exchange_now_ms()
                body["data"] = {"serverTime": now_ms, "retryAfter": now_ms + error.retry_after_s * 1000}
            return {"status": error.status, "error": body}
        if fault.kind == "truncated":
            return _cut(dumps(answer))
        if fault.kind in ("timeout", "drop"):
            if fault.kind == "drop":
                outbox.end(_RESET)
            return None
        status = _http_status(fault)
        return {"status": status, "error": {"code": -1000, "msg": _PAGES.get(status, str(status))}}

    # -- streams -----------------------------------------------------------------------------------------

    def loses(self, point: Point, outbox: Outbox) -> bool:
        """Decide one frame: whether it is lost, be it in silence or with its connection."""
        fault = self._plan.decide(FRAME_KINDS, point, self._clock.now_ms())
        if fault is None:
            return False
        if fault.kind != "stream_silence":
            self._end(fault, outbox)
        return True

    def user_events(self, account_id: int, outbox: Outbox, tell: Tell) -> Tell:
        """`tell` as it works under faults: events are lost, doubled, or overtaken by the next."""
        held: list[dict[str, Any]] = []

        def release() -> None:
            while held:
                tell(held.pop(0))

        def tell_faultily(event: dict[str, Any]) -> None:
            point = Point(stream="user", account_id=account_id, symbol=event.get("s", ""))
            if self.loses(point, outbox):
                return
            is_report = event["e"] == "executionReport"
            now_ms = self._clock.now_ms()
            if is_report and not held:
                fault = self._plan.decide(("reorder_reports",), point, now_ms)
                if fault is not None:
                    held.append(event)
                    asyncio.get_running_loop().call_later(fault.params["hold_ms"] / 1000, release)
                    return
            tell(event)
            if is_report and self._plan.decide(("duplicate_reports",), point, now_ms) is not None:
                tell(event)
            release()

        return tell_faultily

    def _end(self, fault: Fault, outbox: Outbox) -> None:
        if fault.kind == "stream_abort":
            outbox.end(_RESET)
        else:
            outbox.end(Ending(fault.params.get("code", 1001), fault.kind))

    def _answers(self, live: Live) -> bool:
        """Whether a connection pings and answers pings: not during a silence without pings."""
        silences = [f for f in self._plan.lasting("stream_silence", self._clock.now_ms()) if not f.params["pings"]]
        return not any(f.where.fits(point, f.kind) for f in silences for point in live.points())


def _error(fault: Fault, now_ms: int) -> ApiError | None:
    """The JSON refusal a fault answers with; None for those that answer otherwise."""
    params = fault.params
    if fault.kind == "unknown_outcome":
        return ApiError(params["code"], _UNKNOWN_OUTCOMES[params["code"]], params["status"])
    if fault.kind == "http_5xx" and params["body"] == "json":
        return ApiError(-1000, "An unknown error occurred while processing the request.", params["status"])
    if fault.kind == "rate_limited":
        return errors.too_much_weight(6000, params["retry_after_s"])
    if fault.kind == "banned":
        return errors.banned(now_ms + params["retry_after_s"] * 1000, params["retry_after_s"])
    return None


def _http_status(fault: Fault) -> int:
    if fault.kind == "forbidden":
        return 403
    return 503 if fault.kind == "maintenance" else int(fault.params["status"])


def _cut(text: str) -> str:
    return text[: max(1, len(text) * 2 // 3)]
