"""Schema `strategy`: strategies, their immutable versions, live runs and each run's decisions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.models.columns import big, document, identity_key, moment, words

SCHEMA = {"schema": "strategy"}


class RunState(StrEnum):
    """What a live run is doing."""

    STARTING = "STARTING"  # asked for; the worker warms it up
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"  # asked to stop; `stop_mode` says what becomes of the position
    STOPPED = "STOPPED"


class StopMode(StrEnum):
    """What becomes of a run's position when the run stops."""

    KEEP_PROTECTED = "keep_protected"  # the plan's stop stays on the exchange
    CLOSE = "close"  # cancel the stop, then sell at market
    TAKE_OVER = "take_over"  # a person sees to it from now on; the orders that protect it are left as they are
    TAKE_OVER_AND_CANCEL = "take_over_and_cancel"  # the same, and those orders are cancelled


class StrategyRow(SQLModel, table=True):
    """A named strategy; what it does is in its versions."""

    __tablename__ = "strategies"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=False, index=True))
    name: str = Field(sa_column=words())
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    archived_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class StrategyVersion(SQLModel, table=True):
    """One immutable version: `hash` is the SHA-256 of the canonical JSON of `document`."""

    __tablename__ = "strategy_versions"
    __table_args__ = (UniqueConstraint("strategy_id", "number"), UniqueConstraint("strategy_id", "hash"), SCHEMA)
    id: int | None = Field(default=None, sa_column=identity_key())
    strategy_id: int = Field(sa_column=Column(BigInteger, ForeignKey("strategy.strategies.id"), nullable=False))
    number: int = Field(sa_column=Column(Integer, nullable=False))
    hash: str = Field(sa_column=words())
    document: Any = Field(sa_column=document(default=None))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class Run(SQLModel, table=True):
    """A strategy version traded live on one account and symbol."""

    __tablename__ = "runs"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=False, index=True))
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    version_id: int = Field(sa_column=Column(BigInteger, ForeignKey("strategy.strategy_versions.id"), nullable=False))
    symbol: str = Field(sa_column=words())
    timeframe: str = Field(sa_column=words())
    state: str = Field(default=RunState.STARTING.value, sa_column=words(default=RunState.STARTING.value))
    stop_mode: str | None = Field(default=None, sa_column=words(nullable=True))
    stop_reason: str = Field(default="", sa_column=words(default=""))
    venue: str = Field(default="", sa_column=words(default=""))  # candles it decides on; set by the worker
    warmup_from_ms: int | None = Field(default=None, sa_column=big(nullable=True))  # its first warm-up candle
    last_decided_ms: int | None = Field(
        default=None, sa_column=big(nullable=True)
    )  # open time of the last candle decided
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    started_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    stopped_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class Decision(SQLModel, table=True):
    """What a run decided at one closed candle, and why. One row per candle: a repeated tick changes nothing."""

    __tablename__ = "decisions"
    __table_args__ = SCHEMA
    run_id: int = Field(sa_column=Column(BigInteger, ForeignKey("strategy.runs.id"), primary_key=True))
    open_time_ms: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    action: str = Field(sa_column=words())  # none | enter | exit | refused
    reason: str = Field(default="", sa_column=words(default=""))  # in the user's words
    entry: int = Field(sa_column=Column(Integer, nullable=False))  # 1 true, 0 false, -1 unknown
    exit: int = Field(sa_column=Column(Integer, nullable=False))
    close: str = Field(default="", sa_column=Column(Text, nullable=False, server_default=""))
    order_id: int | None = Field(default=None, sa_column=big(nullable=True))
    trace: Any = Field(default_factory=dict, sa_column=document())
    decided_at: datetime | None = Field(default=None, sa_column=moment(now=True))
