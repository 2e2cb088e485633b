"""What each endpoint does, whatever brought the request: REST and the ws-api share these functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from app.paper_exchange import errors, feeds, views
from app.paper_exchange.accounts import Account
from app.paper_exchange.candles import INTERVALS_MS
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faults import Fault, Point
from app.paper_exchange.history import Books
from app.paper_exchange.late import LateBooks
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.orders import ResponseType, read_new_order
from app.paper_exchange.params import Params

DAY_MS = 86_400_000
SERVER_AHEAD_MS = 1000


class Security(Enum):
    """What a request must prove. All but NONE are signed."""

    NONE = auto()
    USER_DATA = auto()
    TRADE = auto()
    USER_STREAM = auto()


@dataclass(slots=True)
class Call:
    """One request, authenticated as far as its endpoint asks."""

    exchange: Exchange
    params: Params
    name: str = ""  # of the endpoint: "POST /api/v3/order" or "order.place"
    account: Account | None = None
    timestamp_ms: float = 0.0
    window_ms: float = 5000.0

    @property
    def account_id(self) -> int:
        """The caller's account; only on signed endpoints."""
        assert self.account is not None
        return self.account.id

    @property
    def pays_in_bnb(self) -> bool:
        """Whether the caller's account pays commission in BNB."""
        return self.account_id in self.exchange.engine.commissions.bnb_payers

    async def to_engine(self) -> None:
        """The request is handed to the matching engine: its window is checked again, now."""
        fault = self._fault("engine_delay")
        if fault is not None:
            await self.exchange.clock.sleep(fault.params["delay_ms"] / 1000)
        self.check_window()

    def books(self, source: str) -> Books:
        """Orders and trades as the data source has them: "memory" or "database"; under a fault it lags behind."""
        fault = self._fault(f"late_{source}")
        if fault is None:
            return self.exchange.history
        cutoff_ms = self.exchange.clock.exchange_now_ms() - fault.params["lag_ms"]
        return LateBooks(self.exchange.store.reader, cutoff_ms)

    def _fault(self, kind: str) -> Fault | None:
        if self.exchange.faults is None:
            return None
        account_id = None if self.account is None else self.account.id
        point = Point(endpoint=self.name, account_id=account_id, symbol=self.params.peek("symbol"))
        return self.exchange.faults.decide((kind,), point, self.exchange.clock.now_ms())

    def check_window(self) -> None:
        """-1021 unless the request's time lies in its window now."""
        now_ms = self.exchange.clock.exchange_now_ms()
        if self.timestamp_ms >= now_ms + SERVER_AHEAD_MS:
            raise errors.ahead_of_time()
        if now_ms - self.timestamp_ms > self.window_ms:
            raise errors.outside_window()

    def market(self) -> LiveMarket:
        """The market of the mandatory `symbol`."""
        return _known(self.exchange, self.params.symbol())


Weight = Callable[[Params], int]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler, what it asks of the caller, and its request weight."""

    handle: Callable[[Call], Awaitable[Any]]
    security: Security
    weight: Weight
    free_on_success: bool = False  # order placement and cancels weigh nothing unless they fail
    orders: int = 0  # new orders it places, for the limit of unfilled ones


async def run(endpoint: Endpoint, call: Call, address: str, weight: int) -> Any:
    """Let the endpoint answer an admitted call. New orders are counted first, and given back when none was placed;
    one that comes too late for the engine has counted all the same, as on Binance. Raises ApiError.
    """
    limits, now_ms = call.exchange.limits, call.exchange.clock.now_ms()
    if endpoint.orders:
        limits.take_orders(call.account_id, endpoint.orders, now_ms)
    try:
        answer = await endpoint.handle(call)
    except ApiError as error:
        if endpoint.orders and error.code != errors.OUTSIDE_WINDOW:
            limits.give_orders_back(call.account_id, endpoint.orders, now_ms)
        raise
    if endpoint.free_on_success:
        limits.give_back(address, weight, now_ms)
    return answer


def _known(exchange: Exchange, symbol: str) -> LiveMarket:
    market = exchange.live.get(symbol)
    if market is None:
        raise errors.bad_symbol()
    return market


def _selected(call: Call) -> tuple[list[LiveMarket], bool]:
    """(markets asked for, whether the answer is a list)."""
    raw = call.params.symbols()
    is_list = raw is None or call.params.has("symbols")
    names = list(call.exchange.live) if raw is None else raw
    return [_known(call.exchange, name) for name in names], is_list


# -- general and market data -----------------------------------------------------------------------------


async def ping(call: Call) -> Any:
    """{}"""
    call.params.finish()
    return {}


async def server_time(call: Call) -> Any:
    """True time."""
    call.params.finish()
    return {"serverTime": call.exchange.clock.exchange_now_ms()}


async def exchange_info(call: Call) -> Any:
    """Rules of the symbols; a halted one has status BREAK."""
    status = call.params.text("symbolStatus")
    permissions = call.params.text("permissions")
    call.params.boolean("showPermissionSets", default=True)
    markets, _ = _selected(call)
    call.params.finish()
    if (status or permissions) and (call.params.has("symbol") or call.params.has("symbols")):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if status not in (None, "TRADING", "HALT", "BREAK"):
        raise ApiError(-1122, "Invalid symbolStatus.")
    infos = [views.symbol_info(m.wire_rules) for m in markets]
    return {
        "timezone": "UTC",
        "serverTime": call.exchange.clock.exchange_now_ms(),
        "rateLimits": call.exchange.limits.described(),
        "exchangeFilters": [],
        "symbols": [i for i in infos if status is None or i["status"] == status],
    }


async def klines(call: Call) -> Any:
    """At most 1000 rows, the forming candle last."""
    market = call.market()
    interval = call.params.required("interval")
    start, end = call.params.time_ms("startTime"), call.params.time_ms("endTime")
    limit = call.params.limit(500, 1000)
    zone = call.params.text("timeZone")
    call.params.finish()
    if interval not in INTERVALS_MS:
        raise ApiError(-1120, "Invalid interval.")
    if zone not in (None, "0", "00:00", "+00:00", "0:00"):
        raise ApiError(-1130, "Data sent for parameter 'timeZone' is not valid.")
    return [feeds.kline_row(market, interval, c) for c in market.candles.read(interval, start, end, limit)]


async def ticker_price(call: Call) -> Any:
    """Last price of one or more symbols."""
    markets, is_list = _selected(call)
    call.params.finish()
    rows = []
    for market in markets:
        last = market.candles.last_price
        if last is not None:
            rows.append({"symbol": market.rules.symbol, "price": market.units.price_text(last)})
    return rows if is_list else rows[0]


async def book_ticker(call: Call) -> Any:
    """Best bid and ask of one or more symbols."""
    markets, is_list = _selected(call)
    call.params.finish()
    rows = []
    for market in markets:
        best = feeds.book_ticker(call.exchange, market.rules.symbol)
        if best is not None:
            rows.append(
                {
                    "symbol": best["s"],
                    "bidPrice": best["b"],
                    "bidQty": best["B"],
                    "askPrice": best["a"],
                    "askQty": best["A"],
                }
            )
    return rows if is_list else rows[0]


async def depth(call: Call) -> Any:
    """The synthetic book with the resting orders in it."""
    market = call.market()
    limit = call.params.limit(100, 5000)
    call.params.finish()
    return feeds.look(call.exchange, market.rules.symbol).partial(limit)


# -- orders ----------------------------------------------------------------------------------------------


async def new_order(call: Call) -> Any:
    """Place an order. Answered once it is on disk."""
    new, response = read_new_order(call.params)
    call.params.finish()
    await call.to_engine()
    order, trades, stored = call.exchange.place(call.account_id, new)
    if response is ResponseType.ACK:
        answer = views.ack(order)
    else:
        answer = views.full(order, trades) if response is ResponseType.FULL else views.result(order)
    await stored
    return answer


async def test_order(call: Call) -> Any:
    """Check an order without placing it."""
    new, _ = read_new_order(call.params)
    wants_rates = call.params.boolean("computeCommissionRates", default=False)
    call.params.finish()
    call.exchange.engine.check(call.account_id, new)
    if not wants_rates:
        return {}
    rates = views.rates(call.exchange.engine.fees)
    none = {"maker": "0.00000000", "taker": "0.00000000"}
    return {
        "standardCommissionForOrder": rates,
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": views.discount(pays_in_bnb=call.pays_in_bnb),
    }


async def cancel_order(call: Call) -> Any:
    """Cancel an open order; one that has ended is "Unknown order sent."."""
    market = call.market()
    order_id, client_id = call.params.long("orderId"), call.params.client_id("origClientOrderId")
    cancel_id = call.params.client_id("newClientOrderId") or ""
    restriction = call.params.text("cancelRestrictions")
    call.params.finish()
    if order_id is None and client_id is None:
        raise ApiError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    if restriction not in (None, "ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
        raise ApiError(-1145, "Invalid cancelRestrictions")
    await call.to_engine()
    for order in call.exchange.open_orders(call.account_id, market.rules.symbol):
        if (order_id is None or order.id == order_id) and (client_id is None or order.client_id == client_id):
            break
    else:
        raise errors.cancel_rejected()
    if restriction is not None and restriction != f"ONLY_{order.status}":
        raise errors.cancel_rejected("Order was not canceled due to cancel restrictions.")
    cancel_id, stored = call.exchange.cancel([order], cancel_id)
    answer = views.canceled(order, cancel_id)
    await stored
    return answer


async def cancel_open_orders(call: Call) -> Any:
    """Cancel all open orders of a symbol."""
    market = call.market()
    call.params.finish()
    await call.to_engine()
    orders = call.exchange.open_orders(call.account_id, market.rules.symbol)
    if not orders:
        raise errors.cancel_rejected()
    cancel_id, stored = call.exchange.cancel(orders)
    answer = [views.canceled(order, cancel_id) for order in orders]
    await stored
    return answer


async def query_order(call: Call) -> Any:
    """One order of any state."""
    market = call.market()
    order_id, client_id = call.params.long("orderId"), call.params.client_id("origClientOrderId")
    call.params.finish()
    if order_id is None and client_id is None:
        raise ApiError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    await call.exchange.store.settled()
    order = call.books("memory").order(call.account_id, market.rules.symbol, order_id, client_id)
    if order is None:
        raise errors.no_such_order()
    if order_id is not None and client_id is not None and order.client_id != client_id:
        raise ApiError(-2039, "Client order ID is not correct for this order ID.")
    return views.queried(order)


async def open_orders(call: Call) -> Any:
    """Open orders of one symbol or of all."""
    symbol = call.params.text("symbol")
    call.params.finish()
    if symbol is not None:
        _known(call.exchange, symbol)
    orders = call.exchange.open_orders(call.account_id, symbol)
    books = call.books("memory")
    if isinstance(books, LateBooks):
        orders = books.open_then(call.account_id, symbol, orders)
    answer = [views.queried(o) for o in orders]
    await call.exchange.store.settled()
    return answer


async def all_orders(call: Call) -> Any:
    """Orders of a symbol: from an id, in a window of at most 24 hours, or the newest."""
    market = call.market()
    order_id = call.params.long("orderId")
    start, end = call.params.time_ms("startTime"), call.params.time_ms("endTime")
    limit = call.params.limit(500, 1000)
    call.params.finish()
    _check_day(start, end)
    await call.exchange.store.settled()
    orders = call.books("database").orders(call.account_id, market.rules.symbol, order_id, start, end, limit)
    return [views.queried(o) for o in orders]


async def my_trades(call: Call) -> Any:
    """Trades of a symbol: of an order, from an id, in a window of at most 24 hours, or the newest."""
    market = call.market()
    order_id, from_id = call.params.long("orderId"), call.params.long("fromId")
    start, end = call.params.time_ms("startTime"), call.params.time_ms("endTime")
    limit = call.params.limit(500, 1000)
    call.params.finish()
    if (start is not None or end is not None) and (order_id is not None or from_id is not None):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    _check_day(start, end)
    await call.exchange.store.settled()
    trades = call.books("memory").trades(call.account_id, market.rules.symbol, order_id, from_id, start, end, limit)
    return [views.trade_row(t) for t in trades]


def _check_day(start: int | None, end: int | None) -> None:
    if start is not None and end is not None:
        if end < start:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if end - start > DAY_MS:
            raise ApiError(-1127, "More than 24 hours between startTime and endTime.")


# -- account ---------------------------------------------------------------------------------------------


async def account(call: Call) -> Any:
    """Balances and commission rates."""
    omit_zero = call.params.boolean("omitZeroBalances", default=False)
    call.params.finish()
    exchange = call.exchange
    assets = [a for m in exchange.live.values() for a in (m.rules.base_asset, m.rules.quote_asset)]
    balances = exchange.engine.ledger.accounts[call.account_id]
    now_ms = exchange.clock.now_ms()
    answer = views.account(balances, assets, exchange.engine.fees, call.account_id, now_ms, omit_zero=omit_zero)
    await exchange.store.settled()
    return answer


async def commission(call: Call) -> Any:
    """Commission rates of a symbol."""
    market = call.market()
    call.params.finish()
    return views.commission(market.rules.symbol, call.exchange.engine.fees, pays_in_bnb=call.pays_in_bnb)


async def api_restrictions(call: Call) -> Any:
    """What the key may do."""
    call.params.finish()
    assert call.account is not None
    return views.restrictions(call.account.created_ms)


def _flat(weight: int) -> Weight:
    return lambda _: weight


def _by_symbol(with_symbol: int, without: int) -> Weight:
    return lambda params: with_symbol if params.has("symbol") else without


def _depth_weight(params: Params) -> int:
    limit = params.limit(100, 5000)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


PING = Endpoint(ping, Security.NONE, _flat(1))
TIME = Endpoint(server_time, Security.NONE, _flat(1))
EXCHANGE_INFO = Endpoint(exchange_info, Security.NONE, _flat(20))
KLINES = Endpoint(klines, Security.NONE, _flat(2))
TICKER_PRICE = Endpoint(ticker_price, Security.NONE, _by_symbol(2, 4))
BOOK_TICKER = Endpoint(book_ticker, Security.NONE, _by_symbol(2, 4))
DEPTH = Endpoint(depth, Security.NONE, _depth_weight)
NEW_ORDER = Endpoint(new_order, Security.TRADE, _flat(1), free_on_success=True, orders=1)
TEST_ORDER = Endpoint(test_order, Security.TRADE, lambda p: 20 if p.has("computeCommissionRates") else 1)
CANCEL_ORDER = Endpoint(cancel_order, Security.TRADE, _flat(1), free_on_success=True)
CANCEL_OPEN_ORDERS = Endpoint(cancel_open_orders, Security.TRADE, _flat(1), free_on_success=True)
QUERY_ORDER = Endpoint(query_order, Security.USER_DATA, _flat(4))
OPEN_ORDERS = Endpoint(open_orders, Security.USER_DATA, _by_symbol(6, 80))
ALL_ORDERS = Endpoint(all_orders, Security.USER_DATA, _flat(20))
MY_TRADES = Endpoint(my_trades, Security.USER_DATA, lambda p: 5 if p.has("orderId") else 20)
ACCOUNT = Endpoint(account, Security.USER_DATA, _flat(20))
COMMISSION = Endpoint(commission, Security.USER_DATA, _flat(20))
API_RESTRICTIONS = Endpoint(api_restrictions, Security.USER_DATA, _flat(1))
