"""The execution service. What the rest of the platform may use is here; the modules inside are its own.

Orders are placed by committing an intent (T1) which the worker sends; nothing here talks to an exchange.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.database.hints import UI_CHANNEL, WORK_CHANNEL
from app.domain.clock import Clock, CorrectedClock, Ids
from app.domain.errors import Unavailable
from app.domain.orders import EventSource, Order
from app.services.execution.accounts import AccountView, get_account, list_accounts, request_paper_account
from app.services.execution.differences import (
    DifferenceView,
    adopt_foreign_order,
    differences,
    flatten_difference,
    ignore_difference,
    request_reconciliation,
)
from app.services.execution.health import ServiceHealth, service_health
from app.services.execution.intents import BY_HAND, OrderDraft, commit_intent, describe, request_cancel
from app.services.execution.kill_switch import (
    KillSwitchView,
    engage_kill_switch,
    kill_switches,
    release_kill_switch,
)
from app.services.execution.store_postgres import PostgresTransaction
from app.services.execution.views import (
    BookedFill,
    IncidentView,
    JobView,
    NoticeView,
    OrderDetail,
    OrderEvent,
    PassView,
    incidents,
    job_runs,
    list_fills,
    list_orders,
    notices,
    order_detail,
    reconciliation_passes,
)

__all__ = [
    "UI_CHANNEL",
    "WORK_CHANNEL",
    "AccountView",
    "BookedFill",
    "DifferenceView",
    "IncidentView",
    "JobView",
    "KillSwitchView",
    "NoticeView",
    "OrderDetail",
    "OrderDraft",
    "OrderEvent",
    "PassView",
    "ServiceHealth",
    "adopt_foreign_order",
    "cancel_order",
    "describe",
    "differences",
    "engage_kill_switch",
    "flatten_difference",
    "get_account",
    "ignore_difference",
    "incidents",
    "job_runs",
    "kill_switches",
    "list_accounts",
    "list_fills",
    "list_orders",
    "notices",
    "order_detail",
    "place_order",
    "reconciliation_passes",
    "release_kill_switch",
    "request_paper_account",
    "request_reconciliation",
    "service_health",
]


async def place_order(
    session: AsyncSession, *, user_id: int, draft: OrderDraft, intent_key: str, clock: Clock, ids: Ids
) -> Order:
    """T1 of a person's order, in the caller's transaction. The same `intent_key` gives the same order.

    A risk refusal is an order with status REJECTED. Raises InvalidInput (field named), NotFound, Conflict,
    Unavailable (service not healthy, no price yet).
    """
    health = await service_health(session, now=datetime.fromtimestamp(clock.now_ms() / 1000, UTC))
    if not health.ok:
        raise Unavailable(f"no new orders are accepted now: {health.reason or health.state.lower()}")
    # The worker measures the offset to the exchange; the web process has none of its own.
    corrected = CorrectedClock(clock, health.clock_offset_ms or 0)
    tx = PostgresTransaction(session)
    return await commit_intent(
        tx, draft, intent_key=intent_key, owner=BY_HAND, user_id=user_id, clock=corrected, ids=ids
    )


async def cancel_order(session: AsyncSession, *, user_id: int, order_id: int, clock: Clock) -> Order:
    """Ask for an order's cancellation. Raises NotFound; Conflict when it is already final."""
    tx = PostgresTransaction(session)
    return await request_cancel(tx, order_id, source=EventSource.USER, clock=clock, user_id=user_id)
