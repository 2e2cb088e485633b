"""Both stores keep differences, cursors and adjustments alike."""

from __future__ import annotations

from decimal import Decimal

from app.models.execution import AccountState
from app.services.execution.store_reconciling import Adjustment
from tests.execution.conftest import START_MS, World

D = Decimal


def deposit(world: World, reference: str = "difference:1", change: str = "5") -> Adjustment:
    return Adjustment(world.account_id, "USDT", D(change), "deposit", "came from outside", reference, START_MS)


async def test_an_adjustment_is_booked_once_for_its_reference(world: World) -> None:
    async with world.store.transaction() as tx:
        assert await tx.adjust(deposit(world)) is True
    async with world.store.transaction() as tx:
        assert await tx.adjust(deposit(world, change="7")) is False
        assert (await tx.balances(world.account_id))["USDT"] == D(1005)
        assert await tx.adjustments(world.account_id, "difference:1") == [deposit(world)]
        assert await tx.adjustments(world.account_id, "difference:2") == []


async def test_a_trade_made_elsewhere_counts_as_booked(world: World) -> None:
    async with world.store.transaction() as tx:
        await tx.adjust(deposit(world, "trade:BTCUSDT:41"))
        await tx.adjust(deposit(world, "trade:BTCUSDT:43"))
        await tx.adjust(deposit(world, "trade:ETHUSDT:44"))
    async with world.store.transaction() as tx:
        assert await tx.trade_ids_from(world.account_id, "BTCUSDT", 42) == {43}


async def test_a_cursor_never_goes_back(world: World) -> None:
    async with world.store.transaction() as tx:
        assert await tx.trade_cursor(world.account_id, "BTCUSDT") is None
        await tx.move_trade_cursor(world.account_id, "BTCUSDT", 10)
        await tx.move_trade_cursor(world.account_id, "BTCUSDT", 7)
    async with world.store.transaction() as tx:
        assert await tx.trade_cursor(world.account_id, "BTCUSDT") == 10


async def test_a_difference_is_one_row_while_it_stays_the_same(world: World) -> None:
    facts = {"asset": "USDT", "difference": "5"}
    async with world.store.transaction() as tx:
        first = await tx.see_difference(world.account_id, "balance", "USDT", facts, same=False, at_ms=1)
        second = await tx.see_difference(world.account_id, "balance", "USDT", facts, same=True, at_ms=2)
    async with world.store.transaction() as tx:
        assert await tx.differences(world.account_id) == [second]
    assert (first.looks, second.looks, second.id) == (1, 2, first.id)
    assert (second.first_seen_ms, second.last_seen_ms, second.state) == (1, 2, "OPEN")


async def test_a_difference_that_changes_is_looked_at_anew(world: World) -> None:
    async with world.store.transaction() as tx:
        await tx.see_difference(world.account_id, "balance", "USDT", {"difference": "5"}, same=False, at_ms=1)
        changed = await tx.see_difference(world.account_id, "balance", "USDT", {"difference": "6"}, same=False, at_ms=9)
    assert (changed.looks, changed.first_seen_ms, changed.facts) == (1, 9, {"difference": "6"})


async def test_a_closed_difference_stands_no_longer_and_may_come_again(world: World) -> None:
    async with world.store.transaction() as tx:
        first = await tx.see_difference(world.account_id, "order", "BTCUSDT:7", {}, same=False, at_ms=1)
        await tx.close_difference(first.id, "GONE", by="worker", note="", at_ms=2)
    async with world.store.transaction() as tx:
        assert await tx.differences(world.account_id) == []
        again = await tx.see_difference(world.account_id, "order", "BTCUSDT:7", {}, same=False, at_ms=3)
    assert again.id != first.id


async def test_accounts_are_held_at_a_start_and_let_go_one_by_one(world: World) -> None:
    async with world.store.transaction() as tx:
        assert await tx.hold_accounts() == [world.account_id]
        held = await tx.account(world.account_id)
    async with world.store.transaction() as tx:
        await tx.set_account_state(world.account_id, AccountState.ACTIVE.value, "")
        free = await tx.account(world.account_id)
    assert held is not None
    assert free is not None
    assert (held.state, free.state) == ("RECOVERING", "ACTIVE")


async def test_a_frozen_account_is_neither_held_nor_let_go(world: World) -> None:
    async with world.store.transaction() as tx:
        await tx.freeze_account(world.account_id, "the key was refused")
    async with world.store.transaction() as tx:
        assert await tx.hold_accounts() == []
        await tx.set_account_state(world.account_id, AccountState.ACTIVE.value, "")
        account = await tx.account(world.account_id)
    assert account is not None
    assert account.state == "FROZEN"


async def test_symbols_are_found_by_their_assets(world: World) -> None:
    async with world.store.transaction() as tx:
        assert await tx.symbols_between(world.account_id, {"BTC", "USDT"}) == ["BTCUSDT"]
        assert await tx.symbols_between(world.account_id, {"BTC"}) == []
