"""Schema `execution`: accounts and keys, orders and their events, fills, plans, the worker's lease."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from app.models.columns import amount, big, document, identity_key, moment, recorded, words

SCHEMA = {"schema": "execution"}


class AccountKind(StrEnum):
    """Where an account's orders go."""

    PAPER = "PAPER"
    TESTNET = "TESTNET"
    LIVE = "LIVE"


class AccountState(StrEnum):
    """Whether an account can trade."""

    REQUESTED = "REQUESTED"  # the worker makes the key and registers it
    RECOVERING = "RECOVERING"  # a worker has started and not yet compared it with the exchange: nothing is sent
    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"  # key refused by the exchange; nothing is sent with it
    FAILED = "FAILED"
    DISABLED = "DISABLED"  # switched off by its owner: nothing is asked or sent
    REMOVED = "REMOVED"  # its key is destroyed; what it traded stays


class WantedState(StrEnum):
    """What its owner wants of an account; the worker sees to it."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    REMOVED = "REMOVED"


class ServiceState(StrEnum):
    """State of the execution service, in the lease row."""

    RECOVERING = "RECOVERING"
    HEALTHY = "HEALTHY"
    STOPPED = "STOPPED"


class PlanState(StrEnum):
    """An entry and its protection as one thing."""

    ENTERING = "ENTERING"  # entry order not final
    PROTECTING = "PROTECTING"  # position held, some part of its protection not yet confirmed on the exchange
    PROTECTED = "PROTECTED"  # position held, every part of its protection rests on the exchange (or "none" was said)
    EXITING = "EXITING"  # protection is being cancelled or the exit order works
    CLOSED = "CLOSED"


class KillAction(StrEnum):
    """What an engaged kill switch does, from mild to strong: each does all that the one before it does."""

    HALT = "halt"  # no new entries
    CANCEL_ALL = "cancel_all"  # and no order works but those that protect what is held
    FLATTEN = "flatten"  # and what is held is sold at market


class KillScope(StrEnum):
    """What a kill switch covers."""

    GLOBAL = "global"  # scope_id 0
    ACCOUNT = "account"
    STRATEGY = "strategy"  # every run of it
    RUN = "run"


class ReplacementState(StrEnum):
    """How far the replacement of an order has come."""

    WAITING = "WAITING"  # until the old order is confirmed gone
    PLACED = "PLACED"
    NOT_MADE = "NOT_MADE"  # `reason` says why; nothing was placed


class Account(SQLModel, table=True):
    """An exchange account of a user."""

    __tablename__ = "accounts"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=False, index=True))
    label: str = Field(sa_column=words())
    kind: str = Field(sa_column=words())
    state: str = Field(default=AccountState.REQUESTED.value, sa_column=words(default=AccountState.REQUESTED.value))
    state_reason: str = Field(default="", sa_column=words(default=""))
    opening_balances: Any = Field(default_factory=dict, sa_column=document())  # asked of the paper exchange
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    books_agree_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    stream_up: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    unfreeze_requested_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    reconcile_requested_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    wanted: str = Field(default=WantedState.ACTIVE.value, sa_column=words(default=WantedState.ACTIVE.value))
    exchange_uid: str = Field(default="", sa_column=words(default=""))  # the exchange's own number of the account


class Credential(SQLModel, table=True):
    """An account's key. `private_key_box` is AES-256-GCM bound to this row; role `web` may not read it."""

    __tablename__ = "credentials"
    __table_args__ = SCHEMA
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    kind: str = Field(sa_column=words())  # ED25519 | RSA | HMAC
    api_key: str = Field(default="", sa_column=words(default=""))
    public_key_pem: str = Field(default="", sa_column=words(default=""))
    master_key_id: str = Field(sa_column=words())
    private_key_box: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    permissions: Any = Field(default_factory=dict, sa_column=document())  # {"may": […], "advice": […]} in words
    checked_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class SymbolRow(SQLModel, table=True):
    """Filters of a symbol on one venue kind, as the worker last read them from `exchangeInfo`."""

    __tablename__ = "symbols"
    __table_args__ = SCHEMA
    kind: str = Field(sa_column=Column(Text, primary_key=True))  # AccountKind
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    rules: Any = Field(sa_column=document())  # SymbolRules, amounts as text
    refreshed_at: datetime = Field(sa_column=moment())


class OrderTransitionRule(SQLModel, table=True):
    """The legal edges, for the trigger. `resurrecting` edges need the event `resurrected`."""

    __tablename__ = "order_transition_rules"
    __table_args__ = SCHEMA
    from_status: str = Field(sa_column=Column(Text, primary_key=True))
    to_status: str = Field(sa_column=Column(Text, primary_key=True))
    resurrecting: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=text("false")))


class OrderRow(SQLModel, table=True):
    """Projection of an order's events. What was asked for never changes; see `app.domain.orders.Order`."""

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("account_id", "client_order_id"),
        UniqueConstraint("account_id", "symbol", "exchange_order_id"),
        UniqueConstraint("account_id", "intent_key"),
        UniqueConstraint("account_id", "list_client_order_id", "role"),
        CheckConstraint("quantity IS NOT NULL OR quote_quantity IS NOT NULL", "sized"),
        CheckConstraint("quantity IS NULL OR quantity > 0", "quantity_positive"),
        CheckConstraint("quote_quantity IS NULL OR quote_quantity > 0", "quote_quantity_positive"),
        CheckConstraint("quantity IS NULL OR filled <= quantity", "not_overfilled"),
        CheckConstraint("status <> 'REJECTED' OR filled = 0", "rejected_has_no_fill"),
        CheckConstraint("side IN ('BUY','SELL')", "side"),
        Index(
            "orders_awaiting_answer",
            "id",
            postgresql_where=text(
                "status IN ('SUBMITTED','OPEN','PARTIALLY_FILLED','CANCELING')"
                " AND (exchange_order_id IS NULL OR type = 'MARKET')"
            ),
        ),
        Index(
            "orders_unfinished",
            "account_id",
            "status",
            postgresql_where=text("status IN ('NEW','SUBMITTED','OPEN','PARTIALLY_FILLED','CANCELING')"),
        ),
        Index("orders_by_account", "account_id", text("id DESC")),
        Index("orders_by_plan", "plan_id", text("id DESC"), postgresql_where=text("plan_id IS NOT NULL")),
        SCHEMA,
    )
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    run_id: int | None = Field(
        default=None, sa_column=Column(BigInteger, ForeignKey("strategy.runs.id"), nullable=True)
    )
    plan_id: int | None = Field(default=None, sa_column=big(nullable=True))
    client_order_id: str = Field(sa_column=words())
    intent_key: str = Field(sa_column=words())  # one intent per signal and try, or per idempotency key
    symbol: str = Field(sa_column=words())
    side: str = Field(sa_column=words())
    type: str = Field(sa_column=words())
    time_in_force: str | None = Field(default=None, sa_column=words(nullable=True))
    quantity: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    quote_quantity: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    price: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    stop_price: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    status: str = Field(sa_column=words())
    version: int = Field(sa_column=Column(Integer, nullable=False))
    filled: Decimal = Field(default=Decimal(0), sa_column=amount(default="0"))
    filled_quote: Decimal = Field(default=Decimal(0), sa_column=amount(default="0"))
    exchange_order_id: int | None = Field(default=None, sa_column=big(nullable=True))
    created_at_ms: int = Field(sa_column=big())
    deadline_ms: int = Field(sa_column=big())
    signed_timestamp_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    recv_window_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    outcome_unknown_since_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    cancel_requested_at_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    last_report_ms: int = Field(default=0, sa_column=big(default="0"))
    reserved_asset: str = Field(default="", sa_column=words(default=""))
    reserved: Decimal = Field(default=Decimal(0), sa_column=amount(default="0"))
    reject_code: str = Field(default="", sa_column=words(default=""))
    reject_reason: str = Field(default="", sa_column=words(default=""))
    role: str | None = Field(default=None, sa_column=words(nullable=True))  # OrderRole, of a plan's order
    list_client_order_id: str | None = Field(default=None, sa_column=words(nullable=True))


class OrderEventRow(SQLModel, table=True):
    """One fact about an order. Append-only; `seq` has no gaps; the newest `to_status` is the order's status."""

    __tablename__ = "order_events"
    __table_args__ = (UniqueConstraint("order_id", "dedup_key"), SCHEMA)
    order_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.orders.id"), primary_key=True))
    seq: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    kind: str = Field(sa_column=words())
    from_status: str | None = Field(default=None, sa_column=words(nullable=True))
    to_status: str = Field(sa_column=words())
    source: str = Field(sa_column=words())
    epoch: int | None = Field(default=None, sa_column=big(nullable=True))  # the worker's; null for events of the web
    payload: Any = Field(default_factory=dict, sa_column=document())
    dedup_key: str = Field(sa_column=words())
    occurred_at: datetime = Field(sa_column=moment())
    recorded_at: datetime | None = Field(default=None, sa_column=recorded())


class FillRow(SQLModel, table=True):
    """One trade. Append-only; its key makes a second booking impossible."""

    __tablename__ = "fills"
    __table_args__ = (
        CheckConstraint("quantity > 0", "quantity_positive"),
        CheckConstraint("price > 0", "price_positive"),
        SCHEMA,
    )
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    trade_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    order_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.orders.id"), nullable=False, index=True))
    run_id: int | None = Field(default=None, sa_column=big(nullable=True))
    side: str = Field(sa_column=words())
    quantity: Decimal = Field(sa_column=amount())
    price: Decimal = Field(sa_column=amount())
    quote_quantity: Decimal = Field(sa_column=amount())
    commission: Decimal = Field(sa_column=amount())
    commission_asset: str = Field(sa_column=words())
    commission_price: Decimal | None = Field(
        default=None, sa_column=amount(nullable=True)
    )  # quote units for one of a third commission asset, when it was booked; null: base, quote or not known
    is_maker: bool = Field(sa_column=Column(Boolean, nullable=False))
    traded_at: datetime = Field(sa_column=moment(index=True))
    recorded_at: datetime | None = Field(default=None, sa_column=recorded())


class OrderAttempt(SQLModel, table=True):
    """The one attempt to send an order, committed before the wire. A second row per order is impossible."""

    __tablename__ = "order_attempts"
    __table_args__ = SCHEMA
    order_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.orders.id"), primary_key=True))
    epoch: int = Field(sa_column=big())
    signed_timestamp_ms: int = Field(sa_column=big())
    recv_window_ms: int = Field(sa_column=big())
    recorded_at: datetime | None = Field(default=None, sa_column=recorded())


class Plan(SQLModel, table=True):
    """Entry, protection and exit of one position of a run, owned by execution until it is CLOSED."""

    __tablename__ = "plans"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    run_id: int = Field(sa_column=Column(BigInteger, ForeignKey("strategy.runs.id"), nullable=False, index=True))
    symbol: str = Field(sa_column=words())
    state: str = Field(sa_column=words())
    entry_order_id: int | None = Field(default=None, sa_column=big(nullable=True))
    stop_order_id: int | None = Field(default=None, sa_column=big(nullable=True))  # the newest stop, of several parts
    exit_order_id: int | None = Field(default=None, sa_column=big(nullable=True))
    stop_spec: Any = Field(
        default_factory=dict, sa_column=document()
    )  # {"pct": "2"} | {"distance": "35.1"} | {"none": true}
    stop_price: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    time_stop_ms: int | None = Field(
        default=None, sa_column=big(nullable=True)
    )  # leave at market after this (exchange time)
    exit_reason: str = Field(default="", sa_column=words(default=""))  # a word of execution.protection.Reason
    tries: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    next_try_ms: int | None = Field(default=None, sa_column=big(nullable=True))  # of a refused stop or exit
    protect: Any = Field(default_factory=dict, sa_column=document())  # targets and trail; see execution.protection
    entry_price: Decimal | None = Field(default=None, sa_column=amount(nullable=True))  # average, once the entry ended
    first_quantity: Decimal | None = Field(default=None, sa_column=amount(nullable=True))  # held when the entry ended
    highest: Decimal | None = Field(default=None, sa_column=amount(nullable=True))  # price since then
    trailed_ms: int | None = Field(default=None, sa_column=big(nullable=True))  # open of the newest candle trailed on
    entry_until_ms: int | None = Field(default=None, sa_column=big(nullable=True))  # then a resting entry is given up
    unprotected_since_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    opened_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    closed_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class WorkerLease(SQLModel, table=True):
    """The single row that says which worker may write, with its fencing epoch and the service's state."""

    __tablename__ = "worker_lease"
    __table_args__ = (CheckConstraint("id = 1", "one_row"), SCHEMA)
    id: int = Field(default=1, sa_column=Column(Integer, primary_key=True, autoincrement=False))
    epoch: int = Field(default=0, sa_column=big(default="0"))
    holder: str = Field(default="", sa_column=words(default=""))
    state: str = Field(default=ServiceState.STOPPED.value, sa_column=words(default=ServiceState.STOPPED.value))
    state_reason: str = Field(default="", sa_column=words(default=""))
    acquired_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    renewed_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    recovered_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    clock_offset_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    clock_checked_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class ReconciliationPass(SQLModel, table=True):
    """Result of one reconciliation of one account."""

    __tablename__ = "reconciliation_passes"
    __table_args__ = (Index("passes_by_account", "account_id", text("id DESC")), SCHEMA)
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    trigger: str = Field(sa_column=words())  # schedule | recovery | operator
    started_at: datetime = Field(sa_column=moment())
    finished_at: datetime = Field(sa_column=moment())
    checked: int = Field(sa_column=Column(Integer, nullable=False))
    repaired: int = Field(sa_column=Column(Integer, nullable=False))
    unresolved: int = Field(sa_column=Column(Integer, nullable=False))
    agrees: bool = Field(sa_column=Column(Boolean, nullable=False))
    differences: Any = Field(default_factory=list, sa_column=document(default="'[]'::jsonb"))
    error: str = Field(default="", sa_column=words(default=""))
    covered: Any = Field(default_factory=list, sa_column=document(default="'[]'::jsonb"))  # orders, trades, balances


class Incident(SQLModel, table=True):
    """Something a person has to look at."""

    __tablename__ = "incidents"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int | None = Field(default=None, sa_column=big(nullable=True))
    order_id: int | None = Field(default=None, sa_column=big(nullable=True))
    kind: str = Field(sa_column=words())
    message: str = Field(sa_column=words())
    details: Any = Field(default_factory=dict, sa_column=document())
    opened_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    closed_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    closed_by: str = Field(default="", sa_column=words(default=""))
    acknowledged_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    acknowledged_by: str = Field(default="", sa_column=words(default=""))
    note: str = Field(default="", sa_column=words(default=""))  # what the person who looked at it says
    key: str = Field(default="", sa_column=words(default=""))  # what it is about, where that can heal: then it closes


class KillSwitch(SQLModel, table=True):
    """A latched stop of a KillScope. Engaged while `released_at` is null; until then `action` only grows."""

    __tablename__ = "kill_switches"
    __table_args__ = SCHEMA
    scope: str = Field(sa_column=Column(Text, primary_key=True))
    scope_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    engaged_at: datetime = Field(sa_column=moment())
    engaged_by: str = Field(sa_column=words())
    reason: str = Field(sa_column=words())
    released_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    released_by: str = Field(default="", sa_column=words(default=""))
    release_reason: str = Field(default="", sa_column=words(default=""))
    action: str = Field(default=KillAction.HALT.value, sa_column=words(default=KillAction.HALT.value))
    until_order_id: int = Field(default=0, sa_column=big(default="0"))  # the newest order when `action` was chosen
    work: Any = Field(default_factory=dict, sa_column=document())  # what it has done: {"orders": [ids], "plans": [ids]}


class Replacement(SQLModel, table=True):
    """A person's wish to have another order in the place of one that works. The worker carries it out."""

    __tablename__ = "replacements"
    __table_args__ = (
        UniqueConstraint("account_id", "intent_key"),
        Index("replacements_waiting", "order_id", postgresql_where=text("state = 'WAITING'"), unique=True),
        SCHEMA,
    )
    id: int | None = Field(default=None, sa_column=identity_key())
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), nullable=False))
    order_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.orders.id"), nullable=False, index=True))
    intent_key: str = Field(sa_column=words())
    quantity: Decimal = Field(sa_column=amount())  # of both orders together, in base
    price: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    stop_price: Decimal | None = Field(default=None, sa_column=amount(nullable=True))
    state: str = Field(default=ReplacementState.WAITING.value, sa_column=words(default=ReplacementState.WAITING.value))
    new_order_id: int | None = Field(default=None, sa_column=big(nullable=True))
    reason: str = Field(default="", sa_column=words(default=""))
    requested_ms: int = Field(sa_column=big())  # exchange time


class RiskLimits(SQLModel, table=True):
    """Limits of one account, in its quote asset. A missing row means the defaults of `services.risk`."""

    __tablename__ = "risk_limits"
    __table_args__ = SCHEMA
    account_id: int = Field(sa_column=Column(BigInteger, ForeignKey("execution.accounts.id"), primary_key=True))
    max_order_notional: Decimal = Field(sa_column=amount())
    max_symbol_exposure: Decimal = Field(sa_column=amount())
    updated_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class Notice(SQLModel, table=True):
    """Something users are told, e.g. RECOVERY_COMPLETE. `user_id` null means everybody."""

    __tablename__ = "notices"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    user_id: int | None = Field(default=None, sa_column=big(nullable=True))
    kind: str = Field(sa_column=words())
    message: str = Field(sa_column=words())
    details: Any = Field(default_factory=dict, sa_column=document())
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))


class JobRun(SQLModel, table=True):
    """When each scheduled job last ran and how it ended."""

    __tablename__ = "job_runs"
    __table_args__ = SCHEMA
    name: str = Field(sa_column=Column(Text, primary_key=True))
    started_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))
    duration_ms: int | None = Field(default=None, sa_column=big(nullable=True))
    error: str = Field(default="", sa_column=words(default=""))
    runs: int = Field(default=0, sa_column=big(default="0"))
    failures: int = Field(default=0, sa_column=big(default="0"))


class PaperMarketRequest(SQLModel, table=True):
    """A user's wish for what the paper market of a symbol shows; the worker carries it out."""

    __tablename__ = "paper_market_requests"
    __table_args__ = SCHEMA
    id: int | None = Field(default=None, sa_column=identity_key())
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("auth.users.id"), nullable=False))
    symbol: str = Field(sa_column=words())
    source: str = Field(sa_column=words())  # replay | synthetic | mirror
    dataset_id: int | None = Field(default=None, sa_column=big(nullable=True))
    options: Any = Field(default_factory=dict, sa_column=document())  # start, loop, seed
    state: str = Field(default="REQUESTED", sa_column=words(default="REQUESTED"))  # REQUESTED | APPLIED | FAILED
    message: str = Field(default="", sa_column=words(default=""))
    created_at: datetime | None = Field(default=None, sa_column=moment(now=True))
    applied_at: datetime | None = Field(default=None, sa_column=moment(nullable=True))


class PaperMarket(SQLModel, table=True):
    """What the paper exchange last said about a symbol's market (`GET /paper/status`)."""

    __tablename__ = "paper_markets"
    __table_args__ = SCHEMA
    symbol: str = Field(sa_column=Column(Text, primary_key=True))
    venue: str = Field(sa_column=words())  # e.g. paper:3, the venue of its candles
    status: Any = Field(sa_column=document())
    seen_at: datetime = Field(sa_column=moment())
