"""Cancel everything that works on an account, for its owner: one act, nothing engaged."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.clock import Clock
from app.domain.orders import FINAL, EventSource
from app.models.execution import KillAction, KillScope
from app.services.execution import kill_action
from app.services.execution.intents import request_cancel
from app.services.execution.kill_action import Deed, DeedKind
from app.services.execution.store_postgres import PostgresTransaction
from app.services.ownership import owned_account


@dataclass(frozen=True, slots=True)
class CancelAllView:
    """The ids of the orders whose cancellation was decided, and in words what stays as it is, and why."""

    cancelled: list[int]
    kept: list[str]


async def cancel_all_orders(
    session: AsyncSession,
    *,
    user_id: int,
    account_id: int,
    symbol: str | None = None,
    include_stops: bool = False,
    clock: Clock,
) -> CancelAllView:
    """Decide to cancel every working order of the user's account, of one symbol where it is named.

    What protects a run's position always stays; stops placed by hand stay unless `include_stops`. What was not sent
    yet ends at once, the rest once the exchange confirms. Raises NotFound.
    """
    await owned_account(session, user_id=user_id, account_id=account_id)
    tx = PostgresTransaction(session)
    facts = await kill_action.facts_of(tx, await tx.scope(KillScope.ACCOUNT.value, account_id), clock=clock)
    deeds = [d for d in kill_action.decide(KillAction.CANCEL_ALL, facts) if symbol in (None, _symbol(d))]
    cancelled, kept = [], []
    for deed in deeds:
        if deed.order is None or not (deed.kind is DeedKind.CANCEL or (include_stops and _is_hand_stop(deed))):
            kept.append(deed.words)
            continue
        order = await tx.order(deed.order.id)
        if order is not None and order.status not in FINAL:
            await request_cancel(tx, order.id, source=EventSource.USER, clock=clock, reason="cancel all")
            cancelled.append(order.id)
    return CancelAllView(cancelled, kept)


def _is_hand_stop(deed: Deed) -> bool:
    return deed.order is not None and deed.kind is DeedKind.KEEP and kill_action.is_stop(deed.order)


def _symbol(deed: Deed) -> str | None:
    about = deed.order or deed.plan
    return about.symbol if about else None
