"""Between table rows and the domain's values."""

from __future__ import annotations

from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from app.domain.clock import to_datetime
from app.domain.money import plain
from app.domain.orders import Fill, Order, OrderRole, OrderStatus, OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules
from app.models.execution import FillRow, OrderRow, Plan
from app.services.execution.store import PlanRecord

_ORDER_FIELDS = tuple(f.name for f in fields(Order))
_PLAN_FIELDS = tuple(f.name for f in fields(PlanRecord))
#: What a step may change on an order; everything else was asked for and never changes.
MUTABLE_ORDER_FIELDS = (
    "status",
    "version",
    "quantity",
    "filled",
    "filled_quote",
    "exchange_order_id",
    "signed_timestamp_ms",
    "recv_window_ms",
    "outcome_unknown_since_ms",
    "cancel_requested_at_ms",
    "last_report_ms",
    "reserved",
    "reject_code",
    "reject_reason",
)


def order_of(row: OrderRow | Row[Any]) -> Order:
    """The domain's order of a row, be it an object or just columns."""
    values: dict[str, Any] = {name: getattr(row, name) for name in _ORDER_FIELDS}
    values["side"] = Side(row.side)
    values["type"] = OrderType(row.type)
    values["time_in_force"] = TimeInForce(row.time_in_force) if row.time_in_force else None
    values["status"] = OrderStatus(row.status)
    values["role"] = OrderRole(row.role) if row.role else None
    return Order(**values)


def order_values(order: Order) -> dict[str, Any]:
    """Column values of an order to insert (the id is the database's)."""
    values = {name: getattr(order, name) for name in _ORDER_FIELDS if name != "id"}
    values["side"], values["type"], values["status"] = order.side.value, order.type.value, order.status.value
    values["time_in_force"] = order.time_in_force.value if order.time_in_force else None
    values["role"] = order.role.value if order.role else None
    return values


def changed_values(order: Order) -> dict[str, Any]:
    """Column values a step may have changed."""
    values = {name: getattr(order, name) for name in MUTABLE_ORDER_FIELDS}
    values["status"] = order.status.value
    return values


def fill_values(order: Order, fill: Fill) -> dict[str, Any]:
    """Column values of a fill."""
    return {
        "account_id": order.account_id,
        "symbol": order.symbol,
        "trade_id": fill.trade_id,
        "order_id": order.id,
        "run_id": order.run_id,
        "side": order.side.value,
        "quantity": fill.quantity,
        "price": fill.price,
        "quote_quantity": fill.quote_quantity,
        "commission": fill.commission,
        "commission_asset": fill.commission_asset,
        "is_maker": fill.is_maker,
        "traded_at": to_datetime(fill.traded_at_ms),
    }


def fill_of(row: FillRow) -> Fill:
    """The domain's fill of a row."""
    return Fill(
        trade_id=row.trade_id,
        quantity=row.quantity,
        price=row.price,
        quote_quantity=row.quote_quantity,
        commission=row.commission,
        commission_asset=row.commission_asset,
        is_maker=row.is_maker,
        traded_at_ms=round(row.traded_at.timestamp() * 1000),
    )


def plan_of(row: Plan) -> PlanRecord:
    """The plan of a row."""
    return PlanRecord(**{name: getattr(row, name) for name in _PLAN_FIELDS})


def plan_values(plan: PlanRecord) -> dict[str, Any]:
    """Column values of a plan (the id is the database's)."""
    return {name: getattr(plan, name) for name in _PLAN_FIELDS if name != "id"}


def rules_document(rules: SymbolRules) -> dict[str, Any]:
    """Symbol rules as JSON, amounts as text."""
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in asdict(rules).items()}


def rules_of(document: dict[str, Any]) -> SymbolRules:
    """Symbol rules from their JSON; fields unknown to this version are left out."""
    values: dict[str, Any] = {}
    for f in fields(SymbolRules):
        if f.name in document:
            value = document[f.name]
            values[f.name] = Decimal(value) if f.type == "Decimal" else value
    return SymbolRules(**values)
