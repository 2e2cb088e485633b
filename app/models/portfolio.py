"""Schema `portfolio`: balances and positions (projections of fills), adjustments, hourly snapshots."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.models.columns import amount, big, document, identity_key, moment, signed_amount, words

SCHEMA = {"schema": "portfolio"}


class AdjustmentKind(StrEnum):
    """Why a balance changed by no fill of ours."""

    OPENING = "opening"
    TRADE = "trade"  # made outside
    DEPOSIT = "deposit"  # or anything else that made it more
    WITHDRAWAL = "withdrawal"  # or anything else that made it less
    ADOPTED = "adopted"  # takes back what was booked of an order before it was adopted


class Balance(SQLModel, table=True):
    """What our books say an account holds: adjustments plus fills. Free = total − reserved by open orders."""

    __tablename__ = "balances"
    __table_args__ = SCHEMA
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    asset: str = Field(sa_column=Column(Text, primary_key=True))
    total: Decimal = Field(sa_column=signed_amount(default="0"))
    exchange_total: Decimal | None = Field(default=None, sa_column=amount(nullable=True))  # as last reconciled
    exchange_seen_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    updated_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class BalanceAdjustment(SQLModel, table=True):
    """A change of a balance that is not one of our fills: opening balance, deposit, withdrawal. Append-only."""

    __tablename__ = "balance_adjustments"
    __table_args__ = (UniqueConstraint("account_id", "asset", "reference"), SCHEMA)
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False, index=True)
    )
    asset: str = Field(sa_column=words())
    change: Decimal = Field(sa_column=signed_amount())
    reason: str = Field(sa_column=words())
    kind: str = Field(default=AdjustmentKind.OPENING.value, sa_column=words(default=AdjustmentKind.OPENING.value))
    reference: str | None = Field(default=None, sa_column=words(nullable=True))  # booked once: trade:BTCUSDT:123
    occurred_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))  # at the exchange, where known
    recorded_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class PositionAdjustment(SQLModel, table=True):
    """Coins that left a run's position by no fill of its own, taken out at cost. Append-only."""

    __tablename__ = "position_adjustments"
    __table_args__ = (Index("position_adjustments_by_position", "account_id", "run_id", "symbol"), SCHEMA)
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    run_id: int = Field(sa_column=big())
    symbol: str = Field(sa_column=words())
    change: Decimal = Field(sa_column=signed_amount())
    reason: str = Field(sa_column=words())
    occurred_at: datetime = Field(sa_column=moment())
    recorded_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class PositionRow(SQLModel, table=True):
    """Average-cost position of one run (0: a person's own orders) in one symbol, in quote units."""

    __tablename__ = "positions"
    __table_args__ = SCHEMA
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    run_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    base_asset: str = Field(sa_column=words())
    quote_asset: str = Field(sa_column=words())
    quantity: Decimal = Field(sa_column=signed_amount(default="0"))
    cost: Decimal = Field(sa_column=signed_amount(default="0"))
    realised: Decimal = Field(sa_column=signed_amount(default="0"))
    fees_quote: Decimal = Field(sa_column=signed_amount(default="0"))
    last_traded_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    last_trade_id: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    updated_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class EquitySnapshot(SQLModel, table=True):
    """An account's equity at a UTC hour, with the prices it was made of. Missed hours are not invented."""

    __tablename__ = "equity_snapshots"
    __table_args__ = SCHEMA
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    hour_at: datetime = Field(sa_column=Column(moment().type, primary_key=True))
    quote_asset: str = Field(sa_column=words())
    equity: Decimal | None = Field(default=None, sa_column=signed_amount(nullable=True))  # null: an asset had no price
    balances: Any = Field(sa_column=document())
    prices: Any = Field(sa_column=document())
    taken_at: datetime | None = Field(default=None, sa_column=moment(now=True))
