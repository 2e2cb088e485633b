"""What people want: orders by hand, cancels, replacements, kill switches, and strategies that run again."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.errors import PlumblineError
from app.domain.orders import FINAL, EventSource, OrderType, Side
from app.models.execution import KillAction
from app.services.execution.intents import OrderDraft, commit_intent, request_cancel
from app.services.execution.kill_action import engage, release
from app.services.execution.replace import request_replacement
from tests.simulation.database import SimStore
from tests.simulation.strategies import NEVER_STALE_MS

if TYPE_CHECKING:
    from tests.simulation.world import World

D = Decimal
KINDS = (OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT)


class People:
    """Users at the web, whose transactions carry no epoch."""

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

    def replace_order(self) -> None:
        """Somebody moves one of the working orders."""
        books = self._world.database.books
        working = [o for o in books.working.values() if o.run_id is None and o.price is not None]
        if working:
            order = self._rng.choice(working)
            self.intents += 1
            price = ((order.price or D(0)) * D(self._rng.randrange(980, 1021)) / 1000).quantize(D("0.1"))
            self._world.begin("web", self._replace(order.id, price, f"web:{self.intents}"))

    async def _replace(self, order_id: int, price: Decimal, key: str) -> None:
        world, clock = self._world, self._world.web_clock
        try:
            async with self._store.transaction() as tx:
                order = await tx.order(order_id)
                owner = await tx.account(order.account_id) if order else None
                assert owner is not None
                await request_replacement(
                    tx, order_id, user_id=owner.user_id, intent_key=key, price=price, clock=clock
                )  # fmt: skip
            world.say("user", f"replaces order {order_id}", f"at {price}")
        except (PlumblineError, ConnectionError) as refusal:
            world.say("user", f"replaces order {order_id}", f"refused: {refusal}")

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
        self._world.database.edit(lambda books: books.paused.clear())
