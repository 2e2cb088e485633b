"""Between any two steps a process may die and the database give up or go away: nothing is doubled, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.jobs.order_lanes import OrderLanes
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import answer_lost
from app.services.exchange.protocol import OrderRequest, PlaceOutcome
from app.services.execution import bookkeeping
from app.services.execution.intents import OrderDraft, commit_intent
from app.services.execution.reconcile import Reconciler
from app.services.execution.store import CONTENDED_TRIES, Contended, Store, Transaction
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, START_MS, World

D = Decimal
S = OrderStatus
BOUND_MS = 75_000
HOLDINGS = {"USDT": D(1000), "BTC": D(2)}


class Killed(BaseException):
    """The process is gone; nothing catches it."""


class DiesWithTheAnswer(FakeExchange):
    """The exchange carries the order out, and the process that asked for it dies before it reads the answer."""

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        await super().place(request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms)
        raise Killed


class Troubled:
    """A store whose transactions end, once the exchange has been asked `after` times, with what `trouble` raises."""

    def __init__(self, store: Store, exchange: FakeExchange, trouble: Callable[[], None], *, after: int) -> None:
        self._store = store
        self._exchange = exchange
        self._after = after
        self.trouble = trouble

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._store.transaction() as tx:
            yield tx
            if len(self._exchange.requests) >= self._after:
                self.trouble()


@dataclass
class Site:
    """Books and an exchange that outlive every worker."""

    world: World
    exchange: FakeExchange

    def submitter(self, store: Store | None = None, exchange: FakeExchange | None = None) -> Submitter:
        """Of a process that has just started."""
        sessions = {self.world.account_id: exchange or self.exchange}
        return Submitter(store or self.world.store, sessions, self.world.clock, SubmitSettings())

    def reconciler(self) -> Reconciler:
        sessions = {self.world.account_id: self.exchange}
        return Reconciler(self.world.store, sessions, self.submitter(), self.world.clock)

    async def intend(self, key: str = "a", **changes: Any) -> Order:
        values: dict[str, Any] = {"type": OrderType.MARKET, "quantity": D(1)}
        draft = OrderDraft(self.world.account_id, "BTCUSDT", changes.pop("side", Side.BUY), **(values | changes))
        async with self.world.store.transaction() as tx:
            return await commit_intent(tx, draft, intent_key=key, clock=self.world.clock, ids=self.world.ids)

    async def order(self, order_id: int) -> Order:
        async with self.world.store.transaction() as tx:
            order = await tx.order(order_id)
        assert order is not None
        return order

    async def assert_books_agree(self) -> None:
        result = await self.reconciler().run(self.world.account_id, trigger="recovery", sweep_history=True)
        assert (result.error, result.differences, result.agrees) == ("", [], True)

    def calls(self) -> list[str]:
        return [call for call, _ in self.exchange.requests]


@pytest.fixture
def site(world: World) -> Site:
    exchange = FakeExchange(world.clock, [RULES], balances=HOLDINGS)
    exchange.set_price("BTCUSDT", D(100))
    return Site(world, exchange)


async def test_a_death_before_the_attempt_is_on_record_leaves_an_order_that_is_sent_once(site: Site) -> None:
    """F01."""
    store = Troubled(site.world.store, site.exchange, _die, after=0)
    order = await site.intend()
    with pytest.raises(Killed):
        await site.submitter(store).claim(may_send=True)
    assert (await site.order(order.id)).status is S.NEW

    after = site.submitter()
    claimed = await after.claim(may_send=True)
    assert claimed is not None
    assert (await after.send(claimed)).status is S.FILLED
    assert await after.claim(may_send=True) is None
    assert len(site.exchange.book()) == 1
    await site.assert_books_agree()


def _die() -> None:
    raise Killed


async def test_a_death_between_the_record_and_the_wire_is_an_order_that_never_arrived(site: Site) -> None:
    """F02: it is not sent by the next worker, and ends after its bound with its money free again."""
    await site.intend()
    claimed = await site.submitter().claim(may_send=True)
    assert claimed is not None

    after = site.submitter()
    assert await after.claim(may_send=True) is None
    site.world.clock.ms += BOUND_MS
    assert (await after.ask(claimed)).status is S.SUBMITTED
    site.world.clock.ms += 1
    gone = await after.ask(claimed)
    assert (gone.status, gone.reject_code, gone.reserved) == (S.EXPIRED, "NEVER_ARRIVED", D(0))
    assert "place" not in site.calls()
    await site.assert_books_agree()


async def test_a_death_before_the_answer_is_booked_is_made_up_for_by_the_next_start(site: Site) -> None:
    """F03: order and fills are adopted; the exchange has one order."""
    dying = DiesWithTheAnswer(site.world.clock, [RULES], balances=HOLDINGS)
    dying.set_price("BTCUSDT", D(100))
    site.exchange = dying
    order = await site.intend()
    before = site.submitter()
    claimed = await before.claim(may_send=True)
    assert claimed is not None
    with pytest.raises(Killed):
        await before.send(claimed)

    await site.reconciler().run(site.world.account_id, trigger="recovery", sweep_history=True)
    found = await site.order(order.id)
    assert (found.status, found.filled) == (S.FILLED, D(1))
    assert len(dying.book()) == 1
    await site.assert_books_agree()


async def test_a_fill_its_mark_and_its_money_are_there_together_or_not_at_all(site: Site) -> None:
    """F27."""
    store = Troubled(site.world.store, site.exchange, _die, after=1)
    order = await site.intend()
    claimed = await site.submitter().claim(may_send=True)
    assert claimed is not None
    with pytest.raises(Killed):
        await site.submitter(store).send(claimed)
    async with site.world.store.transaction() as tx:
        assert await tx.trade_ids(order.id) == set()
        assert await tx.balances(site.world.account_id) == HOLDINGS
        assert await tx.run_position(site.world.account_id, 0, "BTCUSDT") == 0

    assert (await site.submitter().ask(claimed)).filled == D(1)
    await site.assert_books_agree()


async def test_an_answer_that_comes_while_the_database_is_away_is_found_again(site: Site) -> None:
    """F39: one order, and the books learn of it once they can be written."""
    store = Troubled(site.world.store, site.exchange, _away, after=1)
    submitter, clock = site.submitter(store), site.world.clock
    lanes = OrderLanes(store, submitter, clock, site.world.ids, may_send=lambda: True, may_exit=lambda: True)
    order = await site.intend()
    claimed = await submitter.claim(may_send=True)
    assert claimed is not None
    with pytest.raises(ConnectionError):
        await submitter.send(claimed)
    store.trouble = lambda: None
    clock.ms += 1_000
    await lanes.ask_about_unknown()
    await lanes.drain(5)

    assert ((await site.order(order.id)).status, site.calls().count("place")) == (S.FILLED, 1)
    await site.assert_books_agree()


def _away() -> None:
    raise ConnectionError("the database cannot be reached")


async def test_a_transaction_the_database_gave_up_is_tried_again_without_asking_the_exchange(site: Site) -> None:
    """F40."""
    given_up = iter(range(CONTENDED_TRIES - 1))

    def give_up() -> None:
        if next(given_up, None) is not None:
            raise Contended("given up")

    submitter = site.submitter(Troubled(site.world.store, site.exchange, give_up, after=1))
    await site.intend()
    claimed = await submitter.claim(may_send=True)
    assert claimed is not None
    assert (await submitter.send(claimed)).status is S.FILLED
    assert site.calls() == ["place"]
    await site.assert_books_agree()


async def test_of_two_transactions_that_wait_for_each_other_one_is_told_to_try_again(site: Site) -> None:
    """F40: a real deadlock."""
    store = site.world.store
    if not isinstance(store, PostgresStore):
        return  # in memory transactions do not overlap
    both = [(await site.intend("a")).id, (await site.intend("b")).id]
    holding = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> str:
        try:
            async with store.transaction() as tx:
                await tx.order(first)
                await holding.wait()
                await tx.order(second)
        except Contended:
            return "again"
        return "done"

    async with asyncio.timeout(30):
        ends = await asyncio.gather(lock(*both), lock(*reversed(both)))
    assert sorted(ends) == ["again", "done"]


async def test_a_start_with_thirty_open_orders_of_which_ten_changed_ends_with_equal_books(site: Site) -> None:
    """F43: five filled, three ended, two of unknown outcome while nobody looked."""
    before = site.submitter()
    for n in range(30):
        if n >= 28:
            site.exchange.fail_next("place", answer_lost())
        await site.intend(f"{n}", type=OrderType.LIMIT, quantity=D("0.2"), price=D(99) - n)
        claimed = await before.claim(may_send=True)
        assert claimed is not None
        await before.send(claimed)
    site.exchange.set_price("BTCUSDT", D(95))
    for order in site.exchange.book()[10:13]:
        site.exchange.cancel_by_exchange(order.client_order_id, status="CANCELED")
    site.world.clock.ms += 10_000

    await site.reconciler().run(site.world.account_id, trigger="recovery", sweep_history=True)
    async with site.world.store.transaction() as tx:
        found = [await tx.order_by_client_id(site.world.account_id, o.client_order_id) for o in site.exchange.book()]
    words = [order.status for order in found if order is not None]
    assert {word: words.count(word) for word in words} == {S.FILLED: 5, S.CANCELED: 3, S.OPEN: 22}
    assert site.calls().count("place") == 30
    await site.assert_books_agree()


async def test_what_the_stream_tells_before_the_answer_comes_is_booked_once(site: Site) -> None:
    """F21, both ways round."""
    order = await site.intend()
    submitter = site.submitter()
    claimed = await submitter.claim(may_send=True)
    assert claimed is not None
    request = OrderRequest(claimed.client_order_id, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D(1))
    answer = await site.exchange.place(request, signed_timestamp_ms=START_MS, recv_window_ms=5_000)
    theirs = site.exchange.book()[0]
    for news in (theirs.report(tuple(theirs.fills)), answer.report, theirs.report(tuple(theirs.fills))):  # type: ignore[union-attr]
        after = await submitter.apply(site.world.account_id, news, EventSource.EXCHANGE)
        assert (after.status, after.filled) == (S.FILLED, D(1))
    assert (await site.order(order.id)).version == after.version
    await site.assert_books_agree()


async def test_a_fee_that_changes_its_asset_within_one_order_is_booked_in_both(site: Site) -> None:
    """F32: BNB pays for the first fill and runs out."""
    order = await site.intend(type=OrderType.LIMIT, price=D(99))
    claimed = await site.submitter().claim(may_send=True)
    assert claimed is not None
    fills = (
        bookkeeping.Fill(1, D("0.4"), D(99), D("39.6"), D("0.05"), "BNB", is_maker=True, traded_at_ms=START_MS),
        bookkeeping.Fill(2, D("0.6"), D(99), D("59.4"), D("0.0006"), "BTC", is_maker=True, traded_at_ms=START_MS),
    )
    report = bookkeeping.ExchangeReport(
        claimed.client_order_id, 7, "BTCUSDT", "FILLED", D(1), D(99), START_MS, fills
    )  # fmt: skip
    await site.submitter().apply(site.world.account_id, report, EventSource.EXCHANGE)
    async with site.world.store.transaction() as tx:
        held = await tx.balances(site.world.account_id)
        position = await tx.run_position(site.world.account_id, 0, "BTCUSDT")

    assert (await site.order(order.id)).status is S.FILLED
    assert (held["BTC"], held["BNB"], held["USDT"], position) == (D("2.9994"), D("-0.05"), D(901), D("0.9994"))
