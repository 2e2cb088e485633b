"""Another order in the place of one that works: made once, only when the old one is gone, for what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import Conflict, InvalidInput, NotFound
from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.services.execution import bookkeeping
from app.services.execution.intents import request_cancel
from app.services.execution.replace import REPLACE_WITHIN_MS, request_replacement, settle_replacements
from app.services.execution.store import Store
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.store_switches import ReplacementRecord
from tests.execution.conftest import START_MS, Sessions, World
from tests.execution.test_store_contract import hear, place, report, submit

D = Decimal
S = OrderStatus


@pytest.fixture
def web(request: pytest.FixtureRequest, world: World, roles: tuple[Sessions, Sessions] | None) -> Store:
    """The store as the web process has it: it asks for replacements, the worker makes them."""
    return world.store if roles is None else PostgresStore(request.getfixturevalue("web_sessions"))


@pytest.fixture(autouse=True)
def _people(world: World, web: Store) -> Iterator[None]:
    WEB[id(world)] = web
    yield
    WEB.clear()


WEB: dict[int, Store] = {}


async def ask(world: World, order: Order, key: str = "r", **changes: Any) -> ReplacementRecord:
    async with WEB[id(world)].transaction() as tx:
        user_id = (await tx.account(world.account_id)).user_id  # type: ignore[union-attr]
        return await request_replacement(tx, order.id, user_id=user_id, intent_key=key, clock=world.clock, **changes)


async def settle(world: World) -> int:
    return await settle_replacements(world.store, clock=world.clock, ids=world.ids)


async def resting(world: World, **what: Any) -> Order:
    order = await submit(world, await place(world, **what))
    return await hear(world, order, report(order, "NEW"))


async def outcome(world: World, wanted: ReplacementRecord) -> tuple[str, Order | None, str]:
    """Its state, the new order if there is one, and the reason if there is none."""
    async with world.store.transaction() as tx:
        found = await tx.replacement(wanted.id)
        assert found is not None
        return found.state, await tx.order(found.new_order_id) if found.new_order_id else None, found.reason


async def test_the_new_order_waits_until_the_old_one_is_confirmed_gone(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    assert await settle(world) == 0
    await hear(world, old, report(old, "CANCELED"))

    assert await settle(world) == 1
    state, new, _ = await outcome(world, wanted)
    assert new is not None
    assert (state, new.price, new.quantity, new.side, new.status) == ("PLACED", D(98), D(1), Side.BUY, S.NEW)
    assert await settle(world) == 0, "it is made once"


async def test_what_fills_meanwhile_is_taken_off_the_new_order(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    old = await hear(world, old, report(old, "CANCELED", (1, "0.4")))
    await settle(world)

    _, new, _ = await outcome(world, wanted)
    assert new is not None
    assert (old.status, new.quantity) == (S.CANCELED, D("0.6"))


async def test_no_order_is_made_when_the_old_one_filled_whole(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    await hear(world, old, report(old, "FILLED", (1, "1")))

    assert await settle(world) == 1
    assert await outcome(world, wanted) == (
        "NOT_MADE",
        None,
        f"order {old.id} had filled whole before it could be cancelled",
    )


async def test_both_timelines_tell_of_it(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    await hear(world, old, report(old, "CANCELED", (1, "0.4")))
    before = await order_of(world, old)
    await settle(world)

    _, new, _ = await outcome(world, wanted)
    assert new is not None
    assert (await order_of(world, old)).version == before.version + 1
    assert (new.version, new.status) == (2, S.NEW)


async def order_of(world: World, order: Order) -> Order:
    async with world.store.transaction() as tx:
        found = await tx.order(order.id)
    assert found is not None
    return found


async def test_an_order_that_was_not_sent_is_replaced_at_once(world: World) -> None:
    old = await place(world)
    wanted = await ask(world, old, quantity=D(2))

    assert await settle(world) == 1
    state, new, _ = await outcome(world, wanted)
    assert new is not None
    assert (state, new.quantity, new.price) == ("PLACED", D(2), D(99))


async def test_the_quantity_is_that_of_both_orders_together(world: World) -> None:
    old = await resting(world)
    old = await hear(world, old, report(old, "PARTIALLY_FILLED", (1, "0.4")))
    with pytest.raises(InvalidInput) as caught:
        await ask(world, old, quantity=D("0.4"))
    wanted = await ask(world, old, quantity=D("0.7"))
    await hear(world, old, report(old, "CANCELED", (1, "0.4"), (2, "0.1")))
    await settle(world)

    _, new, _ = await outcome(world, wanted)
    assert new is not None
    assert (caught.value.field, new.quantity) == ("quantity", D("0.2"))


async def test_too_little_left_makes_no_order_and_says_so(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    await hear(world, old, report(old, "CANCELED", (1, "0.99")))
    await settle(world)

    state, new, reason = await outcome(world, wanted)
    assert (state, new) == ("NOT_MADE", None)
    assert "below the least allowed" in reason


async def test_the_same_intent_is_one_replacement_and_another_one_is_refused(world: World) -> None:
    old = await resting(world)
    first, again = await ask(world, old, price=D(98)), await ask(world, old, price=D(97))
    with pytest.raises(Conflict, match="being cancelled already"):
        await ask(world, old, "other", price=D(97))

    assert (first.id, first.price) == (again.id, again.price)


async def test_a_refused_cancel_leaves_the_old_order_as_it_is(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    async with world.store.transaction() as tx:
        step = bookkeeping.cancel_refused(await order_locked(tx, old), code="-2011", reason="no", at_ms=START_MS)
        assert step is not None
        await tx.write([step])

    assert await settle(world) == 1
    state, new, reason = await outcome(world, wanted)
    assert (state, new, (await order_of(world, old)).status) == ("NOT_MADE", None, S.OPEN)
    assert "refused" in reason


async def order_locked(tx: Any, order: Order) -> Order:
    found: Order = await tx.order(order.id)
    return found


async def test_an_old_order_that_takes_too_long_is_not_replaced_any_more(world: World) -> None:
    old = await resting(world)
    wanted = await ask(world, old, price=D(98))
    await hear(world, old, report(old, "CANCELED"))
    world.clock.ms += REPLACE_WITHIN_MS + 1
    await settle(world)

    assert (await outcome(world, wanted))[:2] == ("NOT_MADE", None)


@pytest.mark.parametrize(
    ("changes", "field"), [({}, "price"), ({"price": D("98.001")}, "price"), ({"quantity": D("1.000001")}, "quantity")]
)
async def test_bad_input_names_its_field_and_leaves_the_order_alone(
    world: World, changes: dict[str, Decimal], field: str
) -> None:
    old = await resting(world)
    with pytest.raises(InvalidInput) as caught:
        await ask(world, old, **changes)

    assert caught.value.field == field
    assert (await order_of(world, old)).status is S.OPEN


async def test_what_cannot_be_replaced_says_why(world: World) -> None:
    market = await submit(world, await place(world, "m", type=OrderType.MARKET, price=None))
    gone = await place(world, "g")
    async with world.store.transaction() as tx:
        await request_cancel(tx, gone.id, source=EventSource.USER, clock=world.clock)

    with pytest.raises(Conflict, match="does not rest"):
        await ask(world, market, price=D(98))
    with pytest.raises(Conflict, match="already canceled"):
        await ask(world, gone, price=D(98))
    async with world.store.transaction() as tx:
        with pytest.raises(NotFound):
            await request_replacement(
                tx, gone.id, user_id=999, intent_key="x", price=D(98), clock=world.clock
            )
