"""Bring a database to the newest schema, with alembic, from code.

Whether there is anything to do is found out without alembic: importing it would cost every start half a second.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from app.database.urls import CONNECT_TIMEOUT_S, plain_url
from app.domain.errors import Unavailable

if TYPE_CHECKING:
    from alembic.migration import MigrationContext
    from sqlalchemy.types import TypeEngine

SCRIPTS = Path(__file__).resolve().parents[2] / "alembic"
_REVISION = re.compile(r'^(down_)?revision = ["\']([^"\']+)["\']', re.MULTILINE)


def upgrade(url: str) -> None:
    """Migrate the database at `url` (the owner's) to the newest schema. Two at once wait for each other.

    Raises Unavailable with the database's own words when a migration fails; nothing is then changed.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import SQLAlchemyError

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["url"] = url
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise Unavailable(f"The database could not be migrated: {error}") from error


def current_revision(url: str) -> str | None:
    """The revision the database is at; None for an empty one."""
    with psycopg.connect(plain_url(url), connect_timeout=CONNECT_TIMEOUT_S) as connection:
        if connection.execute("SELECT to_regclass('public.alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM public.alembic_version").fetchone()
        return str(row[0]) if row else None


def newest_revision() -> str:
    """The revision this code wants: the one that no other follows."""
    found = [match for path in SCRIPTS.glob("versions/*.py") for match in _REVISION.findall(path.read_text())]
    [newest] = {name for down, name in found if not down} - {name for down, name in found if down}
    return str(newest)


def compare_type(
    context: MigrationContext, _column: Any, _ours: Any, theirs: Any, ours: TypeEngine[Any]
) -> bool | None:
    """For alembic's comparison: whether a column of one of our domains has another type in the database."""
    from sqlalchemy.dialects.postgresql import DOMAIN

    if not isinstance(theirs, DOMAIN):
        return None  # alembic compares it well enough
    return f"{theirs.schema or 'public'}.{theirs.name}" != ours.compile(context.dialect)
