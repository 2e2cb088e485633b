"""Schema `execution`: what differs between the exchange and our books, and how far trades have been read."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from app.models.columns import big, document, identity_key, moment, words

SCHEMA = {"schema": "execution"}


class DifferenceKind(StrEnum):
    """What differs."""

    ORDER = "order"  # an open order at the exchange that is not in our books
    BALANCE = "balance"  # the total of an asset


class DifferenceState(StrEnum):
    """What became of a difference. The first two stand; the others are closed."""

    OPEN = "OPEN"
    IGNORED = "IGNORED"  # a person has said that it is in order
    ADOPTED = "ADOPTED"  # the order is in our books now
    BOOKED = "BOOKED"  # the amount is in our books now, as an external adjustment
    GONE = "GONE"  # it healed


class Difference(SQLModel, table=True):
    """Something the exchange has and our books have not, or the other way round. One row for as long as it stays."""

    __tablename__ = "differences"
    __table_args__ = (
        Index(
            "differences_standing",
            "account_id",
            "kind",
            "key",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("differences_by_account", "account_id", text("id DESC")),
        SCHEMA,
    )
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    kind: str = Field(sa_column=words())
    key: str = Field(sa_column=words())  # BTCUSDT:42 (symbol and the exchange's order id) or the asset
    state: str = Field(default=DifferenceState.OPEN.value, sa_column=words(default=DifferenceState.OPEN.value))
    facts: Any = Field(default_factory=dict, sa_column=document())  # amounts as text
    looks: int = Field(default=1, sa_column=Column(Integer, nullable=False, server_default=text("1")))
    first_seen_ms: int = Field(sa_column=big())  # with these facts, exchange time
    last_seen_ms: int = Field(sa_column=big())
    wanted: str = Field(default="", sa_column=words(default=""))  # what a person asked the worker for
    wanted_by: str = Field(default="", sa_column=words(default=""))
    note: str = Field(default="", sa_column=words(default=""))
    closed_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    closed_by: str = Field(default="", sa_column=words(default=""))


class TradeCursor(SQLModel, table=True):
    """Every trade of the account and symbol below `next_trade_id` is in our books."""

    __tablename__ = "trade_cursors"
    __table_args__ = SCHEMA
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    next_trade_id: int = Field(sa_column=big())
    moved_at: datetime | None = Field(default=None, sa_column=moment(now=True))
