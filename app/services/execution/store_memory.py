"""Storage of execution in memory: for simulation and unit tests, under the same contract as PostgreSQL.

All values are frozen, and every table remembers what a transaction replaced in it, so that a rollback puts back
just that. What the database's triggers refuse is refused here too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, TypeVar

from app.database.hints import Work
from app.domain.errors import require
from app.domain.money import ZERO
from app.domain.orders import (
    FINAL,
    IN_FLIGHT,
    EventKind,
    EventSource,
    Fill,
    Order,
    OrderRole,
    OrderStatus,
    OrderType,
    Side,
    check_edge,
)
from app.domain.positions import balance_changes
from app.domain.symbols import SymbolRules
from app.models.execution import PlanState
from app.services.execution.bookkeeping import Event, Step
from app.services.execution.store import NEWEST_OF_PLAN, AccountFacts, PlanRecord, TradingFacts
from app.services.execution.store_memory_reconciling import MemoryReconciling
from app.services.execution.store_memory_switches import MemorySwitches
from app.services.execution.store_reconciling import REPAIRED, Adjustment, DifferenceRecord, PassResult
from app.services.execution.store_switches import ReplacementRecord, Switch
from app.services.risk.checks import DEFAULT_LIMITS, Limits


class StaleEpoch(Exception):
    """A worker that has been replaced tried to write."""


K = TypeVar("K")
V = TypeVar("V")
_ABSENT: Final = object()
_ID: Final = attrgetter("id")


@dataclass
class Journal:
    """What the open transaction has replaced: (where, key or name, what was there)."""

    is_open: bool = False
    replaced: list[tuple[Table[Any, Any] | Books, Any, Any]] = field(default_factory=list)


class Table(dict[K, V]):
    """A dict whose changes by key a rollback can take back."""

    def __init__(self, rows: Mapping[K, V], journal: Journal) -> None:
        super().__init__(rows)
        self._journal = journal

    def __setitem__(self, key: K, value: V) -> None:
        if self._journal.is_open:
            self._journal.replaced.append((self, key, self.get(key, _ABSENT)))
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        if self._journal.is_open:
            self._journal.replaced.append((self, key, self[key]))
        super().__delitem__(key)

    def pop(self, key: K, *default: Any) -> Any:
        """As `dict.pop`."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def put_back(self, key: K, value: Any) -> None:
        """Undo one change."""
        if value is _ABSENT:
            super().__delitem__(key)
        else:
            super().__setitem__(key, value)


@dataclass
class Books:
    """Everything the store holds. Keys: ids; fills by (account, symbol, trade id). The last five are indices.

    In a transaction a row is set, popped or deleted by its key, and what is no table is set as a whole.
    """

    journal: Journal = field(default_factory=Journal, repr=False, compare=False)
    accounts: dict[int, AccountFacts] = field(default_factory=dict)
    rules: dict[str, SymbolRules] = field(default_factory=dict)
    prices: dict[str, tuple[Decimal, int]] = field(default_factory=dict)
    limits: dict[int, Limits] = field(default_factory=dict)
    switches: dict[tuple[str, int], Switch] = field(default_factory=dict)
    replacements: dict[int, ReplacementRecord] = field(default_factory=dict)
    run_strategies: dict[int, int] = field(default_factory=dict)  # run → strategy
    audit: tuple[tuple[str, str, str], ...] = ()  # (actor, action, object)
    orders: dict[int, Order] = field(default_factory=dict)
    events: dict[int, tuple[Event, ...]] = field(default_factory=dict)
    fills: dict[tuple[int, str, int], tuple[int, Fill]] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    totals: dict[tuple[int, str], Decimal] = field(default_factory=dict)
    plans: dict[int, PlanRecord] = field(default_factory=dict)
    incidents: tuple[tuple[str, str, int | None, int | None], ...] = ()
    passes: tuple[PassResult, ...] = ()
    seen_balances: dict[int, Mapping[str, Decimal]] = field(default_factory=dict)
    differences: dict[tuple[int, str, str], DifferenceRecord] = field(default_factory=dict)
    difference_count: int = 0
    closed_differences: tuple[tuple[DifferenceRecord, str], ...] = ()
    cursors: dict[tuple[int, str], int] = field(default_factory=dict)
    adjustments: dict[tuple[int, str, str], Adjustment] = field(default_factory=dict)  # by (account, asset, reference)
    begins_ms: dict[int, int] = field(default_factory=dict)
    taken: tuple[tuple[int, int, str, Decimal], ...] = ()  # (account, run, symbol, quantity)
    paused: dict[int, str] = field(default_factory=dict)  # run → why
    open_incidents: dict[tuple[str, int | None, str], str] = field(default_factory=dict)  # those with a key
    epoch: int = 0
    working: dict[int, Order] = field(default_factory=dict)  # orders that are not final
    order_ids: dict[tuple[int, str, object], int] = field(default_factory=dict)  # by (account, "name" or symbol, id)
    of_plan: dict[int, tuple[int, ...]] = field(default_factory=dict)  # plan → ids of its orders
    trades: dict[int, tuple[Fill, ...]] = field(default_factory=dict)  # order → its fills
    held: dict[tuple[int, int, str], Decimal] = field(default_factory=dict)  # (account, run or 0, symbol) → base

    def __setattr__(self, name: str, value: object) -> None:
        if name != "journal" and self.journal.is_open:
            self.journal.replaced.append((self, name, getattr(self, name)))
        self.put_back(name, Table(value, self.journal) if type(value) is dict else value)

    def put_back(self, name: str, value: object) -> None:
        """Undo one change."""
        super().__setattr__(name, value)

    def copy(self) -> Books:
        """Books of their own with the same rows; the values inside are frozen."""
        values: dict[str, Any] = {name: dict(v) if isinstance(v, dict) else v for name, v in vars(self).items()}
        return Books(**(values | {"journal": Journal()}))

    def begin(self) -> Books:
        """Remember from here on what is changed, until `commit` or `roll_back`; returns the books themselves."""
        require(not self.journal.is_open, "two transactions overlapped")
        self.journal.is_open = True
        return self

    def commit(self) -> None:
        """The open transaction's changes stay."""
        self.journal.replaced.clear()
        self.journal.is_open = False

    def roll_back(self) -> None:
        """The books are again as they were before the transaction."""
        for where, key, value in reversed(self.journal.replaced):
            where.put_back(key, value)
        self.commit()


class MemoryTransaction(MemorySwitches, MemoryReconciling):
    """`Transaction` on the books that `Books.begin` gave it."""

    def __init__(self, books: Books, epoch: int | None) -> None:
        self.books = books
        self._epoch = epoch
        self.woken: list[str] = []

    async def order(self, order_id: int) -> Order | None:
        return self.books.orders.get(order_id)

    def _find(self, account_id: int, what: str, name: object) -> Order | None:
        order_id = self.books.order_ids.get((account_id, what, name))
        return None if order_id is None else self.books.orders[order_id]

    async def order_by_client_id(self, account_id: int, client_order_id: str) -> Order | None:
        return self._find(account_id, "client", client_order_id)

    async def order_by_exchange_id(self, account_id: int, symbol: str, exchange_order_id: int) -> Order | None:
        return self._find(account_id, symbol, exchange_order_id)

    async def order_by_intent(self, account_id: int, intent_key: str) -> Order | None:
        return self._find(account_id, "intent", intent_key)

    async def add_order(self, step: Step) -> Order:
        self._fence()
        order = replace(step.order, id=len(self.books.orders) + 1)
        require(order.version == 1 and order.status is OrderStatus.NEW, "an order starts NEW at version 1")
        names = [("client", order.client_order_id), ("intent", order.intent_key)]
        if order.list_client_order_id is not None:
            require(order.plan_id is not None and order.role in (OrderRole.STOP, OrderRole.TARGET), "a leg is a plan's")
            names.append((str(order.role), order.list_client_order_id))
        for what, name in names:
            require(self._find(order.account_id, what, name) is None, "the order's name is taken", what=what, name=name)
            self.books.order_ids[order.account_id, what, name] = order.id
        if order.plan_id is not None:
            self.books.of_plan[order.plan_id] = (*self.books.of_plan.get(order.plan_id, ()), order.id)
        self._keep(order)
        self.books.events[order.id] = (step.event,)
        return order

    def _keep(self, order: Order) -> None:
        self.books.orders[order.id] = order
        if order.status not in FINAL:
            self.books.working[order.id] = order
        else:
            self.books.working.pop(order.id, None)
        if order.exchange_order_id is not None:
            self.books.order_ids[order.account_id, order.symbol, order.exchange_order_id] = order.id

    def finish(self) -> None:
        """Last before the commit: a worker that was replaced changes nothing. Raises StaleEpoch."""
        if self.books.journal.replaced:
            self._fence()

    def _fence(self) -> None:
        if self._epoch is not None and self._epoch != self.books.epoch:
            raise StaleEpoch(f"epoch {self._epoch} was replaced by {self.books.epoch}")

    async def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._write(step)
        if steps and steps[-1].order.plan_id is not None:
            await self.wake("plans")
        if steps and steps[0].event.source is EventSource.RECONCILER:
            self.books.audit = (*self.books.audit, ("worker", REPAIRED, f"order:{steps[0].order.id}"))

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
        self._keep(order)
        self.books.events[order.id] = (*events, event)
        if step.fill is not None:
            self._book(order, step.fill)

    def _book(self, order: Order, fill: Fill) -> None:
        key = (order.account_id, order.symbol, fill.trade_id)
        require(key not in self.books.fills, "a fill is booked once", key=key)
        self.books.fills[key] = (order.id, fill)
        self.books.trades[order.id] = (*self.books.trades.get(order.id, ()), fill)
        rules = self.books.rules[order.symbol]
        changes = balance_changes(order.side, fill, rules.base_asset, rules.quote_asset)
        for asset, change in changes.items():
            place = (order.account_id, asset)
            self.books.totals[place] = self.books.totals.get(place, ZERO) + change
        run = (order.account_id, order.run_id or 0, order.symbol)
        self.books.held[run] = self.books.held.get(run, ZERO) + changes.get(rules.base_asset, ZERO)

    async def trade_ids(self, order_id: int) -> set[int]:
        return {fill.trade_id for fill in self.books.trades.get(order_id, ())}

    async def trade_ids_since(self, account_id: int, symbol: str, since_ms: int) -> set[int]:
        fills = self.books.fills.items()
        mine = (k for k, (_, fill) in fills if k[:2] == (account_id, symbol) and fill.traded_at_ms >= since_ms)
        return {trade_id for _, _, trade_id in mine}

    async def claim_new(self, busy: Collection[int] = ()) -> Order | None:
        new = (o for o in self.books.working.values() if o.status is OrderStatus.NEW and o.account_id not in busy)
        return min(new, key=lambda o: (not o.is_exit, o.id), default=None)

    async def newest_entry_codes(self, run_id: int, count: int) -> list[str]:
        mine = [o for o in self.books.orders.values() if o.run_id == run_id and o.side is Side.BUY]
        newest = sorted(mine, key=_ID, reverse=True)[:count]
        return [o.reject_code if o.status is OrderStatus.REJECTED else "" for o in newest]

    async def in_flight(self, account_id: int | None = None) -> Sequence[Order]:
        orders = [o for o in self.books.working.values() if o.status in IN_FLIGHT]
        return sorted((o for o in orders if account_id is None or o.account_id == account_id), key=_ID)

    async def awaiting_answer(self) -> Sequence[Order]:
        return [o for o in await self.in_flight() if o.exchange_order_id is None or o.type is OrderType.MARKET]

    async def with_status(self, status: OrderStatus) -> Sequence[Order]:
        among = self.books.orders if status in FINAL else self.books.working
        return sorted((o for o in among.values() if o.status is status), key=_ID)

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
        working = [o for o in self.books.working.values() if o.account_id == account_id]
        buying = [o for o in working if o.symbol == symbol and o.side is Side.BUY]
        return TradingFacts(
            account=account,
            rules=rules,
            price=price[0] if price else None,
            price_age_ms=now_ms - price[1] if price else None,
            base_total=self.books.totals.get((account_id, base), ZERO),
            base_reserved=sum((o.reserved for o in working if o.reserved_asset == base), ZERO),
            quote_total=self.books.totals.get((account_id, quote), ZERO),
            quote_reserved=sum((o.reserved for o in working if o.reserved_asset == quote), ZERO),
            position=sum((q for (a, _, s), q in self.books.held.items() if (a, s) == (account_id, symbol)), ZERO),
            open_buy_notional=sum((o.reserved for o in buying), ZERO),
            kill_switch=await self.kill_switch(account_id, run_id),
            limits=self.books.limits.get(account_id, DEFAULT_LIMITS),
        )

    async def freeze_account(self, account_id: int, reason: str) -> None:
        self.books.accounts[account_id] = replace(self.books.accounts[account_id], state="FROZEN")
        await self.add_incident("ACCOUNT_FROZEN", reason, account_id=account_id)

    async def add_incident(
        self, kind: str, message: str, *, account_id: int | None = None, order_id: int | None = None, key: str = ""
    ) -> None:
        incident = (kind, message, account_id, order_id)
        is_open = (kind, account_id, key) in self.books.open_incidents if key else incident in self.books.incidents
        if key:
            self.books.open_incidents[kind, account_id, key] = message
        if not is_open:
            self.books.incidents = (*self.books.incidents, incident)

    async def plans_open(self, account_id: int | None = None) -> Sequence[PlanRecord]:
        plans = [p for p in self.books.plans.values() if p.state != PlanState.CLOSED.value]
        return [p for p in plans if account_id is None or p.account_id == account_id]

    async def plan(self, plan_id: int, *, locked: bool = True) -> PlanRecord | None:
        return self.books.plans.get(plan_id)

    async def add_plan(self, plan: PlanRecord) -> int:
        plan_id = len(self.books.plans) + 1
        self.books.plans[plan_id] = replace(plan, id=plan_id)
        return plan_id

    async def save_plan(self, plan: PlanRecord) -> None:
        self.books.plans[plan.id] = plan

    async def plan_orders(self, plan_id: int) -> Sequence[Order]:
        ids = self.books.of_plan.get(plan_id, ())
        newest = ids[-NEWEST_OF_PLAN:]
        orders = (self.books.orders[order_id] for order_id in ids)
        return [o for o in orders if o.status not in FINAL or o.filled > 0 or o.id in newest]

    async def list_legs(self, account_id: int, list_client_order_id: str) -> Sequence[Order]:
        roles = (OrderRole.STOP, OrderRole.TARGET)
        legs = (self._find(account_id, role, list_client_order_id) for role in roles)
        return sorted((leg for leg in legs if leg is not None), key=_ID)

    async def run_position(self, account_id: int, run_id: int, symbol: str) -> Decimal:
        return self.books.held.get((account_id, run_id, symbol), ZERO)

    async def balances(self, account_id: int) -> dict[str, Decimal]:
        return {a: total for (owner, a), total in self.books.totals.items() if owner == account_id and total != 0}

    async def see_balances(self, account_id: int, totals: Mapping[str, Decimal]) -> None:
        self.books.seen_balances[account_id] = dict(totals)

    async def wake(self, what: Work) -> None:
        self.woken.append(what)


class MemoryStore:
    """`Store` in memory. Transactions do not overlap: one that begins while another is open is refused; with one
    event loop and no waiting inside, none does.
    """

    def __init__(self, epoch: int | None = None) -> None:
        self.books = Books()
        self.epoch = epoch
        self.woken: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        books = self.books
        tx = MemoryTransaction(books.begin(), self.epoch)
        try:
            yield tx
            tx.finish()
        except BaseException:
            books.roll_back()
            raise
        books.commit()
        self.woken.extend(tx.woken)
