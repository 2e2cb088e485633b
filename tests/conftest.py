"""One PostgreSQL for the whole run, migrated once; a fresh database of their own for tests that ask.

`database_urls["web"]` and friends are real roles with real passwords, as in an installation.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app.config import ROLES, Role
from app.database import migrate
from app.database.embedded import SUPERUSER, EmbeddedPostgres
from app.database.engine import make_engine, session_factory
from app.database.roles import prepare_database
from app.domain.money import use_money_context

TEMPLATE = "migrated"
_numbers = itertools.count(1)

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture(autouse=True, scope="session")
def _money_context() -> None:
    use_money_context()


@pytest.fixture
def database_home() -> Iterator[Path]:
    """A folder for a server of the test's own. Not pytest's: each run closes that to the server's user."""
    path = Path(tempfile.mkdtemp(prefix="plumbline-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """An empty embedded server, hardened as in an installation but without fsync."""
    folder = Path(tempfile.mkdtemp(prefix="plumbline-test-"))
    server = EmbeddedPostgres(folder / "postgres", folder / "secrets", folder / "postgres.log", fast=True)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database with the newest schema, to copy from."""
    prepare_database(postgres_server.url(SUPERUSER, "postgres"), TEMPLATE)
    migrate.upgrade(postgres_server.url("migrator", TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_urls(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[dict[Role, str]]:
    """The URL of each role for a fresh, migrated database, dropped after the test."""
    name = f"test_{next(_numbers)}"
    superuser_url = postgres_server.url(SUPERUSER, "postgres")
    prepare_database(superuser_url, name, template=migrated_template)
    yield {role: postgres_server.url(role, name) for role in ROLES}
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def migrator_engine(database_urls: dict[Role, str]) -> AsyncIterator[AsyncEngine]:
    """The owner's engine: may do anything in the database."""
    engine = make_engine(database_urls["migrator"], application_name="test-migrator")
    yield engine
    await engine.dispose()


@pytest.fixture
async def web_engine(database_urls: dict[Role, str]) -> AsyncIterator[AsyncEngine]:
    """The engine of the web process's role."""
    engine = make_engine(database_urls["web"], application_name="test-web")
    yield engine
    await engine.dispose()


@pytest.fixture
async def worker_engine(database_urls: dict[Role, str]) -> AsyncIterator[AsyncEngine]:
    """The engine of the worker's role."""
    engine = make_engine(database_urls["worker"], application_name="test-worker")
    yield engine
    await engine.dispose()


@pytest.fixture
def migrator_sessions(migrator_engine: AsyncEngine) -> Sessions:
    """Sessions of the owner."""
    return session_factory(migrator_engine)


@pytest.fixture
def web_sessions(web_engine: AsyncEngine) -> Sessions:
    """Sessions of the web role."""
    return session_factory(web_engine)


@pytest.fixture
def worker_sessions(worker_engine: AsyncEngine) -> Sessions:
    """Sessions of the worker role."""
    return session_factory(worker_engine)
