"""Limits of an account, in its quote asset.

An account without a row of its own has `DEFAULT_LIMITS`: 100,000 an order, 250,000 a symbol.
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.money import parse_amount
from app.models.execution import RiskLimits
from app.services.ownership import owned_account
from app.services.risk.checks import DEFAULT_LIMITS, Limits

__all__ = ["DEFAULT_LIMITS", "Limits", "limits_of", "set_limits"]


async def limits_of(session: AsyncSession, account_id: int) -> Limits:
    """The limits in force for an account: its own, else the defaults."""
    row = await session.get(RiskLimits, account_id, populate_existing=True)
    return DEFAULT_LIMITS if row is None else Limits(row.max_order_notional, row.max_symbol_exposure)


async def set_limits(
    session: AsyncSession, *, user_id: int, account_id: int, max_order_notional: Decimal, max_symbol_exposure: Decimal
) -> Limits:
    """Set both limits (quote, above zero) of the user's account; they hold from the next order on.

    Raises NotFound for another's account, InvalidAmount naming the field.
    """
    await owned_account(session, user_id=user_id, account_id=account_id)
    limits = Limits(
        parse_amount(max_order_notional, field="max_order_notional", positive=True),
        parse_amount(max_symbol_exposure, field="max_symbol_exposure", positive=True),
    )
    values = {
        "max_order_notional": limits.max_order_notional,
        "max_symbol_exposure": limits.max_symbol_exposure,
        "updated_at": func.now(),
    }
    statement = insert(RiskLimits).values(account_id=account_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))
    return limits
