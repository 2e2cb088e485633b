"""User stream events as they stand on the wire (user-data-stream.md)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.paper_exchange.model import MARKET_TYPES, PENDING, Balance, Order, OrderList, PreventedMatch, Trade


def fixed(value: Decimal) -> str:
    """Eight decimals, never an exponent: how Binance prints every amount."""
    return f"{value:.8f}"


def execution_report(
    order: Order,
    kind: str,
    now_ms: int,
    execution_id: int,
    *,
    trade: Trade | None = None,
    cancel_id: str = "",
    prevented: PreventedMatch | None = None,
) -> dict[str, Any]:
    """`executionReport` of kind NEW, TRADE, CANCELED, REPLACED, EXPIRED or TRADE_PREVENTION.

    On CANCELED `c` is the id of the cancel and `C` the order's own.
    """
    zero = "0.00000000"
    event: dict[str, Any] = {
        "e": "executionReport",
        "E": now_ms,
        "s": order.symbol,
        "c": cancel_id or order.client_id,
        "S": order.side.value,
        "o": order.type.value,
        "f": order.time_in_force.value,
        "q": fixed(order.quantity),
        "p": fixed(order.price),
        "P": fixed(order.stop_price),
        "F": zero,
        "g": order.list_id,
        "C": order.client_id if cancel_id else "",
        "x": kind,
        "X": order.status,
        "r": "NONE",
        "i": order.id,
        "l": fixed(trade.quantity) if trade else zero,
        "z": fixed(order.executed),
        "L": fixed(trade.price) if trade else zero,
        "n": fixed(trade.commission) if trade else "0",
        "N": trade.commission_asset if trade else None,
        "T": order.updated_ms,
        "t": trade.id if trade else -1,
        "I": execution_id,
        "w": _is_on_book(order, kind),
        "m": bool(trade and trade.is_maker),
        "M": trade is not None,
        "O": order.created_ms,
        "Z": fixed(order.executed_quote),
        "Y": fixed(trade.quote_quantity) if trade else zero,
        "Q": fixed(order.quote_quantity),
        "V": order.stp_mode,
    }
    if order.working_ms:
        event["W"] = order.working_ms
    if order.strategy_id is not None:
        event["j"] = order.strategy_id
    if order.strategy_type is not None:
        event["J"] = order.strategy_type
    if prevented is not None:
        event |= _prevention(order, prevented)
    if order.expiry_reason:
        event["eR"] = order.expiry_reason
    return event


def _prevention(order: Order, match: PreventedMatch) -> dict[str, Any]:
    is_maker = order.id == match.maker_order_id
    would_trade = min((q for q in (match.taker_quantity, match.maker_quantity) if q), default=order.prevented)
    return {
        "v": match.id,
        "A": fixed(order.prevented),
        "B": fixed(order.prevented),
        "u": -1,
        "U": match.taker_order_id if is_maker else match.maker_order_id,
        "Cs": order.symbol,
        "pl": fixed(would_trade),
        "pL": fixed(match.price),
        "pY": fixed(match.price * would_trade),
    }


def list_status(one: OrderList, orders: list[Order], now_ms: int, *, status_type: str = "") -> dict[str, Any]:
    """`listStatus`: EXEC_STARTED while the list works, ALL_DONE at its end, or the type given."""
    return {
        "e": "listStatus",
        "E": now_ms,
        "s": one.symbol,
        "g": one.id,
        "c": one.contingency,
        "l": status_type or ("ALL_DONE" if one.is_done else "EXEC_STARTED"),
        "L": "ALL_DONE" if one.is_done else "EXECUTING",
        "r": "NONE",
        "C": one.client_id,
        "T": now_ms,
        "O": [{"s": o.symbol, "i": o.id, "c": o.client_id} for o in orders],
    }


def _is_on_book(order: Order, kind: str) -> bool:
    if order.is_final or order.waits_for_trigger or order.status == PENDING:
        return False
    return kind == "NEW" or order.type not in MARKET_TYPES


def account_position(balances: dict[str, Balance], assets: list[str], now_ms: int) -> dict[str, Any]:
    """`outboundAccountPosition` with the assets that may have changed."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": now_ms,
        "B": [{"a": a, "f": fixed(balances[a].free), "l": fixed(balances[a].locked)} for a in assets],
    }


def balance_update(asset: str, delta: Decimal, now_ms: int) -> dict[str, Any]:
    """`balanceUpdate`: a deposit or withdrawal."""
    return {"e": "balanceUpdate", "E": now_ms, "a": asset, "d": fixed(delta), "T": now_ms}
