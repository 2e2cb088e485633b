"""Recovery: every start of a worker compares every account with the exchange before anything is sent for it.

hold all accounts ─► ask for each, several at once ─► those that are clear trade ─► the others are asked again

An account whose order's outcome is not known waits for it alone: it shows RECOVERING and why, the others trade.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from app.domain.clock import Clock
from app.jobs.guard import FAULTS, TRANSIENT, end_if_fenced
from app.logs import get_logger
from app.models.execution import AccountState
from app.services.exchange.protocol import TradingSession
from app.services.execution.reconcile import RECOVERY, Reconciler
from app.services.execution.store import Store

log = get_logger(__name__)

AT_ONCE, DEADLINE_S = 8, 40.0
#: Waits between tries of one account; the last one for ever.
RETRY_AFTER_S = (1.0, 2.0, 5.0)


class Recovery:
    """Carries accounts from RECOVERING to ACTIVE. One per life of a worker; `trading` by account id."""

    def __init__(
        self,
        store: Store,
        reconciler: Reconciler,
        trading: Mapping[int, TradingSession],
        clock: Clock,
        *,
        recovered: Callable[[], None],
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._trading = trading
        self._clock = clock
        self._recovered = recovered  # told when an account may trade again
        self._tries: dict[int, int] = {}
        self._next_ms: dict[int, int] = {}
        self.reasons: dict[int, str] = {}  # why accounts are not recovered yet; "" means: only an order is in doubt

    async def hold(self) -> None:
        """From now on nothing is sent for any account until it is recovered."""
        async with self._store.transaction() as tx:
            held = await tx.hold_accounts()
        self.reasons = dict.fromkeys(held, "it has not been compared with the exchange yet")

    def take_up(self, account_id: int) -> None:
        """This account is to be recovered too, though no worker has just started."""
        self.reasons.setdefault(account_id, "it has not been compared with the exchange yet")

    async def round(self) -> str:
        """Every account that waits and whose time has come, several at once. Returns what is in the way of all, or "".

        It is "" as soon as one account was reached, be it only to learn that an order of it is in doubt, and when
        there is none to recover: then the service as a whole is healthy, and the others go on by themselves.
        """
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(account_id: int) -> None:
            async with turns:
                await self._try(account_id)

        now_ms = self._clock.exchange_now_ms()
        due = [number for number in sorted(self.reasons) if self._next_ms.get(number, 0) <= now_ms]
        waiting = set(self.reasons)
        await asyncio.gather(*(one(account_id) for account_id in due))
        reached = waiting - set(self.reasons)
        problems = [f"account {number}: {why}" for number, why in sorted(self.reasons.items()) if why]
        return problems[0] if problems and not reached and len(problems) == len(self.reasons) else ""

    async def go_on(self) -> None:
        """One more round for those that still wait."""
        if self.reasons:
            await self.round()
        await self._clock.sleep(1.0)

    async def _try(self, account_id: int) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                problem, waits_for = await self._recover(account_id)
        except (*TRANSIENT, *FAULTS) as error:
            end_if_fenced(error)
            problem, waits_for = str(error).strip() or type(error).__name__, ""
        if problem is None:
            self.reasons.pop(account_id, None)
            return
        tries = self._tries[account_id] = self._tries.get(account_id, 0) + 1
        wait_s = RETRY_AFTER_S[min(tries, len(RETRY_AFTER_S)) - 1]
        self._next_ms[account_id] = self._clock.exchange_now_ms() + round(wait_s * 1000)
        self.reasons[account_id] = problem
        log.info("an account is still recovering", account_id=account_id, reason=problem or waits_for)
        try:
            async with self._store.transaction() as tx:
                await tx.set_account_state(account_id, AccountState.RECOVERING.value, problem or waits_for)
        except TRANSIENT as error:
            end_if_fenced(error)
            log.warning("why an account is recovering could not be kept", account_id=account_id, error=str(error))

    async def _recover(self, account_id: int) -> tuple[str | None, str]:
        """(None, ""): it trades, or is frozen. Else what is in the way: a problem, or an order in doubt."""
        if account_id not in self._trading:
            async with self._store.transaction() as tx:
                account = await tx.account(account_id)
            gone = account is None or account.state != AccountState.RECOVERING
            return (None, "") if gone else ("its session is not open", "")
        result = await self._reconciler.run(account_id, trigger=RECOVERY, sweep_history=True)
        async with self._store.transaction() as tx:
            account = await tx.account(account_id)
            if account is None or account.state != AccountState.RECOVERING:
                return None, ""  # a pass may have frozen it, and then nobody waits for it
            if result.error:
                return result.error, ""
            if result.unresolved:
                return "", result.waits_for
            await tx.set_account_state(account_id, AccountState.ACTIVE.value, "")
        self._recovered()
        return None, ""


__all__ = ["Recovery"]
