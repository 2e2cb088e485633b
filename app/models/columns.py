"""Column types shared by all tables: money as checked `numeric`, time as aware UTC, JSON as jsonb."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Identity, Numeric, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine, UserDefinedType

from app.domain.money import plain


class _Money(UserDefinedType[Decimal]):
    """A PostgreSQL domain over bare `numeric`: no silent rounding, no NaN, no Infinity."""

    cache_ok = True
    domain = ""

    def get_col_spec(self, **_: Any) -> str:
        return self.domain

    def bind_processor(self, dialect: Dialect) -> Any:
        def bind(value: Decimal | None) -> Decimal | None:
            if value is not None and not isinstance(value, Decimal):
                raise TypeError(f"money must be a Decimal, was {type(value).__name__}")
            return value

        return bind

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return Numeric() if not isinstance(value, Decimal) else self

    def literal_processor(self, dialect: Dialect) -> Any:
        return plain


class Amount(_Money):
    """Domain `public.amount`: finite, ≥ 0, at most 18 decimal places."""

    cache_ok = True  # not inherited
    domain = "public.amount"


class SignedAmount(_Money):
    """Domain `public.signed_amount`: finite, at most 18 decimal places, either sign."""

    cache_ok = True  # not inherited
    domain = "public.signed_amount"


def identity_key() -> Column[int]:
    """`bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY`."""
    return Column(BigInteger, Identity(always=True), primary_key=True)


def amount(*, nullable: bool = False, default: str | None = None) -> Column[Decimal]:
    """A non-negative money column; `default` is SQL text."""
    return Column(Amount(), nullable=nullable, server_default=text(default) if default else None)


def signed_amount(*, nullable: bool = False, default: str | None = None) -> Column[Decimal]:
    """A money column of either sign; `default` is SQL text."""
    return Column(SignedAmount(), nullable=nullable, server_default=text(default) if default else None)


def moment(*, nullable: bool = False, now: bool = False, index: bool = False) -> Column[datetime]:
    """An aware UTC timestamp; `now` fills it at insert."""
    default = text("now()") if now else None
    return Column(DateTime(timezone=True), nullable=nullable, server_default=default, index=index)


def recorded() -> Column[datetime]:
    """When the row was written: within a transaction later rows are later, and never before what they tell of."""
    return Column(DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))


def document(*, nullable: bool = False, default: str | None = "'{}'::jsonb") -> Column[Any]:
    """A jsonb column."""
    return Column(JSONB(none_as_null=True), nullable=nullable, server_default=text(default) if default else None)


def words(*, nullable: bool = False, default: str | None = None) -> Column[str]:
    """A text column."""
    return Column(Text, nullable=nullable, server_default=text(f"'{default}'") if default is not None else None)


def big(*, nullable: bool = False, default: str | None = None) -> Column[int]:
    """A bigint column (milliseconds, exchange ids, counters)."""
    return Column(BigInteger, nullable=nullable, server_default=text(default) if default else None)
