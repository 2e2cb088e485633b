"""Trailing: the stop of every open plan follows the candles that have closed, whether its run still trades or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.clock import Clock
from app.jobs.guard import FAULTS, TRANSIENT, end_if_fenced
from app.logs import get_logger
from app.models.execution import Plan, PlanState
from app.models.strategy import Run
from app.services.execution.protection import Candle, trailed
from app.services.execution.store_postgres import PostgresStore
from app.services.market.candles import read_candles
from app.services.strategy import CandleColumns

log = get_logger(__name__)

#: States in which a stop may be moved: the position is held and not on its way out.
_HELD = (PlanState.PROTECTING.value, PlanState.PROTECTED.value)
#: One look goes through at most so many candles of a plan; the next look goes on.
MOST_CANDLES = 5_000

VenueOf = Callable[[AsyncSession, Run], Awaitable[str]]


def trailing_plans() -> Select[Plan, Run]:
    """Open plans that trail and whose entry has ended, with their runs, in whatever state those are."""
    return (
        select(Plan, Run)
        .join(Run, col(Run.id) == col(Plan.run_id))
        .where(
            col(Plan.state).in_(_HELD),
            col(Plan.entry_price).is_not(None),
            col(Plan.protect).op("?")("trail"),
        )
        .order_by(col(Plan.id))
        .execution_options(populate_existing=True)
    )


async def trail_plans(store: PostgresStore, venue_of: VenueOf, clock: Clock) -> None:
    """Raise the stops of all trailing plans by the candles closed since they were last looked at, each once.

    Only the plan's row is written here; moving the orders is the plan's own business, so that a crash in between
    leaves a plan that knows its new stop and finds the old one resting.
    """
    async with store.sessions.begin() as session:
        found = (await session.execute(trailing_plans())).all()
    for row, run in found:
        try:
            candles = await _candles(store, row, run, venue_of)
            if len(candles):
                await _trail(store, row.id or 0, _seen(candles), clock)
        except (*TRANSIENT, *FAULTS) as error:  # one plan takes nothing from the others; the next look tries again
            end_if_fenced(error)
            log.error("a plan could not be trailed", plan_id=row.id, error=repr(error))


async def _candles(store: PostgresStore, row: Plan, run: Run, venue_of: VenueOf) -> CandleColumns:
    async with store.sessions.begin() as session:
        return await read_candles(
            session,
            venue=await venue_of(session, run),
            symbol=row.symbol,
            timeframe=run.timeframe,
            start_ms=None if row.trailed_ms is None else row.trailed_ms + 1,
            limit=MOST_CANDLES,
        )


async def _trail(store: PostgresStore, plan_id: int, candles: list[Candle], clock: Clock) -> None:
    async with store.transaction() as tx:
        plan = await tx.plan(plan_id)
        if plan is None or plan.state not in _HELD:
            return
        facts = await tx.trading_facts(plan.account_id, plan.symbol, plan.run_id, now_ms=clock.now_ms())
        if facts is None or facts.rules is None:
            return
        after = trailed(plan, candles, facts.rules)
        if after != plan:
            await tx.save_plan(after)
        if after.stop_price != plan.stop_price:
            await tx.wake("plans")


def _seen(candles: CandleColumns) -> list[Candle]:
    times: list[Any] = candles.open_time_ms.tolist()
    return [
        Candle(int(time), _decimal(high), _decimal(close))
        for time, high, close in zip(times, candles.high, candles.close, strict=True)
    ]


def _decimal(value: Any) -> Decimal:
    return Decimal(repr(float(value)))
