"""What of signing in and of writing once is forgotten, and when."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.domain.clock import Clock, to_datetime
from app.logs import get_logger
from app.models.auth import IdempotencyKey, RefreshToken, Session, SetupLink, ThrottleBucket

log = get_logger(__name__)

IDEMPOTENCY_KEYS = timedelta(days=7)
#: Ended sessions, tokens and links are kept this long, so that a user can see where he was signed in.
ENDED = timedelta(days=30)
THROTTLE = timedelta(days=1)
_EVERY_S = 3600.0


async def forget_old(session: AsyncSession, *, now: datetime) -> None:
    """Delete answers stored for idempotency after 7 days, ended sessions, tokens and links after 30."""
    for statement in (
        delete(IdempotencyKey).where(col(IdempotencyKey.created_at) < now - IDEMPOTENCY_KEYS),
        delete(Session).where(col(Session.expires_at) < now - ENDED),
        delete(RefreshToken).where(col(RefreshToken.expires_at) < now - ENDED),
        delete(SetupLink).where(col(SetupLink.expires_at) < now - ENDED),
        delete(ThrottleBucket).where(col(ThrottleBucket.window_started_at) < now - THROTTLE),
    ):
        await session.execute(statement)


async def keep_forgetting(sessions: async_sessionmaker[AsyncSession], clock: Clock) -> None:
    """`forget_old` each hour, until cancelled. A database that is away is asked again an hour later."""
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            async with sessions.begin() as session:
                await forget_old(session, now=to_datetime(clock.now_ms()))
        except SQLAlchemyError as error:
            log.warning("old sign-ins could not be forgotten", error=type(error).__name__)
