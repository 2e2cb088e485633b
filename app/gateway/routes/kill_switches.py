"""The kill switch: halt, cancel all, flatten; everywhere or for an account, a strategy, a run. No exit is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.errors import InvalidInput
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import MAX_ID, Body, to_json
from app.services.container import AppServices
from app.services.execution import (
    KillSwitchView,
    engage_kill_switch,
    kill_switch_drill,
    kill_switch_progress,
    kill_switches,
    release_kill_switch,
)
from app.services.identity import Caller

router = APIRouter(prefix="/api/v1", tags=["kill switch"])

ScopeName = Literal["global", "account", "strategy", "run"]
ScopeId = Annotated[int, Field(ge=0, le=MAX_ID)]


class SwitchBody(Body):
    """Which switch, and why. `scope_id` is 0 for the global one."""

    scope: ScopeName
    scope_id: ScopeId = 0
    reason: Annotated[str, Field(max_length=300)]


class EngageBody(SwitchBody):
    """Which switch, how strong, and why. Each action does what the one before it does, and more."""

    action: Literal["halt", "cancel_all", "flatten"] = "halt"


@router.get("/kill-switches")
async def engaged(caller: SignedIn, services: Services) -> Json:
    """The engaged switches that concern you, each with how far it has come."""
    async with services.sessions.begin() as session:
        found = await kill_switches(session, user_id=caller.user_id)
        return {"kill_switches": [await _with_progress(session, caller, switch, services) for switch in found]}


@router.get("/kill-switches/drill")
async def drill(
    caller: SignedIn,
    services: Services,
    scope: Annotated[ScopeName, Query()],
    scope_id: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> Json:
    """What each action would do now, in words, without doing it."""
    if (scope == "global") != (scope_id == 0):
        raise InvalidInput("the global switch has no scope_id, every other one has", field="scope_id")
    async with services.sessions.begin() as session:
        found = await kill_switch_drill(session, caller=caller, scope=scope, scope_id=scope_id, clock=services.clock)
    return {"scope": scope, "scope_id": scope_id, "actions": to_json(found)}


@router.post("/kill-switches", status_code=201)
async def engage(body: EngageBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Refuse new entries from now on, and cancel or sell what `action` says, until somebody releases the switch."""

    async def work(session: AsyncSession) -> Answer:
        switch = await engage_kill_switch(session, caller=caller, clock=services.clock, **dict(body))
        return Answer(201, await _with_progress(session, caller, switch, services))

    return await once.run(caller, body, work)


@router.post("/kill-switches/release")
async def release(body: SwitchBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Allow entries again. Strategies that were stopped stay stopped."""

    async def work(session: AsyncSession) -> Answer:
        await release_kill_switch(session, caller=caller, clock=services.clock, **dict(body))
        return Answer(200, {"released": True})

    return await once.run(caller, body, work)


async def _with_progress(
    session: AsyncSession, caller: Caller, switch: KillSwitchView, services: AppServices
) -> dict[str, Any]:
    shown: dict[str, Any] = to_json(switch)
    of_others = switch.scope == "global" and not (caller.viewer and caller.viewer.is_admin)
    progress = None
    if not of_others:
        progress = await kill_switch_progress(
            session, caller=caller, scope=switch.scope, scope_id=switch.scope_id, clock=services.clock
        )
    return shown | {"progress": to_json(progress)}
