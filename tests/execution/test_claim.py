"""What keeps an order NEW for a while, and what takes it from there: nothing of our own ends as a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.services.exchange.binance import BinanceSession
from app.services.exchange.endpoints import Endpoints
from app.services.exchange.fake import FakeExchange
from app.services.exchange.protocol import NotSent, OrderRequest, TradingSession
from app.services.exchange.signing import Ed25519Key
from app.services.exchange.weight import Purpose, WeightBudget
from app.services.execution.intents import INTENT_LIFE_MS, OrderDraft, Owner, commit_intent
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, START_MS, StillClock, World, memory_world

D = Decimal
S = OrderStatus
OPENING = {"USDT": D(1000), "BTC": D(2)}


def exchange_of(world: World) -> FakeExchange:
    exchange = FakeExchange(world.clock, [RULES], balances=OPENING)
    exchange.set_price("BTCUSDT", D(100))
    return exchange


@pytest.fixture
def world() -> World:
    """Accounts 1 and 2."""
    made = memory_world(OPENING)
    assert isinstance(made.store, MemoryStore)
    books = made.store.books
    books.accounts[2] = replace(books.accounts[1], id=2)
    books.totals.update({(2, asset): total for asset, total in OPENING.items()})
    return made


def submitter_of(world: World, sessions: dict[int, TradingSession]) -> Submitter:
    return Submitter(world.store, sessions, world.clock, SubmitSettings())


async def intend(
    world: World, key: str, *, account_id: int = 1, owner: Owner | None = None, side: Side = Side.BUY
) -> Order:
    draft = OrderDraft(account_id, "BTCUSDT", side, OrderType.MARKET, quantity=D("0.1"))
    by = owner or Owner(EventSource.USER)
    async with world.store.transaction() as tx:
        return await commit_intent(tx, draft, intent_key=key, owner=by, clock=world.clock, ids=world.ids)


async def status_of(world: World, order: Order) -> S:
    async with world.store.transaction() as tx:
        found = await tx.order(order.id)
    assert found is not None
    return found.status


async def test_the_first_order_of_an_account_waits_until_its_session_is_open(world: World) -> None:
    sessions: dict[int, TradingSession] = {}
    submitter = submitter_of(world, sessions)
    order = await intend(world, "a")
    assert await submitter.claim(may_send=True) is None
    assert await status_of(world, order) is S.NEW
    sessions[1] = exchange_of(world)
    claimed = await submitter.claim(may_send=True)
    assert claimed is not None
    assert (await submitter.send(claimed)).status is S.FILLED


async def test_an_account_that_waits_keeps_nobody_else_waiting(world: World) -> None:
    waiting = await intend(world, "a")
    other = await intend(world, "b", account_id=2)
    submitter = submitter_of(world, {2: exchange_of(world)})
    claimed = await submitter.claim(may_send=True)
    assert claimed is not None
    assert (claimed.id, claimed.status) == (other.id, S.SUBMITTED)
    assert await submitter.claim(may_send=True) is None
    assert await status_of(world, waiting) is S.NEW


async def test_it_waits_no_longer_than_its_deadline(world: World) -> None:
    order = await intend(world, "a")
    world.clock.ms += INTENT_LIFE_MS + 1
    claimed = await submitter_of(world, {}).claim(may_send=True)
    assert claimed is not None
    assert (claimed.id, claimed.status, claimed.reject_code) == (order.id, S.EXPIRED, "STALE_INTENT")


async def test_an_account_that_is_not_active_in_the_books_refuses(world: World) -> None:
    order = await intend(world, "a")
    assert isinstance(world.store, MemoryStore)
    accounts = world.store.books.accounts
    accounts[1] = replace(accounts[1], state="FROZEN")
    claimed = await submitter_of(world, {}).claim(may_send=True)
    assert claimed is not None
    assert (claimed.id, claimed.status, claimed.reject_code) == (order.id, S.REJECTED, "ACCOUNT_NOT_ACTIVE")


async def test_when_the_request_budget_is_used_up_an_order_waits_and_no_attempt_is_on_record(world: World) -> None:
    exchange = exchange_of(world)
    submitter = submitter_of(world, {1: exchange})
    order = await intend(world, "a")
    exchange.is_exhausted = True
    assert await submitter.claim(may_send=True) is None
    assert await status_of(world, order) is S.NEW
    assert isinstance(world.store, MemoryStore)
    assert world.store.books.attempts == {}
    exchange.is_exhausted = False
    claimed = await submitter.claim(may_send=True)
    assert claimed is not None
    assert claimed.status is S.SUBMITTED


# --- the adapter's own budget --------------------------------------------------------------------------


@pytest.fixture
def clock() -> StillClock:
    return StillClock(START_MS - START_MS % 60_000)


@pytest.fixture
def budget(clock: StillClock) -> WeightBudget:
    return WeightBudget(clock=clock, limit_per_minute=100)


@pytest.fixture
async def session(clock: StillClock, budget: WeightBudget) -> AsyncIterator[BinanceSession]:
    nowhere, key = Endpoints.paper("http://127.0.0.1:9"), Ed25519Key.generate()
    made = BinanceSession(nowhere, "x" * 64, key, clock=clock, budget=budget, jitter=lambda: 0.0)
    yield made
    await made.close()


def request(*, is_exit: bool = False) -> OrderRequest:
    side = Side.SELL if is_exit else Side.BUY
    return OrderRequest("pl-1", "BTCUSDT", side, OrderType.MARKET, quantity=D(1), is_exit=is_exit)


async def place(session: BinanceSession, clock: StillClock, *, is_exit: bool = False) -> str:
    """Where nobody listens: an order that is let out is not sent for another reason than one that is held back."""
    outcome = await session.place(request(is_exit=is_exit), signed_timestamp_ms=clock.ms, recv_window_ms=5_000)
    assert isinstance(outcome, NotSent)
    return "held back" if "held back" in outcome.reason else "let out"


async def test_an_order_that_was_admitted_goes_out_although_others_used_up_the_rest(
    clock: StillClock, budget: WeightBudget, session: BinanceSession
) -> None:
    budget.observe(89)
    assert session.admits(is_exit=False)
    assert budget.used == 90
    budget.observe(100)
    assert await place(session, clock) == "let out"
    assert budget.used == 100
    assert await place(session, clock) == "held back"  # each admission is for one order


async def test_nothing_is_admitted_beyond_the_share_and_exits_have_more_of_it(
    clock: StillClock, budget: WeightBudget, session: BinanceSession
) -> None:
    budget.observe(90)
    assert not session.admits(is_exit=False)
    assert session.admits(is_exit=True)
    assert await place(session, clock, is_exit=True) == "let out"
    budget.observe(100)
    assert not session.admits(is_exit=True)


async def test_an_admitted_order_still_heeds_a_ban(
    clock: StillClock, budget: WeightBudget, session: BinanceSession
) -> None:
    assert session.admits(is_exit=True)
    budget.pause(418, 60.0)
    assert await place(session, clock, is_exit=True) == "held back"
    assert budget.wait_s(0, Purpose.CANCEL) == 60.0
