"""Who may do what. The whole of it stands in `privileges.txt`, so that a change of grants is seen in review."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres.books import Books, Connection, insert

SNAPSHOT = Path(__file__).with_name("privileges.txt")
ORDER = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

COLUMNS = """
    SELECT grantee, table_schema || '.' || table_name, privilege_type, column_name
    FROM information_schema.column_privileges JOIN information_schema.columns
        USING (table_schema, table_name, column_name)
    WHERE grantee NOT IN ('migrator', 'postgres') AND table_schema NOT IN ('pg_catalog', 'information_schema')
    ORDER BY grantee, table_schema, table_name, ordinal_position
"""
ALL_COLUMNS = """
    SELECT table_schema || '.' || table_name, count(*) FROM information_schema.columns GROUP BY 1
"""
TABLES = """
    SELECT grantee, table_schema || '.' || table_name, privilege_type FROM information_schema.table_privileges
    WHERE grantee NOT IN ('migrator', 'postgres') AND table_schema NOT IN ('pg_catalog', 'information_schema')
      AND privilege_type IN ('DELETE', 'TRUNCATE', 'TRIGGER')
"""
FUNCTIONS = """
    SELECT DISTINCT grantee, routine_schema || '.' || routine_name FROM information_schema.routine_privileges
    WHERE grantee NOT IN ('migrator', 'postgres') AND routine_schema NOT IN ('pg_catalog', 'information_schema')
    ORDER BY 1, 2
"""


def described(connection: Connection) -> Iterator[str]:
    """One line a role and table, e.g. `execution.orders: SELECT, UPDATE (status, version)`, then its functions."""
    totals = dict(connection.execute(ALL_COLUMNS).fetchall())
    granted: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for role, table, privilege, column in connection.execute(COLUMNS):
        granted[role][table][privilege].append(column)
    for role, table, privilege in connection.execute(TABLES):
        granted[role][table][privilege] = []
    functions = connection.execute(FUNCTIONS).fetchall()
    for role in sorted(granted.keys() | {role for role, _ in functions}):
        yield f"[{role}]"
        for table, privileges in sorted(granted[role].items()):
            words = []
            for privilege in sorted(privileges, key=ORDER.index):
                columns = privileges[privilege]
                limited = columns and len(columns) < totals[table]
                words.append(f"{privilege} ({', '.join(columns)})" if limited else privilege)
            yield f"{table}: {', '.join(words)}"
        yield from (f"{name}(): EXECUTE" for owner, name in functions if owner == role)
        yield ""


def test_the_grants_are_those_that_were_reviewed(books: Books) -> None:
    granted = "\n".join(described(books.owner)).rstrip() + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(granted)

    assert granted == SNAPSHOT.read_text(), "if the change is meant, run this again with UPDATE_SNAPSHOTS=1"


def test_nothing_is_granted_to_everybody(books: Books) -> None:
    granted = "\n".join(described(books.owner))

    assert "[PUBLIC]" not in granted
    assert "[web]" in granted


# --- private keys -----------------------------------------------------------------------------------------

PRIVATE = b"sealed private key"
KEY = {"kind": "ED25519", "master_key_id": "1", "private_key_box": PRIVATE}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT private_key_box FROM execution.credentials",
        "SELECT * FROM execution.credentials",
        "SELECT c FROM execution.credentials c",
        "SELECT c::text FROM execution.credentials c",
        "SELECT to_jsonb(c) FROM execution.credentials c",
        "SELECT count(*) FROM execution.credentials WHERE private_key_box = ''",
        "SELECT count(*) FROM execution.credentials WHERE get_byte(private_key_box, 0) < 99",
        "SELECT account_id FROM execution.credentials ORDER BY private_key_box",
        "SELECT master_key_id FROM execution.credentials",
        "TABLE execution.credentials",
        "COPY execution.credentials TO STDOUT",
        "COPY execution.credentials (private_key_box) TO STDOUT",
        "COPY execution.credentials TO PROGRAM 'cat'",
        "INSERT INTO execution.credentials (account_id, kind, master_key_id, private_key_box)"
        " VALUES (1, 'ED25519', '1', '') RETURNING private_key_box",
        "INSERT INTO execution.credentials (account_id, kind, master_key_id, private_key_box)"
        " VALUES (1, 'ED25519', '1', '')",
        "UPDATE execution.credentials SET api_key = '' RETURNING private_key_box",
        "UPDATE execution.credentials SET private_key_box = ''",
        "DELETE FROM execution.credentials RETURNING private_key_box",
        "DELETE FROM execution.credentials",
        "SELECT sealed_box FROM execution.key_requests",
        "SELECT private_key_box FROM execution.key_requests",
        "SELECT * FROM execution.key_requests",
        "SELECT r::text FROM execution.key_requests r",
        "INSERT INTO execution.key_requests (account_id, kind, sealed_box) VALUES (1, 'HMAC', '') RETURNING sealed_box",
        "UPDATE execution.key_requests SET sealed_box = ''",
        "UPDATE execution.key_requests SET state = 'APPLIED'",
        "DELETE FROM execution.key_requests",
        "INSERT INTO execution.sealing_keys (id, public_key) VALUES ('mine', '')",
        "UPDATE execution.sealing_keys SET public_key = ''",
        "UPDATE execution.accounts SET state = 'ACTIVE'",
        "UPDATE execution.accounts SET exchange_uid = ''",
        "CREATE VIEW public.peek AS SELECT * FROM execution.credentials",
        "CREATE TABLE public.peek AS SELECT * FROM execution.credentials",
        "SELECT * FROM pg_statistic",
        "SET ROLE worker",
        "SET ROLE migrator",
        "SET SESSION AUTHORIZATION worker",
    ],
)
@pytest.mark.parametrize("role", ["web", "research"])
def test_nobody_but_the_worker_comes_near_a_private_key(books: Books, role: str, statement: str) -> None:
    insert(books.worker, "execution.credentials", KEY | {"account_id": books.account_id})

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        getattr(books, role).execute(statement)  # a COPY is refused before it could begin


def test_statistics_tell_the_web_nothing_of_a_private_key(books: Books) -> None:
    insert(books.worker, "execution.credentials", KEY | {"account_id": books.account_id})
    books.owner.execute("ANALYZE execution.credentials")
    look = "SELECT count(*) FROM pg_stats WHERE tablename = 'credentials' AND attname = %s"

    assert books.owner.execute(look, ["private_key_box"]).fetchone() == (1,)
    assert books.web.execute(look, ["private_key_box"]).fetchone() == (0,)


def test_the_web_reads_the_public_half_and_the_worker_the_key(books: Books) -> None:
    insert(books.worker, "execution.credentials", KEY | {"account_id": books.account_id, "public_key_pem": "PEM"})
    mine = "FROM execution.credentials WHERE account_id = %s"

    seen = books.web.execute(f"SELECT public_key_pem {mine}", [books.account_id]).fetchone()
    sealed = books.worker.execute(f"SELECT private_key_box {mine}", [books.account_id]).fetchone()

    assert (seen, sealed) == (("PEM",), (PRIVATE,))


def test_every_view_asks_with_its_readers_rights(books: Books) -> None:
    views = books.owner.execute("""
        SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('v', 'm')
          AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
          AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)
    """)

    assert views.fetchall() == []


# --- sign-in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT password_hash FROM auth.users",
        "SELECT * FROM auth.users",
        "SELECT * FROM auth.sessions",
        "SELECT * FROM auth.refresh_tokens",
        "SELECT * FROM auth.setup_links",
        "UPDATE auth.users SET role = 'admin'",
        "INSERT INTO auth.users (email, password_hash, role) VALUES ('eve@example.org', '', 'admin')",
    ],
)
@pytest.mark.parametrize("role", ["worker", "research"])
def test_only_the_web_knows_how_people_sign_in(books: Books, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        getattr(books, role).execute(statement)


# --- the books --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = {}", "DELETE FROM {}"])
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("execution.order_events", "kind"),
        ("execution.fills", "price"),
        ("execution.order_attempts", "epoch"),
        ("execution.worker_lease", "epoch"),
        ("portfolio.balances", "total"),
        ("portfolio.positions", "quantity"),
        ("portfolio.balance_adjustments", "change"),
        ("portfolio.equity_snapshots", "equity"),
    ],
)
def test_the_web_changes_nothing_in_the_books(books: Books, table: str, column: str, verb: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        books.web.execute(verb.format(table, column, column))


def test_research_sees_nobodys_money(books: Books) -> None:
    for schema in ("execution", "portfolio", "auth"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"permission denied for schema {schema}"):
            books.research.execute({"auth": "TABLE auth.users"}.get(schema, f"TABLE {schema}.balances"))

    assert books.research.execute("SELECT count(*) FROM analytics.candles").fetchone() == (0,)
