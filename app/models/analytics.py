"""Schema `analytics`: candles with their venue, gaps, imported data sets, last prices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Integer, Text
from sqlmodel import Field, SQLModel

from app.models.columns import amount, big, document, identity_key, moment, words

SCHEMA = {"schema": "analytics"}


class Candle(SQLModel, table=True):
    """A closed candle. An imported file is a venue of its own (`file:7`); a paper market is `paper:3`."""

    __tablename__ = "candles"
    __table_args__ = SCHEMA
    venue: str = Field(sa_column=Column(Text, primary_key=True))
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    timeframe: str = Field(sa_column=Column(Text, primary_key=True))
    open_time_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    open: float = Field(sa_column=Column(Double, nullable=False))
    high: float = Field(sa_column=Column(Double, nullable=False))
    low: float = Field(sa_column=Column(Double, nullable=False))
    close: float = Field(sa_column=Column(Double, nullable=False))
    volume: float = Field(sa_column=Column(Double, nullable=False))


class CandleGap(SQLModel, table=True):
    """A stretch of missing candles: the first missing open time, and how many are missing."""

    __tablename__ = "candle_gaps"
    __table_args__ = SCHEMA
    venue: str = Field(sa_column=Column(Text, primary_key=True))
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    timeframe: str = Field(sa_column=Column(Text, primary_key=True))
    from_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    missing: int = Field(sa_column=Column(Integer, nullable=False))


class Dataset(SQLModel, table=True):
    """An imported file of candles."""

    __tablename__ = "datasets"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    user_id: int | None = Field(default=None, sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=True))
    venue: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    name: str = Field(sa_column=words())
    symbol: str = Field(sa_column=words())
    timeframe: str = Field(sa_column=words())
    rows: int = Field(sa_column=Column(Integer, nullable=False))
    first_ms: int = Field(sa_column=big())
    last_ms: int = Field(sa_column=big())
    gaps: int = Field(sa_column=Column(Integer, nullable=False))
    missing: int = Field(sa_column=Column(Integer, nullable=False))
    sha256: str = Field(sa_column=words())
    warnings: Any = Field(default_factory=list, sa_column=document(default="'[]'::jsonb"))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class Price(SQLModel, table=True):
    """The newest price of a symbol on a venue kind."""

    __tablename__ = "prices"
    __table_args__ = SCHEMA
    kind: str = Field(sa_column=Column(Text, primary_key=True))  # AccountKind
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    price: Decimal = Field(sa_column=amount())
    priced_at: datetime = Field(sa_column=moment())
