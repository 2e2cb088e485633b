"""Reconciliation: our books are compared with the exchange, and what is missing is adopted.

The exchange is authoritative for status and fills, our database for intent. An error while asking is no
information: the pass ends with that error and changes nothing more. Repairs go through the same function as
every other report. A pass asks about orders first, then reads trades, then compares balances: they are the
checksum of all that was booked, so where they agree no trade is missing, and where they differ trades are read.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping

from app.domain.clock import Clock
from app.domain.errors import IllegalTransition, InvariantViolated
from app.models.reconciling import DifferenceState
from app.services.exchange.protocol import AskingFailed, TradingSession
from app.services.execution.looks import Look, cheapest_way
from app.services.execution.reconcile_balances import BalanceLooks
from app.services.execution.reconcile_foreign import Strangers
from app.services.execution.reconcile_orders import OrderLooks, counted
from app.services.execution.reconcile_trades import WINDOW_MS, TradeLooks
from app.services.execution.store import Store
from app.services.execution.store_reconciling import BALANCES, FOREIGN, ORDERS, TRADES, PassResult
from app.services.execution.submit import BooksContradict, Submitter, session_of

RECOVERY = "recovery"
#: Symbols whose trades are read because both their assets differ, at most in one pass.
MOST_EXPLAINING = 5


class Reconciler:
    """Compares one account at a time. `sessions` by account id."""

    def __init__(
        self, store: Store, sessions: Mapping[int, TradingSession], submitter: Submitter, clock: Clock
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._submitter = submitter
        self._clock = clock
        self._strangers: set[tuple[int, str, int]] = set()  # (account, symbol, number) of orders that are not ours

    async def run(self, account_id: int, *, trigger: str, sweep_history: bool = False) -> PassResult:
        """One pass: every non-final order, fills of the last 24 h (`sweep_history`), balances.

        Never raises for what the exchange or the network did: `error` says it, `agrees` is then False.
        """
        result = PassResult(account_id, trigger, self._clock.now_ms())
        try:
            self._session(account_id)
            await self._orders(result)
            await self._history(result, since_ms=self._clock.exchange_now_ms() - WINDOW_MS, full=sweep_history)
            await self._balances(result)
            result.agrees = result.unresolved == 0 and all(d["repaired"] for d in result.differences)
        except AskingFailed as failure:
            result.error = failure.reason
            if failure.code == TIMESTAMP_OUTSIDE_WINDOW:
                self._submitter.clock_refused(account_id)
            if failure.freezes_account:
                async with self._store.transaction() as tx:
                    await tx.freeze_account(account_id, f"the exchange refused the key: {failure.reason}")
        except (BooksContradict, IllegalTransition) as broken:
            result.error = broken.message
        except InvariantViolated as broken:
            result.error = f"our books and the exchange contradict each other: {broken}"
            async with self._store.transaction() as tx:
                await tx.freeze_account(account_id, result.error)
        result.finished_ms = self._clock.now_ms()
        async with self._store.transaction() as tx:
            await tx.record_pass(result)
        return result

    def _session(self, account_id: int) -> TradingSession:
        return session_of(self._sessions, account_id)

    async def _orders(self, result: PassResult) -> None:
        """Every order the exchange may know: from the list of open orders, else one by one."""
        settled_ms = self._clock.exchange_now_ms() - GRACE_MS
        async with self._store.transaction() as tx:
            in_flight = await tx.in_flight(result.account_id)
        # What was sent a moment ago is still on its ordinary way; at recovery nothing is.
        fresh = set() if result.trigger == "recovery" else {o.id for o in in_flight if _sent_ms(o) > settled_ms}
        before = [order for order in in_flight if order.id not in fresh]
        # Orders are read before the exchange is asked: what changes later is the stream's or the next pass's.
        listed = {report.client_order_id: report for report in await self._session(result.account_id).open_orders()}
        for order in before:
            result.checked += 1
            report = listed.get(order.client_order_id)
            if report is not None:
                after = await self._submitter.apply(result.account_id, report, EventSource.RECONCILER)
            else:
                after = await self._submitter.ask(order, source=EventSource.RECONCILER)
            self._count(result, order, after)
        ours = {order.client_order_id for order in in_flight}
        await self._foreign(result, [report for cid, report in listed.items() if cid not in ours])

    def _count(self, result: PassResult, before: Order, after: Order) -> None:
        if after.version != before.version:
            result.repaired += 1
            result.differences.append(
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
            result.unresolved += 1

    async def _foreign(self, result: PassResult, reports: list[ExchangeReport]) -> None:
        """Open orders that are not in our books: shown, never touched."""
        for report in reports:
            try:
                await self._submitter.apply(result.account_id, report, EventSource.RECONCILER)
            except ForeignOrder:
                result.differences.append(
                    {
                        "what": "foreign order",
                        "symbol": report.symbol,
                        "client_order_id": report.client_order_id,
                        "exchange_order_id": report.exchange_order_id,
                        "repaired": False,
                    }
                )

    async def _history(self, result: PassResult, *, since_ms: int, full: bool) -> None:
        """Fills of the last 24 h that our books lack; with `full` also orders we should know (F61)."""
        session = self._session(result.account_id)
        async with self._store.transaction() as tx:
            symbols = await tx.symbols_traded(result.account_id, since_ms)
        for symbol in symbols:
            if full:
                for report in await session.orders_since(symbol, since_ms):
                    await self._adopt(result, report)
            trades = await session.trades_since(symbol, since_ms)
            async with self._store.transaction() as tx:
                known = await tx.trade_ids_since(result.account_id, symbol, since_ms)
            for trade in trades:
                if trade.fill.trade_id not in known and not await self._book_trade(result, trade):
                    await self._meet(result, trade)

    async def _meet(self, result: PassResult, trade: ExchangeTrade) -> None:
        """A trade of an order whose number we do not know: foreign, or one we gave up as never arrived (F07)."""
        place = (result.account_id, trade.symbol, trade.exchange_order_id)
        if place in self._strangers:
            return
        outcome = await self._session(result.account_id).query(
            trade.symbol, client_order_id="", exchange_order_id=trade.exchange_order_id
        )
        if not isinstance(outcome, Found):
            return  # the next pass asks again
        async with self._store.transaction() as tx:
            ours = await tx.order_by_client_id(result.account_id, outcome.report.client_order_id)
        if ours is None:
            self._strangers.add(place)
        else:
            await self._adopt(result, outcome.report)

    async def _book_trade(self, result: PassResult, trade: ExchangeTrade) -> bool:
        """Book a trade of an order whose number is in our books; False when none has it."""
        async with self._store.transaction() as tx:
            order = await tx.order_by_exchange_id(result.account_id, trade.symbol, trade.exchange_order_id)
            if order is None:
                return False
            applied = bookkeeping.apply_trades(
                order,
                await tx.trade_ids(order.id),
                [trade.fill],
                source=EventSource.RECONCILER,
                at_ms=self._clock.exchange_now_ms(),
            )
            await record(tx, applied)
        if applied.steps:
            self._submitter.suspect_stream(order, trade.fill.traded_at_ms)
            self._count(result, order, applied.order)
        return True

    async def _adopt(self, result: PassResult, report: ExchangeReport) -> None:
        async with self._store.transaction() as tx:
            before = await tx.order_by_client_id(result.account_id, report.client_order_id)
        if before is None or before.status is OrderStatus.REJECTED:
            return
        after = await self._submitter.apply(result.account_id, report, EventSource.RECONCILER)
        self._count(result, before, after)

    async def _balances(self, result: PassResult) -> None:
        """Totals by asset. A difference is shown, never corrected in silence.

        A fill may be on its way while we look, so a difference counts only if it stays.
        """
        for pause_s in (*BALANCE_PAUSES_S, None):
            theirs = await self._session(result.account_id).balances()
            totals = {asset: balance.free + balance.locked for asset, balance in theirs.items()}
            async with self._store.transaction() as tx:
                ours = await tx.balances(result.account_id)
                await tx.see_balances(result.account_id, totals)
            differing = sorted(a for a in ours.keys() | totals.keys() if ours.get(a, ZERO) != totals.get(a, ZERO))
            if not differing or pause_s is None:
                break
            await self._clock.sleep(pause_s)
        for asset in differing:
            result.differences.append(
                {
                    "what": "balance",
                    "asset": asset,
                    "ours": plain(ours.get(asset, ZERO)),
                    "exchange": plain(totals.get(asset, ZERO)),
                    "repaired": False,
                }
            )


def _sent_ms(order: Order) -> int:
    return order.signed_timestamp_ms or 0
