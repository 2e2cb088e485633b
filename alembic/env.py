"""How alembic reaches the database and the models."""

from __future__ import annotations

import importlib
import pkgutil

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from app.config import load_settings
from app.database.differences import compare_type
from app.database.engine import driver_url
from app.database.urls import database_url

#: Any number: whoever migrates holds this lock, so that two starts at once migrate one after the other.
MIGRATION_LOCK = 7_416_209


def load_models() -> None:
    """Import every module of `app.models`, so that its tables are known."""
    package = importlib.import_module("app.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"app.models.{module.name}")


def migrate() -> None:
    """Run the migrations in one transaction."""
    url = context.config.attributes.get("url") or database_url(load_settings(), "migrator")
    engine = create_engine(driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:id)"), {"id": MIGRATION_LOCK})
        connection.execute(text("SET lock_timeout = '3s'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            include_schemas=True,
            compare_type=compare_type,
            compare_server_default=True,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.config.cmd_opts is not None:  # by hand, perhaps --autogenerate: only then are the models needed
    load_models()
migrate()
