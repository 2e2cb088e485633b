"""A kill switch halts, cancels and flattens, whatever does not work besides; and it only ever gets stronger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, update

from app.domain.clock import to_datetime
from app.domain.errors import Conflict, InvalidInput
from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.models.analytics import Price
from app.models.execution import Account
from app.models.strategy import Run, StrategyRow, StrategyVersion
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.kill_action import Deed, DeedKind, decide, engage, facts_of, obey, release
from app.services.execution.store import PlanRecord, Transaction
from app.services.execution.store_memory import MemoryStore
from app.services.execution.store_switches import Switch
from tests.execution.conftest import Sessions, World
from tests.execution.test_store_contract import hear, place, report, submit

D = Decimal
S = OrderStatus
Roles = tuple[Sessions, Sessions] | None


async def switch_on(world: World, action: str, kind: str = "account", scope_id: int | None = None) -> Switch:
    scope_id = world.account_id if scope_id is None else scope_id
    async with world.store.transaction() as tx:
        switch, _ = await engage(
            tx, kind=kind, scope_id=scope_id, action=action, reason="drill", actor="user:1", clock=world.clock
        )
    return switch


async def look(world: World) -> int:
    return await obey(world.store, clock=world.clock, ids=world.ids)


async def rehearse(world: World, action: str) -> list[Deed]:
    async with world.store.transaction() as tx:
        return decide(action, await facts_of(tx, await tx.scope("account", world.account_id), clock=world.clock))


async def order_of(world: World, order: Order) -> Order:
    async with world.store.transaction() as tx:
        found = await tx.order(order.id)
    assert found is not None
    return found


async def resting(world: World, key: str, **what: Any) -> Order:
    order = await submit(world, await place(world, key, **what))
    return await hear(world, order, report(order, "NEW"))


async def bought(world: World, quantity: str = "1") -> Order:
    """A position by hand, from a market buy; the fee is taken of the coins."""
    order = await submit(world, await place(world, "bought", type=OrderType.MARKET, price=None, quantity=D(quantity)))
    return await hear(world, order, report(order, "FILLED", (1, quantity)))


async def new_orders(world: World) -> list[Order]:
    async with world.store.transaction() as tx:
        return list(await tx.with_status(S.NEW))


async def forget_prices(world: World, roles: Roles) -> None:
    if isinstance(world.store, MemoryStore):
        world.store.books.prices.clear()
    elif roles is not None:
        async with roles[0].begin() as session:
            await session.execute(delete(Price))


async def freeze(world: World, roles: Roles) -> None:
    if isinstance(world.store, MemoryStore):
        accounts = world.store.books.accounts
        accounts[world.account_id] = replace(accounts[world.account_id], state="FROZEN")
    elif roles is not None:
        async with roles[0].begin() as session:
            await session.execute(update(Account).values(state="FROZEN"))


@pytest.fixture
async def run_id(world: World, roles: Roles) -> int:
    """A run of the account's owner."""
    if roles is None:
        assert isinstance(world.store, MemoryStore)
        world.store.books.run_strategies[5] = 9
        return 5
    async with roles[0].begin() as session:
        strategy = StrategyRow(user_id=1, name="One")
        session.add(strategy)
        await session.flush()
        version = StrategyVersion(strategy_id=strategy.id or 0, number=1, hash="h", document={})
        session.add(version)
        await session.flush()
        run = Run(
            user_id=1, account_id=world.account_id, version_id=version.id or 0, symbol="BTCUSDT", timeframe="1m",
            state="RUNNING", created_at=to_datetime(0),
        )  # fmt: skip
        session.add(run)
        await session.flush()
        return run.id or 0


async def protected(world: World, run_id: int) -> PlanRecord:
    """A plan of the run with nothing but its state: what a switch looks at."""
    plan = PlanRecord(
        0, world.account_id, run_id, "BTCUSDT", "PROTECTED", None, None, None, {"pct": "2"}, D(90), None, "", 0
    )
    async with world.store.transaction() as tx:
        return replace(plan, id=await tx.add_plan(plan))


async def test_halt_ends_entries_that_are_not_sent_and_refuses_new_ones(world: World) -> None:
    rests = await resting(world, "rests")
    unsent = await place(world, "unsent")
    exit_ = await place(world, "exit", side=Side.SELL, price=D(101))
    await switch_on(world, "halt")

    assert [(await order_of(world, o)).status for o in (unsent, exit_, rests)] == [S.CANCELED, S.NEW, S.OPEN]
    refused, sale = await place(world, "later"), await place(world, "sale", side=Side.SELL, price=D(101))
    assert (refused.status, refused.reject_code, sale.status) == (S.REJECTED, "RISK_KILL_SWITCH", S.NEW)
    assert await look(world) == 0


async def test_an_engaged_switch_gets_stronger_and_never_weaker(world: World) -> None:
    await switch_on(world, "cancel_all")
    weaker = await switch_on(world, "halt")
    stronger = await switch_on(world, "flatten")

    assert (weaker.action, stronger.action) == ("cancel_all", "flatten")
    async with world.store.transaction() as tx:
        assert [switch.action for switch in await tx.switches()] == ["flatten"]


async def test_a_release_needs_a_reason_and_an_engaged_switch(world: World) -> None:
    says: dict[str, Any] = {"kind": "account", "scope_id": world.account_id, "actor": "user:1", "clock": world.clock}
    async with world.store.transaction() as tx:
        with pytest.raises(Conflict):
            await release(tx, reason="calm", **says)
    await switch_on(world, "flatten")
    async with world.store.transaction() as tx:
        with pytest.raises(InvalidInput):
            await release(tx, reason=" ", **says)
    async with world.store.transaction() as tx:
        await release(tx, reason="calm", **says)
        assert list(await tx.switches()) == []
    assert (await place(world, "again")).status is S.NEW


@pytest.mark.parametrize("wrong", [{"kind": "planet"}, {"kind": "global", "scope_id": 3}, {"action": "panic"}])
async def test_a_wrong_scope_or_action_is_refused_in_words(world: World, wrong: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"kind": "account", "scope_id": 1, "action": "halt", "reason": "look", "actor": "user:1"}
    async with world.store.transaction() as tx:
        with pytest.raises(InvalidInput, match="kill switch"):
            await engage(tx, clock=world.clock, **(asked | wrong))


async def test_cancel_all_leaves_what_protects_and_what_is_sold_afterwards(world: World) -> None:
    entry = await resting(world, "entry")
    target = await resting(world, "target", side=Side.SELL, price=D(120))
    stop_of = {"side": Side.SELL, "type": OrderType.STOP_LOSS_LIMIT, "price": D(80), "stop_price": D(81)}
    stop = await resting(world, "stop", quantity=D("0.5"), **stop_of)
    await switch_on(world, "cancel_all")
    later = await resting(world, "later", side=Side.SELL, price=D(110), quantity=D("0.1"))

    assert await look(world) == 2
    assert [(await order_of(world, o)).status for o in (entry, target)] == [S.CANCELING] * 2
    assert [(await order_of(world, o)).status for o in (stop, later)] == [S.OPEN] * 2
    assert await look(world) == 0


async def test_an_order_of_unknown_outcome_is_cancelled_once_it_is_known(world: World) -> None:
    unknown = await submit(world, await place(world))
    await switch_on(world, "cancel_all")
    deeds = await rehearse(world, "cancel_all")
    await look(world)

    assert "as soon as the exchange says" in deeds[0].words
    assert (await order_of(world, unknown)).status is S.CANCELING


async def test_a_position_by_hand_is_sold_after_the_orders_that_hold_its_coins(world: World) -> None:
    await bought(world)
    target = await resting(world, "target", side=Side.SELL, price=D(120), quantity=D("2.5"))
    rehearsed = await rehearse(world, "flatten")
    await switch_on(world, "flatten")

    assert [deed.kind for deed in rehearsed] == [DeedKind.CANCEL, DeedKind.SELL]
    assert "0.999 at market once order 2 is cancelled" in rehearsed[1].words
    assert await look(world) == 1
    assert await look(world) == 0
    await hear(world, await order_of(world, target), report(target, "CANCELED"))
    assert await look(world) == 1
    (sale,) = await new_orders(world)
    assert (sale.side, sale.type, sale.quantity, sale.is_exit) == (Side.SELL, OrderType.MARKET, D("0.999"), True)
    assert await look(world) == 0, "one position is sold once"
    sale = await submit(world, sale)
    await hear(world, sale, report(sale, "FILLED", (9, "0.999")))
    assert await rehearse(world, "flatten") == []


async def test_it_sells_without_any_price(world: World, roles: Roles) -> None:
    await bought(world)
    await forget_prices(world, roles)
    await switch_on(world, "flatten")

    assert await look(world) == 1
    assert (await new_orders(world))[0].quantity == D("0.999")


async def test_it_sells_when_the_newest_price_is_from_long_ago(world: World) -> None:
    """Market data are down: the old price would call the position too little for an order."""
    await bought(world, "0.05")
    assert [deed.kind for deed in await rehearse(world, "flatten")] == [DeedKind.KEEP]
    world.clock.ms += 3_600_000
    await switch_on(world, "flatten")

    assert await look(world) == 1


async def test_a_refused_sale_is_tried_again_and_nothing_is_sold_twice(world: World) -> None:
    await bought(world)
    await switch_on(world, "flatten")
    await look(world)
    first = await submit(world, (await new_orders(world))[0])
    await hear(world, first, report(first, "REJECTED"))

    assert await look(world) == 0
    world.clock.ms += 5_000
    assert await look(world) == 1
    assert [order.quantity for order in await new_orders(world)] == [D("0.999")]


async def test_a_plan_is_told_to_leave_and_its_stop_is_its_own_to_cancel(world: World, run_id: int) -> None:
    plan = await protected(world, run_id)
    other = await resting(world, "other")
    await switch_on(world, "flatten", "run", run_id)
    assert await look(world) == 1

    async with world.store.transaction() as tx:
        left = await tx.plan(plan.id)
    assert left is not None
    assert left.exit_reason == "kill_switch"
    assert (await order_of(world, other)).status is S.OPEN, "an order by hand is not the run's"
    assert await look(world) == 0


async def test_the_stop_of_a_plan_that_a_person_took_over_is_cancelled_before_the_sale(
    world: World, run_id: int
) -> None:
    plan = await protected(world, run_id)
    entry = await of_plan(world, plan, "entry", Side.BUY, type=OrderType.MARKET, quantity=D(1))
    await hear(world, entry, report(entry, "FILLED", (1, "1")))
    stop = await of_plan(world, plan, "stop", Side.SELL, type=OrderType.STOP_LOSS, quantity=D("2.9"), stop_price=D(90))
    await hear(world, stop, report(stop, "NEW"))
    async with world.store.transaction() as tx:
        await tx.save_plan(replace(plan, state="CLOSED"))
    kept = await rehearse(world, "cancel_all")
    await switch_on(world, "flatten", "run", run_id)

    assert [(deed.kind, deed.order and deed.order.id) for deed in kept] == [(DeedKind.KEEP, stop.id)]
    assert await look(world) == 1
    assert (await order_of(world, stop)).status is S.CANCELING
    await hear(world, await order_of(world, stop), report(stop, "CANCELED"))
    assert await look(world) == 1
    (sale,) = await new_orders(world)
    assert (sale.run_id, sale.plan_id, sale.quantity) == (run_id, None, D("0.999"))


async def of_plan(world: World, plan: PlanRecord, key: str, side: Side, **what: Any) -> Order:
    draft = OrderDraft(world.account_id, "BTCUSDT", side, **what)
    owner = Owner(EventSource.PLAN, run_id=plan.run_id, plan_id=plan.id)
    async with world.store.transaction() as tx:
        order = await commit_intent(tx, draft, intent_key=key, owner=owner, clock=world.clock, ids=world.ids)
    return await submit(world, order)


async def test_the_switch_of_a_strategy_covers_its_runs_and_nobody_else(world: World, run_id: int) -> None:
    await switch_on(world, "halt", "strategy", 9 if isinstance(world.store, MemoryStore) else 1)
    async with world.store.transaction() as tx:
        assert await tx.kill_switch(world.account_id, run_id) == "drill"
        assert await tx.kill_switch(world.account_id, None) is None
        assert await tx.kill_switch(world.account_id, run_id + 1) is None


async def test_what_a_frozen_account_holds_waits_and_says_why(world: World, roles: Roles) -> None:
    await bought(world)
    await resting(world, "entry")
    await freeze(world, roles)
    await switch_on(world, "flatten")
    deeds = await rehearse(world, "flatten")

    assert await look(world) == 0
    assert [deed.kind for deed in deeds] == [DeedKind.WAIT] * 2
    assert all("is frozen" in deed.words for deed in deeds)


class Dying:
    """A store whose process dies before its n-th transaction."""

    def __init__(self, world: World, lives: int) -> None:
        self._store, self.lives = world.store, lives

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        if self.lives == 0:
            raise ConnectionError
        self.lives -= 1
        async with self._store.transaction() as tx:
            yield tx


async def test_after_a_crash_the_rest_is_done_and_nothing_twice(world: World) -> None:
    entries = [await resting(world, str(n), quantity=D("0.1")) for n in range(3)]
    await switch_on(world, "cancel_all")
    with pytest.raises(ConnectionError):
        await obey(Dying(world, 4), clock=world.clock, ids=world.ids)

    assert [(await order_of(world, o)).status for o in entries] == [S.CANCELING, S.CANCELING, S.OPEN]
    assert await look(world) == 1
    assert [(await order_of(world, o)).version for o in entries] == [4, 4, 4]
    async with world.store.transaction() as tx:
        assert [switch.orders for switch in await tx.switches()] == [tuple(o.id for o in entries)]


async def test_a_released_switch_does_nothing_more(world: World) -> None:
    entry = await resting(world, "entry")
    await switch_on(world, "cancel_all")
    async with world.store.transaction() as tx:
        await release(
            tx, kind="account", scope_id=world.account_id, reason="calm", actor="user:1", clock=world.clock
        )

    assert await look(world) == 0
    assert (await order_of(world, entry)).status is S.OPEN
