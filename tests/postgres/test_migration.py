"""The migrated database is what the models say, guards apart; and it comes about wherever it must."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine
from sqlmodel import SQLModel

from app.config import Role
from app.database import migrate
from app.database.differences import compare_type
from app.database.embedded import SUPERUSER, EmbeddedPostgres
from app.database.engine import driver_url
from app.database.roles import prepare_database
from app.domain.orders import EventKind, EventSource, OrderStatus, OrderType, Side, TimeInForce
from app.models import SCHEMAS
from app.models.execution import (
    AccountKind,
    AccountState,
    KillAction,
    KillScope,
    PlanState,
    ReplacementState,
    ServiceState,
    WantedState,
)
from app.models.keys import KeyRequestState
from app.models.portfolio import AdjustmentKind
from app.models.reconciling import DifferenceKind, DifferenceState
from app.models.strategy import RunState, StopMode
from tests.postgres.books import Books, Connection

SNIPPETS = migrate.SCRIPTS / "versions" / "first_light"

CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), contype FROM pg_constraint
    WHERE connamespace::regnamespace::text = ANY (%s) AND contype <> 't'
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = ANY (%s)"


def test_the_migrations_yield_the_models(books: Books, shared_urls: dict[Role, str]) -> None:
    with create_engine(driver_url(shared_urls["migrator"])).connect() as connection:
        options = {"include_schemas": True, "compare_type": compare_type, "compare_server_default": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata)

    schemas = books.owner.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
    ).fetchall()
    assert differences == []
    assert {name for (name,) in schemas} == {*SCHEMAS, "public"}


@pytest.fixture
def modelled(postgres_server: EmbeddedPostgres) -> Iterator[Connection]:
    """A database made from the models alone."""
    superuser_url = postgres_server.url(SUPERUSER, "postgres")
    prepare_database(superuser_url, "modelled")
    with psycopg.connect(postgres_server.url("migrator", "modelled"), autocommit=True) as connection:
        connection.execute((SNIPPETS / "1_types.sql").read_bytes())
        SQLModel.metadata.create_all(create_engine(driver_url(postgres_server.url("migrator", "modelled"))))
        yield connection
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE modelled WITH (FORCE)")


def test_every_constraint_and_index_of_the_models_is_there_under_its_name(books: Books, modelled: Connection) -> None:
    schemas = [list(SCHEMAS)]
    ours = set(modelled.execute(CONSTRAINTS, schemas).fetchall())
    theirs = set(books.owner.execute(CONSTRAINTS, schemas).fetchall())
    indexes = set(books.owner.execute(INDEXES, schemas).fetchall())

    assert len(ours) > 100
    assert ours - theirs == set()
    assert {kind for _, _, _, kind in theirs - ours} == {"c"}, "only CHECKs are added by the migration"
    assert indexes == set(modelled.execute(INDEXES, schemas).fetchall())


VOCABULARIES: dict[tuple[str, str], type[StrEnum]] = {
    ("execution.accounts", "kind"): AccountKind,
    ("execution.accounts", "state"): AccountState,
    ("execution.accounts", "wanted"): WantedState,
    ("execution.key_requests", "state"): KeyRequestState,
    ("execution.symbols", "kind"): AccountKind,
    ("analytics.prices", "kind"): AccountKind,
    ("execution.orders", "status"): OrderStatus,
    ("execution.orders", "side"): Side,
    ("execution.orders", "type"): OrderType,
    ("execution.orders", "time_in_force"): TimeInForce,
    ("execution.order_events", "kind"): EventKind,
    ("execution.order_events", "source"): EventSource,
    ("execution.order_events", "from_status"): OrderStatus,
    ("execution.order_events", "to_status"): OrderStatus,
    ("execution.order_transition_rules", "from_status"): OrderStatus,
    ("execution.order_transition_rules", "to_status"): OrderStatus,
    ("execution.fills", "side"): Side,
    ("execution.plans", "state"): PlanState,
    ("execution.kill_switches", "scope"): KillScope,
    ("execution.kill_switches", "action"): KillAction,
    ("execution.replacements", "state"): ReplacementState,
    ("execution.worker_lease", "state"): ServiceState,
    ("execution.differences", "kind"): DifferenceKind,
    ("execution.differences", "state"): DifferenceState,
    ("portfolio.balance_adjustments", "kind"): AdjustmentKind,
    ("strategy.runs", "state"): RunState,
    ("strategy.runs", "stop_mode"): StopMode,
}


@pytest.mark.parametrize(("table", "column"), VOCABULARIES)
def test_a_closed_vocabulary_is_the_enums(books: Books, table: str, column: str) -> None:
    name = table.split(".")[1]
    rows = books.owner.execute(
        """
        SELECT array_agg(word[1]) FROM pg_constraint
        CROSS JOIN regexp_matches(pg_get_constraintdef(oid), '''([^'']*)''', 'g') AS word
        WHERE conrelid = %s::regclass AND conname = ANY (%s) AND contype = 'c'
        """,
        [table, [f"{name}_{column}_check", column]],
    ).fetchone()

    assert rows is not None
    assert sorted(rows[0]) == sorted(VOCABULARIES[table, column])


@pytest.mark.parametrize(
    ("table", "column", "word"),
    [
        ("auth.users", "role", "owner"),
        ("auth.users", "email", "Ann@example.org"),
        ("execution.accounts", "state", "ASLEEP"),
        ("execution.worker_lease", "state", "HALF"),
    ],
)
def test_a_word_outside_the_vocabulary_is_refused(books: Books, table: str, column: str, word: str) -> None:
    statement = sql.SQL("UPDATE {} SET {} = %s").format(sql.Identifier(*table.split(".")), sql.Identifier(column))
    with pytest.raises(psycopg.errors.CheckViolation, match=f"{column}_check"):
        books.owner.execute(statement, [word])


def test_candles_are_a_hypertable_exactly_where_timescale_is(books: Books) -> None:
    installed = books.owner.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    if installed:
        dimensions = books.owner.execute(
            "SELECT column_name FROM timescaledb_information.dimensions"
            " WHERE hypertable_schema = 'analytics' AND hypertable_name = 'candles'"
        ).fetchall()
        assert dimensions == [("open_time_ms",)]
    else:
        kind = books.owner.execute(
            "SELECT relkind, relhassubclass FROM pg_class WHERE oid = 'analytics.candles'::regclass"
        ).fetchone()
        assert kind == ("r", False)


@pytest.fixture
def bare_server(database_home: Path) -> Iterator[EmbeddedPostgres]:
    """A server like one that somebody supplies: one role of theirs, none of ours."""
    server = EmbeddedPostgres(
        database_home / "postgres", database_home / "secrets", database_home / "postgres.log", fast=True
    )
    server.start()
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE plumbline")
        for role in ("web", "worker", "research", "migrator"):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        connection.execute("CREATE ROLE theirs LOGIN PASSWORD 'theirs'")
        connection.execute("CREATE DATABASE theirs OWNER theirs")
    yield server
    server.stop()


def test_a_database_with_a_single_role_migrates_and_guards(bare_server: EmbeddedPostgres) -> None:
    address = bare_server.url(SUPERUSER, "theirs").rpartition("@")[2]
    url = f"postgresql://theirs:theirs@{address}"
    migrate.upgrade(url)

    assert migrate.current_revision(url) == migrate.newest_revision()
    with (
        psycopg.connect(url, autocommit=True) as connection,
        pytest.raises(psycopg.Error, match=r"TRUNCATE of execution\.fills is refused"),
    ):
        connection.execute("TRUNCATE execution.fills")


def test_going_below_the_first_revision_is_refused_in_words(shared_urls: dict[Role, str], books: Books) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    config.attributes["url"] = shared_urls["migrator"]
    with pytest.raises(RuntimeError, match="drop the database or restore a backup"):
        command.downgrade(config, "base")

    assert books.owner.execute("SELECT version_num FROM public.alembic_version").fetchone() == ("0001",)


def test_no_snippet_is_left_out() -> None:
    """Files are run by pattern: one that is named otherwise would silently not be run."""
    names = sorted(path.name for path in Path(SNIPPETS).iterdir())
    numbered = [name for name in names if name[0].isdigit()]

    assert [int(name.split("_")[0]) for name in numbered] == list(itertools.islice(itertools.count(1), len(numbered)))
    assert [name for name in names if name not in numbered] == ["role_research.sql", "role_web.sql", "role_worker.sql"]
