"""History is only ever added to, by nobody, not even the owner, and by no route."""

from __future__ import annotations

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from app.database.refusals import Refusal
from tests.postgres.books import Books, insert, refused

HISTORY = [
    "execution.order_events",
    "execution.order_attempts",
    "execution.fills",
    "portfolio.balance_adjustments",
    "portfolio.position_adjustments",
    "strategy.strategy_versions",
    "auth.audit_log",
]


def fill_every_table(books: Books) -> None:
    order_id = books.open_order()
    books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id))
    insert(
        books.worker,
        "execution.order_attempts",
        {"order_id": order_id, "epoch": books.EPOCH, "signed_timestamp_ms": 2_000, "recv_window_ms": 5_000},
    )
    adjustment = {"account_id": books.account_id, "asset": "USDT", "change": "1000", "reason": "opening balance"}
    insert(books.worker, "portfolio.balance_adjustments", adjustment)
    taken = {"account_id": books.account_id, "run_id": 1, "symbol": "BTCUSDT", "change": "-1", "reason": "sold outside"}
    insert(books.worker, "portfolio.position_adjustments", taken | {"occurred_at": "2026-01-01T00:00:00Z"})
    strategy_id = insert(books.web, "strategy.strategies", {"user_id": books.user_id, "name": "EMA cross"}, "id")
    version = {"strategy_id": strategy_id, "number": 1, "hash": "abc", "document": Jsonb({})}
    insert(books.web, "strategy.strategy_versions", version)
    books.web.execute("SELECT auth.append_audit(now(), 'cli', 'test', '', '{}', '', '')")


@pytest.mark.parametrize("table", HISTORY)
def test_history_is_not_edited_deleted_or_truncated(books: Books, table: str) -> None:
    fill_every_table(books)
    name = sql.Identifier(*table.split("."))
    column = books.owner.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(name)).description[-1].name  # type: ignore[index]
    statements = {
        "UPDATE": sql.SQL("UPDATE {} SET {column} = {column}").format(name, column=sql.Identifier(column)),
        "DELETE": sql.SQL("DELETE FROM {}").format(name),
        "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE").format(name),
    }
    before = books.owner.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()

    for verb, statement in statements.items():
        with refused(Refusal.HISTORY, f"{verb} of {table} is refused"):
            books.owner.execute(statement)

    assert before != (0,)
    assert books.owner.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone() == before


@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("table", ["execution.orders", "execution.worker_lease", "auth.audit_head"])
def test_orders_the_lease_and_the_audit_head_are_never_removed(books: Books, table: str, statement: str) -> None:
    with refused(Refusal.HISTORY, "is refused: it is history"):
        books.owner.execute(sql.SQL(statement).format(sql.Identifier(*table.split("."))))


def test_truncating_what_history_refers_to_is_refused(books: Books) -> None:
    with refused(Refusal.HISTORY, "TRUNCATE"):
        books.owner.execute("TRUNCATE auth.users CASCADE")
