"""Order lists: placing, cancelling, asking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.domain.orders import OrderType, Side
from app.paper_exchange import errors, views
from app.paper_exchange.endpoints import Call, check_day
from app.paper_exchange.errors import ApiError
from app.paper_exchange.model import NewList, NewOrder, OrderList
from app.paper_exchange.orders import ResponseType, read_order, read_response_type
from app.paper_exchange.params import Params

_NO_LEG_TYPES = frozenset({OrderType.LIMIT, OrderType.MARKET})
_STOP_LOSSES = frozenset({OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT})
_WORKING_TYPES = frozenset({OrderType.LIMIT, OrderType.LIMIT_MAKER})
_LEG_NAMES = {
    "type": "Type", "price": "Price", "stopPrice": "StopPrice", "timeInForce": "TimeInForce",
    "newClientOrderId": "ClientOrderId", "icebergQty": "IcebergQty", "trailingDelta": "TrailingDelta",
    "strategyId": "StrategyId", "strategyType": "StrategyType", "pegPriceType": "PegPriceType",
    "pegOffsetType": "PegOffsetType", "pegOffsetValue": "PegOffsetValue",
}  # fmt: skip
#: The names of the two legs in the deprecated OCO; "" for what that leg cannot have.
_OLD_LIMIT = {
    "price": "price", "newClientOrderId": "limitClientOrderId", "icebergQty": "limitIcebergQty",
    "strategyId": "limitStrategyId", "strategyType": "limitStrategyType", "stopPrice": "", "timeInForce": "",
    "quoteOrderQty": "", "trailingDelta": "",
}  # fmt: skip
_OLD_STOP = {
    "price": "stopLimitPrice", "newClientOrderId": "stopClientOrderId", "icebergQty": "stopIcebergQty",
    "strategyId": "stopStrategyId", "strategyType": "stopStrategyType", "timeInForce": "stopLimitTimeInForce",
    "quoteOrderQty": "",
}  # fmt: skip


# -- placing ---------------------------------------------------------------------------------------------


async def new_oco(call: Call) -> Any:
    """One cancels the other: an order above the price and one below."""
    symbol = call.params.symbol()
    return await _place(call, "OCO", *_pair(call.params, symbol, "", side="side", quantity="quantity"))


async def new_oto(call: Call) -> Any:
    """One triggers the other."""
    symbol = call.params.symbol()
    working = _working(call.params, symbol)
    pending = _leg(call.params, symbol, "pending", side="pendingSide", quantity="pendingQuantity")
    return await _place(call, "OTO", working, pending)


async def new_otoco(call: Call) -> Any:
    """One triggers a pair of which one cancels the other."""
    symbol = call.params.symbol()
    working = _working(call.params, symbol)
    pair = _pair(call.params, symbol, "pending", side="pendingSide", quantity="pendingQuantity")
    return await _place(call, "OTO", working, *pair)


async def new_old_oco(call: Call) -> Any:
    """The deprecated OCO: a LIMIT_MAKER at `price`, and a stop at `stopPrice`."""
    params = call.params
    symbol = params.symbol()
    params.required("quantity")
    params.required("price")
    stop_type = OrderType.STOP_LOSS_LIMIT if params.has("stopLimitPrice") else OrderType.STOP_LOSS
    stop = read_order(params.renamed(_OLD_STOP), symbol, stop_type)
    return await _place(call, "OCO", stop, read_order(params.renamed(_OLD_LIMIT), symbol, OrderType.LIMIT_MAKER))


async def _place(call: Call, contingency: str, *orders: NewOrder) -> Any:
    client_id = call.params.client_id("listClientOrderId") or ""
    response = read_response_type(call.params, ResponseType.FULL)
    call.params.finish()
    await call.to_engine()
    one, made, trades, stored = call.exchange.place_list(call.account_id, NewList(contingency, orders, client_id))
    # Told as they stood when the list was placed, whatever its pending orders have done since.
    answer = views.order_list(replace(one, is_done=False), made)
    answer["orderReports"] = [views.placed(o, [t for t in trades if t.order_id == o.id], response) for o in made]
    await stored
    return answer


def _working(params: Params, symbol: str) -> NewOrder:
    working = _leg(params, symbol, "working", side="workingSide", quantity="workingQuantity")
    if working.type not in _WORKING_TYPES:
        raise ApiError(-1014, "Unsupported order combination.")
    return working


def _leg(params: Params, symbol: str, prefix: str, *, side: str, quantity: str) -> NewOrder:
    names = {name: prefix + rest for name, rest in _LEG_NAMES.items()}
    return read_order(params.renamed({**names, "side": side, "quantity": quantity, "quoteOrderQty": ""}), symbol)


def _pair(params: Params, symbol: str, prefix: str, *, side: str, quantity: str) -> tuple[NewOrder, NewOrder]:
    """The two orders of an OCO, the stop loss first."""
    names = [prefix + word if prefix else word.lower() for word in ("Above", "Below")]
    for name in names:
        if params.required(f"{name}Type") in _NO_LEG_TYPES:
            raise ApiError(-1158, "Order type not supported in OCO.")
    above, below = (_leg(params, symbol, name, side=side, quantity=quantity) for name in names)
    _check_places(above, below)
    return (above, below) if above.type in _STOP_LOSSES else (below, above)


def _check_places(above: NewOrder, below: NewOrder) -> None:
    """Which types may stand above and below on each side."""
    is_buy = above.side is Side.BUY
    if above.type is below.type is OrderType.LIMIT_MAKER:
        raise ApiError(-1168, "At least one OCO order must be contingent.")
    misplaced = above if is_buy else below  # where a limit or a target must not be
    if misplaced.type is OrderType.LIMIT_MAKER:
        code, where = (-1165, "buy OCO must be below.") if is_buy else (-1166, "sell OCO must be above.")
        raise ApiError(code, f"A limit order in a {where}")
    if misplaced.type not in _STOP_LOSSES:
        code, where = (-1198, "buy OCO must be below.") if is_buy else (-1199, "sell OCO must be above.")
        raise ApiError(code, f"A take profit order in a {where}")
    other = below if is_buy else above
    if other.type in _STOP_LOSSES:
        code, where = (-1196, "buy OCO must be above.") if is_buy else (-1197, "sell OCO must be below.")
        raise ApiError(code, f"A stop loss order in a {where}")


# -- cancelling and asking -------------------------------------------------------------------------------


async def cancel_list(call: Call) -> Any:
    """Cancel an open order list."""
    market = call.market()
    list_id, client_id = call.params.long("orderListId"), call.params.client_id("listClientOrderId")
    cancel_id = call.params.client_id("newClientOrderId") or ""
    call.params.finish()
    if list_id is None and client_id is None:
        raise errors.one_of("orderListId", "listClientOrderId")
    await call.to_engine()
    lists = call.exchange.engine.lists
    for one in lists.open.values():
        is_mine = (one.account_id, one.symbol) == (call.account_id, market.rules.symbol)
        if is_mine and list_id in (None, one.id) and client_id in (None, one.client_id):
            break
    else:
        raise errors.cancel_rejected()
    members = list(lists.members_of(one))
    ended = [order for order in members if not order.is_final]
    cancel_id, stored = call.exchange.cancel(ended, cancel_id)
    answer = views.canceled_list(one, members, {order.id: cancel_id for order in ended})
    await stored
    return answer


async def query_list(call: Call) -> Any:
    """One order list of any state. `origClientOrderId` is the list's client id."""
    list_id, client_id = call.params.long("orderListId"), call.params.client_id("origClientOrderId")
    call.params.finish()
    if list_id is None and client_id is None:
        raise errors.one_of("orderListId", "origClientOrderId")
    await call.exchange.store.settled()
    one = call.books("database").order_list(call.account_id, list_id, client_id)
    if one is None:
        raise errors.no_such_order()
    if client_id is not None and one.client_id != client_id:
        raise errors.wrong_client_id()
    return _shown(call, one)


async def all_lists(call: Call) -> Any:
    """Order lists: from an id, in a window of at most 24 hours, or the newest."""
    from_id = call.params.long("fromId")
    start, end = call.params.time_ms("startTime"), call.params.time_ms("endTime")
    limit = call.params.limit(500, 1000)
    call.params.finish()
    if from_id is not None and (start is not None or end is not None):
        raise errors.bad_combination()
    check_day(start, end)
    await call.exchange.store.settled()
    found = call.books("database").order_lists(call.account_id, from_id, start, end, limit)
    return [_shown(call, one) for one in found]


async def open_lists(call: Call) -> Any:
    """Open order lists."""
    call.params.finish()
    lists = call.exchange.engine.lists
    mine = [one for one in lists.open.values() if one.account_id == call.account_id]
    answer = [views.order_list(one, lists.members_of(one)) for one in mine]
    await call.exchange.store.settled()
    return answer


def _shown(call: Call, one: OrderList) -> Any:
    return views.order_list(one, call.exchange.history.orders_of(one))
