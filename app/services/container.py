"""What the web process holds: made once in its lifespan, used by the gateway and by the browser app's states.

Nothing is made at import, because the server imports the app before it forks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.config import Settings
from app.database.engine import make_engine, session_factory
from app.database.urls import database_url
from app.domain.clock import Clock, Ids
from app.domain.errors import Unavailable
from app.secret_files import ensure_key, read_key
from app.services.identity import sessions as browser_sessions
from app.services.identity.retention import keep_forgetting
from app.services.identity.viewer import Viewer
from app.services.runtime import RandomIds, SystemClock


@dataclass(frozen=True, slots=True)
class AppServices:
    """Settings, database sessions, time and ids, and what a process remembers."""

    settings: Settings
    sessions: async_sessionmaker[AsyncSession]
    clock: Clock
    ids: Ids
    jwt_key: bytes = field(default=b"", repr=False)
    session_cache: browser_sessions.SessionCache = field(default_factory=browser_sessions.SessionCache, repr=False)

    @property
    def cookie_name(self) -> str:
        """The name of the session cookie here."""
        return browser_sessions.cookie_name(self.settings.public_url)

    async def viewer_of(self, cookie_header: str) -> Viewer | None:
        """Who the session cookie in a Cookie header belongs to (at most 5 s old); None: nobody."""
        cookie = browser_sessions.cookie_value(cookie_header, self.cookie_name)
        return await browser_sessions.resolve(self.sessions, cookie, cache=self.session_cache, clock=self.clock)


_current: AppServices | None = None


def set_services(services: AppServices | None) -> None:
    """Make `services` the ones of this process (None: there are none any more)."""
    global _current
    _current = services


def get_services() -> AppServices:
    """The services of this process. Raises Unavailable before the web process has started and after it has ended."""
    if _current is None:
        raise Unavailable("Plumbline is still starting. Please try again in a moment.")
    return _current


@asynccontextmanager
async def web_services(settings: Settings) -> AsyncIterator[AppServices]:
    """The lifespan of the web process: engine and key at the start, everything closed at the end.

    Does not connect: the process starts, and says what is wrong, also while the database is down.
    """
    engine = make_engine(database_url(settings, "web"), application_name="plumbline-web", pool_size=10)
    services = AppServices(
        settings=settings,
        sessions=session_factory(engine),
        clock=SystemClock(),
        ids=RandomIds(),
        jwt_key=read_key(ensure_key(settings.jwt_key_file)),
    )
    set_services(services)
    tidying = asyncio.create_task(keep_forgetting(services.sessions, services.clock))
    try:
        yield services
    finally:
        tidying.cancel()
        set_services(None)
        await engine.dispose()
