"""How things look on the wire: amounts as plain strings, times as ISO 8601 in UTC; and what may come in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from starlette.responses import JSONResponse

from app.domain.clock import to_datetime
from app.domain.money import parse_amount, plain
from app.domain.orders import Order

MAX_ID = 2**63 - 1
_DEEPEST = 64


def to_json(value: Any) -> Any:
    """`value` as JSON can carry it, at any depth: dataclasses as objects, amounts and times as text."""
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, BaseModel):
        return to_json(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def order_json(order: Order) -> dict[str, Any]:
    """An order without what only the executor needs."""
    return {
        "id": order.id,
        "account_id": order.account_id,
        "run_id": order.run_id,
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "time_in_force": order.time_in_force.value if order.time_in_force else None,
        "quantity": to_json(order.quantity),
        "quote_quantity": to_json(order.quote_quantity),
        "price": to_json(order.price),
        "stop_price": to_json(order.stop_price),
        "status": order.status.value,
        "is_final": order.is_final,
        "outcome_unknown": order.outcome_unknown_since_ms is not None,
        "filled": plain(order.filled),
        "filled_quote": plain(order.filled_quote),
        "reject_code": order.reject_code,
        "reject_reason": order.reject_reason,
        "created_at": to_json(to_datetime(order.created_at_ms)),
    }


def canonical(value: Any) -> str:
    """JSON with sorted keys: the same thing is always the same text, also after a stay in the database."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class CanonicalJSON(JSONResponse):
    """An answer that is byte for byte the same when it is replayed."""

    def render(self, content: Any) -> bytes:
        """UTF-8 of `canonical(content)`."""
        return canonical(content).encode()


def refuse_unstorable(value: Any) -> Any:
    """`value` unless it holds something that PostgreSQL cannot keep. Raises ValueError saying what."""
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        if isinstance(item, str):
            if "\x00" in item or any("\ud800" <= char <= "\udfff" for char in item):
                raise ValueError("there is a character in a text that cannot be stored")
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise ValueError("numbers must be finite")
        elif isinstance(item, Mapping):
            pending += [(inner, depth + 1) for inner in (*item.keys(), *item.values())]
        elif isinstance(item, (list, tuple)):
            pending += [(inner, depth + 1) for inner in item]
    return value


class Body(BaseModel):
    """Base of every JSON body: nothing unknown, nothing converted silently, nothing that cannot be stored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        return refuse_unstorable(value)


def _amount(value: object, info: ValidationInfo) -> Decimal:
    return parse_amount(value, field=info.field_name or "amount")


#: An amount: text in, `Decimal` inside. Raises InvalidAmount naming the field.
Amount = Annotated[Decimal, BeforeValidator(_amount), Field(json_schema_extra={"type": "string"})]
#: A database id in a body.
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
#: The same in a path, and as a filter in a query.
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
QueryId = Annotated[int | None, Query(ge=1, le=MAX_ID)]
#: How many rows a list holds.
Limit = Annotated[int, Query(ge=1, le=500)]
#: A market's name in a query.
QuerySymbol = Annotated[str | None, Query(pattern=r"^[A-Z0-9]{3,20}$")]
