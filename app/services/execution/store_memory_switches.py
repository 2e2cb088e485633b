"""Kill switches and replacements in memory: a part of `MemoryTransaction`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.domain.errors import require
from app.domain.money import ZERO
from app.domain.orders import Order
from app.models.execution import KillScope, ReplacementState
from app.services.execution.store import PRICE_GOOD_FOR_MS, PlanRecord
from app.services.execution.store_switches import Holding, ReplacementRecord, Scope, Switch

if TYPE_CHECKING:
    from app.services.execution.store_memory import Books


class MemorySwitches:
    """Mixed into `MemoryTransaction`."""

    books: Books

    async def kill_switch(self, account_id: int, run_id: int | None) -> str | None:
        engaged = self.books.switches.values()
        return next((switch.reason for switch in engaged if switch.scope.covers(account_id, run_id)), None)

    async def scope(self, kind: str, scope_id: int) -> Scope:
        if kind == KillScope.RUN.value:
            return Scope(kind, scope_id, frozenset({scope_id}))
        if kind == KillScope.STRATEGY.value:
            runs = self.books.run_strategies.items()
            return Scope(kind, scope_id, frozenset(run for run, strategy in runs if strategy == scope_id))
        return Scope(kind, scope_id)

    async def switches(self) -> Sequence[Switch]:
        return list(self.books.switches.values())

    async def switch(self, kind: str, scope_id: int) -> Switch | None:
        return self.books.switches.get((kind, scope_id))

    async def save_switch(self, switch: Switch) -> None:
        self.books.switches[switch.scope.kind, switch.scope.id] = switch

    async def release_switch(self, switch: Switch, *, by: str, reason: str, at_ms: int) -> None:
        self.books.switches.pop((switch.scope.kind, switch.scope.id))

    async def newest_order_id(self) -> int:
        return max(self.books.orders, default=0)

    async def unfinished(self, scope: Scope) -> Sequence[Order]:
        working = sorted(self.books.working.values(), key=lambda order: order.id)
        return [order for order in working if scope.covers(order.account_id, order.run_id)]

    async def orders_by_id(self, order_ids: Collection[int]) -> Sequence[Order]:
        return [self.books.orders[number] for number in sorted(set(order_ids))]

    async def plans_by_id(self, plan_ids: Collection[int]) -> Sequence[PlanRecord]:
        return [self.books.plans[number] for number in sorted(set(plan_ids))]

    async def holdings(self, scope: Scope, *, now_ms: int) -> Sequence[Holding]:
        held = sorted((place, quantity) for place, quantity in self.books.held.items() if quantity > 0)
        return [self._holding_of(*place, quantity, now_ms) for place, quantity in held if scope.covers(*place[:2])]

    def _holding_of(self, account_id: int, run_id: int, symbol: str, quantity: Any, now_ms: int) -> Holding:
        rules, price = self.books.rules.get(symbol), self.books.prices.get(symbol)
        base = rules.base_asset if rules else ""
        working = (o for o in self.books.working.values() if o.account_id == account_id and o.reserved_asset == base)
        total = self.books.totals.get((account_id, base), ZERO)
        return Holding(
            account_id=account_id,
            run_id=run_id,
            symbol=symbol,
            quantity=quantity,
            free=total - sum((order.reserved for order in working), ZERO),
            rules=rules,
            price=price[0] if price is not None and now_ms - price[1] <= PRICE_GOOD_FOR_MS else None,
        )

    async def add_replacement(self, wanted: ReplacementRecord) -> int:
        known = self.books.replacements.values()
        same = (r.account_id == wanted.account_id and r.intent_key == wanted.intent_key for r in known)
        waits = (r.order_id == wanted.order_id and r.state == ReplacementState.WAITING.value for r in known)
        require(not any(same) and not any(waits), "one replacement at a time", order_id=wanted.order_id)
        number = len(self.books.replacements) + 1
        self.books.replacements[number] = replace(wanted, id=number)
        return number

    async def replacement_for(self, account_id: int, intent_key: str) -> ReplacementRecord | None:
        known = self.books.replacements.values()
        return next((r for r in known if (r.account_id, r.intent_key) == (account_id, intent_key)), None)

    async def replacements_waiting(self) -> Sequence[ReplacementRecord]:
        return [r for r in self.books.replacements.values() if r.state == ReplacementState.WAITING.value]

    async def replacement(self, replacement_id: int) -> ReplacementRecord | None:
        return self.books.replacements.get(replacement_id)

    async def save_replacement(self, replacement: ReplacementRecord) -> None:
        self.books.replacements[replacement.id] = replacement

    async def audit(self, actor: str, action: str, object: str, details: Mapping[str, Any], *, at_ms: int) -> None:  # noqa: A002
        self.books.audit = (*self.books.audit, (actor, action, object))
