"""Control endpoints under /paper: status, accounts, deposits, markets. Never on Binance.

`GET /paper/status` and `GET /paper/health` are open; the others want `Authorization: Bearer <control token>`.
`/paper/faults` answers only when the exchange was started with `--faults`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from aiohttp import web

from app.domain.errors import InvalidInput, NotAllowed, NotFound
from app.domain.money import is_multiple, parse_amount, plain
from app.paper_exchange import views
from app.paper_exchange.accounts import Account
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faulty import Faulty
from app.paper_exchange.hub import dumps
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.model import ASSET_QUANTUM
from app.paper_exchange.rest import error_body
from app.paper_exchange.rights import Rights, read_rights
from app.paper_exchange.signing import HMAC

Handler = Callable[[web.Request], Awaitable[Any]]
MAX_SEED = 2**63 - 1
MAX_REPLAY_BYTES = 256 << 20  # unpacked; 300,000 candles are about 20 MB


class Control:
    """Handlers of the control endpoints."""

    def __init__(self, exchange: Exchange, token: str | None, faulty: Faulty | None = None) -> None:
        self._exchange = exchange
        self._faulty = faulty
        self._token = token

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""
        app.router.add_get("/paper/health", _json(self._health))
        app.router.add_get("/paper/status", _json(self._status))
        app.router.add_post("/paper/accounts", self._guarded(self._add_account))
        app.router.add_post("/paper/accounts/{account_id}/deposit", self._guarded(self._deposit))
        app.router.add_post("/paper/accounts/{account_id}/withdraw", self._guarded(self._withdraw))
        app.router.add_post("/paper/accounts/{account_id}/fees", self._guarded(self._fees))
        app.router.add_post("/paper/accounts/{account_id}/rights", self._guarded(self._rights))
        app.router.add_post("/paper/accounts/{account_id}/key", self._guarded(self._key))
        app.router.add_post("/paper/markets/{symbol}", self._guarded(self._set_market))
        app.router.add_get("/paper/books/{account_id}", self._guarded(self._books))
        app.router.add_get("/paper/faults", self._guarded(self._faults))
        app.router.add_post("/paper/faults", self._guarded(self._add_fault))
        app.router.add_delete("/paper/faults", self._guarded(self._remove_faults))
        app.router.add_delete("/paper/faults/{fault_id}", self._guarded(self._remove_faults))

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        serve = _json(handler)

        async def guarded(request: web.Request) -> web.StreamResponse:
            if self._token is None:
                return _answer({"error": "no control token is set, so the control endpoints are shut"}, 403)
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return _answer({"error": "this needs the control token as a bearer token"}, 401)
            return await serve(request)

        return guarded

    async def _health(self, _: web.Request) -> Any:
        return {"status": "ok", "time_ms": self._exchange.clock.now_ms()}

    async def _status(self, _: web.Request) -> Any:
        exchange = self._exchange
        return {
            "exchange": "paper",
            "time_ms": exchange.clock.now_ms(),
            "started_ms": exchange.started_ms,
            "preset": exchange.settings.preset.value,
            "fees": views.rates(exchange.engine.fees),
            "accounts": len(exchange.accounts),
            "faults": None if exchange.faults is None else len(exchange.faults.faults),
            "symbols": [market.status() for market in exchange.live.values()],
        }

    async def _add_account(self, request: web.Request) -> Any:
        body = await _body(request)
        label = body.get("label", "")
        if not isinstance(label, str) or len(label) > 200:
            raise InvalidInput("label must be text of at most 200 characters", field="label")
        deposits = _amounts(body.get("balances", {}))
        rights = read_rights(body.get("rights", {}), Rights())
        return _key_view(await self._exchange.add_account(label, _public_key(body), deposits, rights))

    async def _rights(self, request: web.Request) -> Any:
        account = self._exchange.accounts[self._account_id(request)]
        rights = read_rights(await _body(request), account.rights)
        await self._exchange.set_rights(account.id, rights)
        return rights.view()

    async def _key(self, request: web.Request) -> Any:
        account = self._exchange.accounts[self._account_id(request)]
        body = await _body(request)
        rights = read_rights(body.get("rights", {}), account.rights)
        return _key_view(await self._exchange.set_key(account.id, _public_key(body), rights))

    async def _deposit(self, request: web.Request) -> Any:
        account_id = self._account_id(request)
        body = await _body(request)
        for asset, amount in _amounts(body.get("balances", body)).items():
            await self._exchange.deposit(account_id, asset, amount)
        return {"balances": self._balances(account_id)}

    async def _withdraw(self, request: web.Request) -> Any:
        """All or nothing: free funds only, as on Binance."""
        account_id = self._account_id(request)
        body = await _body(request)
        amounts = _amounts(body.get("balances", body))
        for asset, amount in amounts.items():
            if self._exchange.engine.ledger.free(account_id, asset) < amount:
                raise InvalidInput(f"there is not so much {asset} free", field=asset)
        for asset, amount in amounts.items():
            await self._exchange.deposit(account_id, asset, -amount)
        return {"balances": self._balances(account_id)}

    async def _fees(self, request: web.Request) -> Any:
        account_id = self._account_id(request)
        wanted = (await _body(request)).get("use_bnb_for_fees")
        if not isinstance(wanted, bool):
            raise InvalidInput("use_bnb_for_fees must be true or false", field="use_bnb_for_fees")
        await self._exchange.pay_in_bnb(account_id, wanted=wanted)
        return {"use_bnb_for_fees": wanted}

    async def _set_market(self, request: web.Request) -> Any:
        symbol = request.match_info["symbol"]
        raw = await request.clone(client_max_size=MAX_REPLAY_BYTES).read()
        body = await asyncio.to_thread(_parse_object, raw)
        kind = body.get("source")
        if kind == "synthetic":
            seed = body.get("seed", 1)
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
                raise InvalidInput("seed must be a whole number from 0", field="seed")
            price = body.get("price")
            first = None if price is None else parse_amount(price, field="price", positive=True)
            return (await self._exchange.set_synthetic(symbol, seed, first)).status()
        if kind == "replay":
            return (await self._set_replay(symbol, body)).status()
        if kind == "mirror":
            return (await self._exchange.set_mirror(symbol)).status()
        raise InvalidInput('source must be "synthetic", "replay" or "mirror"', field="source")

    async def _set_replay(self, symbol: str, body: dict[str, Any]) -> LiveMarket:
        label, start, loop = body.get("label", ""), body.get("start"), body.get("loop", False)
        if not isinstance(label, str) or not isinstance(loop, bool):
            raise InvalidInput("label must be text and loop true or false")
        if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
            raise InvalidInput("start must be a candle's number, counted from 0", field="start")
        return await self._exchange.set_replay(symbol, body.get("candles", []), label=label, start=start, loop=loop)

    async def _books(self, request: web.Request) -> Any:
        account_id = self._account_id(request)
        await self._exchange.store.settled()
        orders, trades = self._exchange.history.all_of(account_id)
        return {
            "account_id": account_id,
            "balances": self._balances(account_id),
            "orders": [views.queried(order) for order in orders],
            "trades": [views.trade_row(trade) for trade in trades],
        }

    async def _faults(self, _: web.Request) -> Any:
        return {"faults": self._allowed_faults().view()}

    async def _add_fault(self, request: web.Request) -> Any:
        faulty = self._allowed_faults()
        return (await faulty.add(await _body(request))).view()

    async def _remove_faults(self, request: web.Request) -> Any:
        text = request.match_info.get("fault_id")
        if text is not None and not text.isdigit():
            raise NotFound(f"there is no fault {text[:20]}")
        faulty = self._allowed_faults()
        await faulty.remove(None if text is None else int(text))
        return {"faults": faulty.view()}

    def _allowed_faults(self) -> Faulty:
        if self._faulty is None:
            raise NotAllowed("this exchange was not started with --faults")
        return self._faulty

    def _account_id(self, request: web.Request) -> int:
        text = request.match_info["account_id"]
        if not text.isdigit() or int(text) not in self._exchange.accounts:
            raise NotFound(f"there is no account {text[:20]}")
        return int(text)

    def _balances(self, account_id: int) -> dict[str, Any]:
        balances = self._exchange.engine.ledger.accounts.get(account_id, {})
        return {asset: {"free": plain(b.free), "locked": plain(b.locked)} for asset, b in sorted(balances.items())}


def _public_key(body: dict[str, Any]) -> str | None:
    pem = body.get("public_key_pem")
    if pem is not None and not isinstance(pem, str):
        raise InvalidInput("public_key_pem must be text", field="public_key_pem")
    return pem


def _key_view(account: Account) -> dict[str, Any]:
    answer: dict[str, Any] = {"account_id": account.id, "api_key": account.api_key}
    return {**answer, "secret": account.key_material} if account.kind == HMAC else answer


def _amounts(raw: Any) -> dict[str, Decimal]:
    if not isinstance(raw, dict) or not all(isinstance(k, str) and k.isalnum() and k.isupper() for k in raw):
        raise InvalidInput('balances must be like {"USDT": "10000"}', field="balances")
    amounts = {asset: parse_amount(text, field=asset, positive=True) for asset, text in raw.items()}
    for asset, amount in amounts.items():
        if not is_multiple(amount, ASSET_QUANTUM):
            raise InvalidInput(f"{asset} has more than eight decimal places", field=asset)
    return amounts


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw or b"{}")
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInput("the body must be a JSON object")
    return body


async def _body(request: web.Request) -> dict[str, Any]:
    return _parse_object(await request.read())


def _answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(text=dumps(body), status=status, content_type="application/json")


def _json(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return _answer(await handler(request))
        except InvalidInput as error:
            return _answer({"error": error.message, "field": error.field}, 400)
        except NotFound as error:
            return _answer({"error": error.message}, 404)
        except NotAllowed as error:
            return _answer({"error": error.message}, 403)
        except web.HTTPRequestEntityTooLarge:
            return _answer({"error": "the body is too large"}, 413)
        except ApiError as error:
            return _answer({"error": error.msg, **error_body(error)}, error.status)

    return serve
