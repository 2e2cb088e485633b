"""SQLAlchemy over psycopg 3: engines with limits, and sessions."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.database.urls import CONNECT_TIMEOUT_S, plain_url

STATEMENT_TIMEOUT_MS = 30_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000


def driver_url(url: str) -> URL:
    """`url` (postgres:// or postgresql://, with or without a driver) for SQLAlchemy with psycopg 3."""
    return make_url(plain_url(url)).set(drivername="postgresql+psycopg")


def make_engine(
    url: str,
    *,
    application_name: str = "plumbline",
    pool_size: int = 5,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
) -> AsyncEngine:
    """An engine with a small pool; nothing connects before first use.

    Every connection ends a statement after `statement_timeout_ms` and a transaction left idle after 10 s,
    so that a stuck task cannot hold locks, and speaks UTC.
    """
    options = {
        "statement_timeout": statement_timeout_ms,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
        "timezone": "UTC",
    }
    return create_async_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )


def session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions of `engine` whose objects stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)
