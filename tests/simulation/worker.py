"""The worker as `app.jobs.worker` puts it together, with the store in memory and strategies that draw lots."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from app.domain.clock import Ids
from app.jobs.clock_keeper import ClockKeeper
from app.jobs.guard import TRANSIENT, forever
from app.jobs.order_lanes import OrderLanes
from app.jobs.reconciling import Rounds
from app.jobs.recovery import Recovery
from app.jobs.user_stream import UserStream
from app.services.exchange.clock import OffsetSample, measure_offset
from app.services.execution.intents import TRADING
from app.services.execution.reconcile import Reconciler
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.runtime import SystemClock
from tests.simulation.database import Database, SimStore, StaleEpoch
from tests.simulation.wire import Line, SimSession

RECONCILE_AT_ONCE, ACCOUNT_DEADLINE_S, DRAIN_S = 4, 40.0, 12.0
RULES_APART_S = 5.0
RECONCILE_EVERY_S, CLOCK_EVERY_S, ACCOUNTS_EVERY_S, RENEW_EVERY_S = 60, 60, 5, 3
#: Failures with which a worker may end: its place is taken, or what it needs is away. The next start recovers.
MAY_END_A_WORKER = (StaleEpoch, *TRANSIENT)


@dataclass(frozen=True)
class Parts:
    """What a worker is built of; a mutant replaces one."""

    store: Callable[[Database, int], SimStore] = SimStore
    submitter: Callable[..., Submitter] = Submitter
    session: Callable[[Line], SimSession] = SimSession
    settings: SubmitSettings = SubmitSettings()  # noqa: RUF009 — frozen
    instead: tuple[tuple[ModuleType, str, Any], ...] = ()  # (module, name, what stands there instead)


class SimWorker:
    """One life of the worker: recovers, then trades until it is killed or fenced."""

    def __init__(
        self,
        database: Database,
        lines: Mapping[int, Line],
        clock: SystemClock,
        ids: Ids,
        parts: Parts,
        say: Callable[[str, str, str], None],
    ) -> None:
        self.database = database
        self.healthy = False
        self.stopping = asyncio.Event()
        self._rules_hint = asyncio.Event()
        self.epoch = database.books.epoch + 1
        database.edit(lambda books: setattr(books, "epoch", self.epoch))
        self._lines = lines
        self._clock = clock
        self._say = say
        self._parts = parts
        self._consumers: dict[int, asyncio.Task[None]] = {}
        self.sessions: dict[int, Any] = {}
        self.store = parts.store(database, self.epoch)
        self.clock_keeper = ClockKeeper(clock, self._measure, _heard)
        self.submitter = parts.submitter(
            self.store,
            self.sessions,
            clock,
            parts.settings,
            clock_refused=lambda account_id: self.clock_keeper.was_refused(),
        )
        self.reconciler = Reconciler(self.store, self.sessions, self.submitter, clock)
        self.rounds = Rounds(
            self.store, self.reconciler, self.sessions, clock, limit_of=lambda kind: 6_000, left_of=lambda kind: 6_000
        )
        self.recovery = Recovery(self.store, self.reconciler, self.sessions, clock, recovered=self._account_recovered)
        self.lanes = OrderLanes(self.store, self.submitter, clock, ids, may_send=self.may_send, may_exit=self.may_exit)

    def may_send(self) -> bool:
        """As `Worker._why_not`."""
        return self.healthy and not self.clock_keeper.why_not()

    def may_exit(self) -> bool:
        """As `Worker` tells its lanes."""
        return self.healthy and self.clock_keeper.may_exit()

    def hint(self, what: str) -> None:
        """As `Worker._hint`."""
        self.lanes.hint(what)
        if what == "rules":
            self._rules_hint.set()

    async def run(self) -> None:
        """As `Worker._work`."""
        stop = asyncio.create_task(self.stopping.wait())
        tasks = [asyncio.create_task(self._renew()), asyncio.create_task(self._recover())]
        await asyncio.wait((stop, *tasks), return_when=asyncio.FIRST_COMPLETED)
        if self.healthy:
            tasks = [tasks[0], *self._begin()]
            await asyncio.wait((stop, *tasks), return_when=asyncio.FIRST_COMPLETED)
        self.healthy = False
        for task in tasks:
            if task.done():
                task.result()
        await self.lanes.drain(DRAIN_S)

    def _begin(self) -> list[asyncio.Task[None]]:
        loops = (*self.lanes.loops().values(), self.clock_keeper.sync_on_doubt, self.recovery.go_on)
        loops = (*loops, self._rules_on_hint)
        jobs = (
            (ACCOUNTS_EVERY_S, self._open_accounts),
            (RECONCILE_EVERY_S, self.rounds.minute),
            (CLOCK_EVERY_S, self.clock_keeper.sync),
        )
        tasks = [asyncio.create_task(forever(once.__name__, once)) for once in loops]
        return tasks + [asyncio.create_task(self._every(seconds, work)) for seconds, work in jobs]

    async def _recover(self) -> None:
        pause_s = 0.5
        await self.recovery.hold()
        while problem := await self._recover_once():
            self._say("worker", "recovery waits", problem)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)
        for run in self.database.runs.values():
            run.running = False
        self.healthy = True
        self._say("worker", "RECOVERY_COMPLETE", f"epoch {self.epoch}")

    async def _recover_once(self) -> str:
        try:
            await self.clock_keeper.sync()
            await self._refresh_rules()
            await self._open_active()
        except TRANSIENT as error:
            return f"the exchange cannot be reached: {error}"
        return await self.recovery.round()

    def _account_recovered(self) -> None:
        """As `Worker._account_recovered`."""
        self.lanes.hint()

    async def _open_active(self) -> list[int]:
        """As `AccountWork.open_active`."""
        async with self.store.transaction() as tx:
            accounts = sorted(tx.books.accounts.items())
            active = [i for i, account in accounts if account.state in ("ACTIVE", "RECOVERING")]
        opened = [i for i in active if i not in self.sessions]
        for account_id in opened:
            self.sessions[account_id] = self._parts.session(self._lines[account_id])
        for gone in sorted(self.sessions.keys() - set(active)):
            consumer = self._consumers.pop(gone, None)
            if consumer is not None:
                consumer.cancel()
            await self.sessions.pop(gone).close()
        return opened

    async def _open_accounts(self) -> None:
        """As `Worker._accounts_on_hint`."""
        opened = await self._open_active()
        for account_id, session in self.sessions.items():
            if account_id not in self._consumers or self._consumers[account_id].done():
                stream = UserStream(account_id, session, self.submitter, self.rounds, _Board())
                self._consumers[account_id] = asyncio.create_task(forever("stream", stream.run))
        for account_id in opened:
            await self.rounds.run(account_id, trigger="opened")

    async def _rules_on_hint(self) -> None:
        """As `Worker._rules_on_hint`."""
        await self._rules_hint.wait()
        self._rules_hint.clear()
        await self._refresh_rules()
        await asyncio.sleep(RULES_APART_S)

    async def _refresh_rules(self) -> None:
        """As `MarketWork.refresh_rules`, but for halts, which are told by no refusal."""
        rules = await SimSession(self._lines[1]).symbol_rules()
        known = {name: replace(one, status=TRADING) for name, one in rules.items()}
        self.database.edit(lambda books: books.rules.update(known))

    async def _measure(self) -> OffsetSample:
        return await measure_offset(SimSession(self._lines[1]), self._clock.now_ms)  # type: ignore[arg-type]

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self.database.books.epoch != self.epoch:
                raise StaleEpoch("the lease is lost")

    async def _every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """As `JobBoard.job` on the scheduler."""
        while True:
            try:
                async with asyncio.timeout(55):
                    await work()
            except TRANSIENT as error:
                self._say("worker", f"{work.__name__} failed", str(error) or type(error).__name__)
            await asyncio.sleep(seconds)


async def _heard(sample: OffsetSample) -> None:
    """Where the drift is shown does not matter here."""


class _Board:
    """Where nobody looks how the streams are."""

    async def set_up(self, account_id: int, *, up: bool) -> None:
        """As `StreamBoard`."""

    async def was_silent(self, account_id: int, reason: str) -> None:
        """As `StreamBoard`."""


__all__ = ["MAY_END_A_WORKER", "Parts", "SimWorker"]
