"""Users: made by an admin or the set-up link, disabled rather than deleted, never with a default password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.domain.clock import Clock, to_datetime
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.models.auth import RefreshToken, Session, User
from app.services.identity import passwords, throttle
from app.services.identity.errors import SignInFailed
from app.services.identity.viewer import Role, Viewer

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f.]+(\.[^@\s\x00-\x1f\x7f.]+)*")


@dataclass(frozen=True, slots=True)
class UserView:
    """A user as an admin sees him."""

    id: int
    email: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


def normalise_email(email: str) -> str:
    """`email` trimmed and in lower case. Raises InvalidInput if it does not look like one."""
    address = email.strip().lower()
    if len(address) > 254 or not _EMAIL.fullmatch(address) or not address.isprintable():
        raise InvalidInput("This does not look like an e-mail address.", field="email")
    return address


async def create_user(session: AsyncSession, *, email: str, password: str, role: Role | str, clock: Clock) -> Viewer:
    """Add a user. Raises InvalidInput (e-mail, password, role) or Conflict (the e-mail is taken)."""
    address = normalise_email(email)
    try:
        wanted = Role(role)
    except ValueError:
        raise InvalidInput("The role must be trader or admin.", field="role") from None
    passwords.check_password(password, email=address)
    user = User(
        email=address,
        password_hash=await passwords.hash_password(password),
        role=wanted.value,
        created_at=_now(clock),
    )
    try:
        async with session.begin_nested():
            session.add(user)
    except IntegrityError:
        raise Conflict(f"There is a user {address} already.") from None
    return _viewer(user)


async def authenticate(
    sessions: async_sessionmaker[AsyncSession], *, email: str, password: str, ip: str, clock: Clock
) -> Viewer:
    """Who `email` and `password` belong to. Makes its own short transactions: an attempt counts even if it fails.

    Raises SignInFailed, the same and after the same time for an unknown user, a disabled one and a wrong
    password, or TooManyAttempts.
    """
    by_ip = throttle.ip_bucket("login", ip)
    async with sessions.begin() as session:
        user = await _active_user(session, email)
        # Who has signed in from this address before has a counter of his own here: strangers who guess his
        # password from elsewhere cannot keep him out.
        known_from = ip if user and await _has_been_here(session, user, ip) else ""
        by_email = throttle.email_bucket("login", email, known_from)
        await throttle.spend(session, by_ip, now=_now(clock))
        await throttle.spend(session, by_email, now=_now(clock))
    # The hash is computed between transactions: 50 ms of one core must not hold a connection.
    if not await passwords.verify_password(user.password_hash if user else None, password) or user is None:
        raise SignInFailed("E-mail or password is wrong.")
    fresh = await passwords.hash_password(password) if passwords.needs_rehash(user.password_hash) else None
    async with sessions.begin() as session:
        await throttle.give_back(session, by_ip)
        await throttle.forget(session, by_email)
        if fresh:
            await session.execute(update(User).where(col(User.id) == user.id).values(password_hash=fresh))
    return _viewer(user)


async def change_password(session: AsyncSession, *, user_id: int, password: str, clock: Clock) -> None:
    """Set a new password and end everything that was signed in with the old one."""
    user = await _get(session, user_id)
    passwords.check_password(password, email=user.email)
    user.password_hash = await passwords.hash_password(password)
    await end_all_access(session, user_id=user_id, clock=clock)


async def list_users(session: AsyncSession) -> list[UserView]:
    """Everybody, oldest first."""
    rows = await session.scalars(select(User).order_by(User.id))  # type: ignore[arg-type]
    return [_view(user) for user in rows]


async def find_user(session: AsyncSession, email: str) -> UserView:
    """The user with this e-mail. Raises NotFound."""
    user = await session.scalar(select(User).where(col(User.email) == normalise_email(email)))
    if user is None:
        raise NotFound(f"There is no user {email.strip()}.")
    return _view(user)


async def has_users(session: AsyncSession) -> bool:
    """Whether anybody exists, disabled or not."""
    return bool(await session.scalar(select(func.count()).select_from(User)))


async def disable_user(session: AsyncSession, *, user_id: int, clock: Clock) -> UserView:
    """Shut a user out at once: his sessions and tokens end. Raises Conflict for the last admin."""
    user = await _get(session, user_id)
    if user.disabled_at is None:
        await _keep_an_admin(session, without=user)
        user.disabled_at = _now(clock)
        await end_all_access(session, user_id=user_id, clock=clock)
    return _view(user)


async def enable_user(session: AsyncSession, *, user_id: int) -> UserView:
    """Let a disabled user in again."""
    user = await _get(session, user_id)
    user.disabled_at = None
    return _view(user)


async def set_role(session: AsyncSession, *, user_id: int, role: Role) -> UserView:
    """Make a user a trader or an admin. Raises Conflict for the last admin."""
    user = await _get(session, user_id)
    if role is not Role.ADMIN:
        await _keep_an_admin(session, without=user)
    user.role = role.value
    return _view(user)


async def end_all_access(session: AsyncSession, *, user_id: int, clock: Clock) -> None:
    """Revoke every session and refresh token of a user."""
    for table in (Session, RefreshToken):
        await session.execute(
            update(table)
            .where(col(table.user_id) == user_id, col(table.revoked_at).is_(None))
            .values(revoked_at=_now(clock))
        )


async def _keep_an_admin(session: AsyncSession, *, without: User) -> None:
    # The rows are locked, so that two admins cannot remove each other at the same moment.
    admins = await session.scalars(
        select(User)
        .where(col(User.role) == Role.ADMIN.value, col(User.disabled_at).is_(None))
        .order_by(col(User.id))
        .with_for_update()
    )
    if {user.id for user in admins} == {without.id}:
        raise Conflict("This is the last admin. Make another user an admin first.")


async def _active_user(session: AsyncSession, email: str) -> User | None:
    try:
        address = normalise_email(email)
    except InvalidInput:
        return None
    return await session.scalar(select(User).where(col(User.email) == address, col(User.disabled_at).is_(None)))


async def _has_been_here(session: AsyncSession, user: User, ip: str) -> bool:
    found = select(col(Session.id_hash)).where(col(Session.user_id) == user.id, col(Session.ip) == ip).limit(1)
    return await session.scalar(found) is not None


async def _get(session: AsyncSession, user_id: int) -> User:
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    return user


def _view(user: User) -> UserView:
    return UserView(cast(int, user.id), user.email, Role(user.role), cast(datetime, user.created_at), user.disabled_at)


def _viewer(user: User) -> Viewer:
    return Viewer(cast(int, user.id), user.email, Role(user.role))


def _now(clock: Clock) -> datetime:
    return to_datetime(clock.now_ms())
