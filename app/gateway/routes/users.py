"""Users, for admins. Nobody sees or sets another's password: a new user gets a one-time link (`plumbline user`)."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.gateway.deps import AdminOnly, Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import PathId, to_json
from app.services.identity import users
from app.services.identity.audit import audited

router = APIRouter(prefix="/api/v1", tags=["users"])


@router.get("/me")
async def me(caller: SignedIn) -> Json:
    """Who you are."""
    return {"user": to_json(caller.viewer)}


@router.get("/users")
async def everybody(caller: AdminOnly, services: Services) -> Json:
    """All users, oldest first."""
    async with services.sessions.begin() as session:
        return {"users": to_json(await users.list_users(session))}


@router.post("/users/{user_id}/disable")
async def disable(user_id: PathId, caller: AdminOnly, once: Idempotent, services: Services) -> Response:
    """Shut a user out: his sessions and tokens end at once. The last admin stays."""

    async def work(session: AsyncSession) -> Answer:
        user = await users.disable_user(session, user_id=user_id, clock=services.clock)
        await audited(session, caller, "user.disabled", object=f"user:{user_id}", clock=services.clock)
        return Answer(200, to_json(user))

    response = await once.run(caller, None, work)
    services.session_cache.forget_user(user_id)
    return response


@router.post("/users/{user_id}/enable")
async def enable(user_id: PathId, caller: AdminOnly, once: Idempotent, services: Services) -> Response:
    """Let a disabled user in again."""

    async def work(session: AsyncSession) -> Answer:
        user = await users.enable_user(session, user_id=user_id)
        await audited(session, caller, "user.enabled", object=f"user:{user_id}", clock=services.clock)
        return Answer(200, to_json(user))

    return await once.run(caller, None, work)
