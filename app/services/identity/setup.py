"""One-time links: the first admin is made with one, and a forgotten password is replaced with one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.domain.clock import Clock, to_datetime
from app.domain.errors import Conflict
from app.models.auth import SetupLink, User
from app.services.identity import users
from app.services.identity.sessions import hash_of
from app.services.identity.viewer import Role, Viewer

VALID_FOR = timedelta(hours=24)

_GONE = "This link has been used or has expired. Start Plumbline again, or run `plumbline user reset-link`."
#: Two first admins must not be made at the same moment through two links.
_FIRST_ADMIN_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('plumbline:first-admin'))")


@dataclass(frozen=True, slots=True)
class LinkView:
    """What a link is good for: the first admin, or a new password for `email`."""

    purpose: Literal["first_admin", "new_password"]
    email: str = ""


async def ensure_setup_link(sessions: async_sessionmaker[AsyncSession], public_url: str, clock: Clock) -> str | None:
    """A fresh link for the first admin, good for 24 h, while there is no user; None afterwards.

    An older link that was not used stops working.
    """
    async with sessions.begin() as session:
        if await users.has_users(session):
            return None
        await session.execute(
            delete(SetupLink).where(col(SetupLink.user_id).is_(None), col(SetupLink.used_at).is_(None))
        )
        return _address(public_url, await _new_link(session, user_id=None, clock=clock))


async def reset_link(session: AsyncSession, *, email: str, public_url: str, clock: Clock) -> str:
    """A link with which the user can choose a new password within 24 h. Raises NotFound."""
    user = await users.find_user(session, email)
    await session.execute(delete(SetupLink).where(col(SetupLink.user_id) == user.id, col(SetupLink.used_at).is_(None)))
    return _address(public_url, await _new_link(session, user_id=user.id, clock=clock))


async def look_up(session: AsyncSession, token: str, *, clock: Clock) -> LinkView:
    """What the link is good for, without using it. Raises Conflict if it is not good (any more)."""
    link = await session.scalar(select(SetupLink).where(*_usable(token, _now(clock))))
    if link is None:
        raise Conflict(_GONE)
    if link.user_id is None:
        return LinkView("first_admin")
    user = await session.get_one(User, link.user_id)
    return LinkView("new_password", user.email)


async def consume(session: AsyncSession, *, token: str, email: str, password: str, clock: Clock) -> Viewer:
    """Use a link: make the first admin, or set the password of the link's user (`email` is then not read).

    Raises Conflict if the link is not good or there is a user by now, InvalidInput for e-mail or password
    (the link stays good when the caller rolls back).
    """
    link = await session.scalar(
        update(SetupLink).where(*_usable(token, _now(clock))).values(used_at=_now(clock)).returning(SetupLink)
    )
    if link is None:
        raise Conflict(_GONE)
    if link.user_id is not None:
        await users.change_password(session, user_id=link.user_id, password=password, clock=clock)
        user = await session.get_one(User, link.user_id)
        return Viewer(link.user_id, user.email, Role(user.role))
    await session.execute(_FIRST_ADMIN_LOCK)
    if await users.has_users(session):
        raise Conflict(_GONE)
    return await users.create_user(session, email=email, password=password, role=Role.ADMIN, clock=clock)


async def _new_link(session: AsyncSession, *, user_id: int | None, clock: Clock) -> str:
    token = secrets.token_urlsafe(32)
    now = _now(clock)
    session.add(SetupLink(token_hash=hash_of(token), user_id=user_id, created_at=now, expires_at=now + VALID_FOR))
    await session.flush()
    return token


def _usable(token: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        col(SetupLink.token_hash) == hash_of(token),
        col(SetupLink.used_at).is_(None),
        col(SetupLink.expires_at) > now,
    )


def _address(public_url: str, token: str) -> str:
    return f"{public_url}/setup?token={token}"


def _now(clock: Clock) -> datetime:
    return to_datetime(clock.now_ms())
