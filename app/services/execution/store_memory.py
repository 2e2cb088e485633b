"""Storage of execution in memory: for simulation and unit tests, under the same contract as PostgreSQL.

All values are frozen, so a transaction is a shallow copy of the books that replaces them at commit. What the
database's triggers refuse is refused here too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from app.database.hints import Work
from app.domain.errors import require
from app.domain.money import ZERO
from app.domain.orders import FINAL, IN_FLIGHT, EventKind, Fill, Order, OrderStatus, Side, check_edge
from app.domain.positions import FLAT, Position, SidedFill, balance_changes, fold
from app.domain.symbols import SymbolRules
from app.models.execution import PlanState
from app.services.execution.bookkeeping import Event, Step
from app.services.execution.reconcile import PassResult
from app.services.execution.store import AccountFacts, PlanRecord, TradingFacts
from app.services.risk.checks import DEFAULT_LIMITS, Limits


class StaleEpoch(Exception):
    """A worker that has been replaced tried to write."""


@dataclass
class Books:
    """Everything the store holds. Keys: ids; fills by (account, symbol, trade id)."""

    accounts: dict[int, AccountFacts] = field(default_factory=dict)
    rules: dict[str, SymbolRules] = field(default_factory=dict)
    prices: dict[str, tuple[Decimal, int]] = field(default_factory=dict)
    limits: dict[int, Limits] = field(default_factory=dict)
    switches: dict[tuple[str, int], str] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    events: dict[int, tuple[Event, ...]] = field(default_factory=dict)
    fills: dict[tuple[int, str, int], tuple[int, Fill]] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    totals: dict[tuple[int, str], Decimal] = field(default_factory=dict)
    plans: dict[int, PlanRecord] = field(default_factory=dict)
    incidents: tuple[tuple[str, str, int | None, int | None], ...] = ()
    passes: tuple[PassResult, ...] = ()
    seen_balances: dict[int, Mapping[str, Decimal]] = field(default_factory=dict)
    epoch: int = 0

    def copy(self) -> Books:
        """A shallow copy; the values inside are frozen."""
        values: dict[str, Any] = {name: dict(v) if isinstance(v, dict) else v for name, v in vars(self).items()}
        return Books(**values)


class MemoryTransaction:
    """`Transaction` on a copy of the books."""

    def __init__(self, books: Books, epoch: int | None) -> None:
        self.books = books
        self._epoch = epoch
        self.woken: list[str] = []

    async def order(self, order_id: int) -> Order | None:
        return self.books.orders.get(order_id)

    def _find(self, account_id: int, **wanted: object) -> Order | None:
        mine = (o for o in self.books.orders.values() if o.account_id == account_id)
        return next((o for o in mine if all(getattr(o, k) == v for k, v in wanted.items())), None)

    async def order_by_client_id(self, account_id: int, client_order_id: str) -> Order | None:
        return self._find(account_id, client_order_id=client_order_id)

    async def order_by_exchange_id(self, account_id: int, symbol: str, exchange_order_id: int) -> Order | None:
        return self._find(account_id, symbol=symbol, exchange_order_id=exchange_order_id)

    async def order_by_intent(self, account_id: int, intent_key: str) -> Order | None:
        return self._find(account_id, intent_key=intent_key)

    async def add_order(self, step: Step) -> Order:
        self._fence()
        order = replace(step.order, id=len(self.books.orders) + 1)
        require(order.version == 1 and order.status is OrderStatus.NEW, "an order starts NEW at version 1")
        require(self._find(order.account_id, client_order_id=order.client_order_id) is None, "client order id is taken")
        require(self._find(order.account_id, intent_key=order.intent_key) is None, "intent has its order already")
        self.books.orders[order.id] = order
        self.books.events[order.id] = (step.event,)
        return order

    def _fence(self) -> None:
        if self._epoch is not None and self._epoch != self.books.epoch:
            raise StaleEpoch(f"epoch {self._epoch} was replaced by {self.books.epoch}")

    async def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._write(step)
        if steps and steps[-1].order.plan_id is not None:
            await self.wake("plans")

    def _write(self, step: Step) -> None:
        order, event = step.order, step.event
        before, events = self.books.orders[order.id], self.books.events[order.id]
        self._fence()
        require(order.version == before.version + 1 == len(events) + 1, "events have no gap", order_id=order.id)
        require(event.from_status == before.status and event.to_status == order.status, "event tells the edge")
        check_edge(before.status, order.status, resurrecting=event.kind is EventKind.RESURRECTED)
        require(all(e.dedup_key != event.dedup_key for e in events), "one fact is written once", key=event.dedup_key)
        require(order.status is not OrderStatus.REJECTED or order.filled == 0, "REJECTED never carries a fill")
        if event.kind is EventKind.ATTEMPT_SENT:
            require(order.id not in self.books.attempts, "one attempt an order", order_id=order.id)
            self.books.attempts[order.id] = order.signed_timestamp_ms or 0
        self.books.orders[order.id] = order
        self.books.events[order.id] = (*events, event)
        if step.fill is not None:
            self._book(order, step.fill)

    def _book(self, order: Order, fill: Fill) -> None:
        key = (order.account_id, order.symbol, fill.trade_id)
        require(key not in self.books.fills, "a fill is booked once", key=key)
        self.books.fills[key] = (order.id, fill)
        rules = self.books.rules[order.symbol]
        changes = balance_changes(order.side, fill, rules.base_asset, rules.quote_asset)
        for asset, change in changes.items():
            place = (order.account_id, asset)
            self.books.totals[place] = self.books.totals.get(place, ZERO) + change

    async def trade_ids(self, order_id: int) -> set[int]:
        return {key[2] for key, (owner, _) in self.books.fills.items() if owner == order_id}

    async def trade_ids_since(self, account_id: int, symbol: str, since_ms: int) -> set[int]:
        fills = self.books.fills.items()
        mine = (k for k, (_, fill) in fills if k[:2] == (account_id, symbol) and fill.traded_at_ms >= since_ms)
        return {trade_id for _, _, trade_id in mine}

    async def claim_new(self, busy: Collection[int] = ()) -> Order | None:
        new = (o for o in self.books.orders.values() if o.status is OrderStatus.NEW and o.account_id not in busy)
        return min(new, key=lambda o: (o.plan_id is None or o.side is Side.BUY, o.id), default=None)

    async def in_flight(self, account_id: int | None = None) -> Sequence[Order]:
        orders = [o for o in self.books.orders.values() if o.status in IN_FLIGHT]
        return [o for o in orders if account_id is None or o.account_id == account_id]

    async def with_status(self, status: OrderStatus) -> Sequence[Order]:
        return [o for o in self.books.orders.values() if o.status is status]

    async def symbols_traded(self, account_id: int, since_ms: int) -> Sequence[str]:
        mine = (o for o in self.books.orders.values() if o.account_id == account_id)
        return sorted({o.symbol for o in mine if o.created_at_ms >= since_ms or o.status not in FINAL})

    async def account(self, account_id: int) -> AccountFacts | None:
        return self.books.accounts.get(account_id)

    async def trading_facts(
        self, account_id: int, symbol: str, run_id: int | None, *, now_ms: int
    ) -> TradingFacts | None:
        account, rules = self.books.accounts.get(account_id), self.books.rules.get(symbol)
        if account is None:
            return None
        price = self.books.prices.get(symbol)
        base, quote = (rules.base_asset, rules.quote_asset) if rules else ("", "")
        working = [o for o in self.books.orders.values() if o.account_id == account_id and o.status not in FINAL]
        buying = [o for o in working if o.symbol == symbol and o.side is Side.BUY]
        runs = {o.run_id or 0 for o in self.books.orders.values() if o.account_id == account_id}
        return TradingFacts(
            account=account,
            rules=rules,
            price=price[0] if price else None,
            price_age_ms=now_ms - price[1] if price else None,
            base_total=self.books.totals.get((account_id, base), ZERO),
            base_reserved=sum((o.reserved for o in working if o.reserved_asset == base), ZERO),
            quote_total=self.books.totals.get((account_id, quote), ZERO),
            quote_reserved=sum((o.reserved for o in working if o.reserved_asset == quote), ZERO),
            position=sum((self.position(account_id, run, symbol).quantity for run in runs), ZERO),
            open_buy_notional=sum((o.reserved for o in buying), ZERO),
            kill_switch=await self.kill_switch(account_id, run_id),
            limits=self.books.limits.get(account_id, DEFAULT_LIMITS),
        )

    def position(self, account_id: int, run_id: int, symbol: str) -> Position:
        """The position of one run (0: by hand), folded from its fills."""
        rules = self.books.rules.get(symbol)
        if rules is None:
            return FLAT
        mine = [
            SidedFill(order.side, fill)
            for (account, name, _), (order_id, fill) in self.books.fills.items()
            if account == account_id and name == symbol
            for order in [self.books.orders[order_id]]
            if (order.run_id or 0) == run_id
        ]
        return fold(mine, base_asset=rules.base_asset, quote_asset=rules.quote_asset)

    async def kill_switch(self, account_id: int, run_id: int | None) -> str | None:
        for scope in (("global", 0), ("account", account_id), ("run", run_id or -1)):
            if scope in self.books.switches:
                return self.books.switches[scope]
        return None

    async def freeze_account(self, account_id: int, reason: str) -> None:
        self.books.accounts[account_id] = replace(self.books.accounts[account_id], state="FROZEN")
        await self.add_incident("ACCOUNT_FROZEN", reason, account_id=account_id)

    async def add_incident(
        self, kind: str, message: str, *, account_id: int | None = None, order_id: int | None = None
    ) -> None:
        incident = (kind, message, account_id, order_id)
        if incident not in self.books.incidents:
            self.books.incidents = (*self.books.incidents, incident)

    async def plans_open(self, account_id: int | None = None) -> Sequence[PlanRecord]:
        plans = [p for p in self.books.plans.values() if p.state != PlanState.CLOSED.value]
        return [p for p in plans if account_id is None or p.account_id == account_id]

    async def plan(self, plan_id: int) -> PlanRecord | None:
        return self.books.plans.get(plan_id)

    async def add_plan(self, plan: PlanRecord) -> int:
        plan_id = len(self.books.plans) + 1
        self.books.plans[plan_id] = replace(plan, id=plan_id)
        return plan_id

    async def save_plan(self, plan: PlanRecord) -> None:
        self.books.plans[plan.id] = plan

    async def plan_orders(self, plan_id: int) -> Sequence[Order]:
        return [o for o in self.books.orders.values() if o.plan_id == plan_id]

    async def run_position(self, account_id: int, run_id: int, symbol: str) -> Decimal:
        return self.position(account_id, run_id, symbol).quantity

    async def balances(self, account_id: int) -> dict[str, Decimal]:
        return {a: total for (owner, a), total in self.books.totals.items() if owner == account_id and total != 0}

    async def see_balances(self, account_id: int, totals: Mapping[str, Decimal]) -> None:
        self.books.seen_balances[account_id] = dict(totals)

    async def record_pass(self, result: PassResult) -> None:
        self.books.passes = (*self.books.passes, result)

    async def wake(self, what: Work) -> None:
        self.woken.append(what)


class MemoryStore:
    """`Store` in memory. Transactions of one store do not overlap in effect: the last commit would lose the other's,
    so a commit on books that have moved meanwhile is refused; with one event loop and no waiting inside, it never is.
    """

    def __init__(self, epoch: int | None = None) -> None:
        self.books = Books()
        self.epoch = epoch
        self.woken: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        before = self.books
        tx = MemoryTransaction(before.copy(), self.epoch)
        yield tx
        require(self.books is before, "two transactions overlapped")
        self.books = tx.books
        self.woken.extend(tx.woken)
