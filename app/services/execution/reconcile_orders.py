"""The part of reconciliation that asks about our own orders, in the cheapest way."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from app.domain.orders import FINAL, EventSource, ExchangeReport, Order, OrderStatus
from app.services.exchange.protocol import AskingFailed, Found, NoInformation, TradingSession
from app.services.execution import bookkeeping, foreign
from app.services.execution.looks import Look
from app.services.execution.reconcile_foreign import Strangers
from app.services.execution.reconcile_trades import TradeLooks
from app.services.execution.store import Store
from app.services.execution.store_reconciling import PassResult
from app.services.execution.submit import NOT_VISIBLE, Submitter, session_of

#: An order sent within this time is left to its own answer and the stream.
GRACE_MS = 3_000
#: So many orders of a symbol that are no longer open are looked up in pages of its history, fewer one by one.
MOST_SINGLE = 5
PAGE = 1_000


def counted(orders: Iterable[Order]) -> Mapping[str, int]:
    """Orders by symbol."""
    return Counter(order.symbol for order in orders)


class OrderLooks:
    """Asks about every working order of an account. `sessions` by account id."""

    def __init__(
        self,
        store: Store,
        sessions: Mapping[int, TradingSession],
        submitter: Submitter,
        strangers: Strangers,
        trades: TradeLooks,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._submitter = submitter
        self._strangers = strangers
        self._trades = trades

    async def look(self, result: PassResult, look: Look) -> None:
        """Every order the exchange may know. Raises AskingFailed when one of them could not be asked about."""
        account_id = result.account_id
        async with self._store.transaction() as tx:
            in_flight = await tx.in_flight(account_id)
            hidden = {key for kind, key in await tx.incident_keys(account_id) if kind == NOT_VISIBLE}
        # Orders are read before the exchange is asked: what changes later is the stream's or the next pass's.
        asked = [order for order in in_flight if not self._is_fresh(order, result)]
        listed = await self._lists(account_id, look)
        missing: list[Order] = []
        for order in asked:
            result.checked += 1
            report = listed.get((order.symbol, order.client_order_id))
            if report is not None:
                await self._take(result, order, report)
            elif look.all_open or order.symbol in look.by_list:
                missing.append(order)
            else:
                await self._ask(result, order)
        await self._find(result, missing)
        ours = {(order.symbol, order.client_order_id) for order in in_flight}
        others = [report for place, report in listed.items() if place not in ours]
        await self._strangers.look(result, others, look)
        await self._heal(result, hidden)

    def _is_fresh(self, order: Order, result: PassResult) -> bool:
        """Sent a moment ago: still on its ordinary way. At recovery nothing is."""
        settled_ms = self._submitter.exchange_now_ms(order.account_id) - GRACE_MS
        return result.trigger != "recovery" and (order.signed_timestamp_ms or 0) > settled_ms

    async def _lists(self, account_id: int, look: Look) -> dict[tuple[str, str], ExchangeReport]:
        """Open orders by (symbol, client order id), as far as they are asked for by lists."""
        session = session_of(self._sessions, account_id)
        if look.all_open:
            reports = list(await session.open_orders())
        else:
            reports = [r for symbol in sorted(look.by_list) for r in await session.open_orders(symbol)]
        return {(report.symbol, report.client_order_id): report for report in reports}

    # --- our orders ------------------------------------------------------------------------------------

    async def _ask(self, result: PassResult, order: Order) -> None:
        asked_ms = self._submitter.exchange_now_ms(order.account_id)
        outcome = await session_of(self._sessions, order.account_id).query(
            order.symbol, client_order_id=order.client_order_id, exchange_order_id=order.exchange_order_id
        )
        if isinstance(outcome, NoInformation):
            raise AskingFailed(
                f"order {order.id} could not be asked about: {outcome.reason}",
                freezes_account=outcome.freezes_account,
            )
        if isinstance(outcome, Found):
            await self._take(result, order, outcome.report)
            return
        after = await self._submitter.heard(order, outcome, asked_ms=asked_ms, source=EventSource.RECONCILER)
        result.note(order, after)

    async def _take(self, result: PassResult, order: Order, report: ExchangeReport) -> None:
        if bookkeeping.is_old_news(order, report):
            result.note(order, order)
        else:
            result.note(order, await self._submitter.apply(result.account_id, report, EventSource.RECONCILER))
        result.seen.add(order.id)

    async def _find(self, result: PassResult, missing: Sequence[Order]) -> None:
        """Orders that are not open (any more): many of a symbol in its history, the others one by one."""
        by_symbol: dict[str, list[Order]] = defaultdict(list)
        for order in missing:
            by_symbol[order.symbol].append(order)
        for symbol, orders in sorted(by_symbol.items()):
            known = [order for order in orders if order.exchange_order_id is not None]
            found = await self._history(result.account_id, symbol, known) if len(known) > MOST_SINGLE else {}
            for order in orders:
                report = found.get(order.exchange_order_id or 0)
                if report is None:
                    await self._ask(result, order)
                else:
                    await self._take(result, order, report)

    async def _history(self, account_id: int, symbol: str, orders: Sequence[Order]) -> dict[int, ExchangeReport]:
        """Reports of these orders with their fills, from pages of the symbol's orders and trades, while that is cheap.

        A page weighs as much as five orders asked one by one.
        """
        session = session_of(self._sessions, account_id)
        wanted = {order.exchange_order_id or 0: order for order in orders}
        found: dict[int, ExchangeReport] = {}
        next_id, last_id = min(wanted), max(wanted)
        while len(wanted) - len(found) > MOST_SINGLE and next_id <= last_id:
            page = await session.orders_from(symbol, next_id)
            found |= {report.exchange_order_id: report for report in page if report.exchange_order_id in wanted}
            if len(page) < PAGE:
                break
            next_id = page[-1].exchange_order_id + 1
        lacking = {i for i, report in found.items() if report.executed > wanted[i].filled}
        if len(lacking) <= MOST_SINGLE:
            return found  # their trades are fetched order by order
        for trade in await self._trades.unread(account_id, symbol):
            if trade.exchange_order_id in lacking:
                report = found[trade.exchange_order_id]
                found[trade.exchange_order_id] = replace(report, fills=(*report.fills, trade.fill))
        return found

    async def _heal(self, result: PassResult, hidden: Iterable[str]) -> None:
        """An order that was no longer shown and is seen again, or is over, is no incident any more."""
        for key in sorted(hidden):
            async with self._store.transaction() as tx:
                order = await tx.order(int(key.removeprefix("order:")))
                if order is not None and (order.status in FINAL or order.id in result.seen):
                    await tx.close_incidents(NOT_VISIBLE, account_id=result.account_id, key=key)

    async def adopt_history(self, result: PassResult, *, since_ms: int) -> None:
        """Orders of the window that bear our mark and are not in our books (F61), or that our books gave up."""
        session = session_of(self._sessions, result.account_id)
        async with self._store.transaction() as tx:
            symbols = await tx.symbols_traded(result.account_id, since_ms)
        for symbol in symbols:
            reports = await session.orders_since(symbol, since_ms)
            async with self._store.transaction() as tx:
                ours = await tx.orders_named(result.account_id, [report.client_order_id for report in reports])
            for report in reports:
                known = ours.get(report.client_order_id)
                if known is None and foreign.is_ours(report):
                    await self._strangers.recover(result, report)
                elif known is not None and known.status is not OrderStatus.REJECTED:
                    await self._take(result, known, report)
