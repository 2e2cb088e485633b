"""For alembic's comparison of the models with a database: it does not know our domains by itself."""

from __future__ import annotations

from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.types import TypeEngine


def compare_type(
    context: MigrationContext, _column: Any, _ours: Any, theirs: Any, ours: TypeEngine[Any]
) -> bool | None:
    """Whether a column of one of our domains has another type in the database; None: alembic is to say."""
    if not isinstance(theirs, DOMAIN):
        return None
    return f"{theirs.schema or 'public'}.{theirs.name}" != ours.compile(context.dialect)
