"""The books, kept across crashes, and the store through which a process reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.domain.orders import Order
from app.services.execution.bookkeeping import Step
from app.services.execution.store_memory import Books, MemoryStore, MemoryTransaction, StaleEpoch


@dataclass
class Run:
    """A strategy's run, as its row tells."""

    id: int
    account_id: int
    symbol: str
    running: bool = True
    entries: int = 0


class SimTransaction(MemoryTransaction):
    """Remembers which orders it has touched, so that only those are looked at again."""

    def __init__(self, books: Books, epoch: int | None) -> None:
        super().__init__(books, epoch)
        self.touched: list[int] = []

    async def add_order(self, step: Step) -> Order:
        order = await super().add_order(step)
        self.touched.append(order.id)
        return order

    def _write(self, step: Step) -> None:
        super()._write(step)
        self.touched.append(step.order.id)


class Database:
    """What survives: the books and the runs. `watch` hears of every commit before anybody else does."""

    def __init__(self) -> None:
        self.books = Books()
        self.runs: dict[int, Run] = {}
        self.is_down = False
        self.lost_answers = 0  # so many of the next commits are carried out, and the answer is lost
        self.watch: Callable[[Books, list[int], int | None], None] = lambda before, touched, epoch: None
        self.notify: Callable[[list[str]], None] = lambda hints: None

    def edit(self, change: Callable[[Books], None]) -> None:
        """Somebody else's small transaction."""
        books = self.books.copy()
        change(books)
        self.books = books

    def check(self) -> None:
        """Raise when the database cannot be reached."""
        if self.is_down:
            raise ConnectionError("the database cannot be reached")

    def commit(self, before: Books, tx: SimTransaction, epoch: int | None) -> None:
        """All or nothing; and the one who asked may never learn which."""
        self.check()
        self.books = tx.books
        self.watch(before, tx.touched, epoch)
        if tx.woken:
            self.notify(tx.woken)
        if self.lost_answers and epoch is not None:
            self.lost_answers -= 1
            raise ConnectionError("the database closed the connection")


class SimStore(MemoryStore):
    """`MemoryStore` on shared books: before and after each transaction somebody else may go on, or the process die.

    A transaction itself is one slice, as PostgreSQL's row locks make it look. The epoch is that of the process.
    """

    def __init__(self, database: Database, epoch: int | None) -> None:
        self.database = database
        self.epoch = epoch
        self.woken = []

    @property
    def books(self) -> Books:  # type: ignore[override]
        """The shared books."""
        return self.database.books

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SimTransaction]:
        await asyncio.sleep(0)
        self.database.check()
        before = self.database.books
        tx = SimTransaction(before.copy(), self.epoch)
        yield tx
        assert self.database.books is before, "a transaction was not one slice"
        self.database.commit(before, tx, self.epoch)
        await asyncio.sleep(0)


__all__ = ["Database", "Run", "SimStore", "StaleEpoch"]
