"""Whatever a user stream loses, repeats or shuffles, the books end as the exchange's, and a silence is seen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.money import ZERO
from app.domain.orders import FINAL, EventSource, Order, OrderStatus, OrderType, Side
from app.jobs.user_stream import UserStream
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import answer_lost
from app.services.exchange.protocol import OrderUpdate, StreamDown, StreamUp, TradingSession, UserEvent
from app.services.execution.intents import OrderDraft, commit_intent, request_cancel
from app.services.execution.reconcile import Reconciler
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, World, memory_world

D = Decimal
OPENING = {"USDT": D(100_000), "BTC": D(100)}


@dataclass
class Board:
    """What people would see."""

    seen: list[str] = field(default_factory=list)

    async def set_up(self, account_id: int, *, up: bool) -> None:
        self.seen.append("up" if up else "down")

    async def was_silent(self, account_id: int, reason: str) -> None:
        self.seen.append(f"silent: {reason}")


class Desk:
    """An exchange in memory whose events go through our hands, and the books."""

    def __init__(self) -> None:
        self.world: World = memory_world(OPENING)
        self.exchange = FakeExchange(self.world.clock, [RULES], balances=OPENING)
        self.exchange.set_price("BTCUSDT", D(100))
        self.told: list[UserEvent] = []
        self.exchange.observe(self.told.append)
        sessions: dict[int, TradingSession] = {1: self.exchange}
        self.submitter = Submitter(self.world.store, sessions, self.world.clock, SubmitSettings())
        self.reconciler = Reconciler(self.world.store, sessions, self.submitter, self.world.clock)
        self.board = Board()
        self.stream = UserStream(1, self.exchange, self.submitter, self.reconciler, self.board)
        self.keys = 0

    @property
    def store(self) -> MemoryStore:
        assert isinstance(self.world.store, MemoryStore)
        return self.world.store

    async def order(self, side: Side, tenths: int, price: Decimal | None) -> Order:
        """Committed and sent; the answer may be lost."""
        self.keys += 1
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        draft = OrderDraft(1, "BTCUSDT", side, kind, quantity=D(tenths) / 10, price=price)
        self.store.books.prices["BTCUSDT"] = (D(100), self.world.clock.ms)
        async with self.store.transaction() as tx:
            await commit_intent(tx, draft, intent_key=str(self.keys), clock=self.world.clock, ids=self.world.ids)
        claimed = await self.submitter.claim(may_send=True)
        assert claimed is not None
        return await self.submitter.send(claimed)

    async def cancel(self, order: Order) -> None:
        async with self.store.transaction() as tx:
            current = await tx.order(order.id)
            if current is None or current.status in FINAL:
                return
            asked = await request_cancel(tx, order.id, source=EventSource.USER, clock=self.world.clock)
        if asked.status is OrderStatus.CANCELING and asked.exchange_order_id is not None:
            await self.submitter.cancel(asked)

    def contradictions(self) -> list[str]:
        """Where our books and the exchange's differ, order by order and fill by fill."""
        books, found = self.store.books, []
        theirs = {order.client_order_id: order for order in self.exchange.book()}
        for order in books.orders.values():
            other = theirs.get(order.client_order_id)
            ours = {f.trade_id: f.quantity for owner, f in books.fills.values() if owner == order.id}
            if other is None:
                found.append(f"{order.client_order_id} is not there")
            elif ours != {fill.trade_id: fill.quantity for fill in other.fills}:
                found.append(f"fills of {order.client_order_id}")
            elif other.is_final != order.is_final or (order.is_final and order.status != other.status):
                found.append(f"{order.client_order_id} is {order.status}, there {other.status}")
            elif sum(ours.values(), ZERO) != order.filled:
                found.append(f"{order.client_order_id} is filled {order.filled}")
        totals = {a: t for (_, a), t in books.totals.items() if t}
        return found + ([] if totals == {a: t for a, t in self.exchange.totals().items() if t} else ["balances"])


ACTS = st.one_of(
    st.tuples(
        st.just("order"),
        st.sampled_from(Side),
        st.integers(1, 30),
        st.none() | st.integers(95, 105).map(D),
        st.booleans(),
    ),
    st.tuples(st.just("move"), st.integers(94, 106).map(D), st.none() | st.integers(1, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("hear"), st.randoms(use_true_random=False)),
)


async def act(desk: Desk, step: tuple[object, ...], orders: list[Order]) -> None:
    match step:
        case ("order", Side() as side, int() as tenths, price, lost):
            if lost:
                desk.exchange.fail_next("place", answer_lost())
            orders.append(await desk.order(side, tenths, price))  # type: ignore[arg-type]
        case ("move", Decimal() as price, available):
            some = None if available is None else D(int(str(available))) / 10
            desk.exchange.set_price("BTCUSDT", price, available=some)
        case ("cancel", int() as which) if which < len(orders):
            await desk.cancel(orders[which])
        case ("hear", random.Random() as rng):
            await hear(desk, rng)


async def hear(desk: Desk, rng: random.Random) -> None:
    """The stream delivers some of what has happened so far: shuffled, some twice, some never."""
    updates = [event for event in desk.told if isinstance(event, OrderUpdate)]
    heard = [event for event in updates for _ in range(rng.choice((0, 1, 1, 2)))]
    rng.shuffle(heard)
    for event in heard:
        await desk.submitter.apply(1, event.report, EventSource.EXCHANGE)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(ACTS, min_size=3, max_size=25), last=st.randoms(use_true_random=False))
def test_after_any_gap_one_pass_brings_trades_and_ends_that_were_missed(
    steps: list[tuple[object, ...]], last: random.Random
) -> None:
    """F21, F22, F23, F24."""

    async def run() -> None:
        desk, orders = Desk(), []  # type: Desk, list[Order]
        for step in steps:
            desk.world.clock.ms += 700
            await act(desk, step, orders)
        await hear(desk, last)
        desk.world.clock.ms += 5_000
        result = await desk.reconciler.run(1, trigger="stream")
        assert (result.error, result.unresolved, desk.contradictions()) == ("", 0, [])
        before = len(desk.store.books.fills), [o.version for o in desk.store.books.orders.values()]
        await hear(desk, last)  # late copies of everything
        assert (len(desk.store.books.fills), [o.version for o in desk.store.books.orders.values()]) == before
        again = await desk.reconciler.run(1, trigger="stream")
        assert (again.repaired, again.agrees) == (0, True)
        assert desk.store.books.incidents == ()

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for does not tell
            await asyncio.sleep(0)


async def test_five_minutes_without_a_stream_are_made_up_for_when_it_stands_again() -> None:
    """F24: three partial fills and a cancel meanwhile."""
    desk = Desk()
    reader = asyncio.create_task(desk.stream.run())
    await until(lambda: desk.board.seen == ["up"])
    resting, other = await desk.order(Side.BUY, 10, D(99)), await desk.order(Side.BUY, 10, D(98))
    desk.exchange.drop_stream()
    await until(lambda: desk.board.seen == ["up", "down"])
    for _ in range(3):
        desk.world.clock.ms += 100_000
        desk.exchange.set_price("BTCUSDT", D(99), available=D("0.2"))
    desk.exchange.cancel_by_exchange(other.client_order_id)
    desk.exchange.restore_stream()
    await until(lambda: len(desk.store.books.passes) == 2)
    reader.cancel()
    assert desk.store.books.orders[resting.id].filled == D("0.6")
    assert desk.store.books.orders[other.id].status is OrderStatus.EXPIRED
    assert desk.contradictions() == []


async def test_a_silence_that_asking_shows_replaces_the_stream_and_is_said_in_words() -> None:
    """F25."""
    desk = Desk()
    reader = asyncio.create_task(desk.stream.run())
    await until(lambda: desk.board.seen == ["up"])
    resting = await desk.order(Side.BUY, 10, D(99))
    desk.exchange.silence_stream()
    desk.exchange.set_price("BTCUSDT", D(99))
    desk.world.clock.ms += 60_000
    result = await desk.reconciler.run(1, trigger="schedule")
    await until(lambda: desk.board.seen[-1] == "up" and len(desk.board.seen) == 4)
    assert result.repaired == 1
    assert desk.store.books.orders[resting.id].status is OrderStatus.FILLED
    assert desk.board.seen[1] == "down"
    assert desk.board.seen[2].startswith(f"silent: order {resting.client_order_id} changed at ")
    desk.exchange.set_price("BTCUSDT", D(90))
    told = await desk.order(Side.BUY, 5, D(89))
    desk.exchange.set_price("BTCUSDT", D(89))
    await until(lambda: desk.store.books.orders[told.id].status is OrderStatus.FILLED)
    reader.cancel()


@pytest.mark.parametrize("trigger", ["schedule", "stream"])
async def test_a_stream_that_tells_everything_is_never_doubted(trigger: str) -> None:
    desk = Desk()
    reader = asyncio.create_task(desk.stream.run())
    await until(lambda: desk.board.seen == ["up"])
    resting = await desk.order(Side.BUY, 10, D(99))
    desk.exchange.set_price("BTCUSDT", D(99))
    await until(lambda: desk.store.books.orders[resting.id].status is OrderStatus.FILLED)
    desk.world.clock.ms += 60_000
    await desk.reconciler.run(1, trigger=trigger)
    reader.cancel()
    assert not [event for event in desk.told if isinstance(event, StreamDown | StreamUp)]
    assert desk.board.seen == ["up"]
