"""The audit log: append-only and hash-chained, written through one SQL function that locks its head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.clock import Clock, to_datetime
from app.logs import redact
from app.services.identity.viewer import Caller

_APPEND = text("""
    SELECT auth.append_audit(:at, :actor, :action, :object, CAST(:details AS jsonb), :ip, :request_id)
""")
_VERIFY = text("SELECT auth.verify_audit()")


async def record(
    session: AsyncSession,
    *,
    actor: str,
    action: str,
    object: str = "",  # noqa: A002 - the log's own word for what was acted on
    details: Mapping[str, Any] | None = None,
    ip: str = "",
    request_id: str = "",
    now: datetime,
) -> None:
    """Append one entry in the caller's transaction: the act and its entry are kept or lost together.

    `actor` is user:7, worker, cli or anonymous; `action` is like order.placed. Secrets in `details` are
    replaced before they are stored. The log's head stays locked until the commit, so do this last.
    """
    await session.execute(
        _APPEND,
        {
            "at": now,
            "actor": actor,
            "action": action,
            "object": object,
            "details": json.dumps(redact(dict(details or {})), default=str),
            "ip": ip,
            "request_id": request_id,
        },
    )


async def audited(
    session: AsyncSession,
    caller: Caller,
    action: str,
    *,
    object: str = "",  # noqa: A002
    clock: Clock,
    **details: Any,
) -> None:
    """`record` what a person at the browser or the API did. Routes and states use this one."""
    await record(
        session,
        actor=caller.actor,
        action=action,
        object=object,
        details=details,
        ip=caller.ip,
        request_id=caller.request_id,
        now=to_datetime(clock.now_ms()),
    )


async def verify_chain(session: AsyncSession) -> int | None:
    """The number of the first entry that is missing, moved or not as it was written; None: the log is whole."""
    broken: int | None = await session.scalar(_VERIFY)
    return broken
