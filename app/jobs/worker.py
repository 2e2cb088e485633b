"""The worker: takes the lease, recovers, then trades. Crash-only: every start is a recovery.

acquire lease ─► RECOVERING ─► reconcile every account ─► strategies STOPPED ─► HEALTHY ─► loops and jobs
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.config import Settings
from app.database.engine import make_engine, session_factory
from app.database.hints import WORK_CHANNEL, tell_browsers
from app.database.notifications import RESYNC, Listener
from app.domain.clock import to_datetime
from app.jobs import holder
from app.jobs.account_work import AccountWork
from app.jobs.exchanges import Exchange, Exchanges
from app.jobs.guard import TRANSIENT, JobBoard, forever
from app.jobs.key_work import KeyWork
from app.jobs.market_work import MarketWork
from app.jobs.order_lanes import OrderLanes
from app.jobs.paper_markets import PaperMarkets
from app.jobs.reconciling import Rounds
from app.jobs.recovery import Recovery
from app.jobs.schedule import Job, schedule
from app.jobs.strategy_tick import StrategyTicker, stop_runs_after_recovery
from app.logs import get_logger
from app.models.execution import AccountKind, Notice, ReconciliationPass, ServiceState
from app.models.strategy import Decision
from app.services.exchange.clock import ClockVerdict, OffsetSample, verdict
from app.services.exchange.paper_control import PaperControlClient
from app.services.exchange.vault_private import Vault
from app.services.exchange.weight import Purpose
from app.services.execution.lease import Lease, LeaseLost
from app.services.execution.reconcile import Reconciler
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.portfolio.snapshots import take_snapshots
from app.services.runtime import RandomIds, SystemClock

log = get_logger(__name__)

RECONCILE_EVERY_S, CLOCK_EVERY_S, PRICES_EVERY_S = 60, 60, 5
RULES_APART_S = 5.0
TICK_EVERY_S = 5  # the net behind the candle closes
WATCHDOG_S = 180.0
DRAIN_S = 12.0
KEEP_QUIET_MS = 7 * 86_400_000


def run(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT. Exits non-zero when its lease is lost or a watchdog fires."""
    asyncio.run(Worker(settings).run())


class WatchdogFired(Exception):
    """Reconciliation has not succeeded to run for too long: better to start again."""


class Worker:
    """Everything the worker is made of, put together once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._ids = RandomIds()
        self._stopping = asyncio.Event()
        self._taken_up: set[str] = set()  # kinds of exchange whose time, rules and prices are known
        self._healthy = False
        engine = make_engine(settings.database_url_worker, application_name="plumbline-worker", pool_size=10)
        self._engine = engine
        self._sessions: async_sessionmaker[AsyncSession] = session_factory(engine)
        self._lease = Lease(self._sessions, holder=holder.this_process(), ttl_s=settings.lease_ttl_s)
        self._board = JobBoard(self._sessions, self._clock.now_ms)
        self._tick_hint = asyncio.Event()
        self._reconcile_hint = asyncio.Event()
        self._accounts_hint = asyncio.Event()
        self._market_hint = asyncio.Event()
        self._rules_hint = asyncio.Event()

    # --- life ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From start to end of the process."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        try:
            if await self._acquire():
                await self._work()
        finally:
            await self._engine.dispose()

    async def _acquire(self) -> bool:
        """Wait for the lease; False when asked to stop meanwhile."""
        told = False
        while not self._stopping.is_set():
            try:
                found = await self._lease.holder_age_s()
                gone = found[0] if found and holder.is_gone(found[0]) else ""
                if await self._lease.acquire(known_dead=gone):
                    log.info("lease acquired", epoch=self._lease.epoch)
                    return True
                if not told and found:
                    log.info("waiting for the lease", holder=found[0], renewed_s_ago=round(found[1], 1))
                    told = True
            except TRANSIENT as error:
                log.warning("the database cannot be reached; trying again", error=str(error))
            await asyncio.sleep(1)
        return False

    async def _work(self) -> None:
        self._put_together()
        async with asyncio.TaskGroup() as group:
            renewer = group.create_task(self._renew())
            listener = group.create_task(self._listener.run())
            tasks = [renewer, listener]
            scheduler = schedule(self._board, self._jobs(), now=to_datetime(self._clock.now_ms()))
            if await self._unless_stopped(self._recover_all()):
                scheduler.start()
                tasks += [group.create_task(forever(name, loop)) for name, loop in self._loops().items()]
                tasks.append(group.create_task(self._watchdog()))
            await self._stopping.wait()
            self._healthy = False
            if scheduler.running:
                scheduler.shutdown(wait=False)
            await self._lanes.drain(DRAIN_S)
            for task in tasks:
                task.cancel()
        await self._account_work.close()
        await self._exchanges.close()
        await self._control.close()
        await self._lease.set_state(ServiceState.STOPPED, "stopped on purpose")
        log.info("worker stopped")

    async def _unless_stopped(self, work: Coroutine[Any, Any, bool]) -> bool:
        """What comes of the work; False, and the work given up, when asked to stop before it is done."""
        doing, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else False
        finally:
            stopping.cancel()
            doing.cancel()

    def _put_together(self) -> None:
        settings = self._settings
        self._store = PostgresStore(self._sessions, self._lease.epoch)
        jitter = random.Random(os.urandom(8)).random  # noqa: S311 — spreads reconnects, decides nothing
        self._exchanges = Exchanges(settings, self._clock, jitter=jitter, told=self._record_drift)
        self._control = PaperControlClient(settings.paper_url, settings.paper_control_token_file)
        vault = Vault.from_file(settings.master_key_file)
        self._account_work = AccountWork(self._sessions, vault, self._control, self._exchanges.open_session)
        self._key_work = KeyWork(
            self._sessions,
            self._store,
            vault,
            self._clock,
            probe=self._exchanges.probe,
            drop=self._account_work.drop,
        )
        times = SubmitSettings(settings.recv_window_ms, settings.engine_timeout_ms, settings.visibility_margin_ms)
        self._submitter = Submitter(
            self._store,
            self._account_work.trading,
            self._clock,
            times,
            clock_refused=lambda account_id: self._exchange_of(account_id).keeper.was_refused(),
            clock_of=lambda account_id: self._exchange_of(account_id).clock,
        )
        trading = self._account_work.trading
        reconciler = Reconciler(self._store, trading, self._submitter, self._clock, self._ids)
        self._rounds = Rounds(
            self._store,
            reconciler,
            trading,
            self._clock,
            limit_of=lambda kind: self._exchanges.of(kind).budget.limit_per_minute,
            left_of=lambda kind: self._exchanges.of(kind).budget.left(Purpose.LIST),
        )
        self._recovery = Recovery(self._store, reconciler, trading, self._clock, recovered=self._account_recovered)
        self._lanes = OrderLanes(
            self._store,
            self._submitter,
            self._clock,
            self._ids,
            may_send=lambda: self._healthy,  # whether an exchange's clock allows it, its sessions know
            may_exit=lambda: self._healthy,
            unprotected_after_ms=settings.unprotected_after_ms,
        )
        self._ticker = StrategyTicker(self._store, self._clock, self._ids, stale_price_ms=settings.stale_price_ms)
        self._market_work = {
            kind.value: MarketWork(
                self._sessions,
                kind.value,
                self._exchanges.of(kind).market,
                self._exchanges.of(kind).clock,
                wanted_by_runs=self._ticker.wanted_candles,
                on_close=self._tick_hint.set,
            )
            for kind in AccountKind
        }
        self._paper_markets = PaperMarkets(
            self._sessions, self._market_work[AccountKind.PAPER.value], self._control, self._clock
        )
        self._listener = Listener(
            settings.database_url_worker, [WORK_CHANNEL], self._hint, application_name="plumbline-worker-listener"
        )

    async def _hint(self, channel: str, payload: str) -> None:
        """A notification only says when to look; after a reconnect everything is looked at."""
        everything = channel == RESYNC
        self._lanes.hint("" if everything else payload)
        if everything or payload == "runs":
            for market_work in self._market_work.values():
                market_work.changed.set()
            self._tick_hint.set()
        if everything or payload == "accounts":
            self._accounts_hint.set()
        if everything or payload == "paper_market":
            self._market_hint.set()
        if everything or payload == "reconcile":
            self._reconcile_hint.set()
        if payload == "rules":
            self._rules_hint.set()

    def _exchange_of(self, account_id: int) -> Exchange:
        return self._exchanges.of(self._account_work.kind_of(account_id))

    def _why_not(self) -> str:
        """Why strategies make no entries now; empty when they may."""
        if not self._healthy:
            return "the execution service is not healthy"
        return self._exchanges.why_not()

    # --- recovery --------------------------------------------------------------------------------------

    async def _recover_all(self) -> bool:
        """RECOVERING → reconcile every account → strategies STOPPED → HEALTHY. False when asked to stop meanwhile.

        An account that cannot be reconciled yet, or has an order in doubt, holds up itself alone: see `Recovery`.
        """
        started_s = time.monotonic()
        held = False
        pause_s = 0.5
        while not self._stopping.is_set():
            try:
                if not held:
                    await self._recovery.hold()
                    held = True
                problem = await self._recover_once()
            except TRANSIENT as error:
                problem = f"the database cannot be reached: {error}"
            if not problem:
                break
            log.warning("recovery waits", reason=problem)
            await self._say_state(ServiceState.RECOVERING, problem)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)
        if self._stopping.is_set():
            return False
        stopped = await stop_runs_after_recovery(
            self._store,
            now_ms=self._clock.now_ms(),
            reason="the execution service was restarted; review and start again",
        )
        seconds = time.monotonic() - started_s
        if self._lease.epoch > 1:
            words = f"Recovery complete in {seconds:.1f} s: our books were compared with the exchange."
            if stopped:
                many = f"{len(stopped)} strategies were" if len(stopped) > 1 else "One strategy was"
                words += f" {many} stopped; review and start again."
            await self._notice("RECOVERY_COMPLETE", words)
        self._healthy = True
        await self._say_state(ServiceState.HEALTHY, "")
        log.info("RECOVERY_COMPLETE", seconds=round(seconds, 2), runs_stopped=stopped)
        return True

    async def _recover_once(self) -> str:
        """One try; returns what is in the way, or ""."""
        try:
            problem = await self._take_up_exchanges()
            if problem:
                return problem
            await self._account_work.open_active(self._taken_up)
        except TRANSIENT as error:
            return f"the database cannot be reached: {error}"
        return await self._recovery.round()

    def _account_recovered(self) -> None:
        """What was held for this account may go now."""
        self._lanes.hint()

    async def _say_state(self, state: ServiceState, reason: str) -> None:
        try:
            await self._lease.set_state(state, reason)
        except TRANSIENT as error:
            log.warning("state could not be recorded", error=str(error))

    async def _notice(self, kind: str, message: str) -> None:
        async with self._sessions.begin() as session:
            await session.execute(insert(Notice).values(kind=kind, message=message, details={}))
            await tell_browsers(session, "notice", user_id=None)

    # --- loops and jobs --------------------------------------------------------------------------------

    def _loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            **self._lanes.loops(),
            **{f"clock doubts, {e.kind.lower()}": e.keeper.sync_on_doubt for e in self._exchanges.all},
            **{f"candles, {kind.lower()}": work.follow for kind, work in self._market_work.items()},
            "strategy tick": self._tick_on_hint,
            "accounts": self._accounts_on_hint,
            "paper market": self._paper_market_on_hint,
            "trading rules": self._rules_on_hint,
            "recovery": self._recovery.go_on,
            "reconciliation on demand": self._reconcile_on_hint,
        }

    def _jobs(self) -> list[Job]:
        return [
            Job("reconciliation", self._rounds.minute, RECONCILE_EVERY_S, 55),
            Job("clock sync", self._exchanges.sync_clocks, CLOCK_EVERY_S, 20),
            Job("price refresh", lambda: self._each_market(MarketWork.refresh_prices), PRICES_EVERY_S, 4),
            Job("paper market status", self._paper_markets.refresh, PRICES_EVERY_S, 4),
            Job("candle ingest", lambda: self._each_market(MarketWork.ingest), 60, 50),
            Job("trading rules", lambda: self._each_market(MarketWork.refresh_rules), 600, 60),
            Job("keys", self._key_work.look_again, 3600, 300),
            Job("strategy tick", self._tick, TICK_EVERY_S, 30),
            Job("hourly snapshot", self._snapshot, 60, 50),
            Job("retention", self._retain, 3600, 300),
        ]

    async def _renew(self) -> None:
        """Keep the lease well within its life; a lease that is lost ends the worker."""
        while True:
            await asyncio.sleep(self._settings.lease_ttl_s / 5)
            try:
                await self._lease.renew()
            except TRANSIENT as error:
                log.warning("the lease could not be renewed", error=str(error))
            except LeaseLost:
                log.error("the lease is lost: another worker has taken over; ending")
                raise

    async def _watchdog(self) -> None:
        """End the process when reconciliation has not gone through for too long."""
        begun = time.monotonic()
        while True:
            await asyncio.sleep(5)
            last = self._board.ended_monotonic_s.get("reconciliation", begun)
            if time.monotonic() - last > WATCHDOG_S:
                raise WatchdogFired(f"no reconciliation came to an end for {WATCHDOG_S:.0f} s")

    async def _record_drift(self, sample: OffsetSample) -> None:
        """Keep the offset where the pages and `/health` find it; beyond 5 s a person has to look."""
        await self._lease.set_clock(sample.offset_ms)
        async with self._store.transaction() as tx:
            if verdict(sample.offset_ms) is ClockVerdict.BLOCK:
                words = f"the clock differs from the exchange's by {sample.offset_ms / 1000:+.1f} s: no new orders"
                await tx.add_incident("CLOCK_DRIFT", words, key="clock")
            else:
                await tx.close_incidents("CLOCK_DRIFT", key="clock")

    async def _reconcile_on_hint(self) -> None:
        """Accounts that somebody wants compared: the rows say which, the hint only when to look."""
        await _wait(self._reconcile_hint, 5)
        wanted = await self._account_work.reconciliations_wanted()
        if wanted:
            compared = await self._rounds.on_demand(wanted.keys())
            await self._account_work.reconciliations_done({n: at for n, at in wanted.items() if n in compared})

    async def _tick(self) -> None:
        why_not = self._why_not()
        await self._ticker.tick(may_enter=not why_not, why_not=why_not)

    async def _tick_on_hint(self) -> None:
        await self._tick_hint.wait()
        self._tick_hint.clear()
        await self._tick()

    async def _accounts_on_hint(self) -> None:
        await _wait(self._accounts_hint, 5)
        await self._account_work.provision()
        for account_id in await self._key_work.work():
            self._recovery.take_up(account_id)
        await self._take_up_exchanges()
        for account_id in await self._account_work.unfreeze():
            self._recovery.take_up(account_id)
        opened = await self._account_work.open_active(self._taken_up)
        self._account_work.consume(self._submitter, self._rounds)
        for account_id in opened:
            await self._rounds.run(account_id, trigger="opened")

    async def _take_up_exchanges(self) -> str:
        """Know time, rules and prices of an exchange before an account on it trades; returns what is in the way, or "".

        Paper is taken up always, as its market is shown to everybody. One that is away is tried again at the next call
        and holds up its own accounts alone, so something is in the way only if none can be reached that has accounts.
        """
        wanted = await self._account_work.kinds_in_use()
        problems: dict[str, str] = {}
        for kind in sorted({*wanted, AccountKind.PAPER.value} - self._taken_up):
            try:
                await self._take_up(kind)
                self._taken_up.add(kind)
            except TRANSIENT as error:
                log.warning("an exchange cannot be taken up yet", exchange=kind, error=str(error))
                problems[kind] = f"the exchange cannot be reached: {error}"
        self._taken_up &= {*wanted, AccountKind.PAPER.value}
        self._exchanges.use(self._taken_up)
        needed = wanted or {AccountKind.PAPER.value}
        return "" if needed & self._taken_up else next(problems[kind] for kind in sorted(needed))

    async def _take_up(self, kind: str) -> None:
        await self._exchanges.of(kind).keeper.sync()
        await self._market_work[kind].refresh_rules()
        await self._market_work[kind].refresh_prices()
        if kind == AccountKind.PAPER.value:
            await self._paper_markets.refresh()

    async def _each_market(self, work: Callable[[MarketWork], Awaitable[None]]) -> None:
        await self._exchanges.each(lambda exchange: work(self._market_work[exchange.kind.value]))

    async def _rules_on_hint(self) -> None:
        """An exchange refused an order for a filter: ours are old. Read again, but not for each of many refusals."""
        await self._rules_hint.wait()
        self._rules_hint.clear()
        await self._each_market(MarketWork.refresh_rules)
        await asyncio.sleep(RULES_APART_S)

    async def _paper_market_on_hint(self) -> None:
        await _wait(self._market_hint, 2)
        await self._paper_markets.apply_requests()

    async def _snapshot(self) -> None:
        async with self._sessions.begin() as session:
            await take_snapshots(session, now=to_datetime(self._clock.now_ms()))

    async def _retain(self) -> None:
        """Drop what nobody needs for ever: last week's decisions that did nothing, and passes that found nothing."""
        old_ms = self._clock.exchange_now_ms() - KEEP_QUIET_MS
        async with self._sessions.begin() as session:
            quiet = (col(Decision.action) == "none", col(Decision.open_time_ms) < old_ms)
            await session.execute(delete(Decision).where(*quiet))
            of_pass = col(ReconciliationPass.finished_at) < to_datetime(old_ms)
            nothing = (col(ReconciliationPass.repaired) == 0, col(ReconciliationPass.error) == "")
            await session.execute(delete(ReconciliationPass).where(of_pass, *nothing))


async def _wait(hint: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await hint.wait()
    except TimeoutError:
        pass
    hint.clear()


__all__ = ["Worker", "run"]
