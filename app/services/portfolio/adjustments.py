"""Changes of balances that are no fills of ours: opening balances, trades made outside, deposits, withdrawals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.models.portfolio import AdjustmentKind, BalanceAdjustment
from app.services.ownership import owned_account

MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class AdjustmentView:
    """One change of one asset. `reason` is a sentence; `occurred_at` is the exchange's time, where it is known."""

    id: int
    account_id: int
    kind: str  # AdjustmentKind
    asset: str
    change: Decimal
    reason: str
    reference: str | None  # trade:BTCUSDT:123 for a trade made outside
    occurred_at: datetime | None
    recorded_at: datetime | None


async def external_adjustments(
    session: AsyncSession,
    *,
    user_id: int,
    account_id: int,
    with_opening: bool = False,
    limit: int = 100,
    before_id: int | None = None,
) -> list[AdjustmentView]:
    """What happened to the user's account outside of Plumbline, newest first. Raises NotFound for another's."""
    await owned_account(session, user_id=user_id, account_id=account_id)
    when = func.coalesce(col(BalanceAdjustment.occurred_at), col(BalanceAdjustment.recorded_at))
    statement = select(BalanceAdjustment).where(col(BalanceAdjustment.account_id) == account_id)
    if not with_opening:
        statement = statement.where(col(BalanceAdjustment.kind) != AdjustmentKind.OPENING.value)
    if before_id is not None:
        statement = statement.where(col(BalanceAdjustment.id) < before_id)
    statement = statement.order_by(when.desc(), col(BalanceAdjustment.id).desc()).limit(max(1, min(limit, MOST_ROWS)))
    names = AdjustmentView.__dataclass_fields__
    found = (await session.execute(statement)).scalars()
    return [AdjustmentView(**{name: getattr(row, name) for name in names}) for row in found]
