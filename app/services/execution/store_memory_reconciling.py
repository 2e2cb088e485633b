"""Reconciliation in memory: a part of `MemoryTransaction`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.errors import require
from app.domain.money import ZERO
from app.domain.orders import IN_FLIGHT, Order, OrderStatus
from app.models.execution import AccountState
from app.models.reconciling import DifferenceState
from app.services.execution.store_reconciling import Adjustment, DifferenceRecord, PassResult, RunHolding

if TYPE_CHECKING:
    from app.services.execution.store_memory import Books


class MemoryReconciling:
    """Mixed into `MemoryTransaction`."""

    books: Books

    async def differences(self, account_id: int) -> Sequence[DifferenceRecord]:
        return sorted((d for d in self.books.differences.values() if d.account_id == account_id), key=lambda d: d.id)

    async def see_difference(
        self, account_id: int, kind: str, key: str, facts: Mapping[str, Any], *, same: bool, at_ms: int
    ) -> DifferenceRecord:
        place = (account_id, kind, key)
        known = self.books.differences.get(place)
        if known is None:
            self.books.difference_count += 1
            number = self.books.difference_count
            seen = DifferenceRecord(number, account_id, kind, key, "OPEN", dict(facts), 1, at_ms, at_ms, "", "")
        elif same:
            seen = replace(known, facts=dict(facts), looks=known.looks + 1, last_seen_ms=at_ms)
        else:
            state = DifferenceState.OPEN.value
            seen = replace(known, facts=dict(facts), state=state, looks=1, first_seen_ms=at_ms, last_seen_ms=at_ms)
        self.books.differences[place] = seen
        return seen

    async def close_difference(self, difference_id: int, state: str, *, by: str, note: str, at_ms: int) -> None:
        place = next(place for place, d in self.books.differences.items() if d.id == difference_id)
        self.books.closed_differences = (*self.books.closed_differences, (self.books.differences.pop(place), state))

    async def answer_difference(self, difference_id: int, note: str) -> None:
        place = next(place for place, d in self.books.differences.items() if d.id == difference_id)
        self.books.differences[place] = replace(self.books.differences[place], wanted="", wanted_by="")

    async def trade_cursor(self, account_id: int, symbol: str) -> int | None:
        return self.books.cursors.get((account_id, symbol))

    async def move_trade_cursor(self, account_id: int, symbol: str, next_trade_id: int) -> None:
        place = (account_id, symbol)
        self.books.cursors[place] = max(next_trade_id, self.books.cursors.get(place, 0))

    async def trade_ids_from(self, account_id: int, symbol: str, first_id: int) -> set[int]:
        ours = {i for owner, name, i in self.books.fills if (owner, name) == (account_id, symbol) and i >= first_id}
        named = (
            r for owner, _, r in self.books.adjustments if owner == account_id and r.startswith(f"trade:{symbol}:")
        )
        return ours | {number for r in named if (number := int(r.rsplit(":", 1)[1])) >= first_id}

    async def adjust(self, adjustment: Adjustment) -> bool:
        place = (adjustment.account_id, adjustment.asset, adjustment.reference)
        if place in self.books.adjustments:
            return False
        self.books.adjustments[place] = adjustment
        total = (adjustment.account_id, adjustment.asset)
        self.books.totals[total] = self.books.totals.get(total, ZERO) + adjustment.change
        return True

    async def adjustments(self, account_id: int, reference: str) -> Sequence[Adjustment]:
        found = self.books.adjustments.items()
        return [a for (owner, _, named), a in sorted(found) if (owner, named) == (account_id, reference)]

    async def orders_named(self, account_id: int, client_order_ids: Collection[str]) -> Mapping[str, Order]:
        known = ((name, self.books.order_ids.get((account_id, "client", name))) for name in client_order_ids)
        return {name: self.books.orders[number] for name, number in known if number is not None}

    async def books_begin_ms(self, account_id: int) -> int:
        return self.books.begins_ms.get(account_id, 0)

    async def symbols_between(self, account_id: int, assets: Collection[str]) -> Sequence[str]:
        rules = self.books.rules.values()
        return sorted(r.symbol for r in rules if r.base_asset in assets and r.quote_asset in assets)

    async def runs_holding(self, account_id: int) -> Sequence[RunHolding]:
        found = [
            RunHolding(run_id, symbol, self.books.rules[symbol].base_asset, quantity)
            for (owner, run_id, symbol), quantity in self.books.held.items()
            if owner == account_id and run_id and quantity > 0
        ]
        return sorted(found, key=lambda h: (-h.run_id, h.symbol))

    async def in_doubt(self, account_id: int, since_ms: int) -> bool:
        sent = (o for o in self.books.orders.values() if o.account_id == account_id and o.exchange_order_id is None)
        return any(
            o.status in IN_FLIGHT or (o.status is OrderStatus.EXPIRED and o.signed_timestamp_ms >= since_ms)
            for o in sent
            if o.signed_timestamp_ms is not None
        )

    async def take_from_run(
        self, account_id: int, holding: RunHolding, quantity: Decimal, *, reason: str, at_ms: int
    ) -> None:
        place = (account_id, holding.run_id, holding.symbol)
        require(quantity > 0, "something is taken", quantity=quantity)
        self.books.held[place] = self.books.held.get(place, ZERO) - quantity
        self.books.taken = (*self.books.taken, (*place, quantity))

    async def pause_run(self, run_id: int, reason: str) -> bool:
        if run_id in self.books.paused:
            return False
        self.books.paused[run_id] = reason
        return True

    async def close_incidents(self, kind: str, *, account_id: int | None = None, key: str) -> None:
        self.books.open_incidents.pop((kind, account_id, key), None)

    async def incident_keys(self, account_id: int) -> set[tuple[str, str]]:
        return {(kind, key) for kind, owner, key in self.books.open_incidents if owner == account_id}

    async def hold_accounts(self) -> Sequence[int]:
        held = [a for a in self.books.accounts.values() if a.state in (AccountState.ACTIVE, AccountState.RECOVERING)]
        for account in held:
            self.books.accounts[account.id] = replace(account, state=AccountState.RECOVERING.value)
        return sorted(account.id for account in held)

    async def set_account_state(self, account_id: int, state: str, reason: str) -> None:
        account = self.books.accounts[account_id]
        if account.state in (AccountState.ACTIVE, AccountState.RECOVERING):
            self.books.accounts[account_id] = replace(account, state=state)

    async def record_pass(self, result: PassResult) -> None:
        self.books.passes = (*self.books.passes, result)
