"""An account's equity at each UTC hour, stored with the balances and prices it was made of.

An hour that was missed stays missing: nothing is invented afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.money import plain
from app.models.execution import Account
from app.models.portfolio import Balance, EquitySnapshot
from app.services.market.prices import PriceView, prices
from app.services.ownership import owned_account
from app.services.portfolio.views import QUOTE_ASSET, valuation


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """Equity at an hour, in `quote_asset`; None: something held had no price then."""

    hour_at: datetime
    quote_asset: str
    equity: Decimal | None
    taken_at: datetime | None


async def take_snapshots(session: AsyncSession, *, now: datetime) -> int:
    """Store the present hour's snapshot of every account that holds or held something. Returns how many are new.

    Called again within the hour it stores nothing: the first one stands.
    """
    hour_at = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    query = (
        select(col(Balance.account_id), col(Account.kind), col(Balance.asset), col(Balance.total))
        .join(Account, col(Account.id) == col(Balance.account_id))
        .order_by(col(Balance.account_id), col(Balance.asset))
    )
    totals: dict[tuple[int, str], dict[str, Decimal]] = defaultdict(dict)
    for account_id, kind, asset, total in (await session.execute(query)).all():
        totals[account_id, kind][asset] = total
    known = {kind: await prices(session, kind=kind) for kind in {kind for _, kind in totals}}
    taken = 0
    for (account_id, kind), held in totals.items():
        values = _values(held, known[kind])
        statement = insert(EquitySnapshot).values(account_id=account_id, hour_at=hour_at, taken_at=now, **values)
        done = await session.execute(statement.on_conflict_do_nothing().returning(col(EquitySnapshot.account_id)))
        taken += len(done.all())
    return taken


async def snapshots(session: AsyncSession, *, user_id: int, account_id: int, since: datetime) -> list[SnapshotView]:
    """Snapshots of the user's account from `since` on, oldest first. Raises NotFound for another's account."""
    await owned_account(session, user_id=user_id, account_id=account_id)
    query = (
        select(EquitySnapshot)
        .where(col(EquitySnapshot.account_id) == account_id, col(EquitySnapshot.hour_at) >= since)
        .order_by(col(EquitySnapshot.hour_at))
    )
    rows = (await session.execute(query)).scalars()
    return [SnapshotView(row.hour_at, row.quote_asset, row.equity, row.taken_at) for row in rows]


def _values(held: dict[str, Decimal], known: dict[str, PriceView]) -> dict[str, object]:
    worth = valuation(held, known, QUOTE_ASSET)
    return {
        "quote_asset": QUOTE_ASSET,
        "equity": worth.equity,
        "balances": {asset: plain(total) for asset, total in held.items()},
        "prices": {
            symbol: {"price": plain(price.price), "priced_at": price.priced_at.isoformat()}
            for symbol, price in worth.used.items()
        },
    }
