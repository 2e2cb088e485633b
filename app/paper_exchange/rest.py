"""The REST side: from an HTTP request to an endpoint and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from app.paper_exchange import errors, signing
from app.paper_exchange.accounts import Account
from app.paper_exchange.endpoints import Call, Endpoint, Security, run
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.hub import dumps
from app.paper_exchange.params import Params, parse_form
from app.paper_exchange.rights import READING, SPOT_TRADING
from app.paper_exchange.routes import ROUTES
from app.paper_exchange.timeunit import in_microseconds, is_microseconds

KEY_HEADER = "X-MBX-APIKEY"
UNIT_HEADER = "X-MBX-TIME-UNIT"
WEIGHT_HEADERS = ("X-MBX-USED-WEIGHT", "X-MBX-USED-WEIGHT-1M")
ORDER_COUNT_HEADERS = ("X-MBX-ORDER-COUNT-10S", "X-MBX-ORDER-COUNT-1D")


def add_routes(app: web.Application, exchange: Exchange) -> None:
    """Serve the endpoints of `ROUTES`."""
    for method, path, endpoint in ROUTES:
        app.router.add_route(method, path, _handler(f"{method} {path}", endpoint, exchange))
    for method in ("POST", "PUT", "DELETE"):
        app.router.add_route(method, "/api/v3/userDataStream", _gone)


async def _gone(_: web.Request) -> web.StreamResponse:
    """The listenKey endpoints were removed on 2026-02-20; the user stream is on the ws-api."""
    return web.Response(status=410, text=html_page("410 Gone"), content_type="text/html")


def html_page(title: str) -> str:
    """What the front servers answer where the API itself is not reached."""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )


def authenticate(exchange: Exchange, api_key: str | None) -> Account:
    """The account of an API key. Raises -2014 without one, -2015 for one we don't know."""
    if not api_key:
        raise errors.bad_key_format()
    account = exchange.accounts_by_key.get(api_key)
    if account is None:
        raise errors.unknown_key()
    return account


def permit(account: Account, security: Security, address: str) -> None:
    """Whether the key may be used for such a call, from there. Raises -2015; -2010 where the account may not trade."""
    needed = SPOT_TRADING if security is Security.TRADE else READING
    if needed not in account.rights.allowed or not account.rights.admits(address):
        raise errors.unknown_key()
    if security is Security.TRADE and not account.rights.can_trade:
        raise errors.rejected("This action is disabled on this account.")


def sign_in(call: Call, account: Account, payload: bytes, signature: str | None) -> None:
    """Check signature and time of a signed request. Raises -1102, -1022 or -1021."""
    if not signature:
        raise errors.missing("signature")
    call.timestamp_ms, call.window_ms = call.params.timing()
    if not signing.verify(account.kind, account.key_material, payload, signature):
        raise errors.bad_signature()
    call.check_window()
    call.account = account


def _handler(
    name: str, endpoint: Endpoint, exchange: Exchange
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    limits = exchange.limits

    async def handle(request: web.Request) -> web.StreamResponse:
        now_ms = exchange.clock.now_ms()
        address = request.remote or ""
        headers: dict[str, str] = {}
        status = 200
        try:
            # GET takes its parameters from the query alone.
            body = "" if request.method == "GET" else (await request.text())
            params = Params(parse_form(request.rel_url.raw_query_string, body))
            weight = endpoint.weight(params)
            limits.admit(address, weight, now_ms)
            call = Call(exchange, params, name)
            if endpoint.security is not Security.NONE:
                account = authenticate(exchange, request.headers.get(KEY_HEADER))
                permit(account, endpoint.security, address)
                payload, signature = signing.rest_payload(request.rel_url.raw_query_string, body)
                sign_in(call, account, payload, signature)
            micro = is_microseconds(request.headers.get(UNIT_HEADER))
            answer = await run(endpoint, call, address, weight)
            if micro:
                answer = in_microseconds(answer)
            if endpoint.orders:
                counts = limits.order_counts(call.account_id, exchange.clock.now_ms())
                headers = dict(zip(ORDER_COUNT_HEADERS, map(str, counts), strict=True))
        except ApiError as error:
            answer, status = error_body(error), error.status
            if error.retry_after_s is not None:
                headers["Retry-After"] = str(error.retry_after_s)
        used = str(limits.used(address, now_ms))
        headers |= dict.fromkeys(WEIGHT_HEADERS, used)
        return web.Response(text=dumps(answer), status=status, content_type="application/json", headers=headers)

    return handle


def refusal(error: ApiError) -> web.Response:
    """An error as an HTTP answer of its own."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    text = dumps(error_body(error))
    return web.Response(text=text, status=error.status, content_type="application/json", headers=headers)


def error_body(error: ApiError) -> dict[str, Any]:
    """`{"code":…,"msg":…}`, with `data` where there is some."""
    body = {"code": error.code, "msg": error.msg}
    return body if error.data is None else {**body, "data": error.data}
