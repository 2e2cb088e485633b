"""The kill switch: no new entries, everywhere, for an account or for a run. Exits are never refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.clock import to_datetime
from app.domain.errors import NotAllowed
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import MAX_ID, Body, to_json
from app.services.container import AppServices
from app.services.execution import engage_kill_switch, kill_switches, release_kill_switch
from app.services.identity import Caller
from app.services.identity.audit import audited
from app.services.ownership import owned_account
from app.services.strategy.runs import run_detail

router = APIRouter(prefix="/api/v1", tags=["kill switch"])


class SwitchBody(Body):
    """Which switch, and why. `scope_id` is 0 for the global one."""

    scope: Literal["global", "account", "run"]
    scope_id: Annotated[int, Field(ge=0, le=MAX_ID)] = 0
    reason: Annotated[str, Field(max_length=300)]


@router.get("/kill-switches")
async def engaged(caller: SignedIn, services: Services) -> Json:
    """The engaged switches."""
    async with services.sessions.begin() as session:
        return {"kill_switches": to_json(await kill_switches(session))}


@router.post("/kill-switches", status_code=201)
async def engage(body: SwitchBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Refuse new entries from now on, until somebody releases the switch with a reason."""

    async def work(session: AsyncSession) -> Answer:
        await _check_scope(session, caller, body)
        switch = await engage_kill_switch(session, actor=caller.actor, now=_now(services), **dict(body))
        await _write_down(session, caller, "kill_switch.engaged", body, services)
        return Answer(201, to_json(switch))

    return await once.run(caller, body, work)


@router.post("/kill-switches/release")
async def release(body: SwitchBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Allow entries again. Strategies that were stopped stay stopped."""

    async def work(session: AsyncSession) -> Answer:
        await _check_scope(session, caller, body)
        await release_kill_switch(session, actor=caller.actor, now=_now(services), **dict(body))
        await _write_down(session, caller, "kill_switch.released", body, services)
        return Answer(200, {"released": True})

    return await once.run(caller, body, work)


async def _check_scope(session: AsyncSession, caller: Caller, body: SwitchBody) -> None:
    """The global switch is an admin's; the others belong to who owns the account or the run."""
    if body.scope == "global":
        if not (caller.viewer and caller.viewer.is_admin):
            raise NotAllowed("Only an admin may use the global kill switch.")
    elif body.scope == "account":
        await owned_account(session, user_id=caller.user_id, account_id=body.scope_id)
    else:
        await run_detail(session, user_id=caller.user_id, run_id=body.scope_id)


async def _write_down(
    session: AsyncSession, caller: Caller, action: str, body: SwitchBody, services: AppServices
) -> None:
    what = f"{body.scope}:{body.scope_id}"
    await audited(session, caller, action, object=what, clock=services.clock, reason=body.reason)


def _now(services: AppServices) -> datetime:
    return to_datetime(services.clock.now_ms())
