"""Who may do what: the cluster's roles and a database's owner. Tables' grants stand in the migrations."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from app.config import ROLES, Role

_FLAGS = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


def prepare_cluster(superuser_url: str, passwords: Mapping[Role, str]) -> None:
    """Have every role, with this password and no special right; close the built-in databases to them."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role, password in passwords.items():
            verb = sql.SQL("ALTER" if role in there else "CREATE")
            connection.execute(
                sql.SQL("{} ROLE {} {} PASSWORD {}").format(verb, sql.Identifier(role), _FLAGS, sql.Literal(password))
            )
        for database in ("postgres", "template1"):
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))


def prepare_database(superuser_url: str, name: str, *, template: str = "template1") -> None:
    """Have the database `name`, owned by `migrator`; the other roles may connect, nobody else.

    Nobody but the owner may create anything in `public`, nor temporary tables.
    """
    roles = sql.SQL(", ").join(map(sql.Identifier, ROLES))
    database = sql.Identifier(name)
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER migrator TEMPLATE {}").format(database, sql.Identifier(template))
            )
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, roles))
    with psycopg.connect(superuser_url, dbname=name, autocommit=True) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
