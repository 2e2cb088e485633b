"""Whatever happens on the wire and in whatever order, our books end as the exchange's, and no order is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.money import ZERO
from app.domain.orders import FINAL, EventKind, EventSource, Order, OrderStatus, OrderType, Side
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import (
    answer_lost,
    arrives_late,
    not_sent,
    refuse,
    request_lost,
    unknown_5xx,
    visible_after,
)
from app.services.execution.intents import OrderDraft, commit_intent, request_cancel
from app.services.execution.reconcile import Reconciler
from app.services.execution.store_memory import Books, MemoryStore
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, memory_world

D = Decimal
PLACING = [
    answer_lost(),
    answer_lost(visible_after_ms=45_000),
    request_lost(),
    unknown_5xx(),
    unknown_5xx(reached=False),
    arrives_late(3_000),
    arrives_late(7_000),
    visible_after(20_000),
    refuse(-1013, "Filter failure: LOT_SIZE"),
    not_sent(),
]
ASKING = [answer_lost(), unknown_5xx(), request_lost()]
PRICES = st.integers(80, 120).map(D)


class ExecutionMachine(RuleBasedStateMachine):
    """One account between books in memory and an exchange in memory, with faults on every call."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        opening = {"USDT": D(1000), "BTC": D(5)}
        self.opening = opening
        self.world = memory_world(opening)
        self.exchange = FakeExchange(self.world.clock, [RULES], balances=opening)
        self.exchange.set_price("BTCUSDT", D(100))
        sessions = {1: self.exchange}
        self.submitter = Submitter(self.world.store, sessions, self.world.clock, SubmitSettings())
        self.reconciler = Reconciler(self.world.store, sessions, self.submitter, self.world.clock)
        self.keys = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @property
    def books(self) -> Books:
        assert isinstance(self.world.store, MemoryStore)
        return self.world.store.books

    def orders(self, *statuses: OrderStatus) -> list[Order]:
        return [o for o in self.books.orders.values() if o.status in statuses]

    # --- what may happen -------------------------------------------------------------------------------

    @rule(
        side=st.sampled_from(Side),
        price=PRICES,
        tenths=st.integers(1, 20),
        market=st.booleans(),
        fault=st.none() | st.sampled_from(PLACING),
    )
    def intend_and_submit(self, side: Side, price: Decimal, tenths: int, market: bool, fault: Any) -> None:
        self.intend(side, price, tenths, market)
        if self.orders(OrderStatus.NEW):
            self.submit(fault)

    @rule(side=st.sampled_from(Side), price=PRICES, tenths=st.integers(1, 20), market=st.booleans())
    def intend(self, side: Side, price: Decimal, tenths: int, market: bool) -> None:
        self.keys += 1
        self.books.prices["BTCUSDT"] = (self.books.prices["BTCUSDT"][0], self.world.clock.ms)
        draft = OrderDraft(
            1,
            "BTCUSDT",
            side,
            OrderType.MARKET if market else OrderType.LIMIT,
            quantity=D(tenths) / 10,
            price=None if market else price,
        )
        self.do(self._intend(draft, f"k{self.keys}"))

    async def _intend(self, draft: OrderDraft, key: str) -> None:
        async with self.world.store.transaction() as tx:
            await commit_intent(tx, draft, intent_key=key, clock=self.world.clock, ids=self.world.ids)

    @precondition(lambda self: self.orders(OrderStatus.NEW))
    @rule(fault=st.none() | st.sampled_from(PLACING))
    def submit(self, fault: Any) -> None:
        if fault is not None:
            self.exchange.fail_next("place", fault)
        order = self.do(self.submitter.claim(may_send=True))
        if order is not None and order.status is OrderStatus.SUBMITTED:
            self.do(self.submitter.send(order))

    @precondition(lambda self: self.orders(OrderStatus.NEW))
    @rule()
    def crash_before_the_wire(self) -> None:
        """The attempt is on record, the process dies, nothing was sent."""
        self.do(self.submitter.claim(may_send=True))

    @precondition(lambda self: self.orders(OrderStatus.NEW))
    @rule()
    def crash_after_the_wire(self) -> None:
        """Sent and carried out; the process dies before the answer is booked."""
        order = self.do(self.submitter.claim(may_send=True))
        if order is not None and order.status is OrderStatus.SUBMITTED:
            before = self.books
            self.do(self.submitter.send(order))
            self.world.store.books = before  # type: ignore[attr-defined]

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        working = [o for o in self.books.orders.values() if o.status not in FINAL]
        if working:
            order = data.draw(st.sampled_from(working))
            self.do(self._request_cancel(order))

    async def _request_cancel(self, order: Order) -> None:
        async with self.world.store.transaction() as tx:
            await request_cancel(tx, order.id, source=EventSource.USER, clock=self.world.clock)

    @precondition(lambda self: self.orders(OrderStatus.CANCELING))
    @rule(fault=st.none() | st.sampled_from([*ASKING, refuse(-1013, "Market is closed.")]))
    def send_cancel(self, fault: Any) -> None:
        order = self.orders(OrderStatus.CANCELING)[0]
        if order.exchange_order_id is None:
            return
        if fault is not None:
            self.exchange.fail_next("cancel", fault)
        self.do(self.submitter.cancel(order))

    @rule(fault=st.none() | st.sampled_from(ASKING), after_ms=st.sampled_from([0, 20_000, 40_000]))
    def ask(self, fault: Any, after_ms: int) -> None:
        self.world.clock.ms += after_ms
        unknown = [o for o in self.orders(OrderStatus.SUBMITTED, OrderStatus.CANCELING) if o.exchange_order_id is None]
        if unknown:
            if fault is not None:
                self.exchange.fail_next("query", fault)
            self.do(self.submitter.ask(unknown[0]))

    @rule(price=PRICES, available=st.none() | st.integers(1, 15).map(lambda n: D(n) / 10))
    def market_moves(self, price: Decimal, available: Decimal | None) -> None:
        self.exchange.set_price("BTCUSDT", price, available=available)

    @rule(ms=st.sampled_from([500, 5_000, 80_000]))
    def time_passes(self, ms: int) -> None:
        self.world.clock.ms += ms

    @rule(fault=st.none() | st.sampled_from(ASKING))
    def reconcile(self, fault: Any) -> None:
        if fault is not None:
            self.exchange.fail_next("list", fault)
        self.do(self.reconciler.run(1, trigger="schedule"))

    # --- what must hold after every step ----------------------------------------------------------------

    @invariant()
    def no_order_is_sent_twice(self) -> None:
        placed = [asked.client_order_id for call, asked in self.exchange.requests if call == "place"]  # type: ignore[attr-defined]
        assert len(placed) == len(set(placed))

    @invariant()
    def the_books_are_whole(self) -> None:
        for order in self.books.orders.values():
            fills = [f for owner, f in self.books.fills.values() if owner == order.id]
            assert sum((f.quantity for f in fills), ZERO) == order.filled
            assert order.quantity is None or order.filled <= order.quantity
            assert (order.status is OrderStatus.FILLED) == (order.quantity == order.filled)
            assert order.status is not OrderStatus.REJECTED or not fills
            assert order.reserved >= 0
            assert order.status not in FINAL or order.reserved == 0
            events = self.books.events[order.id]
            assert len(events) == order.version
            assert events[-1].to_status is order.status
            assert sum(e.kind is EventKind.ATTEMPT_SENT for e in events) <= 1

    def teardown(self) -> None:
        """Contact returns and time passes: then both books say the same, and nothing is unknown."""
        self.exchange._faults.clear()
        for _ in range(3):
            self.world.clock.ms += 80_000
            while self.do(self.submitter.claim(may_send=True)) is not None:
                pass
            for order in self.orders(OrderStatus.CANCELING):
                if order.exchange_order_id is not None:
                    self.do(self.submitter.cancel(order))
            result = self.do(self.reconciler.run(1, trigger="recovery", sweep_history=True))
        self.loop.close()
        assert [kind for kind, *_ in self.books.incidents] == []  # no order was given up too soon, none contradicts
        assert (result.error, result.unresolved) == ("", 0)
        assert [d for d in result.differences if not d["repaired"]] == []
        assert not [o for o in self.books.orders.values() if o.outcome_unknown_since_ms is not None]


TestExecution = ExecutionMachine.TestCase
TestExecution.settings = settings(
    max_examples=300, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
