"""The execution service. What the rest of the platform may use is here; the modules inside are its own.

Orders are placed by committing an intent (T1) which the worker sends; nothing here talks to an exchange.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from app.database.hints import UI_CHANNEL, WORK_CHANNEL
from app.domain.clock import Clock, CorrectedClock, Ids
from app.domain.errors import Unavailable
from app.domain.orders import EventSource, Order
from app.services.execution.accounts import (
    AccountView,
    get_account,
    list_accounts,
    request_paper_account,
    request_unfreeze,
)
from app.services.execution.differences import (
    DifferenceView,
    adopt_foreign_order,
    book_difference,
    differences,
    flatten_difference,
    ignore_difference,
    request_reconciliation,
)
from app.services.execution.exchange_accounts import (
    LiveConsent,
    NewKey,
    bring_api_key,
    check_key_again,
    replace_key,
    request_exchange_account,
    want_account,
)
from app.services.execution.health import ServiceHealth, service_health
from app.services.execution.incidents import IncidentView, acknowledge_incident, close_incident, incidents
from app.services.execution.intents import BY_HAND, OrderDraft, commit_intent, describe, request_cancel
from app.services.execution.kill_switch import (
    DeedView,
    KillSwitchView,
    ProgressView,
    engage_kill_switch,
    kill_switch_drill,
    kill_switch_progress,
    kill_switches,
    release_kill_switch,
)
from app.services.execution.mass_cancel import CancelAllView, cancel_all_orders
from app.services.execution.plan_views import PartView, plan_parts
from app.services.execution.replace import request_replacement
from app.services.execution.store_postgres import PostgresTransaction
from app.services.execution.store_switches import ReplacementRecord
from app.services.execution.views import (
    BookedFill,
    JobView,
    NoticeView,
    OrderDetail,
    OrderEvent,
    PassView,
    job_runs,
    list_fills,
    list_orders,
    notices,
    order_detail,
    reconciliation_passes,
)
from app.services.ownership import owned_account
from app.services.real_money import refuse_unconfirmed
from app.services.risk.checks import STALE_PRICE_MS

__all__ = [
    "UI_CHANNEL",
    "WORK_CHANNEL",
    "AccountView",
    "BookedFill",
    "CancelAllView",
    "DeedView",
    "DifferenceView",
    "IncidentView",
    "JobView",
    "KillSwitchView",
    "LiveConsent",
    "NewKey",
    "NoticeView",
    "OrderDetail",
    "OrderDraft",
    "OrderEvent",
    "PartView",
    "PassView",
    "ProgressView",
    "ReplacementRecord",
    "ServiceHealth",
    "acknowledge_incident",
    "adopt_foreign_order",
    "book_difference",
    "bring_api_key",
    "cancel_all_orders",
    "cancel_order",
    "check_key_again",
    "close_incident",
    "describe",
    "differences",
    "engage_kill_switch",
    "flatten_difference",
    "get_account",
    "ignore_difference",
    "incidents",
    "job_runs",
    "kill_switch_drill",
    "kill_switch_progress",
    "kill_switches",
    "list_accounts",
    "list_fills",
    "list_orders",
    "notices",
    "order_detail",
    "place_order",
    "plan_parts",
    "reconciliation_passes",
    "release_kill_switch",
    "replace_key",
    "replace_order",
    "request_exchange_account",
    "request_paper_account",
    "request_reconciliation",
    "request_unfreeze",
    "service_health",
    "want_account",
]


async def place_order(
    session: AsyncSession,
    *,
    user_id: int,
    draft: OrderDraft,
    intent_key: str,
    clock: Clock,
    ids: Ids,
    confirm_live: bool = False,
    stale_price_ms: int = STALE_PRICE_MS,
) -> Order:
    """T1 of a person's order, in the caller's transaction. The same `intent_key` gives the same order.

    A risk refusal is an order with status REJECTED. Raises InvalidInput (field named; confirm_live on a live account
    where it was not said), NotFound, Conflict, Unavailable (service not healthy, no price yet).
    """
    account = await owned_account(session, user_id=user_id, account_id=draft.account_id)
    refuse_unconfirmed(account.kind, account.label, confirm_live=confirm_live, does="order trades real money")
    health = await service_health(session, now=datetime.fromtimestamp(clock.now_ms() / 1000, UTC))
    if not health.ok:
        raise Unavailable(f"no new orders are accepted now: {health.reason or health.state.lower()}")
    # The worker measures the offset to the exchange; the web process has none of its own.
    corrected = CorrectedClock(clock, health.clock_offset_ms or 0)
    tx = PostgresTransaction(session)
    return await commit_intent(
        tx,
        draft,
        intent_key=intent_key,
        owner=BY_HAND,
        user_id=user_id,
        clock=corrected,
        ids=ids,
        stale_price_ms=stale_price_ms,
    )


async def cancel_order(session: AsyncSession, *, user_id: int, order_id: int, clock: Clock) -> Order:
    """Ask for an order's cancellation. Raises NotFound; Conflict when it is already final."""
    tx = PostgresTransaction(session)
    return await request_cancel(tx, order_id, source=EventSource.USER, clock=clock, user_id=user_id)


async def replace_order(
    session: AsyncSession,
    *,
    user_id: int,
    order_id: int,
    intent_key: str,
    price: Decimal | None = None,
    stop_price: Decimal | None = None,
    quantity: Decimal | None = None,
    clock: Clock,
) -> ReplacementRecord:
    """Have another order in the place of one that works, once the old one is confirmed gone.

    `quantity` is what both together shall fill. The same `intent_key` gives the same replacement. Raises NotFound,
    InvalidInput naming the field, Conflict when it cannot be replaced, Unavailable while nothing can be placed.
    """
    health = await service_health(session, now=datetime.fromtimestamp(clock.now_ms() / 1000, UTC))
    if not health.ok:
        raise Unavailable(f"no new orders are accepted now: {health.reason or health.state.lower()}")
    return await request_replacement(
        PostgresTransaction(session),
        order_id,
        user_id=user_id,
        intent_key=intent_key,
        price=price,
        stop_price=stop_price,
        quantity=quantity,
        clock=CorrectedClock(clock, health.clock_offset_ms or 0),
    )
