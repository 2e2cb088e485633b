"""What protects a position, part by part, as it may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.orders import FINAL, Order, OrderRole, OrderStatus, Side
from app.models.execution import Account, OrderRow
from app.services.execution.protection import Working, role_of, working_parts
from app.services.execution.rows import order_of

_UNFINISHED = [s.value for s in OrderStatus if s not in FINAL]
_SOLD = {OrderRole.STOP: "sold by stop", OrderRole.TARGET: "sold at target", OrderRole.EXIT: "sold at market"}


@dataclass(frozen=True, slots=True)
class PartView:
    """Coins of a position that are protected, or were sold, as one."""

    quantity: Decimal
    stop_price: Decimal | None
    target_price: Decimal | None
    state: str  # in words
    rests: bool  # its orders are confirmed on the exchange and nothing is about to change them
    order_ids: tuple[int, ...]


async def plan_parts(session: AsyncSession, *, user_id: int, plan_id: int) -> list[PartView]:
    """The parts of one of the user's plans: what has been sold first, then what works, oldest first."""
    mine = select(col(Account.id)).where(col(Account.user_id) == user_id)
    statement = select(OrderRow).where(
        col(OrderRow.account_id).in_(mine),
        col(OrderRow.plan_id) == plan_id,
        col(OrderRow.side) == Side.SELL.value,
        or_(col(OrderRow.status).in_(_UNFINISHED), col(OrderRow.filled) > 0),
    )
    found = await session.execute(statement.order_by(col(OrderRow.id)).execution_options(populate_existing=True))
    sells = [order_of(row) for row in found.scalars()]
    sold = [_sold(order) for order in sells if order.filled > 0]
    leaving = [_leaving(o) for o in sells if o.status not in FINAL and role_of(o) is OrderRole.EXIT]
    return sold + [_working(one) for one in working_parts(sells)] + leaving


def _sold(order: Order) -> PartView:
    return PartView(order.filled, order.stop_price, order.price, _SOLD[role_of(order)], False, (order.id,))


def _working(one: Working) -> PartView:
    state = "rests" if one.rests else "on its way"
    if one.is_canceling:
        state = "taken back"
    ids = tuple(order.id for order in one.orders)
    return PartView(one.part.quantity, one.part.stop_price, one.part.target_price, state, one.rests, ids)


def _leaving(order: Order) -> PartView:
    left = (order.quantity or order.filled) - order.filled
    return PartView(left, None, None, "being sold", False, (order.id,))
