"""The books, kept across crashes, and the store through which a process reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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
    """Remembers which orders it has touched, and how many events they had, so that only those are looked at again."""

    def __init__(self, books: Books, epoch: int | None) -> None:
        super().__init__(books, epoch)
        self.touched: dict[int, int] = {}

    async def add_order(self, step: Step) -> Order:
        order = await super().add_order(step)
        self.touched[order.id] = 0
        return order

    def _write(self, step: Step) -> None:
        self.touched.setdefault(step.order.id, len(self.books.events[step.order.id]))
        super()._write(step)


class Database:
    """What survives: the books and the runs. `watch` hears of every commit before anybody else does."""

    def __init__(self) -> None:
        self.books = Books()
        self.runs: dict[int, Run] = {}
        self.is_down = False
        self.lost_answers = 0  # so many of the next commits are carried out, and the answer is lost
        self.watch: Callable[[dict[int, int], int | None], None] = lambda touched, epoch: None
        self.notify: Callable[[list[str]], None] = lambda hints: None

    def edit(self, change: Callable[[Books], None]) -> None:
        """Somebody else's small transaction."""
        change(self.books)

    def check(self) -> None:
        """Raise when the database cannot be reached."""
        if self.is_down:
            raise ConnectionError("the database cannot be reached")

    def commit(self, tx: SimTransaction, epoch: int | None) -> None:
        """All or nothing; and the one who asked may never learn which."""
        self.books.commit()
        self.watch(tx.touched, epoch)
        if tx.woken:
            self.notify(tx.woken)
        if self.lost_answers and epoch is not None:
            self.lost_answers -= 1
            raise ConnectionError("the database closed the connection")


class Turn:
    """Waits for nothing: whoever else can run may go first, and here the process may die."""

    def __await__(self) -> Iterator[None]:
        yield


class Unit:
    """One transaction of a `SimStore`; a class of its own because nothing happens more often than this."""

    __slots__ = ("_books", "_store", "_tx")

    def __init__(self, store: SimStore) -> None:
        self._store = store

    async def __aenter__(self) -> SimTransaction:
        await Turn()
        database = self._store.database
        database.check()
        self._books = database.books
        self._tx = SimTransaction(self._books.begin(), self._store.epoch)
        return self._tx

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        database = self._store.database
        if kind is not None or database.is_down:
            self._books.roll_back()
            if kind is None:
                database.check()
            return
        try:
            self._tx.finish()
        except StaleEpoch:
            self._books.roll_back()
            raise
        database.commit(self._tx, self._store.epoch)
        await Turn()


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

    def transaction(self) -> Any:
        """A transaction that is one slice."""
        return Unit(self)


__all__ = ["Database", "Run", "SimStore", "StaleEpoch"]
