"""One send per order, ever: whatever the answer, the books end as the exchange's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.clock import CorrectedClock
from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import (
    Fault,
    answer_lost,
    not_sent,
    refuse,
    request_lost,
    unknown_5xx,
    visible_after,
)
from app.services.exchange.protocol import AskingFailed, OrderRequest, OrderUpdate, QueryOutcome, TradingSession
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.reconcile import PassResult, Reconciler
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import BooksContradict, SubmitSettings, Submitter
from tests.execution.conftest import RULES, World, memory_world

D = Decimal
S = OrderStatus
BOUND_MS = 75_000


@dataclass
class Desk:
    """A submitter and a reconciler between books in memory and an exchange in memory."""

    world: World
    exchange: FakeExchange
    submitter: Submitter
    reconciler: Reconciler
    sessions: dict[int, TradingSession]

    async def intend(self, key: str = "a", **changes: object) -> Order:
        values = {"account_id": 1, "symbol": "BTCUSDT", "side": Side.BUY, "type": OrderType.MARKET, "quantity": D(1)}
        draft = OrderDraft(**(values | changes))  # type: ignore[arg-type]
        async with self.world.store.transaction() as tx:
            return await commit_intent(tx, draft, intent_key=key, clock=self.world.clock, ids=self.world.ids)

    async def submit(self) -> Order:
        order = await self.submitter.claim(may_send=True)
        assert order is not None
        return await self.submitter.send(order) if order.status is S.SUBMITTED else order

    async def reconcile(self, trigger: str = "schedule") -> PassResult:
        return await self.reconciler.run(1, trigger=trigger, sweep_history=True)

    async def order(self, order_id: int = 1) -> Order:
        async with self.world.store.transaction() as tx:
            order = await tx.order(order_id)
        assert order is not None
        return order

    def pass_time(self, ms: int) -> None:
        self.world.clock.ms += ms

    def sent(self) -> int:
        return sum(request.startswith("place") or request == "place" for request in map(_call, self.exchange.requests))

    def incidents(self) -> list[str]:
        assert isinstance(self.world.store, MemoryStore)
        return [kind for kind, *_ in self.world.store.books.incidents]


def _call(request: object) -> str:
    return str(request[0]) if isinstance(request, tuple) else str(request)


@pytest.fixture
def desk() -> Desk:
    world = memory_world({"USDT": D(1000), "BTC": D(2)})
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1000), "BTC": D(2)})
    exchange.set_price("BTCUSDT", D(100))
    sessions: dict[int, TradingSession] = {1: exchange}
    submitter = Submitter(world.store, sessions, world.clock, SubmitSettings())
    return Desk(world, exchange, submitter, Reconciler(world.store, sessions, submitter, world.clock), sessions)


async def assert_books_agree(desk: Desk) -> None:
    result = await desk.reconcile()
    assert (result.error, result.differences, result.agrees) == ("", [], True)


async def test_an_answer_fills_the_order_and_the_books_agree(desk: Desk) -> None:
    await desk.intend()
    order = await desk.submit()

    assert (order.status, order.filled) == (S.FILLED, D(1))
    await assert_books_agree(desk)


async def test_an_order_is_signed_with_the_time_of_its_own_exchange(desk: Desk) -> None:
    """Two exchanges need not agree on the time; a request is judged by the one it goes to."""
    ahead = CorrectedClock(desk.world.clock, 900)
    sessions, settings = desk.sessions, SubmitSettings()
    submitter = Submitter(
        desk.world.store, sessions, desk.world.clock, settings, clock_of=lambda account_id: {1: ahead}[account_id]
    )
    await desk.intend()
    order = await submitter.claim(may_send=True)

    assert order is not None
    assert order.signed_timestamp_ms == desk.world.clock.exchange_now_ms() + 900


@pytest.mark.parametrize("fault", [answer_lost(), unknown_5xx(), answer_lost(visible_after_ms=25_000)])
async def test_a_lost_answer_is_found_by_asking_and_nothing_is_sent_again(desk: Desk, fault: Fault) -> None:
    """F03, F04, F06."""
    desk.exchange.fail_next("place", fault)
    await desk.intend()
    order = await desk.submit()

    assert order.status is S.SUBMITTED
    assert order.outcome_unknown_since_ms is not None
    for _ in range(4):
        desk.pass_time(7_000)
        order = await desk.submitter.ask(order)
        assert order.status in (S.SUBMITTED, S.FILLED)

    assert order.status is S.FILLED
    assert desk.sent() == 1
    await assert_books_agree(desk)


@pytest.mark.parametrize("fault", [request_lost(), unknown_5xx(reached=False)])
async def test_an_order_that_never_arrived_expires_only_after_its_death_bound(desk: Desk, fault: Fault) -> None:
    """F05: no state other than SUBMITTED before the bound; the reservation is released once."""
    desk.exchange.fail_next("place", fault)
    await desk.intend()
    order = await desk.submit()
    desk.pass_time(BOUND_MS)
    order = await desk.submitter.ask(order)

    assert order.status is S.SUBMITTED
    desk.pass_time(1)
    order = await desk.submitter.ask(order)
    assert (order.status, order.reject_code, order.reserved) == (S.EXPIRED, "NEVER_ARRIVED", D(0))
    assert desk.sent() == 1
    await assert_books_agree(desk)


async def test_errors_while_asking_change_nothing_however_often(desk: Desk) -> None:
    """F08: an outage of the query is no information, before and after the bound."""
    desk.exchange.fail_next("place", answer_lost())
    await desk.intend()
    order = await desk.submit()
    for _ in range(10):
        desk.pass_time(60_000)
        desk.exchange.fail_next("query", unknown_5xx())
        assert await desk.submitter.ask(order) == order

    assert (await desk.submitter.ask(order)).status is S.FILLED


async def test_an_answer_that_waited_beyond_the_bound_tells_only_of_the_time_it_was_asked(desk: Desk) -> None:
    """A process that is stopped with the answer in its hands wakes after the bound: the order may show by now."""

    class Paused(FakeExchange):
        async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
            outcome = await super().query(
                symbol, client_order_id=client_order_id, exchange_order_id=exchange_order_id
            )
            desk.pass_time(BOUND_MS)
            return outcome

    desk.exchange.fail_next("place", visible_after(25_000))
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    order = await desk.submit()
    desk.pass_time(10_000)
    desk.exchange.__class__ = Paused

    assert await desk.submitter.ask(order) == order
    assert desk.incidents() == []


async def test_a_last_look_that_fails_decides_nothing(desk: Desk) -> None:
    desk.exchange.fail_next("place", request_lost())
    await desk.intend()
    order = await desk.submit()
    desk.pass_time(BOUND_MS + 1)
    desk.exchange.fail_next("list", unknown_5xx())

    assert (await desk.submitter.ask(order)).status is S.SUBMITTED
    assert (await desk.submitter.ask(order)).status is S.EXPIRED


async def test_an_order_that_surfaces_after_the_bound_is_resurrected_with_an_incident(desk: Desk) -> None:
    """F07."""
    desk.exchange.fail_next("place", answer_lost(visible_after_ms=120_000))
    await desk.intend()
    order = await desk.submit()
    desk.pass_time(BOUND_MS + 1)
    order = await desk.submitter.ask(order)
    assert order.status is S.EXPIRED
    desk.pass_time(60_000)
    await desk.reconcile()

    assert (await desk.order()).status is S.FILLED
    assert "RESURRECTED" in desk.incidents()
    await assert_books_agree(desk)


async def test_an_order_that_surfaced_filled_is_found_by_its_trades_without_the_stream(desk: Desk) -> None:
    """F07: given up, filled meanwhile, no event came: a scheduled pass finds it, not only the next start."""
    desk.exchange.fail_next("place", answer_lost(visible_after_ms=120_000))
    await desk.intend()
    order = await desk.submit()
    desk.pass_time(BOUND_MS + 1)
    await desk.submitter.ask(order)
    desk.pass_time(60_000)
    await desk.reconciler.run(1, trigger="schedule")

    assert (await desk.order()).status is S.FILLED
    assert desk.incidents() == ["RESURRECTED"]


async def test_a_strangers_order_is_asked_about_once(desk: Desk) -> None:
    stranger = OrderRequest("other-1", "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D(1))
    now_ms = desk.world.clock.now_ms()
    await desk.exchange.place(stranger, signed_timestamp_ms=now_ms, recv_window_ms=5_000)
    await desk.intend()
    await desk.submit()
    for _ in range(3):
        await desk.reconciler.run(1, trigger="schedule")

    assert [call for call, _ in desk.exchange.requests].count("query") == 1


async def test_a_refusal_ends_the_order_and_frees_its_money(desk: Desk) -> None:
    """F12."""
    desk.exchange.fail_next("place", refuse(-2010, "Account has insufficient balance for requested action."))
    await desk.intend()
    order = await desk.submit()

    assert (order.status, order.reject_code, order.reserved) == (S.REJECTED, "-2010", D(0))


async def test_a_duplicate_client_id_is_asked_about_and_never_taken_for_a_refusal(desk: Desk) -> None:
    """F11."""
    desk.exchange.fail_next("place", refuse(-2010, "Duplicate order sent."))
    await desk.intend()
    order = await desk.submit()

    assert order.status is S.SUBMITTED
    assert order.outcome_unknown_since_ms is not None


async def test_an_order_that_never_left_the_machine_is_rejected_as_not_sent(desk: Desk) -> None:
    desk.exchange.fail_next("place", not_sent())
    await desk.intend()

    assert (await desk.submit()).reject_code == "NOT_SENT"


async def test_a_refused_key_freezes_the_account(desk: Desk) -> None:
    """F17."""
    desk.exchange.fail_next("place", refuse(-2015, "Invalid API-key, IP, or permissions for action."))
    await desk.intend()
    await desk.submit()

    assert "ACCOUNT_FROZEN" in desk.incidents()
    assert (await desk.order()).status is S.REJECTED


async def test_a_stale_intent_is_never_sent(desk: Desk) -> None:
    """F01: its deadline has passed while nobody could send it."""
    await desk.intend()
    desk.pass_time(31_000)

    assert (await desk.submit()).reject_code == "STALE_INTENT"
    assert desk.sent() == 0


async def test_an_intent_made_by_a_clock_that_was_ahead_does_not_wait_to_be_sent_late(desk: Desk) -> None:
    """Its deadline lies an hour away: it would be sent whenever sending is allowed again."""
    desk.pass_time(3_600_000)
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    desk.pass_time(-3_600_000)

    order = await desk.submit()
    assert (order.status, order.reject_code) == (S.EXPIRED, "STALE_INTENT")
    assert desk.sent() == 0


async def test_nothing_is_sent_while_sending_is_not_allowed(desk: Desk) -> None:
    await desk.intend()

    assert await desk.submitter.claim(may_send=False) is None
    assert (await desk.order()).status is S.NEW


async def test_a_cancel_that_comes_too_late_finds_the_fill(desk: Desk) -> None:
    """F20: -2011 means ask; it usually filled."""
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    order = await desk.submit()
    assert order.status is S.OPEN
    desk.exchange.set_price("BTCUSDT", D(98))
    async with desk.world.store.transaction() as tx:
        order = await request_cancel(tx, order.id, source=EventSource.USER, clock=desk.world.clock)
    order = await desk.submitter.cancel(order)

    assert (order.status, order.filled) == (S.FILLED, D(1))
    await assert_books_agree(desk)


async def test_a_cancel_whose_answer_is_lost_is_settled_by_asking(desk: Desk) -> None:
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    order = await desk.submit()
    async with desk.world.store.transaction() as tx:
        order = await request_cancel(tx, order.id, source=EventSource.USER, clock=desk.world.clock)
    desk.exchange.fail_next("cancel", answer_lost())

    assert (await desk.submitter.cancel(order)).status is S.CANCELED
    await assert_books_agree(desk)


async def test_a_partial_fill_then_cancel_keeps_what_was_bought_less_the_fee(desk: Desk) -> None:
    """F19."""
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    await desk.submit()
    desk.exchange.set_price("BTCUSDT", D(99), available=D("0.4"))
    await desk.reconcile()
    async with desk.world.store.transaction() as tx:
        order = await request_cancel(tx, 1, source=EventSource.USER, clock=desk.world.clock)
    order = await desk.submitter.cancel(order)

    assert (order.status, order.filled) == (S.CANCELED, D("0.4"))
    async with desk.world.store.transaction() as tx:
        assert await tx.run_position(1, 0, "BTCUSDT") == D("0.3996")
    await assert_books_agree(desk)


async def test_an_account_closed_in_the_middle_of_a_pass_ends_that_pass_and_nothing_else(desk: Desk) -> None:
    """Its key was refused and the account is frozen while others still work on it."""

    class Frozen(FakeExchange):
        async def query(self, symbol: str, **named: Any) -> QueryOutcome:
            outcome = await super().query(symbol, **named)
            desk.sessions.clear()
            return outcome

    await desk.intend(type=OrderType.LIMIT, price=D(99))
    order = await desk.submit()
    desk.exchange.__class__ = Frozen
    result = await desk.reconcile("recovery")

    assert result.error == "the account has no open session"
    with pytest.raises(AskingFailed):
        await desk.submitter.ask(order)


@pytest.mark.parametrize("by_stream", [True, False])
async def test_a_late_fill_of_a_plans_order_calls_a_person(desk: Desk, by_stream: bool) -> None:
    """F29: the plan may be closed by then, and no stop covers what the fill bought."""
    draft = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.LIMIT, quantity=D(1), price=D(99))
    owner = Owner(EventSource.STRATEGY, run_id=1, plan_id=1)
    async with desk.world.store.transaction() as tx:
        await commit_intent(tx, draft, intent_key="a", owner=owner, clock=desk.world.clock, ids=desk.world.ids)
    order = await desk.submit()
    desk.exchange.cancel_by_exchange(order.client_order_id)
    await desk.reconcile("recovery")
    assert (await desk.order()).status is S.EXPIRED
    heard: list[object] = []
    desk.exchange.observe(heard.append)
    desk.exchange.late_fill(order.client_order_id, D("0.5"), D(99))
    if by_stream:
        assert isinstance(heard[0], OrderUpdate)
        await desk.submitter.apply(1, heard[0].report, EventSource.EXCHANGE)
    await assert_books_agree_after_a_pass(desk)

    assert ((await desk.order()).status, (await desk.order()).filled) == (S.EXPIRED, D("0.5"))
    assert desk.incidents() == ["LATE_FILL"]


async def assert_books_agree_after_a_pass(desk: Desk) -> None:
    await desk.reconcile()
    await assert_books_agree(desk)


async def test_an_order_visible_late_is_not_given_up(desk: Desk) -> None:
    """F06: not visible is "not yet" before the bound."""
    desk.exchange.fail_next("place", visible_after(25_000))
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    order = await desk.submit()

    assert order.status is S.OPEN


async def test_reconciliation_repairs_what_happened_while_nobody_listened(desk: Desk) -> None:
    """F43: filled and cancelled meanwhile; equal after one pass."""
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    await desk.submit()
    await desk.intend("b", type=OrderType.LIMIT, price=D(50))
    second = await desk.submit()
    desk.exchange.set_price("BTCUSDT", D(98))
    desk.exchange.cancel_by_exchange(second.client_order_id)
    result = await desk.reconcile("recovery")

    assert (result.checked, result.repaired) == (2, 2)
    assert [(await desk.order(n)).status for n in (1, 2)] == [S.FILLED, S.EXPIRED]
    await assert_books_agree(desk)


async def test_a_pass_without_contact_concludes_nothing(desk: Desk) -> None:
    """F44, F53."""
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    await desk.submit()
    desk.exchange.fail_next("list", unknown_5xx())
    result = await desk.reconcile()

    assert result.error
    assert not result.agrees
    assert (await desk.order()).status is S.OPEN


async def test_money_that_came_from_outside_is_shown_and_not_corrected_in_silence(desk: Desk) -> None:
    """F49."""
    desk.exchange.deposit("USDT", D(5))
    result = await desk.reconcile()

    balance = {"asset": "USDT", "ours": "1000", "exchange": "1005", "difference": "5"}
    assert result.differences == [{"what": "balance", **balance, "repaired": False}]
    assert not result.agrees


async def test_an_exchange_that_contradicts_the_books_freezes_its_account_and_no_other(desk: Desk) -> None:
    await desk.intend(type=OrderType.LIMIT, price=D(99))
    order = await desk.submit()
    report = (await desk.exchange.open_orders())[0]
    with pytest.raises(BooksContradict):
        await desk.submitter.apply(1, replace(report, exchange_order_id=999), EventSource.EXCHANGE)

    assert (await desk.order()) == order
    assert desk.incidents() == ["ACCOUNT_FROZEN"]
