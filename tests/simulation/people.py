"""What people and strategies want: orders by hand, cancels, switches, and runs that enter and leave."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.errors import PlumblineError
from app.domain.orders import FINAL, EventSource, OrderStatus, OrderType, Side
from app.models.execution import KillAction, PlanState
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.kill_action import engage, release
from app.services.execution.store import PlanRecord
from tests.simulation.database import Run, SimStore

if TYPE_CHECKING:
    from tests.simulation.worker import SimWorker
    from tests.simulation.world import World

D = Decimal
KINDS = (OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT)
#: Prices are moved now and then only, and clocks are set: an old price shall not end what is looked at here.
NEVER_STALE_MS = 10**12
STOPS = ({"pct": "2"}, {"pct": "0.5"}, {"distance": "3"}, {"none": "yes"})


class People:
    """Users at the web, whose transactions carry no epoch, and the strategies of the worker."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._store = SimStore(world.database, None)
        self.intents = 0

    # --- at the web ------------------------------------------------------------------------------------

    def trade_by_hand(self) -> None:
        """Somebody presses buy or sell."""
        world, rng = self._world, self._rng
        symbol = rng.choice(world.symbols)
        price = world.price(symbol)
        kind = rng.choice(KINDS)
        side = rng.choice((Side.BUY, Side.BUY, Side.SELL))
        away = D(rng.randrange(-30, 31)) / 1000
        limit = None if kind is OrderType.MARKET else (price * (1 + away)).quantize(D("0.01"))
        stop = None
        if kind is OrderType.STOP_LOSS_LIMIT:
            stop = limit
        by_quote = kind is OrderType.MARKET and side is Side.BUY and rng.random() < 0.5
        quantity = (D(rng.randrange(10, 200)) / price).quantize(D("0.001"))
        draft = OrderDraft(
            account_id=rng.choice(world.accounts),
            symbol=symbol,
            side=side,
            type=kind,
            quantity=None if by_quote else quantity,
            quote_quantity=D(rng.randrange(10, 200)) if by_quote else None,
            price=limit,
            stop_price=stop,
        )
        self.intents += 1
        world.begin("web", self._intend(draft, f"web:{self.intents}"))

    async def _intend(self, draft: OrderDraft, key: str) -> None:
        world = self._world
        try:
            async with self._store.transaction() as tx:
                order = await commit_intent(
                    tx, draft, intent_key=key, clock=world.web_clock, ids=world.ids, stale_price_ms=NEVER_STALE_MS
                )
        except (PlumblineError, ConnectionError) as refusal:
            world.say("user", f"{draft.side} {draft.type} on account {draft.account_id}", f"refused: {refusal}")
            return
        words = f"{draft.side} {draft.type} {draft.symbol} on {draft.account_id}"
        world.say("user", f"order {order.id} {order.client_order_id}: {words}", order.status)

    def cancel(self) -> None:
        """Somebody cancels one of the working orders."""
        working = [o for o in self._world.database.books.orders.values() if o.status not in FINAL and o.run_id is None]
        if working:
            self._world.begin("web", self._cancel(self._rng.choice(working).id))

    async def _cancel(self, order_id: int) -> None:
        world = self._world
        try:
            async with self._store.transaction() as tx:
                order = await request_cancel(tx, order_id, source=EventSource.USER, clock=world.web_clock)
            world.say("user", f"cancels order {order_id}", order.status)
        except (PlumblineError, ConnectionError) as refusal:
            world.say("user", f"cancels order {order_id}", f"refused: {refusal}")

    def flip_switch(self) -> None:
        """A kill switch is engaged, made stronger, or released."""
        world, rng = self._world, self._rng
        engaged = sorted(world.database.books.switches)
        account_id, run_id = rng.choice(world.accounts), rng.choice(list(world.database.runs))
        scope = rng.choice(engaged or [("global", 0), ("account", account_id), ("run", run_id)])
        releases = bool(engaged) and rng.random() < 0.7
        world.begin("web", self._switch(*scope, "" if releases else rng.choice(list(KillAction))))

    async def _switch(self, kind: str, scope_id: int, action: str) -> None:
        """As `engage_kill_switch` and `release_kill_switch`; no action releases."""
        world = self._world
        says: Any = {"kind": kind, "scope_id": scope_id, "reason": "drawn", "actor": "user:1", "clock": world.web_clock}
        try:
            async with self._store.transaction() as tx:
                await (engage(tx, action=action, **says) if action else release(tx, **says))
            world.say("user", f"kill switch {kind} {scope_id}", action or "released")
        except (PlumblineError, ConnectionError) as refusal:
            world.say("user", f"kill switch {kind} {scope_id}", f"refused: {refusal}")

    def start_runs(self) -> None:
        """Somebody starts the strategies that a recovery has stopped."""
        for run in self._world.database.runs.values():
            run.running = True

    # --- in the worker ---------------------------------------------------------------------------------

    def tick(self, worker: SimWorker) -> None:
        """A strategy decides: to enter where it is flat, to leave where it is not."""
        run = self._rng.choice(list(self._world.database.runs.values()))
        if not run.running or not worker.may_send():
            return
        leaves = self._rng.random() < 0.35
        spec = self._rng.choice(STOPS)
        quote = D(self._rng.randrange(20, 200))
        time_stop_s = self._rng.choice((None, None, 60, 120))
        if not leaves:
            self.intents += 1
        self._world.begin_in_worker(self._decide(worker, run, leaves, spec, quote, time_stop_s))

    async def _decide(
        self, worker: SimWorker, run: Run, leaves: bool, spec: dict[str, str], quote: Decimal, time_stop_s: int | None
    ) -> None:
        """As `StrategyTicker._decide`: plan and entry in one transaction."""
        world = self._world
        try:
            async with worker.store.transaction() as tx:
                plan = next((p for p in await tx.plans_open(run.account_id) if p.run_id == run.id), None)
                if plan is not None:
                    if leaves and not plan.exit_reason and plan.state in ("PROTECTING", "PROTECTED"):
                        await tx.save_plan(replace(plan, exit_reason="rule"))
                        await tx.wake("plans")
                        world.say("strategy", f"run {run.id} leaves plan {plan.id}")
                    return
                if leaves:
                    return
                run.entries += 1
                time_stop_ms = world.now_ms() + time_stop_s * 1000 if time_stop_s else None
                plan = PlanRecord(
                    id=0, account_id=run.account_id, run_id=run.id, symbol=run.symbol, state=PlanState.ENTERING.value,
                    entry_order_id=None, stop_order_id=None, exit_order_id=None, stop_spec=spec, stop_price=None,
                    time_stop_ms=time_stop_ms, exit_reason="", tries=0,
                )  # fmt: skip
                plan = replace(plan, id=await tx.add_plan(plan))
                draft = OrderDraft(run.account_id, run.symbol, Side.BUY, OrderType.MARKET, quote_quantity=quote)
                order = await commit_intent(
                    tx,
                    draft,
                    intent_key=f"run:{run.id}:{run.entries}:BUY",
                    owner=Owner(EventSource.STRATEGY, run_id=run.id, plan_id=plan.id),
                    clock=world.worker_clock,
                    ids=world.ids,
                    stale_price_ms=NEVER_STALE_MS,
                )
                refused = order.status is OrderStatus.REJECTED
                state = PlanState.CLOSED.value if refused else plan.state
                await tx.save_plan(replace(plan, entry_order_id=order.id, state=state))
                world.say("strategy", f"run {run.id} enters, plan {plan.id}, order {order.id}", order.status)
        except (PlumblineError, ConnectionError) as refusal:
            world.say("strategy", f"run {run.id} may not enter", str(refusal))
