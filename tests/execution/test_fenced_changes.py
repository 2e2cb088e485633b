"""A worker that was replaced while it slept changes nothing when it wakes, be it an event or any other row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import START_MS, Sessions, World
from sqlalchemy import update

from app.jobs.guard import TRANSIENT
from app.models.execution import WorkerLease
from app.services.execution.store_memory import MemoryStore, StaleEpoch

CHANGES: dict[str, Callable[[Any, int], Awaitable[Any]]] = {
    "an account's state": lambda tx, account_id: tx.set_account_state(account_id, "RECOVERING", "woken"),
    "all accounts' states": lambda tx, account_id: tx.hold_accounts(),
    "a freeze": lambda tx, account_id: tx.freeze_account(account_id, "woken"),
    "an incident": lambda tx, account_id: tx.add_incident("WOKEN", "for nobody", account_id=account_id),
    "a trade cursor": lambda tx, account_id: tx.move_trade_cursor(account_id, "BTCUSDT", 7),
}


@pytest.fixture
async def replaced(world: World, roles: tuple[Sessions, Sessions] | None) -> World:
    """The world after another worker has taken over."""
    if isinstance(world.store, MemoryStore):
        world.store.books.epoch = 2
    elif roles is not None:
        async with roles[0].begin() as session:
            await session.execute(update(WorkerLease).values(epoch=2))
    return world


@pytest.mark.parametrize("change", CHANGES)
async def test_a_replaced_worker_changes_nothing(replaced: World, change: str) -> None:
    with pytest.raises((StaleEpoch, *TRANSIENT)):
        async with replaced.store.transaction() as tx:
            await CHANGES[change](tx, replaced.account_id)

    async with replaced.store.transaction() as tx:
        facts = await tx.trading_facts(replaced.account_id, "BTCUSDT", None, now_ms=START_MS)
    assert facts is not None
    assert facts.account.state == "ACTIVE"


@pytest.mark.parametrize("change", CHANGES)
async def test_the_worker_in_office_makes_the_same_change(world: World, change: str) -> None:
    async with world.store.transaction() as tx:
        await CHANGES[change](tx, world.account_id)
