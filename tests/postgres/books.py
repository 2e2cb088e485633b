"""Orders, events and fills written by hand, a statement at a time, so that tests can leave one out or bend one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from app.config import Role
from app.database.refusals import Refusal

Connection = psycopg.Connection[tuple[Any, ...]]
_numbers = itertools.count(1)


@contextmanager
def refused(reason: Refusal, words: str) -> Iterator[None]:
    """The block is refused by one of our guards, for this reason and in these words."""
    with pytest.raises(psycopg.Error, match=words) as caught:
        yield
    assert caught.value.sqlstate == reason.value


def insert(connection: Connection, table: str, values: Mapping[str, Any], returning: str = "") -> Any:
    """INSERT one row; the value of the column `returning`, if one is named."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    if returning:
        statement += sql.SQL(" RETURNING {}").format(sql.Identifier(returning))
    cursor = connection.execute(statement, list(values.values()))
    row = cursor.fetchone() if returning else None
    return row[0] if row else None


class Books:
    """One user with one account, and a connection for each role. The worker in office has epoch 7."""

    EPOCH = 7

    def __init__(self, urls: Mapping[Role, str]) -> None:
        self.owner, self.web, self.worker, self.research = (
            psycopg.connect(urls[role], autocommit=True) for role in ("migrator", "web", "worker", "research")
        )
        user = {"email": f"ann{next(_numbers)}@example.org", "password_hash": "x", "role": "trader"}
        self.user_id = insert(self.owner, "auth.users", user, "id")
        self.account_id = self.new_account()
        self.owner.execute("UPDATE execution.worker_lease SET epoch = %s", [self.EPOCH])

    def close(self) -> None:
        for connection in (self.owner, self.web, self.worker, self.research):
            connection.close()

    def new_account(self) -> Any:
        account = {"user_id": self.user_id, "label": f"Paper {next(_numbers)}", "kind": "PAPER"}
        return insert(self.owner, "execution.accounts", account, "id")

    def order_row(self, **changes: Any) -> dict[str, Any]:
        number = next(_numbers)
        return {
            "account_id": self.account_id,
            "client_order_id": f"order-{number}",
            "intent_key": f"intent-{number}",
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "quantity": "2",
            "price": "100",
            "status": "NEW",
            "version": 1,
            "created_at_ms": 1_000,
            "deadline_ms": 31_000,
        } | changes

    def order(self, order_id: int) -> dict[str, Any]:
        with self.owner.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute("SELECT * FROM execution.orders WHERE id = %s", [order_id]).fetchone()
        assert row is not None
        return row

    def event(self, connection: Connection, order_id: int, seq: int, kind: str, **values: Any) -> None:
        """Write one event; of the worker unless `epoch` and `source` say otherwise."""
        row = {"order_id": order_id, "seq": seq, "kind": kind, "source": "executor", "epoch": self.EPOCH}
        row |= {"dedup_key": f"{kind}:{seq}", "occurred_at": "2026-11-22T12:00:00Z", "payload": Jsonb({})}
        insert(connection, "execution.order_events", row | values)

    def new_order(self, connection: Connection | None = None, **changes: Any) -> int:
        """An order with its first event: the web's, or the worker's."""
        connection = connection or self.web
        by_web = {"source": "user", "epoch": None} if connection is self.web else {}
        with connection.transaction():
            order_id = insert(connection, "execution.orders", self.order_row(**changes), "id")
            self.event(connection, order_id, 1, "created", to_status="NEW", **by_web)
        return int(order_id)

    def update(self, connection: Connection, order_id: int, **changes: Any) -> None:
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in changes)
        connection.execute(
            sql.SQL("UPDATE execution.orders SET {} WHERE id = %s").format(assignments), [*changes.values(), order_id]
        )

    def step(self, order_id: int, kind: str, to: str, *, connection: Connection | None = None, **changes: Any) -> None:
        """An event and the order's row after it, in one transaction. `fill` is booked between the two."""
        connection = connection or self.worker
        by_web = {"source": "user", "epoch": None} if connection is self.web else {}
        fill = changes.pop("fill", None)
        before = self.order(order_id)
        seq = before["version"] + 1
        keys = {"dedup_key": f"fill:{fill['trade_id']}"} if fill else {}
        with connection.transaction():
            self.event(connection, order_id, seq, kind, from_status=before["status"], to_status=to, **(keys | by_web))
            if fill:
                insert(connection, "execution.fills", fill)
                changes.setdefault("filled", before["filled"] + fill["quantity"])
                changes.setdefault("filled_quote", before["filled_quote"] + fill["quote_quantity"])
            self.update(connection, order_id, version=seq, status=to, **changes)

    def fill_row(self, order_id: int, quantity: int = 1, **changes: Any) -> dict[str, Any]:
        return {
            "account_id": self.account_id,
            "symbol": "BTCUSDT",
            "trade_id": next(_numbers),
            "order_id": order_id,
            "side": "BUY",
            "quantity": quantity,
            "price": 100,
            "quote_quantity": 100 * quantity,
            "commission": "0.001",
            "commission_asset": "BTC",
            "is_maker": False,
            "traded_at": "2026-11-22T12:00:00Z",
        } | changes

    def open_order(self, **changes: Any) -> int:
        """An order that rests on the exchange."""
        order_id = self.new_order(**changes)
        self.step(order_id, "attempt_sent", "SUBMITTED", signed_timestamp_ms=2_000, recv_window_ms=5_000)
        self.step(order_id, "acknowledged", "OPEN", exchange_order_id=order_id + 5_000)
        return order_id
