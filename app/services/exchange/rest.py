"""python-binance's `AsyncClient` with every trap closed: one request on the wire, one answer as a value.

What is changed and why (each measured, see the failure tests):
- nothing is sent on creation (`create()` pings and reads the time);
- the bytes that are signed are the bytes that are sent, with the timestamp and recvWindow that the caller gives;
- aiohttp does not send DELETE a second time on a dropped connection (`_retry_connection`);
- redirects are not followed: a key never goes to another host, an order never twice;
- every answer of any status comes back as an `Answer` with its own headers; the library's exceptions, which
  lose them or leak aiohttp's, are not used;
- the weight budget is asked before and told after.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
from binance import AsyncClient

from app.domain.clock import Clock
from app.services.exchange.classification import RATE_STATUSES, Failure, of_exception, read_failure, retry_after_s
from app.services.exchange.endpoints import Endpoints
from app.services.exchange.protocol import NotSent, Unknown
from app.services.exchange.signing import Signer, encode_params, signed_form
from app.services.exchange.weight import Purpose, WeightBudget

CONNECT_TIMEOUT_S = 5.0
#: The engine gives up after 10 s (-1007); its words should reach us.
TOTAL_TIMEOUT_S = 12.0
DEFAULT_RECV_WINDOW_MS = 5_000
TOO_MANY_ORDERS = -1015  # of one account, not of the address


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whatever its status."""

    status: int
    text: str
    retry_after_s: float | None

    @property
    def is_ok(self) -> bool:
        """Plain success. Anything else, redirects included, is a failure to be classified."""
        return self.status == 200

    def failure(self) -> Failure:
        """The answer as what the classification reads."""
        return read_failure(self.status, self.text, self.retry_after_s)

    def content(self) -> Any:
        """The body as JSON, numbers exact. Raises ValueError for anything else."""
        return json.loads(self.text, parse_float=Decimal)


class RestClient(AsyncClient):  # type: ignore[misc]  # the library is untyped
    """One exchange, at most one key. Make it inside a running loop."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        clock: Clock,
        budget: WeightBudget,
        api_key: str | None = None,
        signer: Signer | None = None,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        self.API_URL = f"{endpoints.rest_url}/api"
        self.MARGIN_API_URL = f"{endpoints.rest_url}/sapi"
        self.clock = clock
        self.budget = budget
        self._signer = signer
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout_s, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S
        )
        super().__init__(api_key)

    async def send(
        self, purpose: Purpose, weight: int, call: Callable[[], Awaitable[Answer]]
    ) -> Answer | NotSent | Unknown:
        """Make one call of the library; what the network did to it becomes a value."""
        if self.session.closed:
            return NotSent("the account's session was closed")
        wait_s = self.budget.wait_s(weight, purpose)
        if wait_s > 0:
            return NotSent(f"held back for {wait_s:.1f} s: the exchange's request limit is used up")
        try:
            return await call()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return of_exception(error)

    async def close(self) -> None:
        """Release the connections."""
        await self.session.close()

    # --- what the library calls ----------------------------------------------------------------------------

    def _init_session(self) -> aiohttp.ClientSession:
        headers = {"Accept": "application/json", "User-Agent": "plumbline"}
        if self.API_KEY:
            headers["X-MBX-APIKEY"] = self.API_KEY
        session = aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar())
        if not hasattr(session, "_retry_connection"):
            raise RuntimeError("this aiohttp cannot be told not to send a request twice")
        session._retry_connection = False
        return session

    def _get_request_kwargs(
        self, method: str, signed: bool, force_params: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"timeout": self._timeout, "allow_redirects": False}
        params = {name: value for name, value in (kwargs.get("data") or {}).items() if value is not None}
        if signed:
            if self._signer is None:
                raise RuntimeError("this client has no key")
            params.setdefault("recvWindow", DEFAULT_RECV_WINDOW_MS)
            params.setdefault("timestamp", self.clock.exchange_now_ms())
            text = signed_form(params, self._signer)
        else:
            text = encode_params(params)
        if text:
            request["params" if method == "get" else "data"] = text
        return request

    async def _handle_response(self, response: aiohttp.ClientResponse) -> Answer:
        text = await response.text(encoding="utf-8", errors="replace")
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        answer = Answer(response.status, text, wait_s)
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isascii() and used.isdigit():
            self.budget.observe(int(used))
        if answer.status in RATE_STATUSES and answer.failure().code != TOO_MANY_ORDERS:
            self.budget.pause(answer.status, wait_s)
        return answer
