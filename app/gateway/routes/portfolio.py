"""What an account holds and is worth."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.domain.clock import to_datetime
from app.gateway.deps import Json, Services, SignedIn
from app.gateway.wire import MAX_ID, to_json
from app.services.portfolio.snapshots import snapshots
from app.services.portfolio.views import portfolio_of

router = APIRouter(prefix="/api/v1", tags=["portfolio"])

AccountId = Annotated[int, Query(ge=1, le=MAX_ID)]


@router.get("/portfolio")
async def portfolio(caller: SignedIn, services: Services, account_id: AccountId) -> Json:
    """Balances, positions and PnL at the newest prices; `as_of` is the time of the oldest price that went in."""
    now = to_datetime(services.clock.now_ms())
    async with services.sessions.begin() as session:
        found = await portfolio_of(session, user_id=caller.user_id, account_id=account_id, now=now)
    return {"portfolio": to_json(found)}


@router.get("/portfolio/history")
async def history(
    caller: SignedIn,
    services: Services,
    account_id: AccountId,
    hours: Annotated[int, Query(ge=1, le=24 * 366)] = 168,
) -> Json:
    """Hourly equity, oldest first. Hours that were missed are not invented."""
    since = to_datetime(services.clock.now_ms()) - timedelta(hours=hours)
    async with services.sessions.begin() as session:
        found = await snapshots(session, user_id=caller.user_id, account_id=account_id, since=since)
    return {"snapshots": to_json(found)}
