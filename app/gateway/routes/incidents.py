"""What a person has to look at, and an account that is to be trusted again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import Body, Limit, PathId, to_json
from app.services import execution

router = APIRouter(prefix="/api/v1", tags=["incidents"])


class NoteBody(Body):
    """What the person who looked at it says."""

    note: Annotated[str, Field(max_length=500)] = ""


@router.get("/incidents")
async def incidents(caller: SignedIn, services: Services, open_only: bool = True, limit: Limit = 50) -> Json:
    """Incidents of your accounts, newest first, with what each means and what to do. Admins see everybody's."""
    is_admin = caller.viewer is not None and caller.viewer.is_admin
    async with services.sessions.begin() as session:
        whose = None if is_admin else caller.user_id
        found = await execution.incidents(session, user_id=whose, open_only=open_only, limit=limit)
    return {"incidents": to_json(found)}


@router.post("/incidents/{incident_id}/acknowledge")
async def acknowledge(
    incident_id: PathId, body: NoteBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Say that somebody looks at it; it stays open."""

    async def work(session: AsyncSession) -> Answer:
        done = await execution.acknowledge_incident(
            session, caller=caller, incident_id=incident_id, note=body.note, clock=services.clock
        )
        return Answer(200, to_json(done))

    return await once.run(caller, body, work)


@router.post("/incidents/{incident_id}/close")
async def close(
    incident_id: PathId, body: NoteBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Say that it is settled, and how."""

    async def work(session: AsyncSession) -> Answer:
        done = await execution.close_incident(
            session, caller=caller, incident_id=incident_id, note=body.note, clock=services.clock
        )
        return Answer(200, to_json(done))

    return await once.run(caller, body, work)


@router.post("/accounts/{account_id}/unfreeze", status_code=202)
async def unfreeze(account_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Have a frozen account compared with the exchange; it trades again when nothing contradicts."""

    async def work(session: AsyncSession) -> Answer:
        account = await execution.request_unfreeze(
            session, caller=caller, account_id=account_id, clock=services.clock
        )
        return Answer(202, to_json(account))

    return await once.run(caller, None, work)
