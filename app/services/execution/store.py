"""What execution needs of storage. PostgreSQL and memory both implement it and pass one contract suite.

A `Transaction` is all-or-nothing. Functions that return an order lock it until the end. The store enforces
what must hold whatever the caller does: legal edges, gapless events, one attempt an order, fills once by
(account, symbol, trade id), the worker's epoch.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ParamSpec, Protocol, TypeVar

from app.database.hints import Work
from app.domain.errors import Unavailable
from app.domain.orders import Order, OrderStatus
from app.domain.symbols import SymbolRules
from app.services.execution.bookkeeping import Step
from app.services.execution.store_reconciling import ReconcilingTransaction
from app.services.execution.store_switches import SwitchTransaction
from app.services.risk.checks import Limits

#: So many of a plan's newest orders are looked at, besides those that work or have traded.
NEWEST_OF_PLAN = 24
#: A price older than this does not say any more what an order is worth.
PRICE_GOOD_FOR_MS = 60_000
#: A transaction that the database gives up is begun so often.
CONTENDED_TRIES = 4
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """An account as trading needs it."""

    id: int
    user_id: int
    kind: str
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class TradingFacts:
    """What the pre-trade check looks at, read under the account's lock."""

    account: AccountFacts
    rules: SymbolRules | None
    price: Decimal | None
    price_age_ms: int | None
    base_total: Decimal
    base_reserved: Decimal
    quote_total: Decimal
    quote_reserved: Decimal
    position: Decimal  # base held over all runs
    open_buy_notional: Decimal  # quote still to be spent by working buy orders of the symbol
    kill_switch: str | None  # reason, when one is engaged for this order's scope
    limits: Limits

    @property
    def good_price(self) -> Decimal | None:
        """The price if it is new enough to say what an order is worth."""
        is_good = self.price_age_ms is not None and self.price_age_ms <= PRICE_GOOD_FOR_MS
        return self.price if is_good else None


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """An entry and its protection, see `app.models.execution.Plan`."""

    id: int
    account_id: int
    run_id: int
    symbol: str
    state: str
    entry_order_id: int | None
    stop_order_id: int | None
    exit_order_id: int | None
    stop_spec: dict[str, Any]
    stop_price: Decimal | None
    time_stop_ms: int | None
    exit_reason: str
    tries: int
    next_try_ms: int | None = None  # a refused stop or exit is tried again from then on (exchange time)
    protect: dict[str, Any] = field(default_factory=dict)  # targets and trail, as `protection` reads them
    entry_price: Decimal | None = None  # average, once the entry has ended
    first_quantity: Decimal | None = None  # held when the entry had ended: what the targets take their shares of
    highest: Decimal | None = None  # price since the entry, as far as it was trailed
    trailed_ms: int | None = None  # open time of the newest candle that was trailed on, or that decided the entry
    entry_until_ms: int | None = None  # an entry that still rests then is given up (exchange time)
    unprotected_since_ms: int | None = None  # coins are held since then that a stop should cover and none does


class Transaction(SwitchTransaction, ReconcilingTransaction, Protocol):
    """One unit of work."""

    async def order(self, order_id: int) -> Order | None:
        """The order, locked."""
        ...

    async def order_by_client_id(self, account_id: int, client_order_id: str) -> Order | None:
        """The order with this client order id, locked."""
        ...

    async def order_by_exchange_id(self, account_id: int, symbol: str, exchange_order_id: int) -> Order | None:
        """The order with this exchange order id, locked."""
        ...

    async def order_by_intent(self, account_id: int, intent_key: str) -> Order | None:
        """The order made for this intent, if there is one."""
        ...

    async def add_order(self, step: Step) -> Order:
        """Insert a NEW order with its first event; returns it with its id."""
        ...

    async def write(self, steps: Sequence[Step]) -> None:
        """Append the steps of one order: events, fills, projection, positions and balances together."""
        ...

    async def trade_ids(self, order_id: int) -> set[int]:
        """Trade ids booked for an order."""
        ...

    async def trade_ids_since(self, account_id: int, symbol: str, since_ms: int) -> set[int]:
        """Trade ids booked for an account and symbol at or after `since_ms` (exchange time)."""
        ...

    async def claim_new(self, busy: Collection[int] = ()) -> Order | None:
        """Lock a NEW order nobody else works on: plans' sells first, then the oldest; not of accounts in `busy`."""
        ...

    async def newest_entry_codes(self, run_id: int, count: int) -> list[str]:
        """Reject codes of a run's newest purchases, newest first; "" for those that were not rejected."""
        ...

    async def in_flight(self, account_id: int | None = None) -> Sequence[Order]:
        """Orders the exchange may know, not locked."""
        ...

    async def awaiting_answer(self) -> Sequence[Order]:
        """Orders sent that the exchange has not confirmed, and market orders that should be done; not locked."""
        ...

    async def with_status(self, status: OrderStatus) -> Sequence[Order]:
        """Orders in one state, not locked."""
        ...

    async def symbols_traded(self, account_id: int, since_ms: int) -> Sequence[str]:
        """Symbols of orders created since, or still unfinished."""
        ...

    async def account(self, account_id: int) -> AccountFacts | None:
        """The account."""
        ...

    async def trading_facts(
        self, account_id: int, symbol: str, run_id: int | None, *, now_ms: int
    ) -> TradingFacts | None:
        """Everything the pre-trade check needs, with the account locked until the end."""
        ...

    async def freeze_account(self, account_id: int, reason: str) -> None:
        """Stop using an account's key and open an incident."""
        ...

    async def add_incident(
        self, kind: str, message: str, *, account_id: int | None = None, order_id: int | None = None, key: str = ""
    ) -> None:
        """Open an incident, unless the same one is open. One with a `key` can heal: see `close_incidents`."""
        ...

    async def plans_open(self, account_id: int | None = None) -> Sequence[PlanRecord]:
        """Plans that are not CLOSED."""
        ...

    async def plan(self, plan_id: int, *, locked: bool = True) -> PlanRecord | None:
        """The plan, locked. Locks are taken in this order only: run, plan, orders, balances; never the other way."""
        ...

    async def add_plan(self, plan: PlanRecord) -> int:
        """Insert a plan; returns its id."""
        ...

    async def save_plan(self, plan: PlanRecord) -> None:
        """Replace a plan's state."""
        ...

    async def plan_orders(self, plan_id: int) -> Sequence[Order]:
        """The orders of a plan, oldest first, locked: those that work or have filled, and the newest of the others.

        A stop that is trailed for weeks leaves thousands of cancelled orders, which say nothing any more.
        """
        ...

    async def list_legs(self, account_id: int, list_client_order_id: str) -> Sequence[Order]:
        """The orders that were or are to be sent as one order list, oldest first, locked."""
        ...

    async def run_position(self, account_id: int, run_id: int, symbol: str) -> Decimal:
        """Base quantity a run holds, net of fees paid in base."""
        ...

    async def balances(self, account_id: int) -> dict[str, Decimal]:
        """Totals by asset in our books."""
        ...

    async def see_balances(self, account_id: int, totals: Mapping[str, Decimal]) -> None:
        """Record what the exchange says the totals are, beside ours."""
        ...

    async def wake(self, what: Work) -> None:
        """Hint to the worker, delivered at commit."""
        ...


class Contended(Unavailable):
    """The database gave a transaction up for another one's sake: nothing of it stays, and it may be tried again."""

    code = "contended"


def again_if_contended(work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`work` is one transaction and nothing else: carry it out again when the database gave it up, a few times."""

    @functools.wraps(work)
    async def tried(*args: P.args, **options: P.kwargs) -> T:
        for _ in range(CONTENDED_TRIES - 1):
            try:
                return await work(*args, **options)
            except Contended:
                continue
        return await work(*args, **options)

    return tried


class Store(Protocol):
    """Where transactions come from."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit on leaving without an exception, roll back otherwise."""
        ...
