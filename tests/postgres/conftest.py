"""Books with a connection for each role, in a database shared by all tests here or in one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.config import ROLES, Role
from app.database.embedded import SUPERUSER, EmbeddedPostgres
from app.database.roles import prepare_database
from tests.postgres.books import Books


@pytest.fixture(scope="session")
def shared_urls(postgres_server: EmbeddedPostgres, migrated_template: str) -> dict[Role, str]:
    """One migrated database for all tests that leave it as sound as it was."""
    prepare_database(postgres_server.url(SUPERUSER, "postgres"), "shared_books", template=migrated_template)
    return {role: postgres_server.url(role, "shared_books") for role in ROLES}


@pytest.fixture
def books(shared_urls: dict[Role, str]) -> Iterator[Books]:
    """A user and an account of their own in the shared database. What is committed stays."""
    opened = Books(shared_urls)
    yield opened
    opened.close()


@pytest.fixture
def own_books(database_urls: dict[Role, str]) -> Iterator[Books]:
    """Books in a database of the test's own, for those that change what all share."""
    opened = Books(database_urls)
    yield opened
    opened.close()
