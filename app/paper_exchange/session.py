"""One connection to the WebSocket API: requests, an authenticated session, and user data streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from app.paper_exchange import errors, signing
from app.paper_exchange.accounts import Account
from app.paper_exchange.endpoints import Call, Endpoint, Security, run
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faults import Point
from app.paper_exchange.hub import Ending, Outbox, dumps
from app.paper_exchange.params import Params
from app.paper_exchange.rest import authenticate, error_body, permit, sign_in
from app.paper_exchange.timeunit import in_microseconds

if TYPE_CHECKING:
    from app.paper_exchange.faulty import Faulty

MAX_SUBSCRIPTIONS = 1000
MAX_SUBSCRIPTION_IDS = 65_535
CONNECT_WEIGHT = 2
BANNED = 418
LAST_WORDS_S = 0.2  # for the refusal to go out before the connection ends
USER_STREAM = "user"  # the name faults know user data streams by


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the address of the connection asks for."""

    micro: bool = False
    rate_limits: bool = True


@dataclass(frozen=True, slots=True)
class Subscription:
    """A user data stream on this connection. `of_session`: it ends with the session's logout."""

    account_id: int
    of_session: bool
    stop: Callable[[], None]


@dataclass(slots=True)
class _Request:
    """A request as far as it could be read."""

    id: Any = None
    method: str = ""
    values: Mapping[str, str] | None = None

    @property
    def returns_limits(self) -> str | None:
        return (self.values or {}).get("returnRateLimits")


class Session:
    """See `sockets.Live`."""

    def __init__(
        self,
        exchange: Exchange,
        methods: Mapping[str, Endpoint],
        address: str,
        wishes: Wishes,
        faulty: Faulty | None,
    ) -> None:
        self.outbox = Outbox()
        self._exchange = exchange
        self._limits = exchange.limits
        self._address = address
        self._wishes = wishes
        self._faulty = faulty
        self._connected_ms = exchange.clock.exchange_now_ms()
        self._account: Account | None = None  # logged on
        self._authorized_ms: int | None = None
        self._subscriptions: dict[int, Subscription] = {}
        self._next_id = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._methods = {
            **methods,
            "session.logon": Endpoint(self._logon, Security.NONE, _weight),
            "session.status": Endpoint(self._status, Security.NONE, _weight),
            "session.logout": Endpoint(self._logout, Security.NONE, _weight),
            "session.subscriptions": Endpoint(self._list, Security.NONE, _weight),
            "userDataStream.subscribe": Endpoint(self._subscribe_session, Security.NONE, _weight),
            "userDataStream.subscribe.signature": Endpoint(self._subscribe_signed, Security.USER_STREAM, _weight),
            "userDataStream.unsubscribe": Endpoint(self._unsubscribe, Security.NONE, _weight),
        }

    def close(self) -> None:
        """End all subscriptions. Requests under way go on; their answers go nowhere."""
        for subscription in self._subscriptions.values():
            subscription.stop()
        self._subscriptions.clear()

    def shutdown_frame(self, now_ms: int) -> str:
        """`serverShutdown` comes without a subscription's number."""
        return dumps({"event": self._in_unit({"e": "serverShutdown", "E": now_ms})})

    def points(self) -> list[Point]:
        """Its user streams; a connection without one is still a ws-api connection."""
        accounts = [s.account_id for s in self._subscriptions.values()]
        return [Point(stream=USER_STREAM, account_id=account_id) for account_id in accounts] or [Point(stream="ws-api")]

    def on_text(self, text: str) -> None:
        """A request of the client."""
        task = asyncio.create_task(self._serve(text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- requests ----------------------------------------------------------------------------------------

    async def _serve(self, text: str) -> None:
        request = _Request()
        now_ms = self._exchange.clock.exchange_now_ms()
        try:
            _read(text, request)
        except ApiError as error:
            self.outbox.put(dumps(self._framed(request, _refusal(error, now_ms))))
            return
        fault = None
        if self._faulty is not None:
            fault = self._faulty.of_request(self._point(request))
        if fault is None:
            self.outbox.put(dumps(self._framed(request, await self._answer(request, now_ms))))
            return
        answer = await self._answer(request, now_ms) if fault.executes else None
        assert self._faulty is not None
        suffered = await self._faulty.ws_answer(fault, answer, self.outbox)
        if isinstance(suffered, dict):
            self.outbox.put(dumps(self._framed(request, suffered)))
        elif suffered is not None:
            self.outbox.put(suffered)

    async def _answer(self, request: _Request, now_ms: int) -> dict[str, Any]:
        """`status` with `result` or `error`, and the limits the request counts towards."""
        answer: dict[str, Any]
        account_id = None
        try:
            endpoint = self._methods.get(request.method)
            if endpoint is None:
                raise errors.unsupported()
            assert request.values is not None
            call, weight = self._admit(endpoint, request.method, request.values)
            if endpoint.orders:
                account_id = call.account_id
            answer = {"status": 200, "result": self._in_unit(await run(endpoint, call, self._address, weight))}
        except ApiError as error:
            answer = _refusal(error, now_ms)
            if error.status == BANNED:
                asyncio.get_running_loop().call_later(LAST_WORDS_S, self.outbox.end, Ending(1008, "IP banned"))
        true_ms = self._exchange.clock.now_ms()
        described = [] if account_id is None else self._limits.orders_described(account_id, true_ms)
        answer["rateLimits"] = [*described, self._limits.weight_described(self._address, true_ms)]
        return answer

    def _admit(self, endpoint: Endpoint, method: str, values: Mapping[str, str]) -> tuple[Call, int]:
        params = Params(values)
        params.mark("returnRateLimits")
        weight = endpoint.weight(params)
        self._limits.admit(self._address, weight, self._exchange.clock.now_ms())
        call = Call(self._exchange, params, method)
        if endpoint.security is Security.NONE:
            return call, weight
        if self._account is not None and "apiKey" not in values and "signature" not in values:
            call.timestamp_ms, call.window_ms = params.timing()
            call.check_window()
            call.account = self._account
            self._permit(self._account, endpoint.security)
        else:
            self._permit(self._sign_in(call, values), endpoint.security)
        return call, weight

    def _sign_in(self, call: Call, values: Mapping[str, str]) -> Account:
        call.params.mark("apiKey")
        account = authenticate(self._exchange, values.get("apiKey"))
        sign_in(call, account, signing.ws_payload(values), values.get("signature"))
        return account

    def _permit(self, account: Account, security: Security) -> None:
        """As for REST; the key may have changed since the session was logged on."""
        permit(self._exchange.accounts.get(account.id, account), security, self._address)

    def _framed(self, request: _Request, answer: dict[str, Any]) -> dict[str, Any]:
        """The frame: the request's id first, the limits last unless they are not wanted."""
        wanted = self._wishes.rate_limits if request.returns_limits is None else request.returns_limits == "true"
        limits = answer.get("rateLimits")
        frame = {"id": request.id, **{name: part for name, part in answer.items() if name != "rateLimits"}}
        if wanted:
            now_ms = self._exchange.clock.now_ms()
            frame["rateLimits"] = limits or [self._limits.weight_described(self._address, now_ms)]
        return frame

    def _point(self, request: _Request) -> Point:
        values = request.values or {}
        account = self._exchange.accounts_by_key.get(values.get("apiKey", "")) or self._account
        return Point(
            endpoint=request.method, account_id=account.id if account else None, symbol=values.get("symbol", "")
        )

    def _in_unit(self, value: Any) -> Any:
        return in_microseconds(value) if self._wishes.micro else value

    # -- session -----------------------------------------------------------------------------------------

    async def _logon(self, call: Call) -> Any:
        """Let requests without key and signature speak for this account."""
        values = call.params.texts()
        account = self._sign_in(call, values)
        call.params.finish()
        if account.kind != signing.ED25519:
            kind = "HMAC_SHA256" if account.kind == signing.HMAC else account.kind.upper()
            raise ApiError(-4056, f"{kind} API key is not supported.")
        self._account, self._authorized_ms = account, self._exchange.clock.exchange_now_ms()
        return self._session_view()

    async def _status(self, call: Call) -> Any:
        call.params.finish()
        return self._session_view()

    async def _logout(self, call: Call) -> Any:
        """Forget the key, and end the user stream that was opened with it."""
        call.params.finish()
        for number, subscription in list(self._subscriptions.items()):
            if subscription.of_session:
                self._end(number)
        self._account = self._authorized_ms = None
        return self._session_view()

    def _session_view(self) -> dict[str, Any]:
        return {
            "apiKey": self._account.api_key if self._account else None,
            "authorizedSince": self._authorized_ms,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._wishes.rate_limits,
            "serverTime": self._exchange.clock.exchange_now_ms(),
            "userDataStream": bool(self._subscriptions),
        }

    # -- user streams ------------------------------------------------------------------------------------

    async def _subscribe_signed(self, call: Call) -> Any:
        call.params.finish()
        return self._begin(call.account_id, of_session=False)

    async def _subscribe_session(self, call: Call) -> Any:
        call.params.finish()
        if self._account is None:
            raise errors.bad_key_format()
        return self._begin(self._account.id, of_session=True)

    def _begin(self, account_id: int, *, of_session: bool) -> dict[str, Any]:
        if any(s.account_id == account_id for s in self._subscriptions.values()):
            raise ApiError(-2035, "User Data Stream subscription already active.")
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS or self._next_id >= MAX_SUBSCRIPTION_IDS:
            raise ApiError(-2042, "Maximum subscription ID reached for this connection.")
        number = self._next_id
        self._next_id += 1

        tell: Callable[[dict[str, Any]], None] = partial(self._tell, number)
        if self._faulty is not None:
            tell = self._faulty.user_events(account_id, self.outbox, tell)
        # Nothing waits between here and the answer, so the answer stands before the first event.
        stop = self._exchange.users.listen(account_id, tell)
        self._subscriptions[number] = Subscription(account_id, of_session, stop)
        return {"subscriptionId": number}

    def _tell(self, number: int, event: dict[str, Any]) -> None:
        self.outbox.put(dumps({"subscriptionId": number, "event": self._in_unit(event)}))

    def _end(self, number: int) -> None:
        self._subscriptions.pop(number).stop()
        self._tell(number, {"e": "eventStreamTerminated", "E": self._exchange.clock.exchange_now_ms()})

    async def _unsubscribe(self, call: Call) -> Any:
        number = call.params.long("subscriptionId")
        call.params.finish()
        if number is not None and number not in self._subscriptions:
            raise ApiError(-2036, "User Data Stream subscription not active.")
        for ended in list(self._subscriptions) if number is None else [number]:
            self._end(ended)
        return {}

    async def _list(self, call: Call) -> Any:
        call.params.finish()
        return [{"subscriptionId": number} for number in self._subscriptions]


def _weight(_: Params) -> int:
    return 2


def _read(text: str, request: _Request) -> None:
    """Read a request's text into `request`. Raises -1135."""
    try:
        # Numbers stay as written: they are part of what was signed.
        message = json.loads(text, parse_float=str, parse_int=str)
        request.id = json.loads(text).get("id")
    except (ValueError, AttributeError):
        raise ApiError(-1135, "Invalid JSON Request") from None
    method, raw = message.get("method"), message.get("params") or {}
    if not isinstance(method, str) or not isinstance(raw, dict):
        raise ApiError(-1135, "Invalid JSON Request")
    request.method, request.values = method.removeprefix("v3/"), signing.ws_params(raw)


def _refusal(error: ApiError, now_ms: int) -> dict[str, Any]:
    body: dict[str, Any] = error_body(error)
    if error.retry_after_s is not None:
        body["data"] = {"serverTime": now_ms, "retryAfter": now_ms + error.retry_after_s * 1000}
    return {"status": error.status, "error": body}
