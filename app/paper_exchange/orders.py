"""From the parameters of POST order to a `NewOrder`: which belong to which type, and their words when wrong."""

from __future__ import annotations

from enum import StrEnum

from app.domain.money import ZERO
from app.domain.orders import OrderType, Side, TimeInForce
from app.paper_exchange import errors
from app.paper_exchange.errors import ApiError
from app.paper_exchange.model import STOP_TYPES, STP_MODES, NewOrder
from app.paper_exchange.params import Params

_LIMIT_TYPES = frozenset({OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
_PRICED_TYPES = _LIMIT_TYPES | {OrderType.LIMIT_MAKER}
MIN_STRATEGY_TYPE = 1_000_000


class ResponseType(StrEnum):
    """newOrderRespType."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


def read_new_order(params: Params) -> tuple[NewOrder, ResponseType]:
    """Read and check everything that needs no book. Raises ApiError."""
    order = read_order(params, params.symbol())
    default = ResponseType.FULL if order.type in (OrderType.MARKET, OrderType.LIMIT) else ResponseType.ACK
    return order, read_response_type(params, default)


def read_response_type(params: Params, default: ResponseType) -> ResponseType:
    """newOrderRespType."""
    wrong = ApiError(-1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    return params.choice("newOrderRespType", ResponseType, wrong) or default


def read_order(params: Params, symbol: str, kind: OrderType | None = None) -> NewOrder:
    """One order, its type given or read too. Raises ApiError."""
    params.required("side")
    side = params.choice("side", Side, ApiError(-1117, "Invalid side."))
    if kind is None:
        params.required("type")
        kind = params.choice("type", OrderType, ApiError(-1116, "Invalid orderType."))
    assert side is not None
    assert kind is not None
    tif = params.choice("timeInForce", TimeInForce, ApiError(-1115, "Invalid timeInForce."))
    quantity = params.positive("quantity", "quantity")
    quote_quantity = params.positive("quoteOrderQty", "quote order qty")
    price = params.positive("price", "price")
    stop_price = params.positive("stopPrice", "stopPrice")
    _require(kind, params)
    _refuse(kind, params)
    strategy_type = params.long("strategyType")
    if strategy_type is not None and strategy_type < MIN_STRATEGY_TYPE:
        raise ApiError(-1134, "`strategyType` was less than 1000000.")
    stp_mode = params.text("selfTradePreventionMode") or "EXPIRE_MAKER"
    if stp_mode not in STP_MODES:
        raise errors.invalid("This symbol does not allow the specified self-trade prevention mode.")
    return NewOrder(
        symbol=symbol,
        side=side,
        type=kind,
        time_in_force=tif or TimeInForce.GTC,
        quantity=quantity or ZERO,
        quote_quantity=quote_quantity or ZERO,
        price=price or ZERO,
        stop_price=stop_price or ZERO,
        client_id=params.client_id("newClientOrderId") or "",
        stp_mode=stp_mode,
        strategy_id=params.long("strategyId"),
        strategy_type=strategy_type,
    )


def _require(kind: OrderType, params: Params) -> None:
    if kind is OrderType.MARKET:
        if not params.has("quantity") and not params.has("quoteOrderQty"):
            raise errors.one_of(params.name_of("quantity"), "quoteOrderQty")
        if params.has("quantity") and params.has("quoteOrderQty"):
            raise errors.not_required(params.name_of("quoteOrderQty"))
        return
    needed = ["quantity"]
    if kind in _LIMIT_TYPES:
        needed = ["timeInForce", "quantity", "price"]
    elif kind is OrderType.LIMIT_MAKER:
        needed = ["quantity", "price"]
    for name in needed:
        params.required(name)
    if params.has("trailingDelta"):
        raise errors.rejected("Trailing stop orders are not supported for this symbol.")
    if kind in STOP_TYPES and not params.has("stopPrice"):
        raise errors.one_of(params.name_of("stopPrice"), params.name_of("trailingDelta"))


def _refuse(kind: OrderType, params: Params) -> None:
    belongs = {
        "quoteOrderQty": kind is OrderType.MARKET,
        "price": kind in _PRICED_TYPES,
        "stopPrice": kind in STOP_TYPES,
        "timeInForce": kind in _LIMIT_TYPES,
    }
    for name, is_wanted in belongs.items():
        if not is_wanted and params.has(name):
            raise errors.not_required(params.name_of(name))
    if params.has("icebergQty"):
        raise errors.rejected("Iceberg orders are not supported for this symbol.")
    if any(params.has(name) for name in ("pegPriceType", "pegOffsetType", "pegOffsetValue")):
        raise errors.rejected("Pegged orders are not supported for this symbol.")
