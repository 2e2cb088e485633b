"""A file of the first release is taken up as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.paper_exchange.errors import StartError
from app.paper_exchange.schema import VERSION
from app.paper_exchange.store import Store

LAYOUT_1 = (Path(__file__).parent / "layout_1.sql").read_text()
ROWS = """
INSERT INTO accounts VALUES (1, 'one', 'key', 'hmac', 'secret', 5);
INSERT INTO balances VALUES (1, 'USDT', '10', '0');
INSERT INTO orders VALUES ('BTCUSDT', 7, 1, 'c', 'BUY', 'LIMIT', 'GTC', '5', '1', '0', '0', 'EXPIRE_MAKER', NULL, NULL,
  'NEW', '0', '0', '5', 'USDT', 1, 1, 1, '', '0', 1);
INSERT INTO trades VALUES ('BTCUSDT', 3, 7, 1, '5', '1', '5', '0', 'BTC', 1, 0, 9);
PRAGMA user_version = 1;
"""


def schema_of(path: Path) -> set[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    return set(names)


async def test_a_file_of_the_first_layout_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with sqlite3.connect(old) as connection:
        connection.executescript(LAYOUT_1 + ROWS)
    connection.close()
    for path in (old, new):
        store = await open_and_close(path)
        assert store == VERSION
    assert schema_of(old) == schema_of(new)
    with sqlite3.connect(old) as connection:
        assert connection.execute("SELECT free FROM balances").fetchall() == [("10",)]
        assert connection.execute("SELECT id, list_id, prevented FROM orders").fetchall() == [(7, -1, "0")]
        assert connection.execute("SELECT id, order_id FROM trades").fetchall() == [(3, 7)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        targets = connection.execute("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list('orders')").fetchall()
        assert targets == [("accounts",)]
    connection.close()


async def test_a_file_of_a_later_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    await open_and_close(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StartError, match=f"has layout {VERSION + 1}"):
        await open_and_close(path)


async def open_and_close(path: Path) -> int:
    store = Store.open(path)
    version: int = store.reader.execute("PRAGMA user_version").fetchone()[0]
    await store.close()
    return version
