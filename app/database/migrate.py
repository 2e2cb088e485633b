"""Bring a database to the newest schema, with alembic, from code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from app.database.engine import driver_url

SCRIPTS = Path(__file__).resolve().parents[2] / "alembic"


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database at `url` (the owner's) up to `revision`. Two at once wait for each other."""
    command.upgrade(_config(url), revision)


def current_revision(url: str) -> str | None:
    """The revision the database is at; None for an empty one."""
    engine = create_engine(driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    """The revision this code wants."""
    return ScriptDirectory.from_config(_config("")).get_current_head()


def compare_type(
    context: MigrationContext, _column: Any, _ours: Any, theirs: Any, ours: TypeEngine[Any]
) -> bool | None:
    """For alembic's comparison: whether a column of one of our domains has another type in the database."""
    if not isinstance(theirs, DOMAIN):
        return None  # alembic compares it well enough
    return f"{theirs.schema or 'public'}.{theirs.name}" != ours.compile(context.dialect)


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = url
    return config
