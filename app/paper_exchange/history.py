"""Orders and trades as the file has them: what the query endpoints answer from."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from app.paper_exchange.model import Amendment, Order, OrderList, PreventedMatch, Trade
from app.paper_exchange.rows import read_amendment, read_list, read_order, read_prevented, read_trade

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Books:
    """Read side of the file. Ask `Store.settled` first, so that nothing is shown that is not on disk."""

    reader: sqlite3.Connection

    def order(self, account_id: int, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        """One order by its id, or else the newest with that client id."""
        if order_id is not None:
            where, value = "id = ?", order_id
        else:
            where, value = "client_id = ?", client_id  # type: ignore[assignment]
        row = self.reader.execute(
            f"SELECT * FROM orders WHERE account_id = ? AND symbol = ? AND {where} ORDER BY id DESC LIMIT 1",  # noqa: S608
            (account_id, symbol, value),
        ).fetchone()
        return None if row is None else read_order(row)

    def orders(
        self, account_id: int, symbol: str, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Order]:
        """Orders by id, oldest first: from an id or a time on; the newest ones when neither is given."""
        where, values = _bounds("created_ms", start_ms, end_ms)
        if from_id is not None:
            where.append("id >= ?")
            values.append(from_id)
        is_forward = from_id is not None or start_ms is not None
        found = self._select("orders", account_id, symbol, where, values, limit, is_forward=is_forward)
        return [read_order(row) for row in found]

    def trades(
        self, account_id: int, symbol: str, order_id: int | None, from_id: int | None,
        start_ms: int | None, end_ms: int | None, limit: int,
    ) -> list[Trade]:  # fmt: skip
        """Trades by id, oldest first: of an order, from an id or a time on; else the newest ones."""
        where, values = _bounds("traded_ms", start_ms, end_ms)
        if order_id is not None:
            where.append("order_id = ?")
            values.append(order_id)
        if from_id is not None:
            where.append("id >= ?")
            values.append(from_id)
        is_forward = any(bound is not None for bound in (order_id, from_id, start_ms))
        found = self._select("trades", account_id, symbol, where, values, limit, is_forward=is_forward)
        return [read_trade(row) for row in found]

    def orders_of(self, one: OrderList) -> list[Order]:
        """The orders of a list, in its order."""
        marks = ", ".join("?" * len(one.order_ids))
        found = self.reader.execute(
            f"SELECT * FROM orders WHERE symbol = ? AND id IN ({marks}) ORDER BY id",  # noqa: S608 - question marks only
            (one.symbol, *one.order_ids),
        )
        return [read_order(row) for row in found]

    def list_ids(self, symbol: str, order_ids: Collection[int]) -> dict[int, int]:
        """The list of each of these orders that is in one."""
        marks = ", ".join("?" * len(order_ids))
        found = self.reader.execute(
            f"SELECT id, list_id FROM orders WHERE symbol = ? AND list_id >= 0 AND id IN ({marks})",  # noqa: S608
            (symbol, *order_ids),
        )
        return {row["id"]: row["list_id"] for row in found}

    def order_list(self, account_id: int, list_id: int | None, client_id: str | None) -> OrderList | None:
        """One order list by its id, or else the newest with that client id."""
        column, value = ("client_id", client_id) if list_id is None else ("id", list_id)
        row = self.reader.execute(
            f"SELECT * FROM order_lists WHERE account_id = ? AND {column} = ? ORDER BY id DESC LIMIT 1",  # noqa: S608
            (account_id, value),
        ).fetchone()
        return None if row is None else read_list(row)

    def order_lists(
        self, account_id: int, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[OrderList]:
        """Order lists by id, oldest first: from an id or a time on; else the newest ones."""
        where, values = _bounds("created_ms", start_ms, end_ms)
        if from_id is not None:
            where, values = ["id >= ?"], [from_id]
        is_forward = from_id is not None or start_ms is not None
        clauses = " AND ".join(["account_id = ?", *where])
        direction = "ASC" if is_forward else "DESC"
        sql = f"SELECT * FROM order_lists WHERE {clauses} ORDER BY id {direction} LIMIT ?"  # noqa: S608 - fixed words only
        found = [read_list(row) for row in self.reader.execute(sql, (account_id, *values, limit))]
        return found if is_forward else found[::-1]

    def amendments(self, account_id: int, symbol: str, order_id: int, from_id: int, limit: int) -> list[Amendment]:
        """Amendments of an order from an execution id on, oldest first."""
        found = self.reader.execute(
            "SELECT * FROM amendments WHERE account_id = ? AND symbol = ? AND order_id = ? AND execution_id >= ? "
            "ORDER BY execution_id LIMIT ?",
            (account_id, symbol, order_id, from_id, limit),
        )
        return [read_amendment(row) for row in found]

    def prevented(
        self, account_id: int, symbol: str, match_id: int | None, order_id: int | None, from_id: int, limit: int
    ) -> list[PreventedMatch]:
        """Prevented matches: the one with an id, or those of an order from an id on, oldest first."""
        where, values = "id = ?", [match_id]
        if order_id is not None:
            where, values = "(taker_order_id = ? OR maker_order_id = ?) AND id >= ?", [order_id, order_id, from_id]
        found = self.reader.execute(
            f"SELECT * FROM prevented_matches WHERE account_id = ? AND symbol = ? AND {where} ORDER BY id LIMIT ?",  # noqa: S608
            (account_id, symbol, *values, limit),
        )
        return [read_prevented(row) for row in found]

    def all_of(self, account_id: int) -> tuple[list[Order], list[Trade]]:
        """Every order and trade of an account."""
        orders = self.reader.execute("SELECT * FROM orders WHERE account_id = ? ORDER BY symbol, id", (account_id,))
        trades = self.reader.execute("SELECT * FROM trades WHERE account_id = ? ORDER BY symbol, id", (account_id,))
        return [read_order(row) for row in orders], [read_trade(row) for row in trades]

    def _select(
        self,
        table: str,
        account_id: int,
        symbol: str,
        where: list[str],
        values: list[Any],
        limit: int,
        *,
        is_forward: bool,
    ) -> list[sqlite3.Row]:
        clauses = " AND ".join(["account_id = ?", "symbol = ?", *where])
        direction = "ASC" if is_forward else "DESC"
        sql = f"SELECT * FROM {table} WHERE {clauses} ORDER BY id {direction} LIMIT ?"  # noqa: S608 - fixed words only
        found = self.reader.execute(sql, (account_id, symbol, *values, limit)).fetchall()
        return found if is_forward else found[::-1]


def _bounds(column: str, start_ms: int | None, end_ms: int | None) -> tuple[list[str], list[Any]]:
    """A time window. With a start alone it is 24 hours long, as is one with an end alone."""
    if start_ms is not None and end_ms is None:
        end_ms = start_ms + DAY_MS
    elif end_ms is not None and start_ms is None:
        start_ms = end_ms - DAY_MS
    if start_ms is None or end_ms is None:
        return [], []
    return [f"{column} BETWEEN ? AND ?"], [start_ms, end_ms]
