"""A small world for execution: one account with money, one symbol with rules and a price, in either store."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.clock import to_datetime
from app.domain.symbols import SymbolRules
from app.models.analytics import Price
from app.models.auth import User
from app.models.execution import Account, SymbolRow, WorkerLease
from app.services.execution.rows import rules_document
from app.services.execution.store import AccountFacts, Store
from app.services.execution.store_memory import MemoryStore
from app.services.execution.store_postgres import PostgresStore
from app.services.portfolio.projection import book_adjustment

D = Decimal
Sessions = async_sessionmaker[AsyncSession]
START_MS = 1_700_000_000_000
RULES = SymbolRules(
    "BTCUSDT",
    "BTC",
    "USDT",
    tick_size=D("0.01"),
    step_size=D("0.00001"),
    min_qty=D("0.00001"),
    max_qty=D(9000),
    min_notional=D(5),
)


class StillClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        return self.ms

    def exchange_now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.ms += round(seconds * 1000)


class CountedIds:
    """Client order ids that are easy to read in a failure."""

    def __init__(self) -> None:
        self._n = 0

    def client_order_id(self) -> str:
        self._n += 1
        return f"pl-{self._n}"


@dataclass
class World:
    """A store with an account that trades BTCUSDT, and the fakes around it."""

    store: Store
    account_id: int
    clock: StillClock = field(default_factory=StillClock)
    ids: CountedIds = field(default_factory=CountedIds)


def memory_world(balances: dict[str, Decimal], price: str = "100") -> World:
    """The world in memory; the worker in office has epoch 1."""
    store = MemoryStore(epoch=1)
    store.books.epoch = 1
    store.books.accounts[1] = AccountFacts(1, 1, "PAPER", "ACTIVE", "Paper")
    store.books.rules["BTCUSDT"] = RULES
    store.books.prices["BTCUSDT"] = (D(price), START_MS)
    store.books.totals.update({(1, asset): total for asset, total in balances.items()})
    return World(store, 1)


async def postgres_world(owner: Sessions, worker: Sessions, balances: dict[str, Decimal]) -> World:
    """The same in PostgreSQL, with the worker's role and its epoch."""
    async with owner.begin() as session:
        user = User(email="ann@example.org", password_hash="x", role="trader")
        session.add(user)
        await session.flush()
        account = {"user_id": user.id, "label": "Paper", "kind": "PAPER", "state": "ACTIVE"}
        account_id = (await session.execute(insert(Account).values(account).returning(Account.id))).scalar_one()
        rules = {"kind": "PAPER", "symbol": "BTCUSDT", "rules": rules_document(RULES)}
        await session.execute(insert(SymbolRow).values(rules | {"refreshed_at": to_datetime(START_MS)}))
        price = {"kind": "PAPER", "symbol": "BTCUSDT", "price": D(100), "priced_at": to_datetime(START_MS)}
        await session.execute(insert(Price).values(price))
        await session.execute(update(WorkerLease).values(epoch=1))
    async with worker.begin() as session:
        for asset, total in balances.items():
            opening = {"change": total, "reason": "opening balance", "occurred_ms": START_MS}
            await book_adjustment(session, account_id=account_id, asset=asset, **opening)  # type: ignore[arg-type]
    return World(PostgresStore(worker, epoch=1), account_id)


@pytest.fixture(params=["memory", "postgres"])
def roles(request: pytest.FixtureRequest) -> tuple[Sessions, Sessions] | None:
    """Sessions of the owner and the worker, or None for the store in memory."""
    if request.param == "memory":
        return None
    return request.getfixturevalue("migrator_sessions"), request.getfixturevalue("worker_sessions")


@pytest.fixture
async def world(roles: tuple[Sessions, Sessions] | None) -> World:
    """The same world in each store: what passes in one must pass in the other."""
    balances = {"USDT": D(1000), "BTC": D(2)}
    return memory_world(balances) if roles is None else await postgres_world(*roles, balances)
