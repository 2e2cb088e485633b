"""The rounds of reconciliation: every 60 s each working order, the rest in rotation, within the request budget.

Also on demand: rows say which accounts are wanted, a hint only says when to look.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from app.domain.clock import Clock
from app.jobs.guard import end_if_fenced
from app.logs import get_logger
from app.models.execution import AccountState
from app.services.exchange.protocol import TradingSession
from app.services.execution.looks import NEVER_S, Look, Needs, plan_minute
from app.services.execution.reconcile import WINDOW_MS, PassResult, Reconciler
from app.services.execution.reconcile_balances import DOUBT_MS
from app.services.execution.store import Store
from app.services.execution.store_reconciling import BALANCES, FOREIGN, ORDERS

log = get_logger(__name__)

AT_ONCE, DEADLINE_S = 4, 40.0
#: Of the exchange's limit: reconciliation stays below it together with `FOR_OTHERS`, the weight a minute that market
#: data, orders of unknown outcome and streams may need.
SHARE, FOR_OTHERS = 0.8, 200
#: A pass after a stream came back may take this much of what is left of the minute; else it waits for the next round.
CATCH_UP_WEIGHT = 100

_Key = tuple[int, str]


class Rounds:
    """Plans and runs the looks at all accounts. `trading` by account id.

    `limit_of` gives the weight limit of an exchange (by kind of account), `left_of` what lists may use of this minute.
    """

    def __init__(
        self,
        store: Store,
        reconciler: Reconciler,
        trading: Mapping[int, TradingSession],
        clock: Clock,
        *,
        limit_of: Callable[[str], int],
        left_of: Callable[[str], int],
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._trading = trading
        self._clock = clock
        self._limit_of = limit_of
        self._left_of = left_of
        self._looked_ms: dict[_Key, int] = {}  # (account, what) → when it was last looked at
        self._urgent: set[int] = set()

    async def minute(self) -> None:
        """One round over all accounts, a few at once; one that is slow or fails takes nothing from the others."""
        needs = await self._needs()
        looks: list[Look] = []
        for kind, of_kind in needs.items():
            looks += plan_minute(of_kind, int(self._limit_of(kind) * SHARE) - FOR_OTHERS)
        self._urgent.clear()
        await self._each({look.account_id: partial(self._look, look) for look in looks})

    async def on_demand(self, account_ids: Collection[int]) -> set[int]:
        """Whole passes, 24 hours of history included, over accounts that somebody wants compared now.

        Returns those that were compared.
        """
        compared: set[int] = set()

        async def one(account_id: int) -> None:
            result = await self.run(account_id, trigger="operator", sweep_history=True)
            if not result.error:
                compared.add(account_id)

        await self._each({number: partial(one, number) for number in sorted(account_ids) if number in self._trading})
        return compared

    async def run(self, account_id: int, *, trigger: str, sweep_history: bool = False) -> PassResult:
        """A pass now, over orders and balances; it counts in the rotation."""
        result = await self._reconciler.run(account_id, trigger=trigger, sweep_history=sweep_history)
        self._count(result)
        return result

    async def catch_up(self, account_id: int) -> None:
        """A stream came back: look at once if the minute has the weight for it, else first of all in the next round."""
        async with self._store.transaction() as tx:
            account = await tx.account(account_id)
        if account is None or self._left_of(account.kind) < CATCH_UP_WEIGHT:
            self._urgent.add(account_id)
        else:
            await self.run(account_id, trigger="stream")

    def hint(self, account_id: int) -> None:
        """Something happened on this account that our books may not have: it is looked at first in the next round."""
        self._urgent.add(account_id)

    # --- inside ----------------------------------------------------------------------------------------

    async def _needs(self) -> dict[str, list[Needs]]:
        """What each account needs, by the kind of its exchange."""
        since_ms = self._clock.exchange_now_ms() - WINDOW_MS
        working: defaultdict[int, Counter[str]] = defaultdict(Counter)
        async with self._store.transaction() as tx:
            for order in await tx.in_flight():
                working[order.account_id][order.symbol] += 1
        needs: defaultdict[str, list[Needs]] = defaultdict(list)
        for account_id in list(self._trading):
            async with self._store.transaction() as tx:
                account = await tx.account(account_id)
                symbols = await tx.symbols_traded(account_id, since_ms)
                # An order that was given up may surface, and rest: only the list of all would show it.
                doubt = await tx.in_doubt(account_id, since_ms + WINDOW_MS - DOUBT_MS)
            if account is None or account.state != AccountState.ACTIVE:
                continue
            needs[account.kind].append(
                Needs(
                    account_id=account_id,
                    working=working[account_id],
                    orders_s=self._age_s(account_id, ORDERS),
                    balances_s=self._age_s(account_id, BALANCES),
                    foreign_s=NEVER_S if doubt else self._age_s(account_id, FOREIGN),
                    trades_s={symbol: self._age_s(account_id, symbol) for symbol in symbols},
                    is_urgent=account_id in self._urgent,
                )
            )
        return needs

    def _age_s(self, account_id: int, what: str) -> float:
        looked_ms = self._looked_ms.get((account_id, what))
        return NEVER_S if looked_ms is None else (self._clock.exchange_now_ms() - looked_ms) / 1000

    async def _look(self, look: Look) -> None:
        self._count(await self._reconciler.run(look.account_id, trigger="schedule", look=look))

    def _count(self, result: PassResult) -> None:
        now_ms = self._clock.exchange_now_ms()
        for what in (*result.covered, *result.swept):
            self._looked_ms[result.account_id, what] = now_ms
        balances_differ = BALANCES in result.covered and not result.agrees and not result.error
        if balances_differ:
            self._urgent.add(result.account_id)

    async def _each(self, work: Mapping[int, Callable[[], Awaitable[object]]]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(task: Callable[[], Awaitable[object]]) -> None:
            async with turns, asyncio.timeout(DEADLINE_S):
                await task()

        results = await asyncio.gather(*(one(task) for task in work.values()), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for account_id, result in zip(work, results, strict=True):
            if isinstance(result, BaseException):
                log.warning("an account could not be reconciled", account_id=account_id, error=repr(result))
        for failure in failures:
            end_if_fenced(failure)
        if failures:
            raise failures[0]


__all__ = ["Rounds"]
