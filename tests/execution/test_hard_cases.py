"""What exchanges do besides failing: halts, new filters, maintenance, fees that eat coins, refusals again and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.errors import Conflict, InvalidInput
from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules
from app.models.execution import KillAction
from app.services.exchange import classification
from app.services.exchange.classification import Failure
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import refuse
from app.services.exchange.protocol import (
    AskingFailed,
    CancelOutcome,
    NoInformation,
    OrderRequest,
    PlaceOutcome,
    QueryOutcome,
    Unknown,
)
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.kill_action import engage, obey
from app.services.execution.reconcile import Reconciler
from app.services.execution.store import AccountFacts
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import REFUSALS_THAT_PAUSE, SubmitSettings, Submitter
from tests.execution.conftest import RULES, START_MS, CountedIds, StillClock

D = Decimal
S = OrderStatus
BNB = SymbolRules(
    "BNBUSDT", "BNB", "USDT", tick_size=D("0.01"), step_size=D("0.001"), min_qty=D("0.001"), min_notional=D(5)
)


class InMaintenance(FakeExchange):
    """While `closed`, every call ends with a 503 that says nothing."""

    closed = False

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        if self.closed:
            return Unknown("HTTP 503")
        return await super().place(request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms)

    async def cancel(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> CancelOutcome:
        names: dict[str, Any] = {"client_order_id": client_order_id, "exchange_order_id": exchange_order_id}
        return Unknown("HTTP 503") if self.closed else await super().cancel(symbol, **names)

    async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
        names: dict[str, Any] = {"client_order_id": client_order_id, "exchange_order_id": exchange_order_id}
        return NoInformation("HTTP 503") if self.closed else await super().query(symbol, **names)

    def _ask(self) -> None:
        if self.closed:
            raise AskingFailed("HTTP 503")
        super()._ask()


@dataclass
class Pit:
    """One account that trades BTCUSDT and BNBUSDT."""

    store: MemoryStore
    exchange: InMaintenance
    clock: StillClock
    ids: CountedIds
    submitter: Submitter
    reconciler: Reconciler

    async def intend(self, key: str, side: Side = Side.BUY, run_id: int | None = None, **changes: Any) -> Order:
        values: dict[str, Any] = {"symbol": "BTCUSDT", "type": OrderType.MARKET, "quantity": D(1)}
        draft = OrderDraft(1, side=side, **(values | changes))
        owner = Owner(EventSource.STRATEGY, run_id=run_id) if run_id else Owner(EventSource.USER)
        async with self.store.transaction() as tx:
            return await commit_intent(tx, draft, intent_key=key, owner=owner, clock=self.clock, ids=self.ids)

    async def send(self, key: str, side: Side = Side.BUY, run_id: int | None = None, **changes: Any) -> Order:
        await self.intend(key, side, run_id, **changes)
        claimed = await self.submitter.claim(may_send=True)
        assert claimed is not None
        return await self.submitter.send(claimed)

    async def held(self, run_id: int, symbol: str = "BTCUSDT") -> Decimal:
        async with self.store.transaction() as tx:
            return await tx.run_position(1, run_id, symbol)

    async def assert_books_agree(self) -> None:
        result = await self.reconciler.run(1, trigger="recovery", sweep_history=True)
        assert (result.error, result.differences, result.agrees) == ("", [], True)

    def incidents(self) -> list[str]:
        return [kind for kind, *_ in self.store.books.incidents]


@pytest.fixture
def pit() -> Pit:
    clock, store, ids = StillClock(), MemoryStore(epoch=1), CountedIds()
    opening = {"USDT": D(1000), "BTC": D(2), "BNB": D(1)}
    exchange = InMaintenance(clock, [RULES, BNB], balances=opening)
    store.books.epoch = 1
    store.books.accounts[1] = AccountFacts(1, 1, "PAPER", "ACTIVE", "Paper")
    for rules, price in ((RULES, D(100)), (BNB, D(10))):
        store.books.rules[rules.symbol] = rules
        store.books.prices[rules.symbol] = (price, START_MS)
        exchange.set_price(rules.symbol, price)
    store.books.totals.update({(1, asset): total for asset, total in opening.items()})
    sessions = {1: exchange}
    submitter = Submitter(store, sessions, clock, SubmitSettings())
    return Pit(store, exchange, clock, ids, submitter, Reconciler(store, sessions, submitter, clock))


async def test_a_run_whose_entries_are_refused_for_one_reason_again_and_again_is_paused(pit: Pit) -> None:
    """F12, F56: none of them is sent a second time, its money is free again, and its owner is told why."""
    for n in range(REFUSALS_THAT_PAUSE):
        assert pit.store.books.paused == {}
        pit.exchange.fail_next("place", refuse(-2010, "Account has insufficient balance for requested action."))
        order = await pit.send(f"entry {n}", run_id=7)
        assert (order.status, order.reject_code, order.reserved) == (S.REJECTED, "-2010", D(0))
    assert "insufficient balance" in pit.store.books.paused[7]
    assert pit.incidents() == ["ENTRIES_REFUSED"]
    assert len(pit.exchange.requests) == REFUSALS_THAT_PAUSE


@pytest.mark.parametrize("passing", [(-1003, 429), (-1021, 400), (-1015, 429)])
async def test_refusals_that_pass_by_themselves_pause_nobody(pit: Pit, passing: tuple[int, int]) -> None:
    for n in range(REFUSALS_THAT_PAUSE + 1):
        pit.exchange.fail_next("place", refuse(passing[0], "not now", status=passing[1]))
        assert (await pit.send(f"entry {n}", run_id=7)).status is S.REJECTED
    assert pit.store.books.paused == {}


async def test_an_entry_that_goes_through_ends_the_count_and_each_run_has_its_own(pit: Pit) -> None:
    for n in range(2 * REFUSALS_THAT_PAUSE):
        if n % REFUSALS_THAT_PAUSE:
            pit.exchange.fail_next("place", refuse(-2010, "Account has insufficient balance for requested action."))
        await pit.send(f"entry {n}", run_id=7, quantity=D("0.1"))
    pit.exchange.fail_next("place", refuse(-2010, "Account has insufficient balance for requested action."))
    await pit.send("other", run_id=8)

    assert pit.store.books.paused == {}


async def test_when_bnb_is_what_is_traded_and_what_fees_are_paid_in_all_that_is_left_can_be_sold(pit: Pit) -> None:
    """F33: the position is what was bought less its fee, and selling it all is never refused."""
    pit.exchange.pay_fees_in("BNB")
    pit.exchange.deposit("BNB", D(-1))
    pit.store.books.totals[1, "BNB"] = D(0)
    bought = await pit.send("in", run_id=7, symbol="BNBUSDT", quantity=D(10))
    held = await pit.held(7, "BNBUSDT")
    assert (bought.filled, held) == (D(10), D("9.9925"))

    part = D("9.984")  # by the step, and the fee of the sale has to come out of the coins that stay
    sold = await pit.send("out", Side.SELL, run_id=7, symbol="BNBUSDT", quantity=part)
    assert sold.status is S.FILLED
    assert 0 <= await pit.held(7, "BNBUSDT") < D("0.01")
    await pit.assert_books_agree()


async def test_a_remainder_that_became_too_small_to_order_can_still_be_cancelled(pit: Pit) -> None:
    """F35: the price fell, the rest of a partly filled order is worth less than any new order may be."""
    order = await pit.send("rest", type=OrderType.LIMIT, quantity=D("0.1"), price=D(90))
    pit.exchange.set_price("BTCUSDT", D(90), available=D("0.09"))
    async with pit.store.transaction() as tx:
        order = await request_cancel(tx, order.id, source=EventSource.USER, clock=pit.clock)
    order = await pit.submitter.cancel(order)

    assert (order.status, order.filled, order.reserved) == (S.CANCELED, D("0.09"), D(0))
    assert order.quantity is not None
    assert (order.quantity - order.filled) * 90 < RULES.min_notional
    await pit.assert_books_agree()


async def test_filters_that_changed_after_the_decision_refuse_the_order_once_and_ours_are_read_again(pit: Pit) -> None:
    """F37."""
    await pit.intend("old", quantity=D("0.123"))
    pit.exchange.set_rules(replace(RULES, step_size=D("0.1"), min_qty=D("0.1")))
    claimed = await pit.submitter.claim(may_send=True)
    assert claimed is not None
    order = await pit.submitter.send(claimed)

    assert (order.status, order.reject_code, order.reserved) == (S.REJECTED, "-1013", D(0))
    assert len(pit.exchange.requests) == 1
    assert "rules" in pit.store.woken
    pit.store.books.rules["BTCUSDT"] = pit.exchange.rules()["BTCUSDT"]
    with pytest.raises(InvalidInput, match="step"):
        await pit.intend("again", quantity=D("0.123"))


async def test_a_halted_symbol_is_not_bought_and_its_orders_can_be_cancelled(pit: Pit) -> None:
    """F52: refused in words where we know of the halt, by the exchange where we do not; exits are sent."""
    resting = await pit.send("rest", type=OrderType.LIMIT, price=D(90))
    pit.exchange.set_status("BTCUSDT", "HALT")
    assert (await pit.send("unknowing")).reject_code == "-2010"
    pit.store.books.rules["BTCUSDT"] = replace(RULES, status="HALT")
    with pytest.raises(InvalidInput, match=r"not traded at the moment \(HALT\)"):
        await pit.intend("knowing")
    assert (await pit.intend("out", Side.SELL)).status is S.NEW

    async with pit.store.transaction() as tx:
        resting = await request_cancel(tx, resting.id, source=EventSource.USER, clock=pit.clock)
    assert (await pit.submitter.cancel(resting)).status is S.CANCELED


async def test_three_hours_of_maintenance_change_nothing_and_the_books_are_equal_afterwards(pit: Pit) -> None:
    """F53."""
    resting = await pit.send("rest", type=OrderType.LIMIT, price=D(90))
    pit.exchange.closed = True
    waiting = await pit.send("lost")
    for _ in range(180):
        pit.clock.ms += 60_000
        result = await pit.reconciler.run(1, trigger="schedule")
        assert result.error
    async with pit.store.transaction() as tx:
        assert (await tx.order(resting.id), await tx.order(waiting.id)) == (resting, waiting)
    assert (waiting.status, waiting.outcome_unknown_since_ms) == (S.SUBMITTED, START_MS)

    pit.exchange.closed = False
    await pit.reconciler.run(1, trigger="schedule")
    async with pit.store.transaction() as tx:
        gone = await tx.order(waiting.id)
    assert gone is not None
    assert (gone.status, gone.reject_code) == (S.EXPIRED, "NEVER_ARRIVED")
    await pit.assert_books_agree()


async def test_two_runs_on_one_symbol_have_each_their_own_fills_and_share_the_money_they_have(pit: Pit) -> None:
    """F59."""
    await pit.send("one", run_id=7, quantity=D(4))
    await pit.send("two", run_id=8, quantity=D(3))
    assert (await pit.held(7), await pit.held(8), await pit.held(0)) == (D("3.996"), D("2.997"), D(0))

    first = await pit.intend("three", run_id=7, type=OrderType.LIMIT, quantity=D(2), price=D(99))
    second = await pit.intend("four", run_id=8, type=OrderType.LIMIT, quantity=D(2), price=D(99))
    assert (first.status, second.status, second.reject_code) == (S.NEW, S.REJECTED, "RISK_BALANCE")
    await pit.assert_books_agree()


def test_the_maintenance_of_these_tests_answers_as_the_exchange_does() -> None:
    """So that what is shown above is what a 503 means."""
    failure = Failure(503, 0, "Service Unavailable")
    assert isinstance(classification.of_placing(failure), Unknown)
    assert isinstance(classification.of_asking(failure), NoInformation)


async def test_flattening_twice_with_a_cancel_in_between_sells_once(pit: Pit) -> None:
    """F60."""
    await pit.send("in", quantity=D(1))
    says: dict[str, Any] = {"kind": "account", "scope_id": 1, "reason": "all of it", "actor": "user:1"}
    for _ in range(2):
        async with pit.store.transaction() as tx:
            await engage(tx, action=KillAction.FLATTEN, clock=pit.clock, **says)
        await obey(pit.store, clock=pit.clock, ids=pit.ids)
    async with pit.store.transaction() as tx:
        with pytest.raises(Conflict):
            await request_cancel(tx, 1, source=EventSource.USER, clock=pit.clock)
    await obey(pit.store, clock=pit.clock, ids=pit.ids)
    while (claimed := await pit.submitter.claim(may_send=False, may_exit=True)) is not None:
        await pit.submitter.send(claimed)
        await obey(pit.store, clock=pit.clock, ids=pit.ids)

    sales = [o for o in pit.exchange.book() if o.request.side is Side.SELL and o.request.symbol == "BTCUSDT"]
    assert [(o.status, o.executed) for o in sales] == [("FILLED", D("0.999"))]
    await pit.assert_books_agree()
