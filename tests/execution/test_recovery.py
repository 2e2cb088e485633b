"""Recovery: accounts side by side, each holding up itself alone; and the rounds that follow."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

from app.domain.orders import Order, OrderStatus, OrderType, Side
from app.jobs.reconciling import Rounds
from app.jobs.recovery import Recovery
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import answer_lost, unknown_5xx
from app.services.execution.intents import OrderDraft, commit_intent
from app.services.execution.reconcile import Reconciler
from app.services.execution.store import AccountFacts
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, World, memory_world

D = Decimal
S = OrderStatus


@dataclass
class Worker:
    """What a worker is made of, over two accounts with an exchange each."""

    world: World
    exchanges: dict[int, FakeExchange]
    submitter: Submitter
    recovery: Recovery
    rounds: Rounds
    told: list[str]

    @property
    def store(self) -> MemoryStore:
        assert isinstance(self.world.store, MemoryStore)
        return self.world.store

    def state(self, account_id: int) -> str:
        return self.store.books.accounts[account_id].state

    async def buy(self, account_id: int, key: str = "a") -> Order:
        self.store.books.prices["BTCUSDT"] = (D(100), self.world.clock.ms)
        draft = OrderDraft(account_id, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D("0.1"))
        async with self.store.transaction() as tx:
            await commit_intent(tx, draft, intent_key=key, clock=self.world.clock, ids=self.world.ids)
        order = await self.submitter.claim(may_send=True)
        assert order is not None
        return await self.submitter.send(order)


@pytest.fixture
def worker() -> Worker:
    world = memory_world({"USDT": D(1000)})
    assert isinstance(world.store, MemoryStore)
    books = world.store.books
    books.accounts[2] = AccountFacts(2, 1, "PAPER", "ACTIVE", "Second")
    books.totals[2, "USDT"] = D(1000)
    exchanges = {n: FakeExchange(world.clock, [RULES], balances={"USDT": D(1000)}) for n in (1, 2)}
    for exchange in exchanges.values():
        exchange.set_price("BTCUSDT", D(100))
    submitter = Submitter(world.store, exchanges, world.clock, SubmitSettings())
    reconciler = Reconciler(world.store, exchanges, submitter, world.clock)
    told: list[str] = []
    recovery = Recovery(world.store, reconciler, exchanges, world.clock, recovered=lambda: told.append("recovered"))
    limit = {"limit_of": lambda kind: 6_000, "left_of": lambda kind: 6_000}
    rounds = Rounds(world.store, reconciler, exchanges, world.clock, **limit)  # type: ignore[arg-type]
    return Worker(world, exchanges, submitter, recovery, rounds, told)


async def test_all_accounts_are_held_and_let_go_once_they_are_compared(worker: Worker) -> None:
    """F43."""
    await worker.recovery.hold()
    held = [worker.state(1), worker.state(2)]
    problem = await worker.recovery.round()

    assert (held, problem) == (["RECOVERING", "RECOVERING"], "")
    assert [worker.state(1), worker.state(2)] == ["ACTIVE", "ACTIVE"]
    assert worker.told == ["recovered", "recovered"]


async def test_an_order_in_doubt_holds_up_only_its_own_account(worker: Worker) -> None:
    worker.exchanges[1].fail_next("place", answer_lost(visible_after_ms=30_000))
    await worker.buy(1)
    await worker.recovery.hold()
    problem = await worker.recovery.round()

    assert (problem, worker.state(1), worker.state(2)) == ("", "RECOVERING", "ACTIVE")
    assert (await worker.buy(2, "b")).status is S.FILLED
    worker.world.clock.ms += 31_000
    await worker.recovery.go_on()
    assert (worker.state(1), worker.recovery.reasons) == ("ACTIVE", {})
    assert (await worker.buy(1, "c")).status is S.FILLED


async def test_an_order_that_never_arrived_holds_its_account_until_it_is_certainly_dead(worker: Worker) -> None:
    """F02, F41."""
    worker.exchanges[1].fail_next("place", unknown_5xx(reached=False))
    await worker.buy(1)
    await worker.recovery.hold()
    await worker.recovery.round()
    states = []
    for _ in range(9):
        worker.world.clock.ms += 9_000
        await worker.recovery.go_on()
        states.append(worker.state(1))

    assert states == ["RECOVERING"] * 7 + ["ACTIVE"] * 2  # 75 s after it was signed
    assert worker.store.books.orders[1].reject_code == "NEVER_ARRIVED"


async def test_orders_of_a_recovering_account_stay_unsent(worker: Worker) -> None:
    draft = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D("0.1"))
    async with worker.store.transaction() as tx:
        await commit_intent(tx, draft, intent_key="n", clock=worker.world.clock, ids=worker.world.ids)
    await worker.recovery.hold()

    assert await worker.submitter.claim(may_send=True) is None
    assert worker.store.books.orders[1].status is S.NEW
    await worker.recovery.round()
    claimed = await worker.submitter.claim(may_send=True)
    assert claimed is not None
    assert claimed.status is S.SUBMITTED


async def test_without_contact_nothing_is_healthy_and_nothing_is_concluded(worker: Worker) -> None:
    """F44."""
    for exchange in worker.exchanges.values():
        exchange.fail_next("list", unknown_5xx())
    await worker.recovery.hold()
    problem = await worker.recovery.round()

    assert "-1007" in problem
    assert [worker.state(1), worker.state(2)] == ["RECOVERING", "RECOVERING"]
    worker.world.clock.ms += 2_000
    assert await worker.recovery.round() == ""
    assert [worker.state(1), worker.state(2)] == ["ACTIVE", "ACTIVE"]


async def test_one_exchange_that_does_not_answer_holds_up_its_own_account(worker: Worker) -> None:
    worker.exchanges[1].fail_next("list", unknown_5xx())
    await worker.recovery.hold()

    assert await worker.recovery.round() == ""
    assert (worker.state(1), worker.state(2)) == ("RECOVERING", "ACTIVE")
    assert "-1007" in worker.recovery.reasons[1]


async def test_an_account_that_is_not_to_be_recovered_holds_up_nobody(worker: Worker) -> None:
    async with worker.store.transaction() as tx:
        await tx.freeze_account(1, "the key was refused")
    await worker.recovery.hold()

    assert await worker.recovery.round() == ""
    assert (worker.state(1), worker.state(2)) == ("FROZEN", "ACTIVE")


# --- rounds ------------------------------------------------------------------------------------------------


async def test_a_round_finds_what_happened_and_says_when_the_books_agreed(worker: Worker) -> None:
    await worker.rounds.minute()
    passes = worker.store.books.passes
    assert [(p.account_id, p.trigger, p.agrees) for p in passes] == [(1, "schedule", True), (2, "schedule", True)]


async def test_between_two_rounds_nothing_is_asked_of_an_account_without_orders(worker: Worker) -> None:
    await worker.rounds.minute()
    asked = len(worker.store.books.passes)
    worker.world.clock.ms += 30_000
    await worker.rounds.minute()

    assert len(worker.store.books.passes) == asked


async def test_a_stream_that_came_back_is_caught_up_with_at_once(worker: Worker) -> None:
    await worker.rounds.catch_up(1)

    assert [(p.account_id, p.trigger) for p in worker.store.books.passes] == [(1, "stream")]


async def test_a_stream_that_came_back_waits_where_the_minute_has_no_weight_left(worker: Worker) -> None:
    """F53: two hundred streams that return at once do not exhaust the limit."""
    worker.rounds._left_of = lambda kind: 50
    await worker.rounds.catch_up(1)
    assert worker.store.books.passes == ()
    await worker.rounds.minute()

    assert {p.account_id for p in worker.store.books.passes} == {1, 2}


async def test_what_somebody_wants_compared_is_compared_whole(worker: Worker) -> None:
    compared = await worker.rounds.on_demand({1, 99})

    assert compared == {1}
    only = worker.store.books.passes[0]
    assert (only.trigger, only.covered) == ("operator", ["orders", "foreign orders", "balances"])
