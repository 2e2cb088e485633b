"""Every endpoint of the exchange: by path for REST, by method name for the WebSocket API. One table for both."""

from __future__ import annotations

from app.paper_exchange import endpoints as e
from app.paper_exchange import list_endpoints as lists
from app.paper_exchange import market_endpoints as market
from app.paper_exchange import replace_endpoints as replace
from app.paper_exchange.endpoints import Endpoint, Security, Weight
from app.paper_exchange.params import Params


def _flat(weight: int) -> Weight:
    return lambda _: weight


def _by_symbol(with_symbol: int, without: int) -> Weight:
    return lambda params: with_symbol if params.has("symbol") else without


def _depth_weight(params: Params) -> int:
    limit = params.limit(100, 5000)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def _day_weight(params: Params) -> int:
    names = params.symbols()
    count = 101 if names is None else len(names)
    return 2 if count <= 20 else 40 if count <= 100 else 80


def _window_weight(params: Params) -> int:
    return min(200, 4 * len(params.symbols() or ("one",)))


def _public(handle: e.Handler, weight: Weight | int) -> Endpoint:
    return Endpoint(handle, Security.NONE, _flat(weight) if isinstance(weight, int) else weight)


def _asking(handle: e.Handler, weight: Weight | int) -> Endpoint:
    return Endpoint(handle, Security.USER_DATA, _flat(weight) if isinstance(weight, int) else weight)


def _trading(handle: e.Handler, orders: int = 0) -> Endpoint:
    """Weighs nothing when it succeeds."""
    return Endpoint(handle, Security.TRADE, _flat(1), free_on_success=True, orders=orders)


_OLD_OCO = _trading(lists.new_old_oco, 2)
#: REST method and path (without /api/v3), method of the WebSocket API or "", endpoint.
_TABLE: list[tuple[str, str, Endpoint]] = [
    ("GET /ping", "ping", _public(market.ping, 1)),
    ("GET /time", "time", _public(market.server_time, 1)),
    ("GET /exchangeInfo", "exchangeInfo", _public(market.exchange_info, 20)),
    ("GET /executionRules", "executionRules", _public(market.execution_rules, _by_symbol(2, 40))),
    ("GET /depth", "depth", _public(market.depth, _depth_weight)),
    ("GET /trades", "trades.recent", _public(market.trades, 25)),
    ("GET /historicalTrades", "trades.historical", _public(market.historical_trades, 25)),
    ("GET /historicalBlockTrades", "blockTrades.historical", _public(market.block_trades, 25)),
    ("GET /aggTrades", "trades.aggregate", _public(market.aggregate_trades, 4)),
    ("GET /klines", "klines", _public(market.klines, 2)),
    ("GET /uiKlines", "uiKlines", _public(market.klines, 2)),
    ("GET /avgPrice", "avgPrice", _public(market.average_price, 2)),
    ("GET /ticker/24hr", "ticker.24hr", _public(market.ticker_24h, _day_weight)),
    ("GET /ticker/tradingDay", "ticker.tradingDay", _public(market.ticker_trading_day, _window_weight)),
    ("GET /ticker/price", "ticker.price", _public(market.ticker_price, _by_symbol(2, 4))),
    ("GET /ticker/bookTicker", "ticker.book", _public(market.book_ticker, _by_symbol(2, 4))),
    ("GET /ticker", "ticker", _public(market.ticker_window, _window_weight)),
    ("GET /referencePrice", "referencePrice", _public(market.reference_price, 2)),
    ("GET /referencePrice/calculation", "referencePrice.calculation", _public(market.reference_price, 2)),
    ("POST /order", "order.place", _trading(e.new_order, 1)),
    ("POST /order/test", "order.test",
     Endpoint(e.test_order, Security.TRADE, lambda p: 20 if p.has("computeCommissionRates") else 1)),
    ("GET /order", "order.status", _asking(e.query_order, 4)),
    ("DELETE /order", "order.cancel", _trading(e.cancel_order)),
    ("DELETE /openOrders", "openOrders.cancelAll", _trading(e.cancel_open_orders)),
    ("POST /order/cancelReplace", "order.cancelReplace",
     Endpoint(replace.cancel_replace, Security.TRADE, _flat(1), free_on_success=True, orders=1, counts_orders=False)),
    ("PUT /order/amend/keepPriority", "order.amend.keepPriority",
     Endpoint(replace.amend_order, Security.TRADE, _flat(4))),
    ("GET /order/amendments", "order.amendments", _asking(replace.amendments, 4)),
    ("POST /order/oco", "orderList.place", _OLD_OCO),
    ("POST /orderList/oco", "orderList.place.oco", _trading(lists.new_oco, 2)),
    ("POST /orderList/oto", "orderList.place.oto", _trading(lists.new_oto, 2)),
    ("POST /orderList/otoco", "orderList.place.otoco", _trading(lists.new_otoco, 3)),
    ("DELETE /orderList", "orderList.cancel", _trading(lists.cancel_list)),
    ("GET /orderList", "orderList.status", _asking(lists.query_list, 4)),
    ("GET /allOrderList", "allOrderLists", _asking(lists.all_lists, 20)),
    ("GET /openOrderList", "openOrderLists.status", _asking(lists.open_lists, 6)),
    ("GET /openOrders", "openOrders.status", _asking(e.open_orders, _by_symbol(6, 80))),
    ("GET /allOrders", "allOrders", _asking(e.all_orders, 20)),
    ("GET /myTrades", "myTrades", _asking(e.my_trades, lambda p: 5 if p.has("orderId") else 20)),
    ("GET /account", "account.status", _asking(e.account, 20)),
    ("GET /account/commission", "account.commission", _asking(e.commission, 20)),
    ("GET /rateLimit/order", "account.rateLimits.orders", _asking(e.unfilled_orders, 40)),
    ("GET /myPreventedMatches", "myPreventedMatches",
     _asking(e.prevented_matches, lambda p: 20 if p.has("orderId") else 2)),
    ("GET /myAllocations", "myAllocations", _asking(e.allocations, 20)),
    ("GET /myFilters", "myFilters", _asking(e.my_filters, 40)),
]  # fmt: skip

#: Known and not served; the WebSocket API refuses every method it does not have in the same words.
REFUSED = ("POST /orderList/opo", "POST /orderList/opoco", "POST /sor/order", "POST /sor/order/test")

#: (HTTP method, path, endpoint)
ROUTES: list[tuple[str, str, Endpoint]] = [
    *((rest.split()[0], f"/api/v3{rest.split()[1]}", endpoint) for rest, _, endpoint in _TABLE),
    ("GET", "/sapi/v1/account/apiRestrictions", _asking(e.api_restrictions, 1)),
    ("GET", "/sapi/v1/asset/tradeFee", _asking(e.trade_fees, 1)),
    *((rest.split()[0], f"/api/v3{rest.split()[1]}", Endpoint(e.refuse, Security.TRADE, _flat(1))) for rest in REFUSED),
]
METHODS: dict[str, Endpoint] = {method: endpoint for _, method, endpoint in _TABLE}
