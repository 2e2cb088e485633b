"""A worker that is asked to stop finishes what is on the wire, within its time; what is not back stays unknown."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from app.domain.orders import Order, OrderStatus, OrderType, Side
from app.jobs.order_lanes import OrderLanes
from app.services.exchange.fake import FakeExchange
from app.services.exchange.protocol import OrderRequest, PlaceOutcome
from app.services.execution.intents import OrderDraft, commit_intent
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, World, memory_world

D = Decimal


class Slow(FakeExchange):
    """Carries an order out at once and answers when `answers` is set."""

    answers: asyncio.Event

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        outcome = await super().place(request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms)
        await self.answers.wait()
        return outcome


class Worker:
    """The lanes of one worker over a slow exchange."""

    def __init__(self) -> None:
        holdings = {"USDT": D(1000)}
        self.world: World = memory_world(holdings)
        self.exchange = Slow(self.world.clock, [RULES], balances=holdings)
        self.exchange.answers = asyncio.Event()
        self.exchange.set_price("BTCUSDT", D(100))
        self.submitter = Submitter(self.world.store, {1: self.exchange}, self.world.clock, SubmitSettings())
        self.stopping = False
        self.lanes = OrderLanes(
            self.world.store,
            self.submitter,
            self.world.clock,
            self.world.ids,
            may_send=lambda: not self.stopping,
            may_exit=lambda: not self.stopping,
        )

    async def intend(self, key: str) -> Order:
        draft = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D(1))
        async with self.world.store.transaction() as tx:
            return await commit_intent(tx, draft, intent_key=key, clock=self.world.clock, ids=self.world.ids)

    async def look(self) -> None:
        self.lanes.orders_hint.set()
        await self.lanes.look_for_orders()
        await asyncio.sleep(0)

    async def status(self, order: Order) -> OrderStatus:
        async with self.world.store.transaction() as tx:
            current = await tx.order(order.id)
        assert current is not None
        return current.status


@pytest.fixture
async def worker() -> Worker:
    return Worker()


async def test_what_is_on_the_wire_is_waited_for_and_nothing_new_is_sent(worker: Worker) -> None:
    """F45."""
    first = await worker.intend("first")
    await worker.look()
    second = await worker.intend("second")
    worker.stopping = True
    await worker.look()
    asyncio.get_running_loop().call_later(0.05, worker.exchange.answers.set)
    await worker.lanes.drain(10)

    assert await worker.status(first) is OrderStatus.FILLED
    assert await worker.status(second) is OrderStatus.NEW
    assert len(worker.exchange.book()) == 1


async def test_what_does_not_come_back_in_time_stays_unknown_and_the_next_worker_finds_it(worker: Worker) -> None:
    """F45: no stop waits for ever."""
    order = await worker.intend("first")
    await worker.look()
    worker.stopping = True
    async with asyncio.timeout(5):
        await worker.lanes.drain(0.05)
    assert await worker.status(order) is OrderStatus.SUBMITTED

    after = Submitter(worker.world.store, {1: worker.exchange}, worker.world.clock, SubmitSettings())
    async with worker.world.store.transaction() as tx:
        [waiting] = await tx.in_flight()
    assert (await after.ask(waiting)).status is OrderStatus.FILLED
    assert len(worker.exchange.book()) == 1
    worker.exchange.answers.set()
    await worker.lanes.drain(10)
