"""Browser sessions: an opaque random id in an HttpOnly cookie; the database knows only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.domain.clock import Clock, to_datetime
from app.models.auth import Session, User
from app.services.identity.viewer import Role, Viewer

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)
#: A revoked session may be believed for this long by another process, never by the one that revoked it.
CACHE_MS = 5_000
#: `last_seen_at` is written at most this often.
SEEN_EVERY = timedelta(minutes=1)

_MAX_CACHED = 10_000


def cookie_name(public_url: str) -> str:
    """The cookie's name. `__Host-` (over https) binds it to this very host and path, and to https."""
    return "__Host-plumbline" if public_url.startswith("https://") else "plumbline"


def cookie_value(cookie_header: str, name: str) -> str:
    """The value of cookie `name` in a Cookie header, or "". Never raises, whatever the header holds."""
    for part in cookie_header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def hash_of(cookie: str) -> str:
    """What is stored of a session id: its SHA-256 in hex."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class SessionCache:
    """Who a session belongs to, remembered for `CACHE_MS`. One a process."""

    _known: dict[str, tuple[int, Viewer]] = field(default_factory=dict)

    def get(self, id_hash: str, now_ms: int) -> Viewer | None:
        """The viewer, if he was looked up less than `CACHE_MS` ago."""
        until_ms, viewer = self._known.get(id_hash, (0, None))
        return viewer if now_ms < until_ms else None

    def put(self, id_hash: str, viewer: Viewer, now_ms: int) -> None:
        """Remember the viewer from now on."""
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[id_hash] = (now_ms + CACHE_MS, viewer)

    def forget(self, id_hash: str) -> None:
        """Ask the database again next time."""
        self._known.pop(id_hash, None)

    def forget_user(self, user_id: int) -> None:
        """Ask the database again for every session of this user."""
        for id_hash in [key for key, (_, viewer) in self._known.items() if viewer.user_id == user_id]:
            del self._known[id_hash]


async def create_session(session: AsyncSession, *, user_id: int, ip: str, user_agent: str, clock: Clock) -> str:
    """Start a session and return its id (256 random bits) for the cookie. It is kept nowhere else."""
    cookie = secrets.token_urlsafe(32)
    now = _now(clock)
    session.add(
        Session(
            id_hash=hash_of(cookie),
            user_id=user_id,
            created_at=now,
            last_seen_at=now,
            expires_at=now + ABSOLUTE,
            ip=ip,
            user_agent=user_agent[:300],
        )
    )
    await session.flush()
    return cookie


async def resolve(
    sessions: async_sessionmaker[AsyncSession], cookie: str, *, cache: SessionCache, clock: Clock
) -> Viewer | None:
    """Whose session `cookie` is: None if unknown, idle for 12 h, older than 7 d, revoked or its user disabled."""
    if not cookie:
        return None
    id_hash, now = hash_of(cookie), _now(clock)
    if known := cache.get(id_hash, clock.now_ms()):
        return known
    async with sessions.begin() as session:
        row = (await session.execute(_live(id_hash, now))).first()
        if row is None:
            return None
        user, last_seen_at = row
        if now - last_seen_at >= SEEN_EVERY:
            await session.execute(update(Session).where(col(Session.id_hash) == id_hash).values(last_seen_at=now))
    viewer = Viewer(user.id, user.email, Role(user.role))
    cache.put(id_hash, viewer, clock.now_ms())
    return viewer


async def revoke_session(session: AsyncSession, cookie: str, *, cache: SessionCache, clock: Clock) -> None:
    """End one session. Unknown ones are ignored: signing out twice is no error."""
    id_hash = hash_of(cookie)
    cache.forget(id_hash)
    await session.execute(
        update(Session)
        .where(col(Session.id_hash) == id_hash, col(Session.revoked_at).is_(None))
        .values(revoked_at=_now(clock))
    )


def _live(id_hash: str, now: datetime) -> Select[User, Any]:
    return (
        select(User, col(Session.last_seen_at))
        .join(Session, col(Session.user_id) == col(User.id))
        .where(
            col(Session.id_hash) == id_hash,
            col(Session.revoked_at).is_(None),
            col(Session.expires_at) > now,
            col(Session.last_seen_at) > now - IDLE,
            col(User.disabled_at).is_(None),
        )
    )


def _now(clock: Clock) -> datetime:
    return to_datetime(clock.now_ms())
