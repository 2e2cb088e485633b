"""What may be shown of orders, fills, reconciliation and incidents: reads only, each scoped to a user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import NotFound
from app.domain.orders import FINAL, Order, OrderStatus
from app.models.execution import (
    Account,
    FillRow,
    JobRun,
    Notice,
    OrderEventRow,
    OrderRow,
    ReconciliationPass,
)
from app.services.execution.rows import order_of
from app.services.execution.story import story
from app.services.execution.words import event_words

MOST_ROWS = 500
_UNFINISHED = [s.value for s in OrderStatus if s not in FINAL]


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One event of an order's timeline; `words` is the sentence for it."""

    seq: int
    kind: str
    from_status: str | None
    to_status: str
    source: str
    payload: dict[str, Any]
    occurred_at: datetime
    recorded_at: datetime
    words: str


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A trade in our books."""

    account_id: int
    order_id: int
    run_id: int | None
    symbol: str
    side: str
    trade_id: int
    quantity: Decimal
    price: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_maker: bool
    traded_at: datetime


@dataclass(frozen=True, slots=True)
class OrderDetail:
    """An order with everything that happened to it."""

    order: Order
    events: list[OrderEvent]
    fills: list[BookedFill]
    account_label: str
    account_kind: str = ""
    story: str = ""  # its life in one sentence


@dataclass(frozen=True, slots=True)
class PassView:
    """Result of one reconciliation of one account."""

    id: int
    account_id: int
    account_label: str
    trigger: str
    started_at: datetime
    finished_at: datetime
    checked: int
    repaired: int
    unresolved: int
    agrees: bool
    differences: list[dict[str, Any]]
    error: str
    covered: list[str]  # what it compared: orders, trades, balances; `agrees` is only said of orders and balances


@dataclass(frozen=True, slots=True)
class NoticeView:
    """Something users are told."""

    id: int
    kind: str
    message: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobView:
    """When a scheduled job last ran and how it ended."""

    name: str
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    error: str
    runs: int
    failures: int


async def list_orders(
    session: AsyncSession,
    *,
    user_id: int,
    account_id: int | None = None,
    symbol: str | None = None,
    open_only: bool = False,
    run_id: int | None = None,
    limit: int = 50,
    before_id: int | None = None,
) -> list[Order]:
    """The user's orders, newest first."""
    statement = _of_user(select(OrderRow), col(OrderRow.account_id), user_id)
    if account_id is not None:
        statement = statement.where(col(OrderRow.account_id) == account_id)
    if symbol:
        statement = statement.where(col(OrderRow.symbol) == symbol)
    if open_only:
        statement = statement.where(col(OrderRow.status).in_(_UNFINISHED))
    if run_id is not None:
        statement = statement.where(col(OrderRow.run_id) == run_id)
    if before_id is not None:
        statement = statement.where(col(OrderRow.id) < before_id)
    statement = statement.order_by(col(OrderRow.id).desc()).limit(_bounded(limit))
    return [order_of(row) for row in (await session.execute(statement)).scalars()]


async def order_detail(session: AsyncSession, *, user_id: int, order_id: int) -> OrderDetail:
    """One order with its events and fills. Raises NotFound."""
    statement = _of_user(select(OrderRow), col(OrderRow.account_id), user_id).where(col(OrderRow.id) == order_id)
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"there is no order {order_id}")
    events = select(OrderEventRow).where(col(OrderEventRow.order_id) == order_id).order_by(col(OrderEventRow.seq))
    account = await session.get(Account, row.account_id)
    told = [_event(e) for e in (await session.execute(events)).scalars()]
    return OrderDetail(
        order=order_of(row),
        events=told,
        fills=await list_fills(session, user_id=user_id, order_id=order_id, limit=MOST_ROWS),
        account_label=account.label if account else "",
        account_kind=account.kind if account else "",
        story=story(told),
    )


async def list_fills(
    session: AsyncSession,
    *,
    user_id: int,
    account_id: int | None = None,
    order_id: int | None = None,
    run_id: int | None = None,
    limit: int = 50,
    before: datetime | None = None,
) -> list[BookedFill]:
    """The user's fills, newest first by the exchange's time."""
    statement = _of_user(select(FillRow), col(FillRow.account_id), user_id)
    if account_id is not None:
        statement = statement.where(col(FillRow.account_id) == account_id)
    if order_id is not None:
        statement = statement.where(col(FillRow.order_id) == order_id)
    if run_id is not None:
        statement = statement.where(col(FillRow.run_id) == run_id)
    if before is not None:
        statement = statement.where(col(FillRow.traded_at) < before)
    newest = (col(FillRow.traded_at).desc(), col(FillRow.trade_id).desc())
    found = await session.execute(statement.order_by(*newest).limit(_bounded(limit)))
    names = BookedFill.__dataclass_fields__
    return [BookedFill(**{name: getattr(row, name) for name in names}) for row in found.scalars()]


async def reconciliation_passes(
    session: AsyncSession, *, user_id: int | None, account_id: int | None = None, limit: int = 50
) -> list[PassView]:
    """Newest reconciliation results; `user_id` None is for admins and means everybody's."""
    statement = select(ReconciliationPass, col(Account.label)).join(
        Account, col(Account.id) == col(ReconciliationPass.account_id)
    )
    if user_id is not None:
        statement = statement.where(col(Account.user_id) == user_id)
    if account_id is not None:
        statement = statement.where(col(ReconciliationPass.account_id) == account_id)
    statement = statement.order_by(col(ReconciliationPass.id).desc()).limit(_bounded(limit))
    names = [name for name in PassView.__dataclass_fields__ if name != "account_label"]
    return [
        PassView(**{name: getattr(row, name) for name in names}, account_label=label)
        for row, label in (await session.execute(statement)).all()
    ]


async def notices(session: AsyncSession, *, user_id: int, limit: int = 20) -> list[NoticeView]:
    """What this user and everybody was told, newest first."""
    statement = select(Notice).where((col(Notice.user_id) == user_id) | col(Notice.user_id).is_(None))
    statement = statement.order_by(col(Notice.id).desc()).limit(_bounded(limit))
    found = (await session.execute(statement)).scalars()
    return [NoticeView(row.id or 0, row.kind, row.message, row.created_at) for row in found]


async def job_runs(session: AsyncSession) -> list[JobView]:
    """Every scheduled job by name."""
    found = (await session.execute(select(JobRun).order_by(col(JobRun.name)))).scalars()
    names = JobView.__dataclass_fields__
    return [JobView(**{name: getattr(row, name) for name in names}) for row in found]


def _event(row: OrderEventRow) -> OrderEvent:
    return OrderEvent(
        seq=row.seq,
        kind=row.kind,
        from_status=row.from_status,
        to_status=row.to_status,
        source=row.source,
        payload=dict(row.payload or {}),
        occurred_at=row.occurred_at,
        recorded_at=row.recorded_at or row.occurred_at,
        words=event_words(row.kind, row.source, row.from_status, row.to_status, dict(row.payload or {})),
    )


def _of_user(statement: Select[Any], account_column: Any, user_id: int) -> Select[Any]:
    return statement.where(account_column.in_(select(col(Account.id)).where(col(Account.user_id) == user_id)))


def _bounded(limit: int) -> int:
    return max(1, min(limit, MOST_ROWS))
