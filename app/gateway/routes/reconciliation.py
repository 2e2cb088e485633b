"""Whether our books agree with the exchange, what differs, and what its owner wants done about it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.clock import to_datetime
from app.domain.errors import NotAllowed
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import Body, Id, Limit, PathId, QueryId, to_json
from app.services import execution
from app.services.identity.audit import audited

router = APIRouter(prefix="/api/v1", tags=["reconciliation"])


class CompareBody(Body):
    """Which accounts to compare: one, all of yours, or (admins) everybody's."""

    account_id: Id | None = None
    everybody: bool = False


class WhyBody(Body):
    """Why it is in order."""

    reason: Annotated[str, Field(max_length=300)]


@router.get("/reconciliation")
async def passes(caller: SignedIn, services: Services, account_id: QueryId = None, limit: Limit = 50) -> Json:
    """Newest comparisons of your accounts, and since when each one's books agree with the exchange."""
    async with services.sessions.begin() as session:
        accounts = await execution.list_accounts(session, user_id=caller.user_id)
        found = await execution.reconciliation_passes(
            session, user_id=caller.user_id, account_id=account_id, limit=limit
        )
    agree = [{"account_id": one.id, "label": one.label, "books_agree_at": one.books_agree_at} for one in accounts]
    return {"accounts": to_json(agree), "passes": to_json(found)}


@router.post("/reconciliation", status_code=202)
async def compare(body: CompareBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Have accounts compared with the exchange now, the history of 24 hours included."""

    async def work(session: AsyncSession) -> Answer:
        if body.everybody and not (caller.viewer and caller.viewer.is_admin):
            raise NotAllowed("Only an admin may have everybody's accounts compared.")
        whose = None if body.everybody else caller.user_id
        asked = await execution.request_reconciliation(session, user_id=whose, account_id=body.account_id)
        what = f"account:{body.account_id}" if body.account_id else ""
        await audited(session, caller, "reconciliation.requested", object=what, clock=services.clock)
        return Answer(202, {"accounts": asked})

    return await once.run(caller, body, work)


@router.get("/differences")
async def differences(
    caller: SignedIn, services: Services, account_id: QueryId = None, standing_only: bool = True, limit: Limit = 50
) -> Json:
    """What the exchange has and our books have not, or the other way round."""
    async with services.sessions.begin() as session:
        found = await execution.differences(
            session, user_id=caller.user_id, account_id=account_id, standing_only=standing_only, limit=limit
        )
    return {"differences": to_json(found)}


@router.post("/differences/{difference_id}/adopt")
async def adopt(difference_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Take an order made elsewhere into our books; then it can be cancelled here."""

    async def work(session: AsyncSession) -> Answer:
        now = to_datetime(services.clock.now_ms())
        done = await execution.adopt_foreign_order(
            session, user_id=caller.user_id, actor=caller.actor, difference_id=difference_id, now=now
        )
        return Answer(200, to_json(done))

    return await once.run(caller, None, work)


@router.post("/differences/{difference_id}/flatten")
async def flatten(difference_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Cancel an order made elsewhere, or sell coins that came from elsewhere."""

    async def work(session: AsyncSession) -> Answer:
        now = to_datetime(services.clock.now_ms())
        done = await execution.flatten_difference(
            session, user_id=caller.user_id, actor=caller.actor, difference_id=difference_id, now=now
        )
        return Answer(200, to_json(done))

    return await once.run(caller, None, work)


@router.post("/differences/{difference_id}/ignore")
async def ignore(
    difference_id: PathId, body: WhyBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Say that it is in order, and why: it is not counted as a difference until it changes."""

    async def work(session: AsyncSession) -> Answer:
        done = await execution.ignore_difference(
            session,
            user_id=caller.user_id,
            actor=caller.actor,
            difference_id=difference_id,
            reason=body.reason,
            now=to_datetime(services.clock.now_ms()),
        )
        return Answer(200, to_json(done))

    return await once.run(caller, body, work)
