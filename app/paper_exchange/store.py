"""The exchange's durable file: SQLite, write-ahead log, synced at every commit.

All writes go through one thread that commits whatever has queued up as one transaction, so that many
orders share one sync. A write is acknowledged, and the events that tell of it are published, only after its
commit; both happen in the order in which the writes were submitted.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from app.paper_exchange.errors import StartError
from app.paper_exchange.schema import MIGRATIONS, SCHEMA, VERSION

log = structlog.get_logger(__name__)

Statement = tuple[str, Sequence[Sequence[Any]]]


@dataclass(slots=True)
class _Write:
    statements: list[Statement]
    done: asyncio.Future[None]
    after: Callable[[], None]


@dataclass(slots=True)
class _Stop:
    pass


@dataclass(slots=True)
class Store:
    """Open with `Store.open`; `write` from the event loop; read with `reader` on the event loop's thread."""

    reader: sqlite3.Connection
    _path: Path
    _loop: asyncio.AbstractEventLoop
    _lock: int  # descriptor that holds the file for this process
    _queue: queue.SimpleQueue[_Write | _Stop] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    _last: asyncio.Future[None] | None = None
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or make the file (mode 0600) and start its writer. Raises StartError, also when another uses it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise StartError(f"Another paper exchange is using {path}. Stop it, or choose another file.") from None
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            reader = _connect(path)
            _migrate(reader, path)
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"The paper exchange cannot open its file {path}: {error}") from error
        store = cls(reader, path, asyncio.get_running_loop(), lock)
        store._thread = threading.Thread(target=store._run, name="paper-store", daemon=True)
        store._thread.start()
        return store

    def write(self, statements: list[Statement], after: Callable[[], None] = lambda: None) -> asyncio.Future[None]:
        """Queue a transaction. `after` runs on the event loop once it is on disk; then the future is done."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._last = done
        self._queue.put(_Write(statements, done, after))
        return done

    async def settled(self) -> None:
        """Wait until everything written so far is on disk: a reader never sees what could still be lost."""
        if self._last is not None and not self._last.done():
            await asyncio.shield(self._last)

    async def close(self) -> None:
        """Commit what is queued, stop the writer and close the file."""
        if self._thread is not None:
            self._queue.put(_Stop())
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self.reader.close()
        os.close(self._lock)

    def _run(self) -> None:
        connection = _connect(self._path)
        stopping = False
        while not stopping:
            batch: list[_Write] = []
            item: _Write | _Stop = self._queue.get()
            while True:
                if isinstance(item, _Stop):
                    stopping = True
                    break
                batch.append(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            try:
                _commit(connection, batch)
            except (sqlite3.Error, OverflowError) as error:
                # The books in memory are ahead of the file: the process must end and start from the file.
                log.critical("the paper exchange cannot write its file", path=str(self._path), error=str(error))
                self._loop.call_soon_threadsafe(self._fail, batch)
                break
            for write in batch:
                self._loop.call_soon_threadsafe(_finish, write)
        connection.close()

    def _fail(self, batch: list[_Write]) -> None:
        """Nobody gets an answer for what is not on disk."""
        self.failed.set()
        for write in batch:
            write.done.cancel()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    while version in MIGRATIONS:
        # With foreign keys off, and the old way of renaming, other tables go on pointing at the name.
        connection.executescript(
            "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN;"
            f"{MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
            "PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON;"
        )
        version += 1
    if version != VERSION:
        raise StartError(f"{path} has layout {version}; this program writes layout {VERSION}")


def _commit(connection: sqlite3.Connection, batch: list[_Write]) -> None:
    if not any(write.statements for write in batch):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for write in batch:
            for sql, rows in write.statements:
                connection.executemany(sql, rows)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _finish(write: _Write) -> None:
    try:
        write.after()
    finally:
        if not write.done.done():
            write.done.set_result(None)
