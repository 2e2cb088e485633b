"""The embedded server's walls, and notifications that survive a lost connection."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app.config import ROLES, Role
from app.database.embedded import SUPERUSER, EmbeddedPostgres
from app.database.notifications import RESYNC, Listener, notify


@pytest.mark.parametrize("role", [*ROLES, SUPERUSER])
def test_nobody_enters_without_the_right_password(postgres_server: EmbeddedPostgres, role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.url(role), password="guess", connect_timeout=5)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_special_right(postgres_server: EmbeddedPostgres, role: str) -> None:
    with psycopg.connect(postgres_server.url(role)) as connection:
        flags = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = %s",
            (role,),
        ).fetchone()

    assert flags == (False,) * 5


@pytest.mark.parametrize("role", [role for role in ROLES if role != "migrator"])
@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE public.mine (x int)", "CREATE SCHEMA mine", "CREATE TEMPORARY TABLE mine (x int)"],
)
def test_only_the_owner_creates(postgres_server: EmbeddedPostgres, role: str, statement: str) -> None:
    with (
        psycopg.connect(postgres_server.url(role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_roles_stay_out_of_the_built_in_databases(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(postgres_server.url("web", "postgres"))


def test_secrets_are_readable_by_the_owner_only(postgres_server: EmbeddedPostgres) -> None:
    files = list(postgres_server.secrets_dir.iterdir())

    assert {file.name for file in files} == {f"{role}.url" for role in (*ROLES, SUPERUSER)}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert postgres_server.secrets_dir.stat().st_mode & 0o777 == 0o700


async def test_the_engine_limits_what_may_hang(web_engine: AsyncEngine) -> None:
    async with web_engine.connect() as connection:
        shown = {
            name: (await connection.execute(text(f"SHOW {name}"))).scalar_one()
            for name in ("statement_timeout", "idle_in_transaction_session_timeout", "timezone", "application_name")
        }

    assert shown == {
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "10s",
        "timezone": "UTC",
        "application_name": "test-web",
    }


async def test_a_listener_hears_again_after_its_connection_was_cut(
    postgres_server: EmbeddedPostgres,
    database_urls: dict[Role, str],
    worker_sessions: async_sessionmaker[AsyncSession],
) -> None:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def hear(channel: str, payload: str) -> None:
        heard.put_nowait((channel, payload))

    async def next_heard() -> tuple[str, str]:
        return await asyncio.wait_for(heard.get(), 10)

    listener = asyncio.create_task(Listener(database_urls["web"], ["orders"], hear).run())
    try:
        assert await next_heard() == (RESYNC, "")
        async with worker_sessions.begin() as session:
            await notify(session, "orders", "order:1")
        assert await next_heard() == ("orders", "order:1")

        with psycopg.connect(postgres_server.url(SUPERUSER, "postgres")) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'plumbline-listener'"
            )
        assert await next_heard() == (RESYNC, "")
        async with worker_sessions.begin() as session:
            await notify(session, "orders", "order:2")
        assert await next_heard() == ("orders", "order:2")
    finally:
        listener.cancel()


async def test_a_notification_carries_a_hint_and_no_data(worker_sessions: async_sessionmaker[AsyncSession]) -> None:
    async with worker_sessions() as session:
        with pytest.raises(ValueError, match="hint"):
            await notify(session, "orders", "x" * 8_000)
