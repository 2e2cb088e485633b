"""The first schema: tables, what guards the books, and who may do what.

The statements stand in `first_light/*.sql`, to be read in the order of their numbers.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HERE = Path(__file__).with_name("first_light")


def run(path: Path) -> None:
    """Run a file as it is: no parameters, so `%` and `:` mean nothing special."""
    op.get_bind().exec_driver_sql(path.read_text(), execution_options={"no_parameters": True})


def upgrade() -> None:
    for path in sorted(HERE.glob("[0-9]_*.sql")):
        run(path)
    # A database that somebody supplied may have one role for everything: then that one owns, and the rest is moot.
    there = set(op.get_bind().scalars(sa.text("SELECT rolname FROM pg_roles WHERE rolname <> current_user")))
    for role in ("web", "worker", "research"):
        if role in there:
            run(HERE / f"role_{role}.sql")


def downgrade() -> None:
    raise RuntimeError("Before this revision there is nothing: to undo it, drop the database or restore a backup.")
