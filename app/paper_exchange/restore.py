"""From the file back into an engine: balances, counters, open orders and order lists."""

from __future__ import annotations

import json
import sqlite3

from app.paper_exchange import rows
from app.paper_exchange.history import Books
from app.paper_exchange.matching import Engine

_OPEN_ORDERS = "SELECT * FROM orders WHERE status IN ('NEW', 'PENDING_NEW', 'PARTIALLY_FILLED') ORDER BY sequence"


def restore_balances(engine: Engine, reader: sqlite3.Connection) -> None:
    """What accounts have and how they pay, and the number of the last execution."""
    for row in reader.execute("SELECT * FROM balances"):
        engine.ledger.accounts.setdefault(row["account_id"], {})[row["asset"]] = rows.read_balance(row)
    meta = {row["key"]: row["value"] for row in reader.execute("SELECT * FROM meta")}
    engine.execution_id = int(meta.get("execution_id", 0))
    engine.commissions.bnb_payers.update(json.loads(meta.get("bnb_payers", "[]")))


def restore_counters(reader: sqlite3.Connection, symbol: str) -> dict[str, int]:
    """The next order and trade ids of a symbol, as `Engine.add_market` takes them."""
    row = reader.execute("SELECT * FROM counters WHERE symbol = ?", (symbol,)).fetchone()
    return {} if row is None else {name: row[name] for name in ("next_order_id", "next_trade_id")}


def restore_orders(engine: Engine, reader: sqlite3.Connection) -> None:
    """Open orders and lists. The markets must be known to the engine."""
    for row in reader.execute(_OPEN_ORDERS):
        engine.restore(rows.read_order(row))
    books = Books(reader)
    for row in reader.execute("SELECT * FROM order_lists WHERE is_done = 0"):
        one = rows.read_list(row)
        is_open = engine.markets[one.symbol].open_orders
        engine.lists.restore(one, [is_open.get(order.id, order) for order in books.orders_of(one)])
    newest = reader.execute("SELECT max(id) AS newest FROM order_lists").fetchone()["newest"]
    engine.lists.next_id = 0 if newest is None else newest + 1
    for row in reader.execute("SELECT symbol, max(id) AS newest FROM prevented_matches GROUP BY symbol"):
        engine.markets[row["symbol"]].next_prevented_id = row["newest"] + 1
    newest = reader.execute("SELECT max(sequence) AS newest FROM orders").fetchone()["newest"]
    engine.sequence = max(engine.sequence, newest or 0)
