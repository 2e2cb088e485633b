"""Both stores keep plans and pairs alike: what one accepts, refuses or shows, the other does too."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.orders import EventSource, Order, OrderRole, OrderType, Side
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.store import NEWEST_OF_PLAN, PlanRecord
from tests.execution.conftest import Sessions, World, memory_world, postgres_world
from tests.execution.test_plan_protection import a_run
from tests.execution.test_store_contract import REFUSED

D = Decimal
PROTECT = {"targets": [{"pct": "2", "close_pct": 50}], "trail": {"distance": "1.5"}, "timeframe_ms": 60_000}


@pytest.fixture
async def planned(roles: tuple[Sessions, Sessions] | None) -> tuple[World, PlanRecord]:
    """A world that holds 2 BTC and a plan of a run."""
    balances = {"BTC": D(2), "USDT": D(1000)}
    world = memory_world(balances) if roles is None else await postgres_world(*roles, balances)
    run_id = 1 if roles is None else await a_run(roles[0], world.account_id)
    plan = PlanRecord(
        0, world.account_id, run_id, "BTCUSDT", "PROTECTED", None, None, None, {"pct": "2"}, D(98), None, "", 0,
        protect=PROTECT, entry_price=D("100.123456789012"), first_quantity=D("0.999"), highest=D(101), trailed_ms=7,
        entry_until_ms=8, unprotected_since_ms=9,
    )  # fmt: skip
    async with world.store.transaction() as tx:
        return world, replace(plan, id=await tx.add_plan(plan))


async def leg(world: World, plan: PlanRecord, role: OrderRole, name: str | None = "list-1", *, key: str = "") -> Order:
    is_stop = role is OrderRole.STOP
    draft = OrderDraft(
        world.account_id, "BTCUSDT", Side.SELL, OrderType.STOP_LOSS if is_stop else OrderType.LIMIT_MAKER,
        quantity=D(1), stop_price=D(98) if is_stop else None, price=None if is_stop else D(102),
    )  # fmt: skip
    owner = Owner(EventSource.PLAN, run_id=plan.run_id, plan_id=plan.id or None, role=role, list_client_order_id=name)
    async with world.store.transaction() as tx:
        return await commit_intent(
            tx, draft, intent_key=key or f"{role}", owner=owner, clock=world.clock, ids=world.ids
        )


async def test_a_plan_comes_back_as_it_was_kept(planned: tuple[World, PlanRecord]) -> None:
    world, plan = planned
    async with world.store.transaction() as tx:
        assert await tx.plan(plan.id) == plan
        moved = replace(plan, stop_price=D("99.5"), highest=D(103), trailed_ms=60_007, unprotected_since_ms=None)
        await tx.save_plan(moved)
    async with world.store.transaction() as tx:
        assert await tx.plan(plan.id) == moved
        assert list(await tx.plans_open()) == [moved]


async def test_the_legs_of_a_pair_are_found_by_its_name_and_reserve_their_coins_once(
    planned: tuple[World, PlanRecord],
) -> None:
    world, plan = planned
    stop, target = await leg(world, plan, OrderRole.STOP), await leg(world, plan, OrderRole.TARGET)
    async with world.store.transaction() as tx:
        assert list(await tx.list_legs(world.account_id, "list-1")) == [stop, target]
        assert await tx.list_legs(world.account_id, "list-2") == []
        facts = await tx.trading_facts(world.account_id, "BTCUSDT", None, now_ms=0)

    assert facts is not None
    assert (stop.reserved, target.reserved, facts.base_reserved) == (D(0), D(1), D(1))
    assert (stop.role, stop.list_client_order_id) == (OrderRole.STOP, "list-1")


async def test_a_pair_has_one_stop_and_one_target(planned: tuple[World, PlanRecord]) -> None:
    world, plan = planned
    await leg(world, plan, OrderRole.STOP)
    with pytest.raises(REFUSED):
        await leg(world, plan, OrderRole.STOP, key="again")


async def test_only_a_plans_stop_or_target_can_be_a_leg(planned: tuple[World, PlanRecord]) -> None:
    world, plan = planned
    with pytest.raises(REFUSED):
        await leg(world, plan, OrderRole.EXIT)
    with pytest.raises(REFUSED):
        await leg(world, replace(plan, id=0), OrderRole.TARGET)


async def test_of_a_plans_orders_those_that_say_something_are_shown(planned: tuple[World, PlanRecord]) -> None:
    world, plan = planned
    first = await leg(world, plan, OrderRole.TARGET, None, key="first")
    for number in range(NEWEST_OF_PLAN + 3):
        order = await leg(world, plan, OrderRole.TARGET, None, key=f"{number}")
        async with world.store.transaction() as tx:
            await request_cancel(tx, order.id, source=EventSource.PLAN, clock=world.clock)
    async with world.store.transaction() as tx:
        shown = [order.id for order in await tx.plan_orders(plan.id)]

    assert shown == [first.id, *range(first.id + 4, first.id + 4 + NEWEST_OF_PLAN)]
