"""The offset to the exchange is measured again before anything is signed by one that may be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from app.domain.orders import EventSource, OrderStatus, OrderType, Side
from app.jobs.clock_keeper import ClockKeeper
from app.jobs.guard import forever
from app.services.exchange.clock import OffsetSample, measure_offset
from app.services.exchange.fake import FakeExchange
from app.services.exchange.protocol import AskingFailed, OrderRequest
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.runtime import SystemClock
from tests.execution.conftest import RULES, START_MS, StillClock, memory_world

D = Decimal
HOUR_MS = 3_600_000


@dataclass
class Machine:
    """Our machine: its clocks, and how far its wall clock is from the exchange's."""

    wall_ms: int = START_MS
    steady_ms: int = 10_000
    offset_ms: int = 0
    answers: bool = True
    measured: int = 0
    told: list[int] = field(default_factory=list)
    clock: SystemClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = SystemClock(
            wall_ms=lambda: self.wall_ms, steady_ms=lambda: self.steady_ms, running_ms=lambda: self.steady_ms
        )

    async def measure(self) -> OffsetSample:
        self.measured += 1
        if not self.answers:
            raise AskingFailed("no connection")
        return OffsetSample(self.offset_ms, 20)

    async def tell(self, sample: OffsetSample) -> None:
        self.told.append(sample.offset_ms)

    def set_clock(self, by_ms: int) -> None:
        """Somebody sets the wall clock."""
        self.wall_ms += by_ms
        self.offset_ms -= by_ms


Keep = Callable[..., ClockKeeper]


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def keep(machine: Machine) -> AsyncIterator[Keep]:
    """A keeper whose doubts are seen to in the background, as the worker does."""
    tasks: list[asyncio.Task[None]] = []

    def start(*, refusals_every_s: float = 0.0) -> ClockKeeper:
        keeper = ClockKeeper(
            machine.clock, machine.measure, machine.tell, refusals_every_s=refusals_every_s, doubts_every_s=0.01
        )
        tasks.append(asyncio.create_task(forever("clock doubts", keeper.sync_on_doubt)))
        return keeper

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for does not tell
            await asyncio.sleep(0.005)


async def test_nothing_new_is_signed_before_the_first_measurement(keep: Keep) -> None:
    keeper = keep()
    assert keeper.why_not()
    await keeper.sync()
    assert (keeper.why_not(), keeper.may_exit()) == ("", True)


@pytest.mark.parametrize("offset_ms", [0, 1_001, -5_000, 5_001, -HOUR_MS])
async def test_more_than_five_seconds_of_drift_block_new_orders_and_nothing_blocks_an_exit(
    machine: Machine, keep: Keep, offset_ms: int
) -> None:
    keeper = keep()
    machine.offset_ms = offset_ms
    await keeper.sync()
    assert bool(keeper.why_not()) is (abs(offset_ms) > 5_000)
    assert keeper.may_exit()
    assert machine.told == [offset_ms]
    assert machine.clock.exchange_now_ms() == machine.wall_ms + offset_ms


@pytest.mark.parametrize("by_ms", [700, -3_000])
async def test_after_the_clock_was_set_nothing_is_signed_until_it_is_measured_again(
    machine: Machine, keep: Keep, by_ms: int
) -> None:
    """F14."""
    keeper = keep()
    await keeper.sync()
    machine.set_clock(by_ms)
    assert "was set" in keeper.why_not()
    assert not keeper.may_exit()
    await until(lambda: machine.told == [0, -by_ms])
    assert (keeper.why_not(), keeper.may_exit()) == ("", True)


async def test_while_the_exchange_does_not_tell_the_time_only_exits_are_signed(machine: Machine, keep: Keep) -> None:
    keeper = keep()
    await keeper.sync()
    machine.answers = False
    machine.set_clock(60_000)
    assert not keeper.may_exit()
    await until(keeper.may_exit)
    assert "measured" in keeper.why_not()
    machine.answers = True
    machine.offset_ms = 40
    await until(lambda: not keeper.why_not())
    assert machine.clock.offset_ms == 40


async def test_a_refusal_for_the_time_is_followed_by_one_measurement(machine: Machine, keep: Keep) -> None:
    keeper = keep(refusals_every_s=0.05)
    await keeper.sync()
    keeper.was_refused()  # signed before that measurement
    assert keeper.why_not() == ""
    await asyncio.sleep(0.06)
    for _ in range(5):
        keeper.was_refused()
    assert keeper.why_not()
    await until(lambda: not keeper.why_not())
    keeper.was_refused()
    assert (keeper.why_not(), machine.measured) == ("", 2)


class SkewedExchange(FakeExchange):
    """Measures time by its own clock; how far ours is from it changes behind our back."""

    def __init__(self, clock: StillClock) -> None:
        super().__init__(clock, [RULES], balances={"USDT": D(1000), "BTC": D(2)})
        self.signed: list[int] = []

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int):  # type: ignore[no-untyped-def]
        self.signed.append(signed_timestamp_ms)
        return await super().place(request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms)


async def test_an_order_refused_for_the_time_is_over_and_the_next_one_is_signed_by_a_new_offset() -> None:
    """F13: the clock is 1.5 s ahead of the exchange's."""
    world, true = memory_world({"USDT": D(1000), "BTC": D(2)}), StillClock()
    machine, exchange = Machine(), SkewedExchange(true)
    exchange.set_price("BTCUSDT", D(100))
    keeper = ClockKeeper(
        machine.clock,
        lambda: measure_offset(exchange, machine.clock.now_ms),
        machine.tell,
        refusals_every_s=0.0,
        doubts_every_s=0.0,
    )
    submitter = Submitter(
        world.store, {1: exchange}, machine.clock, SubmitSettings(), clock_refused=lambda _: keeper.was_refused()
    )
    await keeper.sync()
    machine.wall_ms += 1_500
    machine.steady_ms += 1_500  # it ran too fast, or the exchange's clock was put right

    async def order(key: str) -> OrderStatus:
        draft = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D("0.1"))
        async with world.store.transaction() as tx:
            await commit_intent(tx, draft, intent_key=key, clock=machine.clock, ids=world.ids)
        claimed = await submitter.claim(may_send=not keeper.why_not())
        assert claimed is not None
        return (await submitter.send(claimed)).status

    assert await order("a") is OrderStatus.REJECTED
    assert "refused a request for its time" in keeper.why_not()
    async with world.store.transaction() as tx:
        refused = await tx.order(1)
    assert refused is not None
    assert (refused.reject_code, refused.outcome_unknown_since_ms) == ("-1021", None)

    await keeper.sync_on_doubt()
    assert keeper.why_not() == ""
    assert await order("b") is OrderStatus.FILLED
    assert exchange.signed == [START_MS + 1_500, START_MS]
    assert machine.told == [0, -1_500]


async def test_while_orders_are_blocked_a_sale_that_leaves_and_a_cancel_go_out() -> None:
    world = memory_world({"USDT": D(1000), "BTC": D(2)})
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1000), "BTC": D(2)})
    exchange.set_price("BTCUSDT", D(100))
    submitter = Submitter(world.store, {1: exchange}, world.clock, SubmitSettings())
    buy = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D("0.1"))
    sell = OrderDraft(1, "BTCUSDT", Side.SELL, OrderType.MARKET, quantity=D("0.1"))
    async with world.store.transaction() as tx:
        entry = await commit_intent(tx, buy, intent_key="in", clock=world.clock, ids=world.ids)
        plan = Owner(EventSource.PLAN, run_id=1, plan_id=1)
        leaving = await commit_intent(tx, sell, intent_key="out", owner=plan, clock=world.clock, ids=world.ids)
    claimed = await submitter.claim(may_send=False, may_exit=True)
    assert claimed is not None
    assert claimed.id == leaving.id
    assert (await submitter.send(claimed)).status is OrderStatus.FILLED
    assert await submitter.claim(may_send=False, may_exit=True) is None
    async with world.store.transaction() as tx:
        kept = await tx.order(entry.id)
    assert kept is not None
    assert kept.status is OrderStatus.NEW
