"""Schema `portfolio`: balances and positions (projections of fills), adjustments, hourly snapshots."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Text
from sqlmodel import Field, SQLModel

from app.models.columns import amount, document, identity_key, moment, signed_amount, words

SCHEMA = {"schema": "portfolio"}


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
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False, index=True)
    )
    asset: str = Field(sa_column=words())
    change: Decimal = Field(sa_column=signed_amount())
    reason: str = Field(sa_column=words())
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
