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
    symbol = params.symbol()
    params.required("side")
    params.required("type")
    side = params.choice("side", Side, ApiError(-1117, "Invalid side."))
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
    default = ResponseType.FULL if kind in (OrderType.MARKET, OrderType.LIMIT) else ResponseType.ACK
    wrong = ApiError(-1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    response = params.choice("newOrderRespType", ResponseType, wrong) or default
    order = NewOrder(
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
    return order, response


def _require(kind: OrderType, params: Params) -> None:
    if kind is OrderType.MARKET:
        if not params.has("quantity") and not params.has("quoteOrderQty"):
            raise ApiError(-1102, "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!")
        if params.has("quantity") and params.has("quoteOrderQty"):
            raise errors.not_required("quoteOrderQty")
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
        raise ApiError(-1102, "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!")


def _refuse(kind: OrderType, params: Params) -> None:
    if kind is not OrderType.MARKET and params.has("quoteOrderQty"):
        raise errors.not_required("quoteOrderQty")
    if kind not in _PRICED_TYPES and params.has("price"):
        raise errors.not_required("price")
    if kind not in STOP_TYPES and params.has("stopPrice"):
        raise errors.not_required("stopPrice")
    if kind not in _LIMIT_TYPES and params.has("timeInForce"):
        raise errors.not_required("timeInForce")
    if params.has("icebergQty"):
        raise errors.rejected("Iceberg orders are not supported for this symbol.")
    if any(params.has(name) for name in ("pegPriceType", "pegOffsetType", "pegOffsetValue")):
        raise errors.rejected("Pegged orders are not supported for this symbol.")
