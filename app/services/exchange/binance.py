"""Binance Spot as `TradingSession` and `MarketData`: the paper exchange, the testnet and the real one alike.

REST goes through python-binance (`rest.py` says what is changed in it), streams through `streams.py`. One call
is one request on the wire; nothing is tried again here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from app.domain.clock import Clock
from app.domain.money import plain
from app.domain.orders import ExchangeReport, Fill
from app.domain.symbols import SymbolRules
from app.services.exchange import classification, parsing
from app.services.exchange.endpoints import Endpoints
from app.services.exchange.parsing import BadAnswer
from app.services.exchange.protocol import (
    AccountStatus,
    AskingFailed,
    AssetBalance,
    CancelOutcome,
    Confirmed,
    ExchangeTrade,
    Found,
    KlineEvent,
    ListConfirmed,
    ListOutcome,
    MarketData,
    MarketEvent,
    NoInformation,
    NotSent,
    OcoRequest,
    OrderRequest,
    PlaceOutcome,
    QueryOutcome,
    TradingSession,
    Unknown,
    UserEvent,
)
from app.services.exchange.rest import TOTAL_TIMEOUT_S, Answer, RestClient
from app.services.exchange.signing import Signer
from app.services.exchange.streams import CandleFeed, UserFeed
from app.services.exchange.supervision import Supervisor
from app.services.exchange.symbol_info import all_symbol_rules
from app.services.exchange.weight import (
    WEIGHT_ACCOUNT,
    WEIGHT_ALL_OPEN,
    WEIGHT_ALL_ORDERS,
    WEIGHT_OPEN,
    WEIGHT_QUERY,
    WEIGHT_TRADES,
    WEIGHT_TRADES_OF_ORDER,
    Purpose,
    WeightBudget,
)

T = TypeVar("T")
Params = dict[str, str | int]

PAGE = 1_000
DAY_MS = 86_400_000
#: Beyond this many days paging from the very first id is cheaper than looking through day after day.
MOST_DAY_WINDOWS = 30
CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
WEIGHT_ORDER = 1
WEIGHT_KEY_RIGHTS = 1
WEIGHT_TIME, WEIGHT_EXCHANGE_INFO, WEIGHT_ALL_PRICES, WEIGHT_KLINES = 1, 20, 4, 2


class BinanceSession(TradingSession):
    """`TradingSession` of one API key. Make it inside a running loop; `budget` is shared by all on this address.

    `may_sign(is_exit)` says whether the exchange's time is known well enough to sign an order.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        api_key: str,
        key: Signer,
        *,
        clock: Clock,
        budget: WeightBudget,
        jitter: Callable[[], float],
        total_timeout_s: float = TOTAL_TIMEOUT_S,
        may_sign: Callable[[bool], bool] = lambda is_exit: True,
    ) -> None:
        self._client = RestClient(
            endpoints, clock=clock, budget=budget, api_key=api_key, signer=key, total_timeout_s=total_timeout_s
        )
        self._clock = clock
        self._streams = Supervisor(clock=clock, budget=budget, jitter=jitter)
        self._user_feed = UserFeed(endpoints.ws_api_url, api_key, key, clock)
        self._budget = budget
        self._may_sign = may_sign
        self._is_admitted = False

    def admits(self, *, is_exit: bool) -> bool:
        """Take the weight of one order, if the time is known and the budget has it."""
        if not self._may_sign(is_exit):
            return False
        self._is_admitted = self._budget.wait_s(WEIGHT_ORDER, _placing(is_exit)) == 0
        return self._is_admitted

    async def _send_order(self, is_exit: bool, call: Callable[[], Awaitable[Answer]]) -> Answer | NotSent | Unknown:
        """One order on the wire, by the weight that `admits` has taken."""
        weight, self._is_admitted = 0 if self._is_admitted else WEIGHT_ORDER, False
        return await self._client.send(_placing(is_exit), weight, call)

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        """Send the order once, signed with exactly that timestamp."""
        if not CLIENT_ID.fullmatch(request.client_order_id):
            return NotSent(f"client order id {request.client_order_id!r} is not one the exchange takes")
        params = order_params(request)
        params["timestamp"], params["recvWindow"] = signed_timestamp_ms, recv_window_ms
        reply = await self._send_order(request.is_exit, lambda: self._client.create_order(**params))
        if not isinstance(reply, Answer):
            return reply
        if not reply.is_ok:
            return classification.of_placing(reply.failure())
        return _confirmation(reply, request.symbol, client_order_id=request.client_order_id)

    async def place_oco(self, request: OcoRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> ListOutcome:
        """Send both orders in one request, once, signed with exactly that timestamp."""
        names = (request.list_client_order_id, *(leg.client_order_id for leg in request.legs))
        for name in names:
            if not CLIENT_ID.fullmatch(name):
                return NotSent(f"client order id {name!r} is not one the exchange takes")
        params = oco_params(request)
        params["timestamp"], params["recvWindow"] = signed_timestamp_ms, recv_window_ms
        reply = await self._send_order(request.stop.is_exit, lambda: self._client.create_oco_order(**params))
        if not isinstance(reply, Answer):
            return reply
        if not reply.is_ok:
            return classification.of_placing(reply.failure())
        return _list_confirmation(reply, request)

    async def cancel(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> CancelOutcome:
        """Send one cancel. Cancelling either leg of an OCO ends both; the answer is about the one named."""
        params = _naming(symbol, client_order_id, exchange_order_id)
        reply = await self._client.send(Purpose.CANCEL, WEIGHT_ORDER, lambda: self._client.cancel_order(**params))
        if not isinstance(reply, Answer):
            return reply
        if not reply.is_ok:
            return classification.of_cancelling(reply.failure())
        return _confirmation(reply, symbol, client_order_id=client_order_id, exchange_order_id=exchange_order_id)

    async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
        """Ask about one order, by exchange id where known, else by client id."""
        params = _naming(symbol, client_order_id, exchange_order_id)
        reply = await self._client.send(Purpose.QUERY, WEIGHT_QUERY, lambda: self._client.get_order(**params))
        if not isinstance(reply, Answer):
            return NoInformation(reply.reason)
        if not reply.is_ok:
            return classification.of_asking(reply.failure())
        found = _confirmation(reply, symbol, client_order_id=client_order_id, exchange_order_id=exchange_order_id)
        return Found(found.report, found.raw) if isinstance(found, Confirmed) else NoInformation(found.reason)

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeReport]:
        """Open orders of the account, of one symbol or of all. Raises AskingFailed."""
        params = {} if symbol is None else {"symbol": symbol}
        weight = WEIGHT_ALL_OPEN if symbol is None else WEIGHT_OPEN
        body = await _ask(self._client, weight, lambda: self._client.get_open_orders(**params))
        return [_read(parsing.order_answer, row) for row in _read(parsing.rows, body)]

    async def orders_from(self, symbol: str, first_id: int) -> Sequence[ExchangeReport]:
        """One page of a symbol's orders from an exchange id on, oldest first. Raises AskingFailed."""
        call = lambda: self._client.get_all_orders(symbol=symbol, orderId=first_id, limit=PAGE)  # noqa: E731
        rows = _read(parsing.rows, await _ask(self._client, WEIGHT_ALL_ORDERS, call))
        return [_read(parsing.order_answer, row) for row in rows]

    async def orders_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeReport]:
        """All orders of a symbol created at or after `start_ms`, oldest first. Raises AskingFailed."""

        async def page(params: Params) -> list[Any]:
            call = lambda: self._client.get_all_orders(symbol=symbol, limit=PAGE, **params)  # noqa: E731
            return _read(parsing.rows, await _ask(self._client, WEIGHT_ALL_ORDERS, call))

        rows = await self._since(page, start_ms, page_by="orderId", id_field="orderId")
        return [_read(parsing.order_answer, r) for r in rows if _read(parsing.order_created_ms, r) >= start_ms]

    async def trades_of(self, symbol: str, exchange_order_id: int) -> Sequence[Fill]:
        """All trades of one order, oldest first. Raises AskingFailed."""
        fills: dict[int, Fill] = {}
        first: Params = {}
        while True:
            call = lambda p=first: self._client.get_my_trades(  # noqa: E731
                symbol=symbol, orderId=exchange_order_id, limit=PAGE, **p
            )
            rows = _read(parsing.rows, await _ask(self._client, WEIGHT_TRADES_OF_ORDER, call))
            trades = [_read(parsing.trade_row, row) for row in rows]
            fills.update({t.fill.trade_id: t.fill for t in trades if t.exchange_order_id == exchange_order_id})
            if len(rows) < PAGE:
                return [fills[trade_id] for trade_id in sorted(fills)]
            first = {"fromId": trades[-1].fill.trade_id + 1}

    async def trades_from(self, symbol: str, first_id: int) -> Sequence[ExchangeTrade]:
        """All trades of a symbol from a trade id on, paged by id. Raises AskingFailed."""
        trades: list[ExchangeTrade] = []
        while True:
            call = lambda i=first_id: self._client.get_my_trades(symbol=symbol, limit=PAGE, fromId=i)  # noqa: E731
            rows = _read(parsing.rows, await _ask(self._client, WEIGHT_TRADES, call))
            trades += [_read(parsing.trade_row, row) for row in rows]
            if len(rows) < PAGE:
                return trades
            first_id = trades[-1].fill.trade_id + 1

    async def trades_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeTrade]:
        """All trades of a symbol at or after `start_ms`, by trade id. Raises AskingFailed."""

        async def page(params: Params) -> list[Any]:
            call = lambda: self._client.get_my_trades(symbol=symbol, limit=PAGE, **params)  # noqa: E731
            return _read(parsing.rows, await _ask(self._client, WEIGHT_TRADES, call))

        rows = await self._since(page, start_ms, page_by="fromId", id_field="id")
        trades = [_read(parsing.trade_row, row) for row in rows]
        return [trade for trade in trades if trade.fill.traded_at_ms >= start_ms]

    async def balances(self) -> dict[str, AssetBalance]:
        """Non-zero balances by asset. Raises AskingFailed."""
        call = lambda: self._client.get_account(omitZeroBalances="true")  # noqa: E731
        return _read(parsing.account_balances, await _ask(self._client, WEIGHT_ACCOUNT, call))

    async def key_rights(self) -> dict[str, Any]:
        """What the key may do, by the names of apiRestrictions. Raises AskingFailed."""
        body = await _ask(self._client, WEIGHT_KEY_RIGHTS, self._client.get_account_api_permissions)
        return _read(parsing.key_rights, body)

    async def account_status(self) -> AccountStatus:
        """The account behind the key. Raises AskingFailed."""
        call = lambda: self._client.get_account(omitZeroBalances="true")  # noqa: E731
        return _read(parsing.account_status, await _ask(self._client, WEIGHT_ACCOUNT, call))

    def user_events(self) -> AsyncIterator[UserEvent]:
        """Endless: supervises its connection, resubscribes, says StreamUp/StreamDown."""
        return self._streams.run(self._user_feed)

    def suspect(self, *, happened_ms: int, reason: str) -> None:
        """Replace the user stream if it should have told of this; see `Supervisor.suspect`."""
        self._streams.suspect(happened_ms=happened_ms, reason=reason)

    async def close(self) -> None:
        """Release connections, open streams included."""
        await self._streams.close()
        await self._client.close()

    async def _since(
        self, page: Callable[[Params], Awaitable[list[Any]]], start_ms: int, *, page_by: str, id_field: str
    ) -> list[Any]:
        """Rows from the first at or after `start_ms` on: found by windows of a day, then paged by id, so that
        rows with equal times are never lost between pages."""
        rows: list[Any] = []
        now_ms = self._clock.exchange_now_ms()
        if now_ms - start_ms > MOST_DAY_WINDOWS * DAY_MS:
            rows = await page({page_by: 0})
        else:
            window_ms = start_ms
            while not rows and window_ms <= now_ms:
                rows = await page({"startTime": window_ms, "endTime": window_ms + DAY_MS - 1})
                window_ms += DAY_MS
            if rows and len(rows) < PAGE and window_ms > now_ms:
                return rows
            if rows:
                rows = await page({page_by: min(_read(_id_of(id_field), row) for row in rows)})
        found = list(rows)
        while len(rows) == PAGE:
            rows = await page({page_by: max(_read(_id_of(id_field), row) for row in rows) + 1})
            found += rows
        return found


class BinanceMarketData(MarketData):
    """`MarketData` of one exchange; needs no key. Make it inside a running loop."""

    def __init__(
        self, endpoints: Endpoints, *, clock: Clock, budget: WeightBudget, jitter: Callable[[], float]
    ) -> None:
        self._client = RestClient(endpoints, clock=clock, budget=budget)
        self._clock = clock
        self._budget = budget
        self._stream_url = endpoints.stream_url
        self._streams = Supervisor(clock=clock, budget=budget, jitter=jitter)

    async def server_time_ms(self) -> int:
        """The exchange's clock. Raises AskingFailed."""
        return _read(parsing.server_time, await _ask(self._client, WEIGHT_TIME, self._client.get_server_time))

    async def symbol_rules(self) -> dict[str, SymbolRules]:
        """Rules of every symbol it trades; adopts the weight limit it states. Raises AskingFailed."""
        body = await _ask(self._client, WEIGHT_EXCHANGE_INFO, self._client.get_exchange_info)
        limit = _read(parsing.weight_limit, body)
        if limit is not None:
            self._budget.limit_per_minute = limit
        try:
            return all_symbol_rules(body)
        except (KeyError, TypeError) as error:
            raise AskingFailed(f"exchangeInfo lists no symbols: {error}") from error

    async def prices(self) -> dict[str, Decimal]:
        """Last price by symbol. Raises AskingFailed."""
        return _read(parsing.ticker_prices, await _ask(self._client, WEIGHT_ALL_PRICES, self._client.get_symbol_ticker))

    async def closed_candles(self, symbol: str, timeframe: str, *, start_ms: int, end_ms: int) -> Sequence[KlineEvent]:
        """Closed candles with start_ms ≤ open time < end_ms, oldest first, paged. Raises AskingFailed."""
        found: dict[int, KlineEvent] = {}
        while start_ms < end_ms:
            params = {"startTime": start_ms, "endTime": end_ms - 1, "limit": PAGE}
            call = lambda p=params: self._client.get_klines(symbol=symbol, interval=timeframe, **p)  # noqa: E731
            body = await _ask(self._client, WEIGHT_KLINES, call)
            now_ms = self._clock.exchange_now_ms()
            closed = _read(functools.partial(parsing.candles, symbol=symbol, timeframe=timeframe, now_ms=now_ms), body)
            found.update({candle.open_time_ms: candle for candle in closed})
            if not closed or len(body) < PAGE:
                break
            start_ms = closed[-1].open_time_ms + 1
        return [found[open_ms] for open_ms in sorted(found) if open_ms < end_ms]

    def market_events(self, streams: Sequence[tuple[str, str]]) -> AsyncIterator[MarketEvent]:
        """Endless candles of (symbol, timeframe) pairs; supervises its connection like `user_events`."""
        return self._streams.run(CandleFeed(self._stream_url, streams))

    async def close(self) -> None:
        """Release connections, open streams included."""
        await self._streams.close()
        await self._client.close()


def order_params(request: OrderRequest) -> Params:
    """The order as parameters of POST order: plain decimal strings, and the full answer with fills asked for."""
    given: dict[str, str | None] = {
        "symbol": request.symbol,
        "side": request.side.value,
        "type": request.type.value,
        "timeInForce": request.time_in_force.value if request.time_in_force else None,
        "quantity": _plain(request.quantity),
        "quoteOrderQty": _plain(request.quote_quantity),
        "price": _plain(request.price),
        "stopPrice": _plain(request.stop_price),
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "FULL",
    }
    return {name: value for name, value in given.items() if value is not None}


def oco_params(request: OcoRequest) -> Params:
    """The two sales as parameters of POST orderList/oco: the target above the price, the stop below it."""
    stop, target = request.legs
    return {
        "symbol": stop.symbol,
        "listClientOrderId": request.list_client_order_id,
        "side": stop.side.value,
        "quantity": plain(stop.quantity or Decimal(0)),
        "aboveType": target.type.value,
        "aboveClientOrderId": target.client_order_id,
        "abovePrice": plain(target.price or Decimal(0)),
        "belowType": stop.type.value,
        "belowClientOrderId": stop.client_order_id,
        "belowStopPrice": plain(stop.stop_price or Decimal(0)),
        "newOrderRespType": "FULL",
    }


def _placing(is_exit: bool) -> Purpose:
    """What leaves or protects a position may use the share of the budget that is kept for cancels."""
    return Purpose.CANCEL if is_exit else Purpose.PLACE


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _naming(symbol: str, client_order_id: str, exchange_order_id: int | None) -> Params:
    """Exactly one id: with both, a mismatch would be an error of its own (-2039)."""
    if exchange_order_id is not None:
        return {"symbol": symbol, "orderId": exchange_order_id}
    return {"symbol": symbol, "origClientOrderId": client_order_id}


def _confirmation(
    answer: Answer, symbol: str, *, client_order_id: str, exchange_order_id: int | None = None
) -> Confirmed | Unknown:
    """A 200 as a report about the order meant; Unknown when it cannot be read or is about another order.

    The answer to the cancel of one leg is the order list, with a report of each leg.
    """
    try:
        body = answer.content()
        listed = isinstance(body, dict) and "orderReports" in body
        reports = parsing.order_list_answer(body) if listed else [parsing.order_answer(body)]
    except (ValueError, RecursionError, BadAnswer) as error:
        return Unknown(f"HTTP 200 with an unreadable body: {error}"[:200])
    for report in reports:
        is_named = (
            report.client_order_id == client_order_id
            if exchange_order_id is None
            else report.exchange_order_id == exchange_order_id
        )
        if is_named and report.symbol == symbol:
            return Confirmed(report, body)
    others = ", ".join(f"{report.symbol} {report.client_order_id}" for report in reports)
    return Unknown(f"HTTP 200 about another order: {others}"[:200])


def _list_confirmation(answer: Answer, request: OcoRequest) -> ListConfirmed | Unknown:
    """A 200 as reports about both legs; Unknown when it cannot be read or is not about exactly these two."""
    try:
        body = answer.content()
        reports = {report.client_order_id: report for report in parsing.order_list_answer(body)}
    except (ValueError, RecursionError, BadAnswer) as error:
        return Unknown(f"HTTP 200 with an unreadable body: {error}"[:200])
    legs = [reports.get(leg.client_order_id) for leg in request.legs]
    found = tuple(report for report in legs if report is not None and report.symbol == request.stop.symbol)
    if len(found) != len(legs) or len(reports) != len(legs):
        return Unknown(f"HTTP 200 about other orders: {', '.join(reports)}"[:200])
    return ListConfirmed(found, body)


async def _ask(client: RestClient, weight: int, call: Callable[[], Awaitable[Answer]]) -> Any:
    """The body of a list, or AskingFailed."""
    reply = await client.send(Purpose.LIST, weight, call)
    if not isinstance(reply, Answer):
        raise AskingFailed(reply.reason)
    if not reply.is_ok:
        raise classification.of_listing(reply.failure())
    try:
        return reply.content()
    except (ValueError, RecursionError) as error:
        raise AskingFailed(f"HTTP 200 with a body that is not JSON: {error}"[:200]) from error


def _read(parse: Callable[[Any], T], body: Any) -> T:
    try:
        return parse(body)
    except BadAnswer as error:
        raise AskingFailed(str(error)) from error


def _id_of(field: str) -> Callable[[Any], int]:
    return lambda row: parsing.row_id(row, field)


__all__ = ["BinanceMarketData", "BinanceSession", "Endpoints", "order_params"]
