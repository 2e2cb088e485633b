"""The strategy tick: for every active run, decide on each candle that has closed since its last decision.

Driven by candle closes and, as a net, by a timer; both call `StrategyTicker.tick`, which decides on what the
rows say. A decision row per candle makes a repeated tick harmless: one intent per run, candle and side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import Kind, tell_browsers
from app.domain.clock import Clock, Ids, to_datetime
from app.domain.money import plain
from app.jobs.entries import enter
from app.jobs.guard import FAULTS, TRANSIENT, end_if_fenced
from app.jobs.plan_trail import trail_plans, trailing_plans
from app.logs import get_logger
from app.models.execution import Account, AccountKind, OrderRow, PaperMarket, Plan, PlanState
from app.models.strategy import Decision, Run, RunState, StopMode, StrategyVersion
from app.services.execution.plans import take_over_plan
from app.services.execution.protection import Reason
from app.services.execution.store import PlanRecord
from app.services.execution.store_postgres import PostgresStore, PostgresTransaction
from app.services.market.candles import read_candles
from app.services.market.venues import VENUES
from app.services.risk.checks import STALE_PRICE_MS
from app.services.strategy import (
    CandleColumns,
    Evaluation,
    Strategy,
    entry_refusal,
    evaluate,
    settled_candles,
    timeframe_ms,
    validate,
)

log = get_logger(__name__)

#: A run's window is cut back to `KEEP` candles once it has grown to `MOST`; the new anchor is stored with the run.
MOST_CANDLES, KEEP_CANDLES = 20_000, 10_000
#: A plan that trails asks for no more candles of history than this.
MOST_TRAILED = 1_000
#: An entry is not made on a candle that closed longer ago than one candle and this.
LATE_GRACE_MS = 3_000
#: Evaluations of more candles than this go to a thread, so that the loop stays free.
INLINE_CANDLES = 2_000


class StrategyTicker:
    """Evaluates active runs. One per worker; `tick` calls do not overlap."""

    def __init__(self, store: PostgresStore, clock: Clock, ids: Ids, *, stale_price_ms: int = STALE_PRICE_MS) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._stale_price_ms = stale_price_ms
        self._lock = asyncio.Lock()
        self._strategies: dict[int, Strategy] = {}

    async def tick(self, *, may_enter: bool, why_not: str = "") -> None:
        """Bring every active run up to the newest closed candle. `why_not` is shown where entries are forbidden."""
        async with self._lock:
            async with self._store.sessions.begin() as session:
                active = [s.value for s in (RunState.STARTING, RunState.RUNNING, RunState.STOPPING)]
                found = await session.execute(select(Run).where(col(Run.state).in_(active)).order_by(col(Run.id)))
                runs = list(found.scalars())
            for run in runs:
                try:
                    await self._tick_run(run, may_enter=may_enter, why_not=why_not)
                except TRANSIENT as error:
                    end_if_fenced(error)
                    log.warning("run could not be ticked", run_id=run.id, error=str(error))
                except FAULTS as fault:
                    await self._give_up(run, fault)
            await trail_plans(self._store, _venue_of, self._clock)

    async def _give_up(self, run: Run, fault: Exception) -> None:
        """A fault in one run stops that run, keeps its protection, and calls a person."""
        log.error("run stopped for a fault", run_id=run.id, error=repr(fault))
        reason = "it could not be evaluated; its position stays protected"
        async with self._store.transaction() as tx:
            await tx.add_incident("RUN_FAULT", f"run {run.id} was stopped: {fault!r}", account_id=run.account_id)
            await _set(tx.session, run, state=RunState.STOPPING, stop_mode=StopMode.KEEP_PROTECTED, reason=reason)

    async def wanted_candles(self, kind: str) -> list[tuple[str, str, int]]:
        """(symbol, timeframe, candles of history) that active runs and trailing plans on accounts of this kind need."""
        async with self._store.sessions.begin() as session:
            active = [s.value for s in (RunState.STARTING, RunState.RUNNING)]
            of_kind = select(Run).join(Account, col(Account.id) == col(Run.account_id)).where(col(Account.kind) == kind)
            runs = list((await session.execute(of_kind.where(col(Run.state).in_(active)))).scalars())
            wanted = [(r, settled_candles(await self._strategy(session, r.version_id))) for r in runs]
            trailing = trailing_plans().join(Account, col(Account.id) == col(Run.account_id))
            for plan, run in (await session.execute(trailing.where(col(Account.kind) == kind))).all():
                since_ms = self._clock.exchange_now_ms() - (plan.trailed_ms or 0)
                wanted.append((run, min(since_ms // timeframe_ms(run.timeframe) + 1, MOST_TRAILED)))
            return [(run.symbol, run.timeframe, candles) for run, candles in wanted]

    async def _strategy(self, session: AsyncSession, version_id: int) -> Strategy:
        if version_id not in self._strategies:
            version = await session.get(StrategyVersion, version_id)
            strategy = validate(version.document if version else None).strategy
            if strategy is None:
                raise LookupError(f"strategy version {version_id} is stored but not valid")
            self._strategies[version_id] = strategy
        return self._strategies[version_id]

    async def _tick_run(self, run: Run, *, may_enter: bool, why_not: str) -> None:
        if run.state == RunState.STOPPING.value:
            await self._stop(run)
            return
        async with self._store.sessions.begin() as session:
            strategy = await self._strategy(session, run.version_id)
            venue = await _venue_of(session, run)
            if run.state == RunState.RUNNING.value and venue != run.venue:
                reason = "the paper market was changed; the run's candles have ended"
                await _set(session, run, state=RunState.STOPPING, stop_mode=StopMode.KEEP_PROTECTED, reason=reason)
                return
            candles = await _candles(session, run, venue, strategy)
        if len(candles) == 0:
            return
        if run.state == RunState.STARTING.value:
            if not self._is_late(int(candles.close_time_ms[-1]), run.timeframe):
                await self._start(run, venue, candles)
            return  # else the newest candles are still being fetched
        new = [i for i, t in enumerate(candles.open_time_ms) if t > (run.last_decided_ms or 0)]
        if not new:
            return
        inline = len(candles) <= INLINE_CANDLES
        evaluation = evaluate(strategy, candles) if inline else await asyncio.to_thread(evaluate, strategy, candles)
        for index in new:
            await self._decide(run, strategy, evaluation, index, may_enter=may_enter, why_not=why_not)
        if len(candles) > MOST_CANDLES:
            async with self._store.sessions.begin() as session:
                anchor = int(candles.open_time_ms[-KEEP_CANDLES])
                await session.execute(update(Run).where(col(Run.id) == run.id).values(warmup_from_ms=anchor))

    async def _start(self, run: Run, venue: str, candles: CandleColumns) -> None:
        """Warmed up: from the next closed candle on, the run decides. History is never traded on."""
        async with self._store.sessions.begin() as session:
            values = {
                "state": RunState.RUNNING.value,
                "venue": venue,
                "warmup_from_ms": int(candles.open_time_ms[0]),
                "last_decided_ms": int(candles.open_time_ms[-1]),
                "started_at": to_datetime(self._clock.now_ms()),
            }
            still = (col(Run.id) == run.id, col(Run.state) == RunState.STARTING.value)
            await session.execute(update(Run).where(*still).values(values))
            await _tell(session, run, "run")
        log.info("run started", run_id=run.id, venue=venue, candles=len(candles))

    async def _stop(self, run: Run) -> None:
        """Finish a stop: at once when the position stays protected, else when the plan has sold it."""
        async with self._store.transaction() as tx:
            fresh = select(Run).where(col(Run.id) == run.id).with_for_update(key_share=True)
            run = (await tx.session.execute(fresh.execution_options(populate_existing=True))).scalar_one()
            plans = [p for p in await tx.plans_open(run.account_id) if p.run_id == run.id]
            for open_plan in plans:
                plan = await tx.plan(open_plan.id)
                if plan is not None and plan.state != PlanState.CLOSED.value:
                    await self._stop_plan(tx, plan, run.stop_mode or "")
            if run.stop_mode == StopMode.CLOSE.value and plans:
                return
            values = {"state": RunState.STOPPED.value, "stopped_at": to_datetime(self._clock.now_ms())}
            await tx.session.execute(update(Run).where(col(Run.id) == run.id).values(values))
            await _tell(tx.session, run, "run")

    async def _stop_plan(self, tx: PostgresTransaction, plan: PlanRecord, mode: str) -> None:
        """A stopped run makes no entry, so one that still rests is given up; the rest is as its owner chose."""
        match mode:
            case StopMode.TAKE_OVER.value | StopMode.TAKE_OVER_AND_CANCEL.value:
                cancels = mode == StopMode.TAKE_OVER_AND_CANCEL.value
                await take_over_plan(tx, plan.id, cancels=cancels, clock=self._clock)
                return
            case StopMode.CLOSE.value:
                after = replace(plan, exit_reason=plan.exit_reason or Reason.STOPPED.value)
            case _:
                after = replace(plan, entry_until_ms=0)
        if after != plan:
            await tx.save_plan(after)
            await tx.wake("plans")

    def _is_late(self, close_time_ms: int, timeframe: str) -> bool:
        """Whether a candle that closed then is too old to act on: the next one should have closed by now."""
        return self._clock.exchange_now_ms() > close_time_ms + timeframe_ms(timeframe) + LATE_GRACE_MS

    # --- one candle ------------------------------------------------------------------------------------

    async def _decide(
        self, run: Run, strategy: Strategy, evaluation: Evaluation, index: int, *, may_enter: bool, why_not: str
    ) -> None:
        candles = evaluation.candles
        entry, leave = int(evaluation.entry[index]), int(evaluation.exit[index])
        open_time_ms = int(candles.open_time_ms[index])
        close_time_ms = open_time_ms + timeframe_ms(strategy.timeframe)
        late = self._is_late(close_time_ms, strategy.timeframe)
        async with self._store.transaction() as tx:
            session = tx.session
            if not await _still_running(session, run):
                return  # stopped since the tick began
            decision: dict[str, Any] = {
                "run_id": run.id,
                "open_time_ms": open_time_ms,
                "entry": entry,
                "exit": leave,
                "close": plain(_decimal(candles.close[index])),
                "trace": evaluation.trace(index),
                "action": "none",
                "reason": "",
            }
            fresh = upsert(Decision).values(decision).on_conflict_do_nothing().returning(col(Decision.run_id))
            if (await session.execute(fresh)).first() is None:
                return
            plan = next((p for p in await tx.plans_open(run.account_id) if p.run_id == run.id), None)
            outcome: dict[str, Any] = {}
            if plan is not None and leave == 1:
                outcome = await self._leave(tx, plan)
            elif plan is None and entry == 1:
                refusal = "seen too late to act on" if late else "" if may_enter else why_not
                refusal = refusal or await _own_brakes(session, run, strategy, open_time_ms, close_time_ms) or ""
                if refusal:
                    outcome = {"action": "refused", "reason": refusal}
                else:
                    outcome = await enter(
                        tx,
                        run,
                        evaluation,
                        index,
                        clock=self._clock,
                        ids=self._ids,
                        stale_price_ms=self._stale_price_ms,
                    )
            else:
                outcome = {"reason": _quiet(entry, leave, has_plan=plan is not None)}
            key = (col(Decision.run_id) == run.id, col(Decision.open_time_ms) == open_time_ms)
            await session.execute(update(Decision).where(*key).values(outcome))
            await session.execute(update(Run).where(col(Run.id) == run.id).values(last_decided_ms=open_time_ms))
            await _tell(session, run, "decision")

    async def _leave(self, tx: PostgresTransaction, open_plan: PlanRecord) -> dict[str, Any]:
        plan = await tx.plan(open_plan.id)
        leaving = (PlanState.EXITING.value, PlanState.CLOSED.value)
        if plan is None or plan.exit_reason or plan.state in leaving:
            return {"reason": "the exit rule is true; the position is already on its way out"}
        await tx.save_plan(replace(plan, exit_reason=Reason.RULE.value))
        await tx.wake("plans")
        return {"action": "exit", "reason": "the exit rule is true: the position is sold at market"}


def _decimal(value: Any) -> Decimal:
    return Decimal(repr(float(value)))


def _quiet(entry: int, leave: int, *, has_plan: bool) -> str:
    if has_plan:
        return "a position is open" + ("; the entry rule is true again" if entry == 1 else "")
    if entry == -1:
        return "the entry rule is unknown: too little history yet, or a value is missing"
    return "the exit rule is true, but no position is open" if leave == 1 else "the entry rule is not true"


async def _own_brakes(
    session: AsyncSession, run: Run, strategy: Strategy, open_time_ms: int, close_time_ms: int
) -> str | None:
    """Cooldown and entries a day, from the run's own plans."""
    day = to_datetime(close_time_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    filled = select(col(OrderRow.plan_id)).where(col(OrderRow.run_id) == run.id, col(OrderRow.filled) > 0)
    mine = (col(Plan.run_id) == run.id, col(Plan.id).in_(filled))
    today = await session.execute(select(func.count()).where(*mine, col(Plan.opened_at) >= day))
    last = (await session.execute(select(func.max(col(Plan.closed_at))).where(*mine))).scalar_one_or_none()
    length_ms = timeframe_ms(strategy.timeframe)
    since = (
        None if last is None else (open_time_ms - int(last.timestamp() * 1000) // length_ms * length_ms) // length_ms
    )
    return entry_refusal(strategy.limits, open_positions=0, entries_today=today.scalar_one(), bars_since_exit=since)


async def _still_running(session: AsyncSession, run: Run) -> bool:
    """Whether the run is still RUNNING, held so until the commit: a stop waits for this decision, or wins.

    Orders that refer to the run may be written meanwhile (`key_share`): their plan is being advanced.
    """
    state = select(col(Run.state)).where(col(Run.id) == run.id).with_for_update(key_share=True)
    return (await session.execute(state)).scalar_one() == RunState.RUNNING.value


async def _venue_of(session: AsyncSession, run: Run) -> str:
    """The venue whose candles an account's runs decide on: its own exchange's, and no other."""
    account = await session.get_one(Account, run.account_id)
    if account.kind != AccountKind.PAPER.value:
        return VENUES[account.kind]
    market = await session.get(PaperMarket, run.symbol)
    return market.venue if market else ""


async def _candles(session: AsyncSession, run: Run, venue: str, strategy: Strategy) -> CandleColumns:
    if run.state == RunState.RUNNING.value and run.warmup_from_ms is not None:
        return await read_candles(
            session, venue=venue, symbol=run.symbol, timeframe=run.timeframe, start_ms=run.warmup_from_ms
        )
    wanted = settled_candles(strategy)
    return await read_candles(
        session, venue=venue, symbol=run.symbol, timeframe=run.timeframe, limit=wanted, newest=True
    )


async def _set(session: AsyncSession, run: Run, *, state: RunState, stop_mode: StopMode, reason: str) -> None:
    values = {"state": state.value, "stop_mode": stop_mode.value, "stop_reason": reason}
    await session.execute(update(Run).where(col(Run.id) == run.id).values(values))
    await _tell(session, run, "run")


async def _tell(session: AsyncSession, run: Run, kind: Kind) -> None:
    await tell_browsers(session, kind, run.id, user_id=run.user_id)


async def stop_runs_after_recovery(store: PostgresStore, *, now_ms: int, reason: str) -> Sequence[int]:
    """Every active run becomes STOPPED (its position keeps its protection); returns the runs' ids."""
    async with store.sessions.begin() as session:
        values = {
            "state": RunState.STOPPED.value,
            "stop_mode": StopMode.KEEP_PROTECTED.value,
            "stop_reason": reason,
            "stopped_at": to_datetime(now_ms),
        }
        # A run that is STOPPING goes on closing its position, as was asked.
        active = col(Run.state).in_([RunState.STARTING.value, RunState.RUNNING.value])
        stopped = await session.execute(update(Run).where(active).values(values).returning(Run))
        runs = list(stopped.scalars())
        # Nobody makes an entry any more; one that still rests is given up by its plan.
        mine = (col(Plan.run_id).in_([run.id for run in runs]), col(Plan.state) != PlanState.CLOSED.value)
        await session.execute(update(Plan).where(*mine).values(entry_until_ms=0))
        for run in runs:
            await _tell(session, run, "run")
        return [run.id or 0 for run in runs]
