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

from app.domain.clock import Clock, Ids
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
        self,
        store: Store,
        sessions: Mapping[int, TradingSession],
        submitter: Submitter,
        clock: Clock,
        ids: Ids | None = None,
    ) -> None:
        """`ids` for the sales of coins that came from elsewhere, when their owner wants it; none are sold without."""
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        strangers = Strangers(store, sessions, submitter, clock)
        self._trades = TradeLooks(store, sessions, submitter, clock, strangers)
        self._orders = OrderLooks(store, sessions, submitter, strangers, self._trades)
        self._balances = BalanceLooks(store, sessions, clock, ids)

    async def run(
        self, account_id: int, *, trigger: str, look: Look | None = None, sweep_history: bool = False
    ) -> PassResult:
        """One pass: what `look` says, by default every working order and the balances; one at a time an account.

        `sweep_history` lists all open orders and reads orders and trades of the last 24 h as well.
        Never raises for what the exchange or the network did: `error` says it, `agrees` is then False.
        """
        async with self._turns[account_id]:
            result = PassResult(account_id, trigger, self._clock.now_ms())
            try:
                session_of(self._sessions, account_id)
                await self._compare(
                    result, look or await self._whole(account_id, trigger, sweep_history), sweep_history
                )
            except AskingFailed as failure:
                result.error = failure.reason
                if failure.freezes_account:
                    await self._freeze(account_id, f"the exchange refused the key: {failure.reason}")
            except (BooksContradict, IllegalTransition) as broken:
                result.error = broken.message
            except InvariantViolated as broken:
                result.error = f"our books and the exchange contradict each other: {broken}"
                await self._freeze(account_id, result.error)
            result.finished_ms = self._clock.now_ms()
            async with self._store.transaction() as tx:
                await tx.record_pass(result)
            return result

    async def catch_up(self, account_id: int) -> None:
        """A pass because a stream came back."""
        await self.run(account_id, trigger="stream")

    def hint(self, account_id: int) -> None:
        """Where every pass is asked for, nothing is done ahead of its time."""

    async def _compare(self, result: PassResult, look: Look, sweep_history: bool) -> None:
        if look.orders:
            await self._orders.look(result, look)
            result.covered.append(ORDERS)
        if look.all_open:
            result.covered.append(FOREIGN)
        if sweep_history:
            await self._orders.adopt_history(result, since_ms=self._clock.exchange_now_ms() - WINDOW_MS)
        for symbol in sorted(look.trades):
            await self._trades.sweep(result, symbol)
        if look.trades:
            result.covered.append(TRADES)
        if look.balances:
            agree = await self._agree_on_balances(result)
            result.covered.append(BALANCES)
            result.agrees = agree and ORDERS in result.covered and result.unresolved == 0

    async def _agree_on_balances(self, result: PassResult) -> bool:
        """Compare; where totals differ, read the trades that may explain it, and compare again."""
        known = await self._balances.standing(result.account_id)
        differing = await self._balances.differing(result.account_id, known)
        odd = [asset for asset in differing if asset not in known or known[asset].state == DifferenceState.OPEN.value]
        explaining = await self._explaining(result, odd)
        for symbol in explaining:
            await self._trades.sweep(result, symbol)
        if explaining:
            differing = await self._balances.differing(result.account_id, known)
        return await self._balances.settle(result, differing)

    async def _explaining(self, result: PassResult, assets: Collection[str]) -> list[str]:
        """Symbols with both assets among these, whose trades were not read in this pass: a trade moves both."""
        async with self._store.transaction() as tx:
            between = await tx.symbols_between(result.account_id, assets) if len(assets) > 1 else ()
        return sorted(set(between) - result.swept)[:MOST_EXPLAINING]

    async def _whole(self, account_id: int, trigger: str, sweep_history: bool) -> Look:
        """Everything. At recovery, when every account is asked at once, balances say whether trades are to be read, and
        the list of all open orders follows in the first rounds."""
        everything = sweep_history and trigger != RECOVERY
        async with self._store.transaction() as tx:
            working = counted(await tx.in_flight(account_id))
            since_ms = self._clock.exchange_now_ms() - WINDOW_MS
            symbols = await tx.symbols_traded(account_id, since_ms) if everything else ()
        way = cheapest_way(working)
        return Look(
            account_id,
            all_open=way.all_open or everything,
            by_list=way.by_list,
            balances=True,
            trades=frozenset(symbols),
        )

    async def _freeze(self, account_id: int, reason: str) -> None:
        async with self._store.transaction() as tx:
            await tx.freeze_account(account_id, reason)


__all__ = ["RECOVERY", "WINDOW_MS", "PassResult", "Reconciler"]
