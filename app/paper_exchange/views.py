"""Answers of the order and account endpoints as Binance words them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from app.domain.money import plain
from app.domain.symbols import SymbolRules
from app.paper_exchange.checks import MAX_NUM_ORDER_AMENDS, MAX_NUM_ORDER_LISTS
from app.paper_exchange.fees import BNB, BNB_SHARE, Fees
from app.paper_exchange.model import (
    NO_LIST,
    STOP_TYPES,
    STP_MODES,
    Amendment,
    Balance,
    Order,
    OrderList,
    PreventedMatch,
    Trade,
)
from app.paper_exchange.orders import ResponseType
from app.paper_exchange.reports import fixed
from app.paper_exchange.rights import NAMES, Rights

ORDER_TYPES = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip


def ack(order: Order) -> dict[str, Any]:
    """newOrderRespType=ACK."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }


def result(order: Order) -> dict[str, Any]:
    """newOrderRespType=RESULT."""
    return {
        **ack(order),
        **_amounts(order),
        "status": order.status,
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
        "workingTime": order.working_ms or -1,
        "selfTradePreventionMode": order.stp_mode,
        **_conditional(order),
    }


def full(order: Order, trades: Iterable[Trade]) -> dict[str, Any]:
    """newOrderRespType=FULL."""
    fills = [
        {
            "price": fixed(t.price),
            "qty": fixed(t.quantity),
            "commission": fixed(t.commission),
            "commissionAsset": t.commission_asset,
            "tradeId": t.id,
        }
        for t in trades
    ]
    return {**result(order), "fills": fills}


def placed(order: Order, trades: Iterable[Trade], response: ResponseType) -> dict[str, Any]:
    """Answer to a new order as the caller wants it."""
    if response is ResponseType.ACK:
        return ack(order)
    return full(order, trades) if response is ResponseType.FULL else result(order)


def canceled(order: Order, cancel_id: str) -> dict[str, Any]:
    """Answer to a cancel: `clientOrderId` is the id of the cancel."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_ms,
        **_amounts(order),
        "status": order.status,
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
        "selfTradePreventionMode": order.stp_mode,
        **_conditional(order),
    }


def queried(order: Order) -> dict[str, Any]:
    """Answer to a query."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        **_amounts(order),
        "status": order.status,
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
        "stopPrice": fixed(order.stop_price),
        "icebergQty": "0.00000000",
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.working_ms != 0,
        "workingTime": order.working_ms or -1,
        "selfTradePreventionMode": order.stp_mode,
        **{k: v for k, v in _conditional(order).items() if k != "stopPrice"},
    }


def _amounts(order: Order) -> dict[str, Any]:
    return {
        "price": fixed(order.price),
        "origQty": fixed(order.quantity),
        "executedQty": fixed(order.executed),
        "origQuoteOrderQty": fixed(order.quote_quantity),
        "cummulativeQuoteQty": fixed(order.executed_quote),
    }


def _conditional(order: Order) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if order.type in STOP_TYPES:
        extra["stopPrice"] = fixed(order.stop_price)
    if order.strategy_id is not None:
        extra["strategyId"] = order.strategy_id
    if order.strategy_type is not None:
        extra["strategyType"] = order.strategy_type
    if order.prevented:
        extra["preventedMatchId"] = order.prevented_match_id
        extra["preventedQuantity"] = fixed(order.prevented)
    if order.expiry_reason:
        extra["expiryReason"] = order.expiry_reason
    return extra


def order_list(one: OrderList, orders: Iterable[Order]) -> dict[str, Any]:
    """An order list without the reports of its orders."""
    return {
        "orderListId": one.id,
        "contingencyType": one.contingency,
        "listStatusType": "ALL_DONE" if one.is_done else "EXEC_STARTED",
        "listOrderStatus": "ALL_DONE" if one.is_done else "EXECUTING",
        "listClientOrderId": one.client_id,
        "transactionTime": one.created_ms,
        "symbol": one.symbol,
        "orders": [{"symbol": o.symbol, "orderId": o.id, "clientOrderId": o.client_id} for o in orders],
    }


def canceled_list(one: OrderList, orders: Sequence[Order], cancel_ids: Mapping[int, str]) -> dict[str, Any]:
    """Answer to the cancel of an order list: reports of the orders it ended, `cancel_ids` by order id."""
    reports = [canceled(o, cancel_ids[o.id]) for o in orders if o.id in cancel_ids]
    return {**order_list(one, orders), "transactionTime": reports[0]["transactTime"], "orderReports": reports}


def amended(order: Order, amendment: Amendment) -> dict[str, Any]:
    """Answer to an amendment, for the order as it stands after it. Its words for amounts differ from all others'."""
    answer = {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "origClientOrderId": amendment.old_client_id,
        "clientOrderId": amendment.new_client_id,
        "price": fixed(order.price),
        "qty": fixed(order.quantity),
        "executedQty": fixed(order.executed),
        "preventedQty": fixed(order.prevented),
        "quoteOrderQty": fixed(order.quote_quantity),
        "cumulativeQuoteQty": fixed(order.executed_quote),
        "status": order.status,
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
        "selfTradePreventionMode": order.stp_mode,
        **_conditional(order),
    }
    if order.working_ms:
        answer["workingTime"] = order.working_ms
    return {"transactTime": amendment.amended_ms, "executionId": amendment.execution_id, "amendedOrder": answer}


def amendment_row(one: Amendment) -> dict[str, Any]:
    """One row of order/amendments."""
    return {
        "symbol": one.symbol,
        "orderId": one.order_id,
        "executionId": one.execution_id,
        "origClientOrderId": one.old_client_id,
        "newClientOrderId": one.new_client_id,
        "origQty": fixed(one.old_quantity),
        "newQty": fixed(one.new_quantity),
        "time": one.amended_ms,
    }


def prevented_row(one: PreventedMatch) -> dict[str, Any]:
    """One row of myPreventedMatches."""
    row = {
        "symbol": one.symbol,
        "preventedMatchId": one.id,
        "takerOrderId": one.taker_order_id,
        "makerSymbol": one.symbol,
        "makerOrderId": one.maker_order_id,
        "tradeGroupId": -1,
        "selfTradePreventionMode": one.stp_mode,
        "price": fixed(one.price),
        "transactTime": one.prevented_ms,
    }
    if one.taker_quantity:
        row["takerPreventedQuantity"] = fixed(one.taker_quantity)
    if one.maker_quantity:
        row["makerPreventedQuantity"] = fixed(one.maker_quantity)
    return row


def trade_row(trade: Trade, list_id: int = NO_LIST) -> dict[str, Any]:
    """One row of myTrades."""
    return {
        "symbol": trade.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "orderListId": list_id,
        "price": fixed(trade.price),
        "qty": fixed(trade.quantity),
        "quoteQty": fixed(trade.quote_quantity),
        "commission": fixed(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": trade.traded_ms,
        "isBuyer": trade.is_buyer,
        "isMaker": trade.is_maker,
        "isBestMatch": True,
    }


def account(
    balances: dict[str, Balance], assets: list[str], fees: Fees, account_id: int, updated_ms: int, *, omit_zero: bool
) -> dict[str, Any]:
    """Answer to GET account."""
    shown = {asset: balances.get(asset, Balance()) for asset in sorted({*assets, *balances})}
    return {
        "makerCommission": _legacy_rate(fees.maker),
        "takerCommission": _legacy_rate(fees.taker),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {**rates(fees), "buyer": fixed(Decimal(0)), "seller": fixed(Decimal(0))},
        "canTrade": True,  # unless it may not: see `rights`
        "canWithdraw": False,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": updated_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": fixed(b.free), "locked": fixed(b.locked)}
            for asset, b in shown.items()
            if not omit_zero or b.free or b.locked
        ],
        "permissions": ["SPOT"],
        "uid": account_id,
    }


def rates(fees: Fees) -> dict[str, str]:
    """Maker and taker rate."""
    return {"maker": fixed(fees.maker), "taker": fixed(fees.taker)}


def commission(symbol: str, fees: Fees, *, pays_in_bnb: bool) -> dict[str, Any]:
    """Answer to GET account/commission."""
    none = dict.fromkeys(("maker", "taker", "buyer", "seller"), "0.00000000")
    return {
        "symbol": symbol,
        "standardCommission": {**none, **rates(fees)},
        "specialCommission": none,
        "taxCommission": none,
        "discount": discount(pays_in_bnb=pays_in_bnb),
    }


def discount(*, pays_in_bnb: bool) -> dict[str, Any]:
    """What is left of the standard commission where it is paid in BNB."""
    return {
        "enabledForAccount": pays_in_bnb,
        "enabledForSymbol": True,
        "discountAsset": BNB,
        "discount": fixed(BNB_SHARE),
    }


def _legacy_rate(rate: Decimal) -> int:
    return int(rate * 10_000)


def symbol_info(rules: SymbolRules) -> dict[str, Any]:
    """One symbol of exchangeInfo."""
    return {
        "symbol": rules.symbol,
        "status": rules.status,
        "baseAsset": rules.base_asset,
        "baseAssetPrecision": rules.base_precision,
        "quoteAsset": rules.quote_asset,
        "quotePrecision": rules.quote_precision,
        "quoteAssetPrecision": rules.quote_precision,
        "baseCommissionPrecision": rules.base_precision,
        "quoteCommissionPrecision": rules.quote_precision,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": False,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters(rules),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": list(STP_MODES),
    }


def filters(rules: SymbolRules) -> list[dict[str, Any]]:
    """The filters of a symbol as exchangeInfo tells them."""
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": fixed(rules.min_price),
            "maxPrice": fixed(rules.max_price),
            "tickSize": fixed(rules.tick_size),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": fixed(rules.min_qty),
            "maxQty": fixed(rules.max_qty),
            "stepSize": fixed(rules.step_size),
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": fixed(rules.market_min_qty),
            "maxQty": fixed(rules.market_max_qty),
            "stepSize": fixed(rules.market_step_size),
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": plain(rules.bid_multiplier_up),
            "bidMultiplierDown": plain(rules.bid_multiplier_down),
            "askMultiplierUp": plain(rules.ask_multiplier_up),
            "askMultiplierDown": plain(rules.ask_multiplier_down),
            "avgPriceMins": rules.average_price_mins,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": fixed(rules.min_notional),
            "applyMinToMarket": rules.min_notional_applies_to_market,
            "maxNotional": fixed(rules.max_notional),
            "applyMaxToMarket": rules.max_notional_applies_to_market,
            "avgPriceMins": rules.average_price_mins,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": rules.max_num_orders},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": rules.max_num_algo_orders},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": MAX_NUM_ORDER_LISTS},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": MAX_NUM_ORDER_AMENDS},
    ]


def restrictions(created_ms: int, rights: Rights) -> dict[str, Any]:
    """Answer to apiRestrictions."""
    told = {name: name in rights.allowed for name in NAMES}
    return {"ipRestrict": rights.ip_restrict, "createTime": created_ms, **told}
