"""What people are shown of sessions and of the audit log: reads, and ending one's own sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import NotFound
from app.models.auth import AuditEntry, Session

#: How much of a session's hash names it: enough to be unique among one person's sessions.
_NAME_LENGTH = 16
_MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class SessionView:
    """A live browser session. `name` is the beginning of its hash and cannot be used to sign in."""

    name: str
    created_at: datetime | None
    last_seen_at: datetime | None
    ip: str
    user_agent: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class AuditView:
    """One entry of the audit log."""

    seq: int
    at: datetime
    actor: str
    action: str
    object: str
    details: dict[str, Any]
    ip: str


async def list_sessions(session: AsyncSession, *, user_id: int, current_hash: str, now: datetime) -> list[SessionView]:
    """The user's live sessions, most recently seen first."""
    query = (
        select(Session)
        .where(col(Session.user_id) == user_id, col(Session.revoked_at).is_(None), col(Session.expires_at) > now)
        .order_by(col(Session.last_seen_at).desc())
        .limit(_MOST_ROWS)
    )
    return [
        SessionView(
            name=row.id_hash[:_NAME_LENGTH],
            created_at=row.created_at,
            last_seen_at=row.last_seen_at,
            ip=row.ip,
            user_agent=row.user_agent,
            is_current=row.id_hash == current_hash,
        )
        for row in (await session.execute(query)).scalars()
    ]


async def end_session(session: AsyncSession, *, user_id: int, name: str, now: datetime) -> None:
    """End one of the user's own sessions. Raises NotFound when there is none of that name."""
    mine = (col(Session.user_id) == user_id, col(Session.revoked_at).is_(None))
    named = col(Session.id_hash).startswith(name, autoescape=True)
    done = update(Session).where(*mine, named).values(revoked_at=now).returning(col(Session.id_hash))
    if len(name) != _NAME_LENGTH or (await session.execute(done)).first() is None:
        raise NotFound("This session has ended already.")


async def audit_entries(session: AsyncSession, *, limit: int = 50, before_seq: int | None = None) -> list[AuditView]:
    """Entries of the audit log, newest first. For admins."""
    query = select(AuditEntry).order_by(col(AuditEntry.seq).desc()).limit(max(1, min(limit, _MOST_ROWS)))
    if before_seq is not None:
        query = query.where(col(AuditEntry.seq) < before_seq)
    return [
        AuditView(row.seq, row.at, row.actor, row.action, row.object, dict(row.details or {}), row.ip)
        for row in (await session.execute(query)).scalars()
    ]
