"""A flattened account by requests alone: the user stream says nothing, prices are gone, and one answer is lost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from app.domain.orders import EventSource, OrderStatus, OrderType, Side
from app.models.execution import PlanState
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import answer_lost
from app.services.execution import plans
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.kill_action import engage, obey
from app.services.execution.store import PlanRecord
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, World, memory_world

D = Decimal
RUN = 7


class Desk:
    """The worker's lanes, one step at a time, over an exchange in memory. Nothing listens to its stream."""

    def __init__(self) -> None:
        self.world: World = memory_world({"USDT": D(1000)})
        assert isinstance(self.world.store, MemoryStore)
        self.store = self.world.store
        self.exchange = FakeExchange(self.world.clock, [RULES], balances={"USDT": D(1000)})
        self.exchange.set_price("BTCUSDT", D(100))
        self.submitter = Submitter(self.store, {1: self.exchange}, self.world.clock, SubmitSettings())

    async def buy(self, key: str, owner: Owner, quantity: str = "1") -> int:
        draft = OrderDraft(1, "BTCUSDT", Side.BUY, OrderType.MARKET, quantity=D(quantity))
        async with self.store.transaction() as tx:
            order = await commit_intent(
                tx, draft, intent_key=key, owner=owner, clock=self.world.clock, ids=self.world.ids
            )
        return order.id

    async def plan(self) -> int:
        """A run's entry under its plan."""
        state, spec = PlanState.ENTERING.value, {"pct": "5"}
        new = PlanRecord(0, 1, RUN, "BTCUSDT", state, None, None, None, spec, None, None, "", 0)
        async with self.store.transaction() as tx:
            plan = replace(new, id=await tx.add_plan(new))
        entry = await self.buy("entry", replace(_ENTRY, plan_id=plan.id))
        async with self.store.transaction() as tx:
            await tx.save_plan(replace(plan, entry_order_id=entry))
        return plan.id

    async def work(self, rounds: int = 12) -> None:
        """Send, cancel, ask, advance, obey: what the lanes do, until nothing more is to be done."""
        for _ in range(rounds):
            while (order := await self.submitter.claim(may_send=True, may_exit=True)) is not None:
                if order.status is OrderStatus.SUBMITTED:
                    await self.submitter.send(order)
            async with self.store.transaction() as tx:
                working, open_plans = await tx.in_flight(), await tx.plans_open()
            for order in working:
                known = order.exchange_order_id is not None
                if order.status is OrderStatus.CANCELING and known:
                    await self.submitter.cancel(order)
                elif not known:
                    await self.submitter.ask(order)
            for plan in open_plans:
                async with self.store.transaction() as tx:
                    await plans.advance(tx, plan.id, clock=self.world.clock, ids=self.world.ids)
            await obey(self.store, clock=self.world.clock, ids=self.world.ids)
            self.world.clock.ms += 1_000


_ENTRY = Owner(EventSource.STRATEGY, run_id=RUN)


async def test_everything_is_sold_without_stream_or_price_and_though_an_answer_is_lost() -> None:
    desk = Desk()
    plan_id = await desk.plan()
    await desk.buy("by hand", Owner(EventSource.USER))
    await desk.work()
    async with desk.store.transaction() as tx:
        protected = await tx.plan(plan_id)
        stop_id = protected.stop_order_id if protected else None
    assert protected is not None
    assert (protected.state, desk.store.books.held[1, RUN, "BTCUSDT"] > 0) == ("PROTECTED", True)

    desk.store.books.prices.clear()
    desk.exchange.fail_next("place", answer_lost())
    async with desk.store.transaction() as tx:
        await engage(
            tx, kind="account", scope_id=1, action="flatten", reason="out", actor="user:1", clock=desk.world.clock
        )
    await desk.work()

    books = desk.store.books
    assert books.orders[stop_id or 0].status is OrderStatus.CANCELED
    assert books.plans[plan_id].state == "CLOSED"
    assert all(quantity < RULES.min_qty for quantity in books.held.values())
    assert not books.working
    ours = {asset: total for (_, asset), total in books.totals.items() if total}
    assert ours == {asset: total for asset, total in desk.exchange.totals().items() if total}
    sales = [o for o in desk.exchange.book() if o.request.side is Side.SELL and o.executed > 0]
    assert len(sales) == 2, "nothing is sold twice"
