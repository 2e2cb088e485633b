"""What reconciliation needs of storage: a part of `Transaction`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from app.domain.money import plain
from app.domain.orders import IN_FLIGHT, Order

#: What a pass may have compared; `agrees` is said of orders and balances together.
ORDERS, TRADES, BALANCES, FOREIGN = "orders", "trades", "balances", "foreign orders"
#: In the audit log: an order's state or fills were taken over from the exchange.
REPAIRED = "reconciliation.repaired"


@dataclass(slots=True)
class PassResult:
    """What one pass over one account found."""

    account_id: int
    trigger: str
    started_ms: int
    finished_ms: int = 0
    checked: int = 0
    repaired: int = 0
    unresolved: int = 0
    agrees: bool = False
    differences: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    covered: list[str] = field(default_factory=list)
    swept: set[str] = field(default_factory=set)  # symbols whose trades were read
    seen: set[int] = field(default_factory=set)  # ids of our orders that the exchange has shown
    waits_for: str = ""  # an order of unknown outcome, in words

    def note(self, before: Order, after: Order) -> None:
        """Count what asking about one of our orders has brought."""
        if after.version != before.version:
            self.repaired += 1
            self.differences.append(
                {
                    "what": "order",
                    "order_id": after.id,
                    "was": before.status,
                    "is": after.status,
                    "filled": plain(after.filled),
                    "repaired": True,
                }
            )
        if after.status in IN_FLIGHT and after.exchange_order_id is None:
            self.unresolved += 1
            self.waits_for = f"order {after.id} was sent, and whether the exchange has it is not known yet"


@dataclass(frozen=True, slots=True)
class DifferenceRecord:
    """A difference that stands, see `app.models.reconciling.Difference`."""

    id: int
    account_id: int
    kind: str
    key: str
    state: str
    facts: Mapping[str, Any]
    looks: int
    first_seen_ms: int
    last_seen_ms: int
    wanted: str
    wanted_by: str


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of a balance that is no fill of ours. The same `reference` is booked once an asset."""

    account_id: int
    asset: str
    change: Decimal
    kind: str  # AdjustmentKind
    reason: str
    reference: str
    occurred_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RunHolding:
    """What a run's books say that it holds of a symbol's base asset."""

    run_id: int
    symbol: str
    asset: str
    quantity: Decimal


class ReconcilingTransaction(Protocol):
    """The part of a transaction that is about reconciliation, recovery and what happens elsewhere."""

    async def differences(self, account_id: int) -> Sequence[DifferenceRecord]:
        """Differences that stand, oldest first, locked."""
        ...

    async def see_difference(
        self, account_id: int, kind: str, key: str, facts: Mapping[str, Any], *, same: bool, at_ms: int
    ) -> DifferenceRecord:
        """Say that it is (still) there. Unless it is the `same` as before its looks are counted anew, and one that was
        ignored is open again."""
        ...

    async def close_difference(self, difference_id: int, state: str, *, by: str, note: str, at_ms: int) -> None:
        """It stands no longer."""
        ...

    async def answer_difference(self, difference_id: int, note: str) -> None:
        """What was wanted cannot be done; `note` says why."""
        ...

    async def trade_cursor(self, account_id: int, symbol: str) -> int | None:
        """Every trade below this id is booked; None before the first sweep."""
        ...

    async def move_trade_cursor(self, account_id: int, symbol: str, next_trade_id: int) -> None:
        """Everything below is booked, by this transaction at the latest. It never goes back."""
        ...

    async def trade_ids_from(self, account_id: int, symbol: str, first_id: int) -> set[int]:
        """Trade ids from `first_id` on that are booked, as our fills or as trades made elsewhere."""
        ...

    async def adjust(self, adjustment: Adjustment) -> bool:
        """Book a change of a balance; False when its reference was booked before."""
        ...

    async def adjustments(self, account_id: int, reference: str) -> Sequence[Adjustment]:
        """What was booked under a reference."""
        ...

    async def orders_named(self, account_id: int, client_order_ids: Collection[str]) -> Mapping[str, Order]:
        """Orders with these client order ids, by them, not locked."""
        ...

    async def books_begin_ms(self, account_id: int) -> int:
        """When the opening balances were booked: what happened before is in them."""
        ...

    async def symbols_between(self, account_id: int, assets: Collection[str]) -> Sequence[str]:
        """Symbols of the account's exchange with both base and quote among these assets."""
        ...

    async def runs_holding(self, account_id: int) -> Sequence[RunHolding]:
        """What runs hold, newest run first."""
        ...

    async def in_doubt(self, account_id: int, since_ms: int) -> bool:
        """Whether an order was sent and never confirmed: not decided yet, or given up and sent since then."""
        ...

    async def take_from_run(
        self, account_id: int, holding: RunHolding, quantity: Decimal, *, reason: str, at_ms: int
    ) -> None:
        """Coins left a run's position by no fill of its own: taken out at cost."""
        ...

    async def pause_run(self, run_id: int, reason: str) -> bool:
        """Stop a run, its position kept protected; False when it is not running."""
        ...

    async def close_incidents(self, kind: str, *, account_id: int | None = None, key: str) -> None:
        """Close the open incident with this key: what it told of has healed."""
        ...

    async def incident_keys(self, account_id: int) -> set[tuple[str, str]]:
        """(kind, key) of the account's open incidents that can heal."""
        ...

    async def hold_accounts(self) -> Sequence[int]:
        """At a worker's start: every active account is RECOVERING from now on. Returns their ids."""
        ...

    async def set_account_state(self, account_id: int, state: str, reason: str) -> None:
        """RECOVERING with a reason, or ACTIVE again. A frozen account stays frozen."""
        ...

    async def record_pass(self, result: PassResult) -> None:
        """Keep a reconciliation's result; when the books agree, say since when."""
        ...
