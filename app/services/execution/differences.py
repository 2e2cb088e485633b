"""What differs between the exchange and our books, as its owner sees it, and what he asks for.

The web says what is wanted; the worker carries it out at its next look, which the request wakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.clock import to_datetime
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.models.execution import Account, AccountState
from app.models.reconciling import Difference, DifferenceKind, DifferenceState
from app.services.identity.audit import record
from app.services.ownership import owned_account

MOST_ROWS = 500
ADOPT, FLATTEN = "adopt", "flatten"
#: What coins that came from elsewhere are sold for.
QUOTE_ASSET = "USDT"


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """One difference. `words` says it in a sentence.

    `facts` of an order: symbol, side, type, quantity, price, filled, client_order_id, exchange_order_id; of a
    balance: asset, ours, exchange, difference (exchange − ours). Amounts are text. `looks` counts how often it was
    seen unchanged. `wanted` is what was asked for and is not done yet: adopt or flatten.
    """

    id: int
    account_id: int
    account_label: str
    kind: str  # DifferenceKind
    state: str  # DifferenceState
    facts: dict[str, Any]
    words: str
    looks: int
    first_seen_at: datetime
    last_seen_at: datetime
    wanted: str
    note: str
    closed_at: datetime | None
    closed_by: str


async def differences(
    session: AsyncSession,
    *,
    user_id: int | None,
    account_id: int | None = None,
    standing_only: bool = True,
    limit: int = 100,
) -> list[DifferenceView]:
    """Differences, newest first; `user_id` None is for admins and means everybody's."""
    statement = _joined().order_by(col(Difference.id).desc()).limit(max(1, min(limit, MOST_ROWS)))
    if user_id is not None:
        statement = statement.where(col(Account.user_id) == user_id)
    if account_id is not None:
        statement = statement.where(col(Difference.account_id) == account_id)
    if standing_only:
        statement = statement.where(col(Difference.closed_at).is_(None))
    return [_view(row, label) for row, label in (await session.execute(statement)).all()]


async def adopt_foreign_order(
    session: AsyncSession, *, user_id: int, actor: str, difference_id: int, now: datetime
) -> DifferenceView:
    """Take an order made elsewhere into our books: from then on it can be cancelled here, and its fills are ours.

    The worker does it within seconds. Raises NotFound; Conflict when it no longer stands or is not an order.
    """
    row = await _standing(session, user_id, difference_id)
    if row.kind != DifferenceKind.ORDER.value:
        raise Conflict("Only an order can be adopted; a balance is booked by itself once its difference stays.")
    return await _want(session, row, ADOPT, user_id=user_id, actor=actor, now=now)


async def book_difference(
    session: AsyncSession, *, user_id: int, actor: str, difference_id: int, now: datetime
) -> DifferenceView:
    """Book a difference of balances as come or gone elsewhere at the next look, without waiting until it has stayed.

    Raises NotFound; Conflict when it no longer stands or is an order.
    """
    row = await _standing(session, user_id, difference_id)
    if row.kind != DifferenceKind.BALANCE.value:
        raise Conflict("An order is adopted, not booked.")
    return await _want(session, row, ADOPT, user_id=user_id, actor=actor, now=now)


async def flatten_difference(
    session: AsyncSession, *, user_id: int, actor: str, difference_id: int, now: datetime
) -> DifferenceView:
    """Make it as if it had not been: an order is adopted and cancelled; coins that came are booked and sold at market.

    Raises NotFound; Conflict when it no longer stands, or when something went away, which nothing here brings back.
    """
    row = await _standing(session, user_id, difference_id)
    if row.kind == DifferenceKind.BALANCE.value:
        asset = row.facts.get("asset")
        if str(row.facts.get("difference", "")).startswith("-"):
            raise Conflict(f"{asset} has left the account; what is gone cannot be sold.")
        if asset == QUOTE_ASSET:
            raise Conflict(f"{asset} is what everything is sold for; there is nothing to sell it for.")
    return await _want(session, row, FLATTEN, user_id=user_id, actor=actor, now=now)


async def ignore_difference(
    session: AsyncSession, *, user_id: int, actor: str, difference_id: int, reason: str, now: datetime
) -> DifferenceView:
    """Say that it is in order: it is no longer counted as a difference until it changes, and never booked.

    Raises NotFound, Conflict when it no longer stands, InvalidInput without a reason.
    """
    reason = reason.strip()
    if not 3 <= len(reason) <= 300:
        raise InvalidInput("say why, in 3 to 300 characters", field="reason")
    row = await _standing(session, user_id, difference_id)
    row.state, row.wanted, row.wanted_by, row.note = DifferenceState.IGNORED.value, "", actor, reason
    return await _done(session, row, "ignored", user_id=user_id, actor=actor, now=now)


async def request_reconciliation(
    session: AsyncSession, *, user_id: int | None = None, account_id: int | None = None
) -> int:
    """Ask the worker to compare accounts with the exchange now, history of 24 hours included; returns how many.

    One account of the user, all of his (`account_id` None), or everybody's (`user_id` None too: for admins).
    Raises NotFound for another's account, Conflict when it has none that can be compared.
    """
    if user_id is not None and account_id is not None:
        await owned_account(session, user_id=user_id, account_id=account_id)
    statement = update(Account).where(
        col(Account.state).in_([AccountState.ACTIVE.value, AccountState.RECOVERING.value])
    )
    if user_id is not None:
        statement = statement.where(col(Account.user_id) == user_id)
    if account_id is not None:
        statement = statement.where(col(Account.id) == account_id)
    asked = statement.values(reconcile_requested_at=func.now()).returning(col(Account.id))
    found = (await session.execute(asked)).all()
    if not found and user_id is not None:
        raise Conflict("There is no active account to compare.")
    await wake_worker(session, "reconcile")
    return len(found)


def difference_words(kind: str, facts: dict[str, Any]) -> str:
    """A difference in a sentence."""
    if kind == DifferenceKind.ORDER.value:
        size = f"{facts.get('quantity', '')} {facts.get('symbol', '')}".strip()
        price = facts.get("price", "0")
        at = "" if price in ("0", "") else f" at {price}"
        return f"An order made elsewhere is open: {str(facts.get('side', '')).lower()} {size}{at}.".replace("  ", " ")
    return (
        f"The exchange holds {facts.get('exchange')} {facts.get('asset')}, our books say {facts.get('ours')}:"
        f" a difference of {facts.get('difference')}."
    )


async def _standing(session: AsyncSession, user_id: int, difference_id: int) -> Difference:
    """The user's difference, locked. Raises NotFound, Conflict when it is closed."""
    mine = select(col(Account.id)).where(col(Account.user_id) == user_id)
    statement = (
        select(Difference)
        .where(col(Difference.id) == difference_id, col(Difference.account_id).in_(mine))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"There is no difference {difference_id}.")
    if row.closed_at is not None:
        raise Conflict("This difference no longer stands.")
    return row


async def _want(
    session: AsyncSession, row: Difference, wanted: str, *, user_id: int, actor: str, now: datetime
) -> DifferenceView:
    row.wanted, row.wanted_by = wanted, actor
    await request_reconciliation(session, user_id=user_id, account_id=row.account_id)
    return await _done(session, row, wanted, user_id=user_id, actor=actor, now=now)


async def _done(
    session: AsyncSession, row: Difference, what: str, *, user_id: int, actor: str, now: datetime
) -> DifferenceView:
    await session.flush()
    await tell_browsers(session, "account", row.account_id, user_id=user_id)
    found = (await session.execute(_joined().where(col(Difference.id) == row.id))).one()
    view = _view(found[0], found[1])
    await record(
        session,
        actor=actor,
        action=f"reconciliation.{what}_asked" if what != "ignored" else "reconciliation.ignored",
        object=f"account:{row.account_id}",
        details={"difference": row.id, "what": view.words, "note": row.note},
        now=now,
    )
    return view


def _joined() -> Select[Difference, str]:
    return (
        select(Difference, col(Account.label))
        .join(Account, col(Account.id) == col(Difference.account_id))
        .execution_options(populate_existing=True)
    )


def _view(row: Difference, label: str) -> DifferenceView:
    facts = dict(row.facts or {})
    return DifferenceView(
        id=row.id or 0,
        account_id=row.account_id,
        account_label=label,
        kind=row.kind,
        state=row.state,
        facts=facts,
        words=difference_words(row.kind, facts),
        looks=row.looks,
        first_seen_at=to_datetime(row.first_seen_ms),
        last_seen_at=to_datetime(row.last_seen_ms),
        wanted=row.wanted,
        note=row.note,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
    )
