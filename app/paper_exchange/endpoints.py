"""What each endpoint does, whatever brought the request: REST and the ws-api share these functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from app.paper_exchange import errors, views
from app.paper_exchange.accounts import Account
from app.paper_exchange.errors import ApiError
from app.paper_exchange.exchange import Exchange
from app.paper_exchange.faults import Fault, Point
from app.paper_exchange.history import Books
from app.paper_exchange.late import LateBooks
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.model import NO_LIST, Order
from app.paper_exchange.orders import read_new_order
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
        return known(self.exchange, self.params.symbol())


Weight = Callable[[Params], int]
Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler, what it asks of the caller, and its request weight."""

    handle: Handler
    security: Security
    weight: Weight
    free_on_success: bool = False  # order placement and cancels weigh nothing unless they fail
    orders: int = 0  # new orders it places, for the limit of unfilled ones
    counts_orders: bool = True  # here; an endpoint that does not counts them itself


async def run(endpoint: Endpoint, call: Call, address: str, weight: int) -> Any:
    """Let the endpoint answer an admitted call. New orders are counted first, and given back when none was placed;
    one that comes too late for the engine has counted all the same, as on Binance. Raises ApiError.
    """
    limits, now_ms = call.exchange.limits, call.exchange.clock.now_ms()
    counts = endpoint.orders and endpoint.counts_orders
    if counts:
        limits.take_orders(call.account_id, endpoint.orders, now_ms)
    try:
        answer = await endpoint.handle(call)
    except ApiError as error:
        if counts and error.code != errors.OUTSIDE_WINDOW:
            limits.give_orders_back(call.account_id, endpoint.orders, now_ms)
        raise
    if endpoint.free_on_success:
        limits.give_back(address, weight, now_ms)
    return answer


def known(exchange: Exchange, symbol: str) -> LiveMarket:
    """A market by its symbol. Raises -1121."""
    market = exchange.live.get(symbol)
    if market is None:
        raise errors.bad_symbol()
    return market


# -- orders ----------------------------------------------------------------------------------------------


async def new_order(call: Call) -> Any:
    """Place an order. Answered once it is on disk."""
    new, response = read_new_order(call.params)
    call.params.finish()
    await call.to_engine()
    order, trades, stored = call.exchange.place(call.account_id, new)
    answer = views.placed(order, trades, response)
    await stored
    return answer


async def test_order(call: Call) -> Any:
    """Check an order without handing it to the engine."""
    new, _ = read_new_order(call.params)
    wants_rates = call.params.boolean("computeCommissionRates", default=False)
    call.params.finish()
    call.exchange.engine.check_request(call.account_id, new)
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
    restriction = read_restriction(call.params)
    call.params.finish()
    if order_id is None and client_id is None:
        raise errors.one_of("origClientOrderId", "orderId")
    await call.to_engine()
    order = to_cancel(call, market.rules.symbol, order_id, client_id, restriction)
    members = call.exchange.engine.lists.open_orders(order)
    one = call.exchange.engine.lists.open.get(order.list_id)
    everyone = list(call.exchange.engine.lists.members(order))
    cancel_id, stored = call.exchange.cancel([order], cancel_id)
    if one is None:
        answer = views.canceled(order, cancel_id)
    else:
        answer = views.canceled_list(one, everyone, {o.id: cancel_id for o in members})
    await stored
    return answer


def read_restriction(params: Params) -> str | None:
    """`cancelRestrictions`. Raises -1145."""
    restriction = params.text("cancelRestrictions")
    if restriction not in (None, "ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
        raise ApiError(-1145, "Invalid cancelRestrictions")
    return restriction


def find_open(call: Call, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
    """The caller's open order with that id or client id, or both."""
    for order in call.exchange.open_orders(call.account_id, symbol):
        if (order_id is None or order.id == order_id) and (client_id is None or order.client_id == client_id):
            return order
    return None


def to_cancel(call: Call, symbol: str, order_id: int | None, client_id: str | None, restriction: str | None) -> Order:
    """The open order to cancel. Raises -2011."""
    order = find_open(call, symbol, order_id, client_id)
    if order is None:
        raise errors.cancel_rejected()
    if restriction is not None and restriction != f"ONLY_{order.status}":
        raise errors.cancel_rejected("Order was not canceled due to cancel restrictions.")
    return order


async def cancel_open_orders(call: Call) -> Any:
    """Cancel all open orders of a symbol, order lists among them."""
    market = call.market()
    call.params.finish()
    await call.to_engine()
    orders = call.exchange.open_orders(call.account_id, market.rules.symbol)
    if not orders:
        raise errors.cancel_rejected()
    lists = call.exchange.engine.lists
    members = {order.list_id: list(lists.members(order)) for order in orders}
    one_of = {number: lists.open[number] for number in members if number != NO_LIST}
    cancel_id, stored = call.exchange.cancel(orders)
    answer: list[Any] = [views.canceled(order, cancel_id) for order in orders if order.list_id == NO_LIST]
    ended = {order.id: cancel_id for order in orders}
    answer += [views.canceled_list(one, members[number], ended) for number, one in one_of.items()]
    await stored
    return answer


async def query_order(call: Call) -> Any:
    """One order of any state."""
    market = call.market()
    order_id, client_id = call.params.long("orderId"), call.params.client_id("origClientOrderId")
    call.params.finish()
    if order_id is None and client_id is None:
        raise errors.one_of("origClientOrderId", "orderId")
    await call.exchange.store.settled()
    order = call.books("memory").order(call.account_id, market.rules.symbol, order_id, client_id)
    if order is None:
        raise errors.no_such_order()
    if order_id is not None and client_id is not None and order.client_id != client_id:
        raise errors.wrong_client_id()
    return views.queried(order)


async def open_orders(call: Call) -> Any:
    """Open orders of one symbol or of all."""
    symbol = call.params.text("symbol")
    call.params.finish()
    if symbol is not None:
        known(call.exchange, symbol)
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
    check_day(start, end)
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
        raise errors.bad_combination()
    check_day(start, end)
    await call.exchange.store.settled()
    trades = call.books("memory").trades(call.account_id, market.rules.symbol, order_id, from_id, start, end, limit)
    list_ids = call.exchange.history.list_ids(market.rules.symbol, {t.order_id for t in trades})
    return [views.trade_row(t, list_ids.get(t.order_id, NO_LIST)) for t in trades]


def check_day(start: int | None, end: int | None) -> None:
    """Raise -1127 for a window of more than 24 hours, -1128 for one that ends before it begins."""
    if start is not None and end is not None:
        if end < start:
            raise errors.bad_combination()
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
    answer["canTrade"] = exchange.accounts[call.account_id].rights.can_trade
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
    return views.restrictions(call.account.created_ms, call.account.rights)


async def unfilled_orders(call: Call) -> Any:
    """The limits of unfilled orders and how much of them is used."""
    call.params.finish()
    return call.exchange.limits.orders_described(call.account_id, call.exchange.clock.now_ms())


async def my_filters(call: Call) -> Any:
    """The filters that hold for this account on a symbol: those of the symbol."""
    market = call.market()
    call.params.finish()
    return {"exchangeFilters": [], "symbolFilters": views.filters(market.rules), "assetFilters": []}


async def prevented_matches(call: Call) -> Any:
    """Trades of the account with itself that did not happen: one, or those of an order."""
    market, params = call.market(), call.params
    match_id, order_id = params.long("preventedMatchId"), params.long("orderId")
    from_id, limit = params.long("fromPreventedMatchId"), params.limit(500, 1000)
    params.finish()
    if (match_id is None) == (order_id is None) or (match_id is not None and from_id is not None):
        raise errors.bad_combination()
    await call.exchange.store.settled()
    found = call.books("database").prevented(
        call.account_id, market.rules.symbol, match_id, order_id, from_id or 0, limit
    )
    return [views.prevented_row(one) for one in found]


async def allocations(call: Call) -> Any:
    """There is no smart order routing here, so there are no allocations."""
    call.market()
    for name in ("startTime", "endTime", "fromAllocationId", "orderId"):
        call.params.long(name)
    call.params.limit(500, 1000)
    call.params.finish()
    return []


async def trade_fees(call: Call) -> Any:
    """Commission rates of one symbol or of all: what ccxt asks for them."""
    symbol = call.params.text("symbol")
    call.params.finish()
    markets = call.exchange.live.values() if symbol is None else [known(call.exchange, symbol)]
    rates = views.rates(call.exchange.engine.fees)
    return [
        {"symbol": m.rules.symbol, "makerCommission": rates["maker"], "takerCommission": rates["taker"]}
        for m in markets
    ]


async def refuse(_: Call) -> Any:
    """An operation of Binance that is not to be had here."""
    raise errors.unsupported()
