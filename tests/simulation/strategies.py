"""What strategies decide: to enter with a stop, targets and a trail, to raise a stop, to leave."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.errors import PlumblineError
from app.domain.orders import EventSource, OrderRole, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules, round_price, round_quantity
from app.models.execution import PlanState
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.protection import Candle, entry_problem, stop_price, trailed
from app.services.execution.store import PlanRecord, Transaction
from tests.simulation.database import Run

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker
    from tests.simulation.world import World

D = Decimal
#: Prices are moved now and then only, and clocks are set: an old price shall not end what is looked at here.
NEVER_STALE_MS = 10**12
STOPS = ({"pct": "2"}, {"pct": "0.5"}, {"distance": "3"}, {"none": "yes"})
LADDERS: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    (),
    ({"pct": "1", "close_pct": 100},),
    ({"pct": "0.5", "close_pct": 50}, {"pct": "1.5", "close_pct": 50}),
    ({"r": "1", "close_pct": 40},),
)
TRAILS: tuple[dict[str, str] | None, ...] = (None, {"pct": "0.4"}, {"pct": "1"}, {"r": "0.5"})
HELD = (PlanState.PROTECTING.value, PlanState.PROTECTED.value)


@dataclass(frozen=True)
class Wish:
    """An entry: what to spend, and the protection of what it buys."""

    quote: Decimal
    stop: Mapping[str, str]
    protect: dict[str, Any]
    time_stop_s: int | None
    expires_s: int | None


class Strategies:
    """Runs of the worker in office. Each tick looks at one of them."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.entries = 0

    def tick(self, worker: SimWorker) -> None:
        """A strategy decides: to enter where it is flat, to leave where it is not."""
        run, paused = self._rng.choice(list(self._world.database.runs.values())), self._world.database.books.paused
        if not run.running or run.id in paused or not worker.may_send():
            return
        leaves, wish = self._rng.random() < 0.35, self._wish()
        if not leaves:
            self.entries += 1
        self._world.begin_in_worker(self._leave(worker, run) if leaves else self._enter(worker, run, wish))

    def _wish(self) -> Wish:
        rng = self._rng
        stop, trail = rng.choice(STOPS), rng.choice(TRAILS)
        targets = [step for step in rng.choice(LADDERS) if "none" not in stop or "r" not in step]
        protect: dict[str, Any] = {"targets": targets} if targets else {}
        if trail is not None and "none" not in stop:
            protect |= {"trail": trail, "trail_after_r": rng.choice(("0", "0.5"))}
        by_limit = rng.random() < 0.25
        if by_limit:
            protect |= {"is_limit": True, "timeframe_ms": 1_000}
        quote, time_stop_s = D(rng.randrange(20, 200)), rng.choice((None, None, 60, 120))
        return Wish(quote, stop, protect, time_stop_s, rng.randrange(5, 90) if by_limit else None)

    async def _leave(self, worker: SimWorker, run: Run) -> None:
        try:
            async with worker.store.transaction() as tx:
                plan = next((p for p in await tx.plans_open(run.account_id) if p.run_id == run.id), None)
                if plan is not None and not plan.exit_reason and plan.state in HELD:
                    await tx.save_plan(replace(plan, exit_reason="rule"))
                    await tx.wake("plans")
                    self._world.say("strategy", f"run {run.id} leaves plan {plan.id}")
        except (PlumblineError, ConnectionError) as refusal:
            self._world.say("strategy", f"run {run.id} may not leave", str(refusal))

    async def _enter(self, worker: SimWorker, run: Run, wish: Wish) -> None:
        """As `app.jobs.entries.enter`: plan and entry in one transaction."""
        try:
            async with worker.store.transaction() as tx:
                if all(plan.run_id != run.id for plan in await tx.plans_open(run.account_id)):
                    await self._plan(tx, run, wish)
        except (PlumblineError, ConnectionError) as refusal:
            self._world.say("strategy", f"run {run.id} may not enter", str(refusal))

    async def _plan(self, tx: Transaction, run: Run, wish: Wish) -> None:
        world = self._world
        facts = await tx.trading_facts(run.account_id, run.symbol, run.id, now_ms=world.worker_clock.now_ms())
        assert facts is not None
        assert facts.rules is not None
        draft, price = self._draft(run, wish, facts.rules)
        _check(wish, price, facts.rules)
        run.entries += 1
        now_ms = world.worker_clock.exchange_now_ms()
        plan = PlanRecord(
            id=0, account_id=run.account_id, run_id=run.id, symbol=run.symbol, state=PlanState.ENTERING.value,
            entry_order_id=None, stop_order_id=None, exit_order_id=None, stop_spec=dict(wish.stop), stop_price=None,
            time_stop_ms=now_ms + wish.time_stop_s * 1000 if wish.time_stop_s else None, exit_reason="", tries=0,
            protect=wish.protect, trailed_ms=now_ms,
            entry_until_ms=now_ms + wish.expires_s * 1000 if wish.expires_s else None,
        )  # fmt: skip
        plan = replace(plan, id=await tx.add_plan(plan))
        order = await commit_intent(
            tx,
            draft,
            intent_key=f"run:{run.id}:{run.entries}:BUY",
            owner=Owner(EventSource.STRATEGY, run_id=run.id, plan_id=plan.id, role=OrderRole.ENTRY),
            clock=world.worker_clock,
            ids=world.ids,
            stale_price_ms=NEVER_STALE_MS,
        )
        refused = order.status is OrderStatus.REJECTED
        state = PlanState.CLOSED.value if refused else plan.state
        await tx.save_plan(replace(plan, entry_order_id=order.id, state=state))
        words = f"run {run.id} enters, plan {plan.id} {dict(wish.stop)} {wish.protect}"
        world.say("strategy", f"{words}, order {order.id}", order.status)

    def _draft(self, run: Run, wish: Wish, rules: SymbolRules) -> tuple[OrderDraft, Decimal]:
        price, where = self._world.price(run.symbol), (run.account_id, run.symbol, Side.BUY)
        if wish.expires_s is None:
            return OrderDraft(*where, OrderType.MARKET, quote_quantity=wish.quote), price
        limit = round_price(rules, price * D("0.997"))
        return OrderDraft(*where, OrderType.LIMIT, round_quantity(rules, wish.quote / limit), price=limit), limit

    # --- trails ----------------------------------------------------------------------------------------

    def trail(self, worker: SimWorker) -> None:
        """A candle closes: a stop that trails may rise."""
        held = [p for p in self._world.database.books.plans.values() if p.state in HELD and p.protect.get("trail")]
        if held:
            self._world.begin_in_worker(self._trail(worker, self._rng.choice(held).id))

    async def _trail(self, worker: SimWorker, plan_id: int) -> None:
        """As `app.jobs.plan_trail`: the plan's row is all that is written."""
        world, clock = self._world, self._world.worker_clock
        try:
            async with worker.store.transaction() as tx:
                plan = await tx.plan(plan_id)
                if plan is None or plan.state not in HELD:
                    return
                facts = await tx.trading_facts(plan.account_id, plan.symbol, plan.run_id, now_ms=clock.now_ms())
                assert facts is not None
                assert facts.rules is not None
                price = world.price(plan.symbol)
                after = trailed(plan, [Candle(clock.exchange_now_ms(), price, price)], facts.rules)
                await tx.save_plan(after)
                if after.stop_price != plan.stop_price:
                    await tx.wake("plans")
                    world.say("strategy", f"the stop of plan {plan_id} rises", str(after.stop_price))
        except (PlumblineError, ConnectionError) as refusal:
            world.say("strategy", f"the stop of plan {plan_id} may not rise", str(refusal))


def _check(wish: Wish, price: Decimal, rules: SymbolRules) -> None:
    """As `app.jobs.entries`: no entry whose protection the exchange would refuse."""
    stop = stop_price(wish.stop, price, rules)
    problem = entry_problem(wish.stop, wish.protect, quantity=wish.quote / price, entry_price=price, rules=rules)
    if (stop is not None and stop <= 0) or problem is not None:
        raise PlumblineError(f"its protection would be refused: {problem}")
