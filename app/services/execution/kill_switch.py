"""The kill switch: a latched stop of new entries, global, per account or per run. Exits are never refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.errors import Conflict, InvalidInput
from app.models.execution import KillSwitch

SCOPES = ("global", "account", "run")


@dataclass(frozen=True, slots=True)
class KillSwitchView:
    """An engaged switch."""

    scope: str
    scope_id: int
    engaged_at: datetime
    engaged_by: str
    reason: str


async def engage_kill_switch(
    session: AsyncSession, *, actor: str, scope: str, scope_id: int, reason: str, now: datetime
) -> KillSwitchView:
    """Refuse every new entry in this scope until released. Engaging an engaged switch keeps the first reason."""
    _check(scope, scope_id, reason)
    values = {
        "engaged_at": now,
        "engaged_by": actor,
        "reason": reason.strip(),
        "released_at": None,
        "released_by": "",
        "release_reason": "",
    }
    statement = upsert(KillSwitch).values(scope=scope, scope_id=scope_id, **values)
    again = statement.on_conflict_do_update(
        index_elements=["scope", "scope_id"],
        set_=values,
        where=col(KillSwitch.released_at).is_not(None),
    )
    await session.execute(again)
    await _tell(session)
    row = await session.get(KillSwitch, (scope, scope_id), populate_existing=True)
    if row is None:
        raise LookupError("the switch just written is not there")
    return KillSwitchView(row.scope, row.scope_id, row.engaged_at, row.engaged_by, row.reason)


async def release_kill_switch(
    session: AsyncSession, *, actor: str, scope: str, scope_id: int, reason: str, now: datetime
) -> None:
    """Allow entries again; needs a reason. Raises Conflict when the switch is not engaged."""
    _check(scope, scope_id, reason)
    engaged = (
        col(KillSwitch.scope) == scope,
        col(KillSwitch.scope_id) == scope_id,
        col(KillSwitch.released_at).is_(None),
    )
    statement = update(KillSwitch).where(*engaged)
    statement = statement.values(released_at=now, released_by=actor, release_reason=reason.strip())
    if (await session.execute(statement.returning(col(KillSwitch.scope)))).first() is None:
        raise Conflict("this kill switch is not engaged")
    await _tell(session)


async def kill_switches(session: AsyncSession) -> list[KillSwitchView]:
    """All engaged switches."""
    statement = select(KillSwitch).where(col(KillSwitch.released_at).is_(None))
    rows = (await session.execute(statement.order_by(col(KillSwitch.engaged_at)))).scalars()
    return [KillSwitchView(r.scope, r.scope_id, r.engaged_at, r.engaged_by, r.reason) for r in rows]


def _check(scope: str, scope_id: int, reason: str) -> None:
    if scope not in SCOPES or (scope == "global") != (scope_id == 0):
        raise InvalidInput("a kill switch is global, or for one account or one run", field="scope")
    if not 3 <= len(reason.strip()) <= 300:
        raise InvalidInput("say why, in 3 to 300 characters", field="reason")


async def _tell(session: AsyncSession) -> None:
    await wake_worker(session, "kill")
    await tell_browsers(session, "kill", user_id=None)
