"""The part of reconciliation that reads trades: by the id of the last one, so that no gap stays open.

A cursor stands for each account and symbol: every trade below it is in our books. It moves only in the transaction
that sees that this is so, and stays behind trades that are younger than `SETTLED_MS`, because an exchange may show
a trade later than one that happened after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.clock import Clock
from app.domain.errors import require
from app.domain.orders import EventSource, ExchangeReport, Order
from app.services.exchange.protocol import AskingFailed, ExchangeTrade, Found, NotVisible, TradingSession
from app.services.execution import bookkeeping, foreign
from app.services.execution.reconcile_foreign import Strangers
from app.services.execution.store import Store, Transaction
from app.services.execution.store_reconciling import PassResult
from app.services.execution.submit import ForeignOrder, Submitter, record, session_of

SETTLED_MS = 300_000
WINDOW_MS = 24 * 3_600_000
#: Trades booked in one transaction, at most.
AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class _Unbooked:
    """Trades that are not in our books, by whose they are."""

    ours: Sequence[ExchangeTrade]
    elsewhere: Sequence[ExchangeTrade]
    undecided: Sequence[ExchangeTrade]  # of orders that could not be asked about: the next sweep reads them again


class TradeLooks:
    """Reads the trades of one account and symbol. `sessions` by account id."""

    def __init__(
        self,
        store: Store,
        sessions: Mapping[int, TradingSession],
        submitter: Submitter,
        clock: Clock,
        strangers: Strangers,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._submitter = submitter
        self._clock = clock
        self._strangers = strangers
        self._elsewhere: set[tuple[int, str, int]] = set()  # (account, symbol, number) of orders that are not ours

    async def unread(self, account_id: int, symbol: str) -> Sequence[ExchangeTrade]:
        """Trades from the cursor on; without one, of the last 24 hours."""
        session = session_of(self._sessions, account_id)
        async with self._store.transaction() as tx:
            cursor = await tx.trade_cursor(account_id, symbol)
        if cursor is not None:
            return await session.trades_from(symbol, cursor)
        return await session.trades_since(symbol, self._clock.exchange_now_ms() - WINDOW_MS)

    async def sweep(self, result: PassResult, symbol: str) -> None:
        """Book every trade that our books lack and move the cursor. Raises AskingFailed."""
        account_id = result.account_id
        trades = sorted(await self.unread(account_id, symbol), key=lambda trade: trade.fill.trade_id)
        async with self._store.transaction() as tx:
            begin_ms = await tx.books_begin_ms(account_id)
            known = await tx.trade_ids_from(account_id, symbol, trades[0].fill.trade_id) if trades else set()
        # What happened before the opening balances were read is in them.
        of_books = [trade for trade in trades if trade.fill.traded_at_ms >= begin_ms]
        lacking = await self._whose(result, [t for t in of_books if t.fill.trade_id not in known])
        await self._book_ours(result, lacking.ours)
        await self._book_elsewhere(result, symbol, lacking.elsewhere)
        await self._move(account_id, symbol, of_books, trades)
        result.swept.add(symbol)

    # --- whose -----------------------------------------------------------------------------------------

    async def _whose(self, result: PassResult, trades: Sequence[ExchangeTrade]) -> _Unbooked:
        ours, elsewhere, undecided = list[ExchangeTrade](), list[ExchangeTrade](), list[ExchangeTrade]()
        verdicts: dict[int, list[ExchangeTrade]] = {}
        for trade in trades:
            if trade.exchange_order_id not in verdicts:
                is_ours = await self._is_ours(result, trade)
                verdict = undecided if is_ours is None else ours if is_ours else elsewhere
                verdicts[trade.exchange_order_id] = verdict
            verdicts[trade.exchange_order_id].append(trade)
        return _Unbooked(ours, elsewhere, undecided)

    async def _is_ours(self, result: PassResult, trade: ExchangeTrade) -> bool | None:
        """Whether the trade's order is in our books, or comes into them now (F07, F61); None: it cannot be told."""
        place = (result.account_id, trade.symbol, trade.exchange_order_id)
        if place in self._elsewhere:
            return False
        async with self._store.transaction() as tx:
            if await tx.order_by_exchange_id(*place) is not None:
                return True
        outcome = await session_of(self._sessions, result.account_id).query(
            trade.symbol, client_order_id="", exchange_order_id=trade.exchange_order_id
        )
        if not isinstance(outcome, Found):
            if not isinstance(outcome, NotVisible):
                raise AskingFailed(f"the order of trade {trade.fill.trade_id} could not be asked about")
            return None
        return await self._met(result, outcome.report)

    async def _met(self, result: PassResult, report: ExchangeReport) -> bool:
        async with self._store.transaction() as tx:
            before = await tx.order_by_client_id(result.account_id, report.client_order_id)
        try:
            after = await self._submitter.apply(result.account_id, report, EventSource.RECONCILER)
        except ForeignOrder:
            if foreign.is_ours(report):
                return await self._strangers.recover(result, report)
            self._elsewhere.add((result.account_id, report.symbol, report.exchange_order_id))
            return False
        result.note(before or after, after)
        return True

    # --- booking ---------------------------------------------------------------------------------------

    async def _book_ours(self, result: PassResult, trades: Sequence[ExchangeTrade]) -> None:
        """Book fills of orders whose number is in our books, an order at a time."""
        by_order: dict[int, list[ExchangeTrade]] = {}
        for trade in trades:
            by_order.setdefault(trade.exchange_order_id, []).append(trade)
        for number, of_order in by_order.items():
            async with self._store.transaction() as tx:
                order = await tx.order_by_exchange_id(result.account_id, of_order[0].symbol, number)
                require(order is not None, "an order that was found is still there", number=number)
                assert order is not None
                after = await self._book(tx, order, of_order)
            if after.version != order.version:
                result.note(order, after)
                self._submitter.suspect_stream(after, max(trade.fill.traded_at_ms for trade in of_order))

    async def _book(self, tx: Transaction, order: Order, trades: Sequence[ExchangeTrade]) -> Order:
        applied = bookkeeping.apply_trades(
            order,
            await tx.trade_ids(order.id),
            [trade.fill for trade in trades],
            source=EventSource.RECONCILER,
            at_ms=self._clock.exchange_now_ms(),
        )
        await record(tx, applied)
        return applied.order

    async def _book_elsewhere(self, result: PassResult, symbol: str, trades: Sequence[ExchangeTrade]) -> None:
        account_id = result.account_id
        for start in range(0, len(trades), AT_ONCE):
            some = trades[start : start + AT_ONCE]
            async with self._store.transaction() as tx:
                facts = await tx.trading_facts(account_id, symbol, None, now_ms=self._clock.now_ms())
                if facts is None or facts.rules is None:
                    raise AskingFailed(f"the trading rules of {symbol} are not known yet")
                rules = facts.rules
                booked = [t for t in some if await foreign.book_foreign_trade(tx, account_id, t, rules)]
                if booked:
                    await foreign.fit_positions(tx, account_id, clock=self._clock)
                    details = {"symbol": symbol, "trades": [t.fill.trade_id for t in booked]}
                    at_ms = self._clock.exchange_now_ms()
                    name = f"account:{account_id}"
                    await tx.audit(foreign.WORKER, "reconciliation.external_trades", name, details, at_ms=at_ms)
            if booked:
                what = {"what": "trades made elsewhere", "symbol": symbol, "trades": len(booked), "repaired": True}
                result.differences.append(what)

    async def _move(
        self, account_id: int, symbol: str, of_books: Sequence[ExchangeTrade], trades: Sequence[ExchangeTrade]
    ) -> None:
        """Move the cursor behind the last settled trade below which all is booked."""
        settled_ms = self._clock.exchange_now_ms() - SETTLED_MS
        if not trades or trades[0].fill.traded_at_ms > settled_ms:
            return
        wanted = {trade.fill.trade_id for trade in of_books}
        async with self._store.transaction() as tx:
            booked = await tx.trade_ids_from(account_id, symbol, trades[0].fill.trade_id)
            next_id = None
            for trade in trades:
                number = trade.fill.trade_id
                if trade.fill.traded_at_ms > settled_ms or (number in wanted and number not in booked):
                    break
                next_id = number + 1
            if next_id is not None:
                await tx.move_trade_cursor(account_id, symbol, next_id)
