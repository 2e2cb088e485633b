"""The audit log: one way in, a chain that shows every edit, whole also when many write at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from app.config import Role
from app.database.refusals import Refusal
from tests.postgres.books import Books, Connection, refused

APPEND = "SELECT auth.append_audit('2026-11-22T12:00:00.123456+02:00', %s, 'order.placed', 'order:1', '{}', '', '')"


def append(connection: Connection, actor: str = "user:1") -> int:
    row = connection.execute(APPEND, [actor]).fetchone()
    assert row is not None
    return int(row[0])


def first_broken(books: Books) -> int | None:
    row = books.web.execute("SELECT auth.verify_audit()").fetchone()
    assert row is not None
    return None if row[0] is None else int(row[0])


def test_entries_follow_one_another(own_books: Books) -> None:
    numbers = [append(own_books.web), append(own_books.worker), append(own_books.owner)]

    chain = own_books.web.execute("SELECT seq, prev_hash, hash FROM auth.audit_log ORDER BY seq").fetchall()
    assert numbers == [1, 2, 3]
    assert [before for _, before, _ in chain] == ["0" * 64, chain[0][2], chain[1][2]]
    assert first_broken(own_books) is None


def test_an_empty_log_is_whole(own_books: Books) -> None:
    assert first_broken(own_books) is None


def test_an_entry_that_is_rolled_back_leaves_no_gap(own_books: Books) -> None:
    append(own_books.web)
    with own_books.web.transaction(force_rollback=True):
        append(own_books.web)

    assert append(own_books.web) == 2
    assert first_broken(own_books) is None


def test_the_time_zone_of_a_reader_changes_nothing(own_books: Books) -> None:
    append(own_books.web)
    own_books.web.execute("SET timezone = 'Asia/Kathmandu'")

    assert first_broken(own_books) is None


def drop_and_rebuild(statement: str) -> Callable[[Books], None]:
    """An owner who takes the guards away, edits, and puts them back."""

    def edit(books: Books) -> None:
        with books.owner.transaction():
            books.owner.execute("ALTER TABLE auth.audit_log DISABLE TRIGGER ALL")
            books.owner.execute(statement)
            books.owner.execute("ALTER TABLE auth.audit_log ENABLE TRIGGER ALL")

    return edit


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE auth.audit_log SET actor = 'user:2' WHERE seq = 2", 2),
        ("UPDATE auth.audit_log SET at = at + interval '1 microsecond' WHERE seq = 2", 2),
        ("""UPDATE auth.audit_log SET details = '{"a": 1}' WHERE seq = 2""", 2),
        ("UPDATE auth.audit_log SET actor = 'user:2', hash = repeat('a', 64) WHERE seq = 1", 1),
        ("DELETE FROM auth.audit_log WHERE seq = 2", 2),
        ("DELETE FROM auth.audit_log WHERE seq = 3", 3),
        ("DELETE FROM auth.audit_log", 1),
        ("UPDATE auth.audit_log SET seq = 4 - seq + 100", 1),
        ("INSERT INTO auth.audit_log SELECT 4, at, actor, action, object, details, ip, request_id, hash, hash"
         " FROM auth.audit_log WHERE seq = 3", 4),
    ],
)  # fmt: skip
def test_an_edit_by_the_owner_shows(own_books: Books, statement: str, broken: int) -> None:
    for _ in range(3):
        append(own_books.web)
    assert first_broken(own_books) is None

    drop_and_rebuild(statement)(own_books)

    assert first_broken(own_books) == broken


def test_a_recomputed_entry_shows_in_the_next_one(own_books: Books) -> None:
    for _ in range(3):
        append(own_books.web)

    drop_and_rebuild("UPDATE auth.audit_log SET actor = 'user:2' WHERE seq = 2")(own_books)
    drop_and_rebuild("UPDATE auth.audit_log AS l SET hash = auth.audit_hash(l) WHERE seq = 2")(own_books)

    assert first_broken(own_books) == 3


def test_a_missing_number_shows_even_when_all_hashes_fit(own_books: Books) -> None:
    for _ in range(3):
        append(own_books.web)

    drop_and_rebuild("UPDATE auth.audit_log SET seq = 9 WHERE seq = 3")(own_books)
    drop_and_rebuild("UPDATE auth.audit_log AS l SET hash = auth.audit_hash(l) WHERE seq = 9")(own_books)
    own_books.owner.execute(
        "UPDATE auth.audit_head SET (seq, hash) = (SELECT seq, hash FROM auth.audit_log WHERE seq = 9)"
    )

    assert first_broken(own_books) == 3


def test_entries_at_once_keep_the_chain_whole(own_books: Books, database_urls: dict[Role, str]) -> None:
    def append_ten(role: Role) -> list[int]:
        with psycopg.connect(database_urls[role], autocommit=True) as connection:
            return [append(connection) for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        numbers = [number for part in pool.map(append_ten, ["web", "worker", "web", "worker"]) for number in part]

    assert sorted(numbers) == list(range(1, 41))
    assert first_broken(own_books) is None


def test_the_owner_adds_no_entry_by_hand(books: Books) -> None:
    append(books.web)

    with refused(Refusal.AUDIT, "entries are added by auth.append_audit only"):
        books.owner.execute(
            "INSERT INTO auth.audit_log SELECT seq + 100, at, actor, action, object, details, ip, request_id,"
            " prev_hash, hash FROM auth.audit_log LIMIT 1"
        )


@pytest.mark.parametrize("role", ["web", "worker", "research"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO auth.audit_log (seq, at, actor, action, prev_hash, hash) VALUES (1, now(), '', '', '', '')",
        "UPDATE auth.audit_log SET actor = ''",
        "DELETE FROM auth.audit_log",
        "TRUNCATE auth.audit_log",
        "UPDATE auth.audit_head SET seq = 0",
        "ALTER TABLE auth.audit_log DISABLE TRIGGER ALL",
    ],
)
def test_the_function_is_the_only_way_in(books: Books, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        getattr(books, role).execute(statement)
