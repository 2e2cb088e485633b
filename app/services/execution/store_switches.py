"""What kill switches and replacements need of storage: a part of `Transaction`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from app.domain.orders import Order
from app.domain.symbols import SymbolRules
from app.models.execution import KillScope

if TYPE_CHECKING:
    from app.services.execution.store import PlanRecord


@dataclass(frozen=True, slots=True)
class Scope:
    """What a kill switch covers; `runs` are those of a strategy or a run."""

    kind: str  # KillScope
    id: int = 0
    runs: frozenset[int] = frozenset()

    def covers(self, account_id: int, run_id: int | None) -> bool:
        """Whether something of this account and run (None or 0: by hand) is within."""
        if self.kind == KillScope.GLOBAL.value:
            return True
        return account_id == self.id if self.kind == KillScope.ACCOUNT.value else run_id in self.runs


@dataclass(frozen=True, slots=True)
class Switch:
    """An engaged kill switch, and what it has done: the ids of orders cancelled, plans left and sales made."""

    scope: Scope
    action: str  # KillAction
    reason: str
    engaged_by: str
    engaged_ms: int
    until_order_id: int  # the newest order when `action` was chosen
    orders: tuple[int, ...] = ()
    plans: tuple[int, ...] = ()
    sales: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """`account:3`, for the audit log."""
        return f"{self.scope.kind}:{self.scope.id}"


@dataclass(frozen=True, slots=True)
class Holding:
    """What one run (0: a person by hand) holds of a symbol, in base, and what selling it must know."""

    account_id: int
    run_id: int
    symbol: str
    quantity: Decimal
    free: Decimal  # of the account's coins that no working order reserves
    rules: SymbolRules | None
    price: Decimal | None  # None: not known, or too old to say what an order is worth


@dataclass(frozen=True, slots=True)
class ReplacementRecord:
    """Another order wanted in the place of `order_id`, see `app.models.execution.Replacement`."""

    id: int
    account_id: int
    order_id: int
    intent_key: str
    quantity: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    state: str
    requested_ms: int
    new_order_id: int | None = None
    reason: str = ""


class SwitchTransaction(Protocol):
    """The part of a transaction that is about kill switches and replacements."""

    async def kill_switch(self, account_id: int, run_id: int | None) -> str | None:
        """The reason of an engaged kill switch that covers this account or run, else None."""
        ...

    async def scope(self, kind: str, scope_id: int) -> Scope:
        """A scope with its runs."""
        ...

    async def switches(self) -> Sequence[Switch]:
        """Every engaged switch, not locked."""
        ...

    async def switch(self, kind: str, scope_id: int) -> Switch | None:
        """The switch if it is engaged; nobody else changes it until the end."""
        ...

    async def save_switch(self, switch: Switch) -> None:
        """Engage a switch, or keep what it has done since."""
        ...

    async def release_switch(self, switch: Switch, *, by: str, reason: str, at_ms: int) -> None:
        """Release an engaged switch, saying who did and why."""
        ...

    async def newest_order_id(self) -> int:
        """The highest order id there is, 0 without any."""
        ...

    async def unfinished(self, scope: Scope) -> Sequence[Order]:
        """Orders of the scope that are not final, oldest first, not locked."""
        ...

    async def orders_by_id(self, order_ids: Collection[int]) -> Sequence[Order]:
        """These orders, oldest first, not locked."""
        ...

    async def plans_by_id(self, plan_ids: Collection[int]) -> Sequence[PlanRecord]:
        """These plans, oldest first, not locked."""
        ...

    async def holdings(self, scope: Scope, *, now_ms: int) -> Sequence[Holding]:
        """What is held within the scope, more than nothing each."""
        ...

    async def add_replacement(self, wanted: ReplacementRecord) -> int:
        """Insert a WAITING replacement; returns its id."""
        ...

    async def replacement_for(self, account_id: int, intent_key: str) -> ReplacementRecord | None:
        """The replacement made for this intent, if there is one."""
        ...

    async def replacements_waiting(self) -> Sequence[ReplacementRecord]:
        """Replacements that are neither placed nor given up, oldest first, not locked."""
        ...

    async def replacement(self, replacement_id: int) -> ReplacementRecord | None:
        """The replacement, locked."""
        ...

    async def save_replacement(self, replacement: ReplacementRecord) -> None:
        """Keep its state, new order and reason."""
        ...

    async def audit(self, actor: str, action: str, object: str, details: Mapping[str, Any], *, at_ms: int) -> None:  # noqa: A002
        """Write an act into the audit log, last thing before the end: the log's head stays locked until then."""
        ...
