"""Order work: one lane an account. Rows say what is to be done; hints only say when to look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from app.domain.clock import Clock, Ids
from app.domain.orders import Order, OrderStatus
from app.jobs.guard import FAULTS, TRANSIENT, end_if_fenced
from app.logs import get_logger
from app.services.execution import kill_action, plans
from app.services.execution.plan_moves import UNPROTECTED_AFTER_MS
from app.services.execution.replace import settle_replacements
from app.services.execution.store import Store
from app.services.execution.submit import QUERY_AFTER_S, ForeignOrder, Submitter

log = get_logger(__name__)

#: A CANCELING order is cancelled again after this long, once a query has shown that it still lives.
CANCEL_AGAIN_S = 5.0
LOOK_EVERY_S = 1.0


class OrderLanes:
    """Claims and sends orders, sends cancels, asks about unknown outcomes, advances plans."""

    def __init__(
        self,
        store: Store,
        submitter: Submitter,
        clock: Clock,
        ids: Ids,
        *,
        may_send: Callable[[], bool],
        may_exit: Callable[[], bool],
        unprotected_after_ms: int = UNPROTECTED_AFTER_MS,
    ) -> None:
        self._store = store
        self._submitter = submitter
        self._clock = clock
        self._ids = ids
        self._may_send = may_send
        self._may_exit = may_exit
        self._unprotected_after_ms = unprotected_after_ms
        self._busy: set[int] = set()  # accounts with a request on the wire
        self._asked: dict[int, int] = {}  # order id → queries made since it was sent
        self._asking: set[int] = set()  # orders with a query on the wire
        self._cancelled_at: dict[int, float] = {}  # order id → when a cancel was last sent (loop time)
        self._tasks: set[asyncio.Task[None]] = set()
        self.orders_hint = asyncio.Event()
        self.plans_hint = asyncio.Event()
        self.switches_hint = asyncio.Event()
        self.cancels_hint = asyncio.Event()
        self.replacements_hint = asyncio.Event()

    def hint(self, work: str = "") -> None:
        """There may be work of this kind, as notifications name it; of any kind when none is named."""
        hints = {
            "orders": (self.orders_hint,),
            "cancels": (self.orders_hint, self.cancels_hint),
            "kill": (self.orders_hint, self.switches_hint),
            "plans": (self.plans_hint,),
        }
        for kind, events in hints.items():
            if work in ("", kind):
                for event in events:
                    event.set()

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is to be called again and again, each in a task of its own, by what it does."""
        return {
            "orders": self.look_for_orders,
            "cancels": self.look_for_cancels,
            "unknown outcomes": self.ask_about_unknown,
            "plans": self.advance_plans,
            "kill switches": self.obey_switches,
            "replacements": self.replace_orders,
        }

    async def look_for_orders(self) -> None:
        """Claim every NEW order that may be sent now, one in flight an account; then wait for a hint."""
        await _wait(self.orders_hint)
        while True:
            busy = frozenset(self._busy)
            order = await self._submitter.claim(may_send=self._may_send(), may_exit=self._may_exit(), busy=busy)
            if order is None:
                return
            if order.status is OrderStatus.SUBMITTED:
                self._busy.add(order.account_id)
                self._spawn(self._send(order))

    async def _send(self, order: Order) -> None:
        try:
            await self._submitter.send(order)
        finally:
            self._busy.discard(order.account_id)
            self.orders_hint.set()

    async def look_for_cancels(self) -> None:
        """Send a cancel for each CANCELING order the exchange has confirmed; then pause, or wait for a hint."""
        async with self._store.transaction() as tx:
            orders = await tx.with_status(OrderStatus.CANCELING)
        now_s = asyncio.get_running_loop().time()
        for order in orders:
            recently = now_s - self._cancelled_at.get(order.id, -CANCEL_AGAIN_S) < CANCEL_AGAIN_S
            reached = self._submitter.reaches(order.account_id)
            if reached and order.exchange_order_id is not None and not recently:
                self._cancelled_at[order.id] = now_s
                self._spawn(self._cancel(order))
        self._cancelled_at = {o.id: t for o in orders if (t := self._cancelled_at.get(o.id)) is not None}
        if orders:
            await asyncio.sleep(0.1)
        else:
            await _wait(self.cancels_hint)

    async def _cancel(self, order: Order) -> None:
        await self._submitter.cancel(order)
        self.replacements_hint.set()

    async def ask_about_unknown(self) -> None:
        """Query at 1, 2, 5, 10, 20, 40 s after sending: orders not confirmed, and market orders that should be done."""
        async with self._store.transaction() as tx:
            waiting = await tx.awaiting_answer()
        orders = [o for o in waiting if self._submitter.reaches(o.account_id)]
        for order in orders:
            age_s = (self._clock.exchange_now_ms() - (order.signed_timestamp_ms or 0)) / 1000
            due = sum(age_s >= after_s for after_s in QUERY_AFTER_S)
            asking = order.account_id in self._busy or order.id in self._asking
            if not asking and due > self._asked.get(order.id, 0):
                self._asked[order.id] = due
                self._asking.add(order.id)
                self._spawn(self._ask(order))
        self._asked = {o.id: n for o in orders if (n := self._asked.get(o.id)) is not None}
        await asyncio.sleep(0.5 if waiting else LOOK_EVERY_S)

    async def _ask(self, order: Order) -> None:
        try:
            await self._submitter.ask(order)
        finally:
            self._asking.discard(order.id)

    async def advance_plans(self) -> None:
        """Take every open plan as far as it goes; then wait for a hint."""
        await _wait(self.plans_hint)
        async with self._store.transaction() as tx:
            open_plans = await tx.plans_open()
        for plan in open_plans:
            try:
                async with self._store.transaction() as tx:
                    after_ms = self._unprotected_after_ms
                    await plans.advance(tx, plan.id, clock=self._clock, ids=self._ids, unprotected_after_ms=after_ms)
            except (*TRANSIENT, *FAULTS) as error:
                end_if_fenced(error)
                log.error("a plan could not be advanced", plan_id=plan.id, error=repr(error))
        if open_plans:  # whoever looked for orders meanwhile has passed over those that were held here
            self.orders_hint.set()

    async def obey_switches(self) -> None:
        """Do what engaged kill switches have still to do; then wait for a hint."""
        await _wait(self.switches_hint)
        if await kill_action.obey(self._store, clock=self._clock, ids=self._ids):
            self.orders_hint.set()

    async def replace_orders(self) -> None:
        """Place what was to take the place of orders that are gone by now; then wait for a hint."""
        await _wait(self.replacements_hint)
        if await settle_replacements(self._store, clock=self._clock, ids=self._ids):
            self.orders_hint.set()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        async def guarded() -> None:
            try:
                await work
            except ForeignOrder as foreign:
                log.error("an answer was about an order that is not ours", order=str(foreign))
            except (*TRANSIENT, *FAULTS) as error:
                # The answer is lost to the books for now; the query about unknown outcomes finds it again.
                log.warning("an answer could not be booked", error=str(error))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout_s: float) -> None:
        """Wait for what is on the wire; what is not back by then stays unknown and is recovered at the next start."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)


async def _wait(hint: asyncio.Event) -> None:
    """Until somebody hints, and no longer than a look may wait."""
    timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, hint.set)
    try:
        await hint.wait()
    finally:
        timer.cancel()
    hint.clear()
