"""What happens to an account elsewhere is shown, never touched, and booked; what bears our mark is taken in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from sqlalchemy import select, update

from app.domain.money import quantise_quote
from app.domain.orders import FINAL, EventSource, Order, OrderStatus, OrderType, Side, TimeInForce
from app.models.portfolio import PositionRow
from app.models.reconciling import Difference
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import answer_lost
from app.services.exchange.protocol import OrderRequest, TradingSession
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.looks import Look
from app.services.execution.reconcile import PassResult, Reconciler
from app.services.execution.store import PlanRecord
from app.services.execution.store_memory import MemoryStore
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.store_reconciling import Adjustment, DifferenceRecord, RunHolding
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.portfolio.projection import rebuild
from tests.execution.conftest import RULES, START_MS, World, memory_world

D = Decimal
S = OrderStatus


@dataclass
class Desk:
    """Books in either store, an exchange in memory, and what compares them."""

    world: World
    exchange: FakeExchange
    submitter: Submitter
    reconciler: Reconciler

    async def look(self, *, later_s: int = 60, history: bool = False) -> PassResult:
        """A pass, some time after the last one."""
        self.world.clock.ms += later_s * 1000
        return await self.reconciler.run(self.world.account_id, trigger="schedule", sweep_history=history)

    async def elsewhere(self, side: Side, quantity: str, name: str = "other-1", price: str | None = None) -> None:
        """Another program trades, or rests an order when it names a price."""
        kind, until = (OrderType.MARKET, None) if price is None else (OrderType.LIMIT, TimeInForce.GTC)
        limit = None if price is None else D(price)
        request = OrderRequest(name, "BTCUSDT", side, kind, until, D(quantity), price=limit)
        now_ms = self.world.clock.ms
        await self.exchange.place(request, signed_timestamp_ms=now_ms, recv_window_ms=5_000)

    async def buy(self, quantity: str = "1", key: str = "a", **changes: object) -> Order:
        values = {"account_id": self.world.account_id, "symbol": "BTCUSDT", "side": Side.BUY, "type": OrderType.MARKET}
        draft = OrderDraft(**(values | {"quantity": D(quantity)} | changes))  # type: ignore[arg-type]
        async with self.world.store.transaction() as tx:
            await commit_intent(tx, draft, intent_key=key, clock=self.world.clock, ids=self.world.ids)
        order = await self.submitter.claim(may_send=True)
        assert order is not None
        return await self.submitter.send(order)

    async def order(self, client_order_id: str) -> Order | None:
        async with self.world.store.transaction() as tx:
            return await tx.order_by_client_id(self.world.account_id, client_order_id)

    async def total(self, asset: str) -> Decimal:
        async with self.world.store.transaction() as tx:
            return (await tx.balances(self.world.account_id)).get(asset, D(0))

    async def standing(self) -> list[DifferenceRecord]:
        async with self.world.store.transaction() as tx:
            return list(await tx.differences(self.world.account_id))

    async def booked(self, reference: str) -> list[Adjustment]:
        async with self.world.store.transaction() as tx:
            return list(await tx.adjustments(self.world.account_id, reference))

    async def position(self, run_id: int = 0) -> Decimal:
        async with self.world.store.transaction() as tx:
            return await tx.run_position(self.world.account_id, run_id, "BTCUSDT")


def desk_over(world: World) -> Desk:
    """An exchange beside these books, and what compares them."""
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1000), "BTC": D(2)})
    exchange.set_price("BTCUSDT", D(100))
    sessions: dict[int, TradingSession] = {world.account_id: exchange}
    submitter = Submitter(world.store, sessions, world.clock, SubmitSettings())
    return Desk(world, exchange, submitter, Reconciler(world.store, sessions, submitter, world.clock, world.ids))


@pytest.fixture
def desk(world: World) -> Desk:
    return desk_over(world)


# --- trades ------------------------------------------------------------------------------------------------


async def test_a_trade_made_elsewhere_is_booked_once_and_the_books_agree(desk: Desk) -> None:
    """F49."""
    await desk.elsewhere(Side.SELL, "0.5")
    first, second = await desk.look(), await desk.look()

    assert (first.agrees, second.agrees) == (True, True)
    assert (await desk.total("BTC"), await desk.total("USDT")) == (D("1.5"), D("1049.95"))
    booked = await desk.booked("trade:BTCUSDT:1")
    assert {(a.asset, a.change, a.kind, a.occurred_ms) for a in booked} == {
        ("BTC", D("-0.5"), "trade", START_MS),
        ("USDT", D("49.95"), "trade", START_MS),
    }
    assert "sold 0.5 BTC at 100 USDT elsewhere" in booked[0].reason
    assert await desk.position() == 0


async def test_trades_are_read_from_the_last_settled_one_on(desk: Desk) -> None:
    """F24, F28: a gap is closed by id, however long it was."""
    await desk.buy()
    await desk.look(later_s=400, history=True)
    async with desk.world.store.transaction() as tx:
        assert await tx.trade_cursor(desk.world.account_id, "BTCUSDT") == 2
    await desk.elsewhere(Side.BUY, "0.1", "other-1")
    await desk.elsewhere(Side.BUY, "0.2", "other-2")
    desk.world.clock.ms += 40 * 3_600_000  # longer than any window of time would reach back
    result = await desk.look()

    assert result.agrees
    assert len(await desk.booked("trade:BTCUSDT:2")) == len(await desk.booked("trade:BTCUSDT:3")) == 2


async def test_the_cursor_stays_behind_trades_that_are_young(desk: Desk) -> None:
    """An exchange may show a trade later than one that happened after it."""
    await desk.buy()
    await desk.look(history=True)
    async with desk.world.store.transaction() as tx:
        assert await tx.trade_cursor(desk.world.account_id, "BTCUSDT") is None


async def test_trades_from_before_the_books_began_are_in_the_opening_balances(desk: Desk) -> None:
    desk.world.clock.ms -= 3_600_000
    await desk.elsewhere(Side.SELL, "0.5")
    desk.exchange.deposit("BTC", D("0.5"))  # what was held when the books began is what they say
    desk.exchange.deposit("USDT", D("-49.95"))
    desk.world.clock.ms += 3_600_000
    result = await desk.look(history=True)

    assert result.agrees
    assert await desk.booked("trade:BTCUSDT:1") == []


# --- deposits and withdrawals ------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "kind"), [("5", "deposit"), ("-5", "withdrawal")])
async def test_money_that_came_or_went_is_booked_once_its_difference_stays(desk: Desk, change: str, kind: str) -> None:
    desk.exchange.deposit("USDT", D(change))
    looks = [await desk.look() for _ in range(3)]

    assert [look.agrees for look in looks] == [False, False, True]
    assert await desk.total("USDT") == 1000 + D(change)
    assert await desk.standing() == []
    booked = await desk.booked("difference:1")
    assert [(a.asset, a.change, a.kind) for a in booked] == [("USDT", D(change), kind)]
    assert (await desk.look()).agrees


async def test_a_difference_that_heals_is_gone(desk: Desk) -> None:
    desk.exchange.deposit("USDT", D(5))
    await desk.look()
    assert [d.kind for d in await desk.standing()] == ["balance"]
    desk.exchange.deposit("USDT", D(-5))

    assert (await desk.look()).agrees
    assert await desk.standing() == []


async def test_nothing_is_taken_for_a_deposit_while_an_order_is_in_doubt(desk: Desk) -> None:
    """Its fill may be what the difference is; and a person is told when it stays."""
    desk.exchange.fail_next("place", answer_lost(visible_after_ms=200_000))
    await desk.buy("0.1")
    for _ in range(5):
        await desk.look(later_s=30)
    assert await desk.total("USDT") == 1000
    async with desk.world.store.transaction() as tx:
        assert ("BALANCE_MISMATCH", "USDT") in await tx.incident_keys(desk.world.account_id)
    desk.world.clock.ms += 100_000
    found = await desk.look(history=True)

    assert found.agrees
    assert (await desk.total("USDT"), await desk.position()) == (D(990), D("0.0999"))
    async with desk.world.store.transaction() as tx:
        assert await tx.incident_keys(desk.world.account_id) == set()


# --- books agree -------------------------------------------------------------------------------------------


async def test_a_pass_that_compared_only_orders_does_not_say_that_the_books_agree(desk: Desk) -> None:
    desk.exchange.deposit("USDT", D(5))
    result = await desk.reconciler.run(desk.world.account_id, trigger="schedule", look=Look(desk.world.account_id))

    assert (result.covered, result.agrees, result.error) == (["orders"], False, "")


# --- orders ------------------------------------------------------------------------------------------------


async def test_an_order_made_elsewhere_is_shown_and_not_touched(desk: Desk) -> None:
    """F50."""
    await desk.elsewhere(Side.BUY, "1", price="90")
    result = await desk.look(history=True)

    shown = (await desk.standing())[0]
    assert (shown.kind, shown.key, shown.facts["price"], shown.facts["client_order_id"]) == (
        "order",
        "BTCUSDT:1",
        "90",
        "other-1",
    )
    assert result.agrees  # nothing that our books say is wrong
    assert await desk.order("other-1") is None
    assert not desk.exchange.book()[0].is_final


async def test_an_order_made_elsewhere_that_ended_is_gone(desk: Desk) -> None:
    await desk.elsewhere(Side.BUY, "1", price="90")
    await desk.look(history=True)
    desk.exchange.cancel_by_exchange("other-1", status="CANCELED")
    await desk.look(history=True)

    assert await desk.standing() == []


async def wish(desk: Desk, wanted: str) -> None:
    """As the web process does."""
    store = desk.world.store
    if isinstance(store, MemoryStore):
        for place, difference in list(store.books.differences.items()):
            store.books.differences[place] = replace(difference, wanted=wanted, wanted_by="user:1")
        return
    assert isinstance(store, PostgresStore)
    async with store.sessions.begin() as session:
        await session.execute(update(Difference).values(wanted=wanted, wanted_by="user:1"))


async def test_an_adopted_order_is_ours_with_the_fills_it_had(desk: Desk) -> None:
    await desk.elsewhere(Side.BUY, "1", price="90")
    desk.exchange.set_price("BTCUSDT", D(90), available=D("0.4"))
    await desk.look(history=True)
    assert len(await desk.booked("trade:BTCUSDT:1")) == 2
    assert await desk.position() == 0
    await wish(desk, "adopt")
    result = await desk.look(history=True)

    order = await desk.order("other-1")
    assert order is not None
    assert (order.status, order.filled, order.run_id, order.exchange_order_id) == (
        S.PARTIALLY_FILLED,
        D("0.4"),
        None,
        1,
    )
    assert await desk.position() == D("0.3996")
    assert {a.change for a in await desk.booked("adopted:BTCUSDT:1")} == {D("-0.3996"), D("36")}
    assert await desk.standing() == []
    assert result.agrees
    desk.exchange.set_price("BTCUSDT", D(89))
    assert (await desk.look()).agrees
    assert (await desk.order("other-1")).status is S.FILLED  # type: ignore[union-attr]


async def test_a_flattened_order_is_adopted_and_cancelled(desk: Desk) -> None:
    await desk.elsewhere(Side.BUY, "1", price="90")
    await desk.look(history=True)
    await wish(desk, "flatten")
    await desk.look(history=True)

    order = await desk.order("other-1")
    assert order is not None
    assert order.status is S.CANCELING
    assert (await desk.submitter.cancel(order)).status is S.CANCELED


async def test_coins_that_came_are_booked_and_sold_when_their_owner_wants_them_flattened(desk: Desk) -> None:
    await desk.buy("1.9", "sold", side=Side.SELL)  # what came is more than what our books have left
    desk.exchange.deposit("BTC", D("0.5"))
    await desk.look(later_s=10)
    await wish(desk, "flatten")
    result = await desk.look(later_s=10)

    assert result.agrees
    assert [a.change for a in await desk.booked("difference:1")] == [D("0.5")]
    order = await desk.submitter.claim(may_send=True)
    assert order is not None
    assert (order.side, order.quantity, order.run_id) == (Side.SELL, D("0.5"), None)
    assert (await desk.submitter.send(order)).status is S.FILLED
    assert (await desk.look(later_s=10)).agrees


async def test_orders_that_bear_our_mark_are_taken_in_after_a_restored_backup(desk: Desk) -> None:
    """F61: one that filled, one that rests; nothing is sent."""
    known = await desk.buy("0.1")
    await desk.elsewhere(Side.BUY, "0.5", "pl-lost-1")
    await desk.elsewhere(Side.BUY, "1", "pl-lost-2", price="90")
    requests = len(desk.exchange.requests)
    result = await desk.look(history=True)

    filled, rests = await desk.order("pl-lost-1"), await desk.order("pl-lost-2")
    assert filled is not None
    assert rests is not None
    assert (filled.status, filled.filled, rests.status) == (S.FILLED, D("0.5"), S.OPEN)
    assert result.agrees
    assert await desk.position() == D("0.5994")
    assert all(call != "place" for call, _ in desk.exchange.requests[requests:])
    assert (await desk.order(known.client_order_id)) == known


async def test_what_was_taken_in_is_taken_in_once(desk: Desk) -> None:
    await desk.buy("0.1")
    await desk.elsewhere(Side.BUY, "0.5", "pl-lost-1")
    await desk.look(history=True)
    before = await desk.order("pl-lost-1")
    again = await desk.look(history=True)

    assert again.repaired == 0
    assert await desk.order("pl-lost-1") == before


# --- cheap asking ------------------------------------------------------------------------------------------


async def test_a_thousand_open_orders_of_which_300_changed_take_a_handful_of_requests() -> None:
    world = memory_world({"USDT": D(1_000_000), "BTC": D(2)})
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1_000_000), "BTC": D(2)})
    exchange.set_price("BTCUSDT", D(100))
    submitter = Submitter(world.store, {1: exchange}, world.clock, SubmitSettings())
    desk = Desk(world, exchange, submitter, Reconciler(world.store, {1: exchange}, submitter, world.clock))
    for number in range(1_000):
        price = D(99) if number % 10 < 3 else D(80)
        await desk.buy("0.1", f"k{number}", type=OrderType.LIMIT, price=price)
    exchange.set_price("BTCUSDT", D(98))
    asked = len(exchange.requests)
    lists: list[str] = []
    exchange._ask = lambda: lists.append("list")  # type: ignore[method-assign]
    result = await desk.look(history=True)

    assert (result.checked, result.repaired, result.agrees) == (1_000, 300, True)
    assert len(exchange.requests) - asked + len(lists) <= 8


# --- coins that runs hold ----------------------------------------------------------------------------------


async def run_holding(desk: Desk, run_id: int, quantity: str) -> PlanRecord:
    """A run's plan that holds coins, with a stop for all of them resting on the exchange."""
    store = desk.world.store
    assert isinstance(store, MemoryStore)
    async with store.transaction() as tx:
        values = {"id": 0, "account_id": 1, "run_id": run_id, "symbol": "BTCUSDT", "state": "PROTECTED"}
        nothing = {"entry_order_id": None, "stop_order_id": None, "exit_order_id": None, "time_stop_ms": None}
        rest = {"stop_spec": {"pct": "2"}, "stop_price": D(90), "exit_reason": "", "tries": 0}
        plan_id = await tx.add_plan(PlanRecord(**(values | nothing | rest)))  # type: ignore[arg-type]
    for side, kind, price in ((Side.BUY, OrderType.MARKET, None), (Side.SELL, OrderType.STOP_LOSS, D(90))):
        draft = OrderDraft(1, "BTCUSDT", side, kind, quantity=D(quantity), stop_price=price)
        async with store.transaction() as tx:
            owner = Owner(EventSource.PLAN, run_id=run_id, plan_id=plan_id)
            held = await tx.run_position(1, run_id, "BTCUSDT")
            sized = replace(draft, quantity=min(draft.quantity or D(0), held) if side is Side.SELL else draft.quantity)
            sized = replace(sized, quantity=(sized.quantity or D(0)).quantize(D("0.00001"), "ROUND_DOWN"))
            key = f"{run_id}:{side}"
            await commit_intent(tx, sized, intent_key=key, owner=owner, clock=desk.world.clock, ids=desk.world.ids)
        order = await desk.submitter.claim(may_send=True)
        assert order is not None
        order = await desk.submitter.send(order)
    plan = store.books.plans[plan_id]
    store.books.plans[plan_id] = replace(plan, stop_order_id=order.id)
    return store.books.plans[plan_id]


async def test_coins_of_a_run_that_went_elsewhere_shrink_its_position_and_pause_it() -> None:
    """F49: coins of nobody go first; then the newest run's."""
    desk = desk_over(memory_world({"USDT": D(1000), "BTC": D(2)}))
    store = desk.world.store
    assert isinstance(store, MemoryStore)
    older, newer = await run_holding(desk, 7, "1"), await run_holding(desk, 8, "1")
    assert (await desk.look(history=True)).agrees
    desk.exchange.cancel_by_exchange(store.books.orders[newer.stop_order_id or 0].client_order_id)
    await desk.elsewhere(Side.SELL, "2.4")  # two of nobody, and some of the newer run's
    result = await desk.look(history=True)

    assert result.agrees
    left = await desk.total("BTC") - await desk.position(7)
    assert await desk.position(7) == D("0.999")
    assert await desk.position(8) == left == D("0.599")
    assert list(store.books.paused) == [8]
    assert "0.4 BTC of the 0.999 that run 8 held are no longer in the account" in store.books.paused[8]
    assert [kind for kind, *_ in store.books.incidents] == ["FOREIGN_ACTIVITY"]
    assert store.books.orders[older.stop_order_id or 0].status is S.OPEN


async def test_a_stop_for_more_than_is_there_is_taken_away_for_a_smaller_one() -> None:
    desk = desk_over(memory_world({"USDT": D(1000), "BTC": D(2)}))
    store = desk.world.store
    assert isinstance(store, MemoryStore)
    plan = await run_holding(desk, 7, "1")
    await desk.look(history=True)
    desk.exchange.deposit("BTC", D("-2.4"))  # more than was free: the exchange has let locked coins go
    for _ in range(3):
        await desk.look()

    stop = store.books.orders[plan.stop_order_id or 0]
    assert await desk.position(7) == await desk.total("BTC") == D("0.599")
    assert stop.status is S.CANCELING or stop.status in FINAL


async def test_an_order_that_comes_back_pauses_its_run() -> None:
    """F07."""
    desk = desk_over(memory_world({"USDT": D(1000)}))
    desk.exchange.deposit("BTC", D(-2))
    store = desk.world.store
    assert isinstance(store, MemoryStore)
    desk.exchange.fail_next("place", answer_lost(visible_after_ms=120_000))
    draft = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D("0.1"))
    async with store.transaction() as tx:
        owner = Owner(EventSource.STRATEGY, run_id=7)
        await commit_intent(tx, draft, intent_key="r", owner=owner, clock=desk.world.clock, ids=desk.world.ids)
    order = await desk.submitter.claim(may_send=True)
    assert order is not None
    await desk.submitter.send(order)
    await desk.look(later_s=80)
    assert store.books.orders[1].status is S.EXPIRED
    await desk.look(later_s=60, history=True)

    assert store.books.orders[1].status is S.FILLED
    assert list(store.books.paused) == [7]
    assert "RESURRECTED" in [kind for kind, *_ in store.books.incidents]


async def test_coins_taken_from_a_position_leave_at_cost_and_a_rebuild_gives_the_same(desk: Desk) -> None:
    await desk.buy("1")
    async with desk.world.store.transaction() as tx:
        holding = RunHolding(0, "BTCUSDT", "BTC", D("0.999"))
        await tx.take_from_run(desk.world.account_id, holding, D("0.4"), reason="sold elsewhere", at_ms=START_MS + 1)
    assert await desk.position() == D("0.599")
    store = desk.world.store
    if not isinstance(store, PostgresStore):
        return
    async with store.sessions.begin() as session:
        assert await rebuild(session, desk.world.account_id) == []
        row = (await session.execute(select(PositionRow))).scalar_one()
    assert (row.quantity, row.realised) == (D("0.599"), D(0))
    assert row.cost == quantise_quote(D(100) - quantise_quote(D(100) * D("0.4") / D("0.999")))
    desk.world.clock.ms += 10_000
    await desk.buy("1", "b")
    async with store.sessions.begin() as session:
        assert await rebuild(session, desk.world.account_id) == []
