"""The part of reconciliation that meets orders which are not in our books: shown, adopted when asked, recovered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.clock import Clock
from app.domain.errors import Conflict
from app.domain.orders import FINAL, EventSource, ExchangeReport, Order
from app.models.reconciling import DifferenceKind, DifferenceState
from app.services.exchange.protocol import TradingSession
from app.services.execution import foreign
from app.services.execution.differences import FLATTEN
from app.services.execution.intents import request_cancel
from app.services.execution.looks import Look
from app.services.execution.store import Store
from app.services.execution.store_reconciling import DifferenceRecord, PassResult
from app.services.execution.submit import ForeignOrder, Submitter, session_of

ORDER = DifferenceKind.ORDER.value


class Strangers:
    """Orders of an account's exchange that a snapshot of our books did not have."""

    def __init__(
        self, store: Store, sessions: Mapping[int, TradingSession], submitter: Submitter, clock: Clock
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._submitter = submitter
        self._clock = clock

    async def look(self, result: PassResult, reports: Sequence[ExchangeReport], look: Look) -> None:
        """Open orders: ours by now, ours from before a restored backup, or foreign. Those that went are gone."""
        account_id = result.account_id
        async with self._store.transaction() as tx:
            standing = {d.key: d for d in await tx.differences(account_id) if d.kind == ORDER}
        seen: set[str] = set()
        for report in reports:
            try:
                await self._submitter.apply(account_id, report, EventSource.RECONCILER)
            except ForeignOrder:
                key = foreign.order_key(report)
                if foreign.is_ours(report):
                    await self.recover(result, report)
                else:
                    seen.add(key)
                    await self._show(result, report, standing.get(key))
        for key, difference in standing.items():
            symbol = key.partition(":")[0]
            if key not in seen and (look.all_open or symbol in look.by_list):
                await self._close(difference, DifferenceState.GONE, "it is no longer open", by=foreign.WORKER)

    async def recover(self, result: PassResult, report: ExchangeReport) -> bool:
        """Our mark, and not in our books: they were put back to before it was made (F61). False: it is not taken in."""
        adopted = True
        try:
            order = await self._adopt(result, report, by=foreign.WORKER)
        except Conflict as refusal:
            adopted = False
            words = f"order {report.client_order_id} bears our mark but cannot be adopted: {refusal.message}"
        else:
            words = (
                f"order {order.client_order_id} bears our mark, but our books did not have it (were they restored from"
                " a backup?). It is adopted as an order by hand; whatever run made it knows nothing of it"
            )
        async with self._store.transaction() as tx:
            await tx.add_incident(foreign.RECOVERED_ORDERS, words, account_id=result.account_id)
        return adopted

    async def _show(self, result: PassResult, report: ExchangeReport, known: DifferenceRecord | None) -> None:
        facts, key = foreign.order_facts(report), foreign.order_key(report)
        at_ms = self._clock.exchange_now_ms()
        async with self._store.transaction() as tx:
            seen = await tx.see_difference(result.account_id, ORDER, key, facts, same=known is not None, at_ms=at_ms)
        result.differences.append({"what": "foreign order", **facts, "difference": seen.id, "repaired": False})
        if seen.wanted:
            await self._carry_out(result, report, seen)

    async def _carry_out(self, result: PassResult, report: ExchangeReport, wish: DifferenceRecord) -> None:
        """Adopt it, and cancel it then if that is what its owner wants."""
        try:
            order = await self._adopt(result, report, by=wish.wanted_by)
        except Conflict as refusal:
            async with self._store.transaction() as tx:
                await tx.answer_difference(wish.id, note=refusal.message)
            return
        if wish.wanted == FLATTEN and order.status not in FINAL:
            async with self._store.transaction() as tx:
                await request_cancel(tx, order.id, source=EventSource.RECONCILER, clock=self._clock)
        await self._close(wish, DifferenceState.ADOPTED, "", by=wish.wanted_by)

    async def _close(self, difference: DifferenceRecord, state: DifferenceState, words: str, *, by: str) -> None:
        async with self._store.transaction() as tx:
            at_ms = self._clock.exchange_now_ms()
            await tx.close_difference(difference.id, state.value, by=by, note=words, at_ms=at_ms)

    async def _adopt(self, result: PassResult, report: ExchangeReport, *, by: str) -> Order:
        session = session_of(self._sessions, result.account_id)
        if report.executed > 0:
            fills = await session.trades_of(report.symbol, report.exchange_order_id)
            report = replace(report, fills=tuple(fills))
        async with self._store.transaction() as tx:
            order = await foreign.adopt(tx, result.account_id, report, clock=self._clock)
            details = {"order": order.id, "asked_by": by, **foreign.order_facts(report)}
            at_ms = self._clock.exchange_now_ms()
            name = f"account:{result.account_id}"
            await tx.audit(foreign.WORKER, "reconciliation.adopted", name, details, at_ms=at_ms)
        result.repaired += 1
        result.differences.append({"what": "adopted order", **foreign.order_facts(report), "repaired": True})
        return order
