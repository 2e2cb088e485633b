"""A live run's protection in full, on PostgreSQL with an exchange in memory: ladder, trail, time stop, limit entry."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlmodel import col

from app.domain.clock import to_datetime
from app.domain.orders import EventSource, OrderStatus, Side
from app.jobs.strategy_tick import StrategyTicker, stop_runs_after_recovery
from app.models.auth import User
from app.models.execution import OrderRow, PaperMarket, Plan, WorkerLease
from app.models.strategy import Run, RunState, StopMode
from app.services.exchange.fake import FakeExchange
from app.services.exchange.protocol import OrderUpdate, UserEvent
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.strategy.library import create_strategy
from app.services.strategy.runs import start_run, stop_run
from tests.execution.conftest import RULES, START_MS, Sessions, postgres_world
from tests.execution.test_strategy_tick import STRATEGY, Bench

D = Decimal
LADDER = {
    "stop": {"pct": "2"},
    "take_profit": [{"at": {"r": "1"}, "close_pct": 50}],
    "trail": {"pct": "1"},
    "trail_after_r": "0.5",
    "time_stop_bars": 20,
}
RISE = (100, 99, 98, 97, 100)  # the last one crosses the mean


class Live(Bench):
    """A bench that hears its exchange's stream."""

    told: list[UserEvent]

    async def hear(self) -> None:
        """Book what happened, then let plans and orders come to rest."""
        for _ in range(3):
            while self.told:
                event = self.told.pop(0)
                if isinstance(event, OrderUpdate):
                    await self.submitter.apply(self.world.account_id, event.report, EventSource.EXCHANGE)
            await self.settle()

    async def go(self, *closes: float) -> None:
        """One candle after another, with all that follows from each."""
        for close in closes:
            await self.candles(close)
            await self.hear()

    async def orders(self) -> list[tuple[str, str, str, Decimal]]:
        """Role, type, status and price of every order."""
        rows = sorted(await self.rows(OrderRow), key=lambda o: o.id)
        return [(o.role, o.type, o.status, o.price or o.stop_price or D(0)) for o in rows]

    async def working(self) -> list[tuple[str, Decimal, Decimal]]:
        """Role, quantity and price of every sale that works."""
        rows = sorted(await self.rows(OrderRow), key=lambda o: o.id)
        left = (o for o in rows if o.status in ("OPEN", "PARTIALLY_FILLED") and o.side == Side.SELL.value)
        return [(o.role, o.quantity, o.price or o.stop_price) for o in left]

    async def plan(self) -> Plan:
        found: list[Plan] = await self.rows(Plan)
        return found[0]


async def a_live(owner: Sessions, worker: Sessions, **parts: Any) -> Live:
    """A run of the usual strategy with other parts, just started."""
    world = await postgres_world(owner, worker, {"USDT": D(1000)})
    async with owner.begin() as session:
        user_id = (await session.execute(select(col(User.id)))).scalar_one()
        market = {"symbol": "BTCUSDT", "venue": "paper:1", "status": {}, "seen_at": to_datetime(START_MS)}
        await session.execute(insert(PaperMarket).values(market))
        await session.execute(update(WorkerLease).values(state="HEALTHY"))
        document = STRATEGY | parts
        strategy = await create_strategy(session, user_id=user_id, name="Live", document=document)
        run = await start_run(
            session, user_id=user_id, strategy_id=strategy.id, account_id=world.account_id, clock=world.clock,
            confirm_no_stop=True,
        )  # fmt: skip
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1000)})
    submitter = Submitter(world.store, {world.account_id: exchange}, world.clock, SubmitSettings())
    assert isinstance(world.store, PostgresStore)
    ticker = StrategyTicker(world.store, world.clock, world.ids)
    live = Live(world, exchange, submitter, ticker, worker, run.id, user_id)
    live.told = []
    exchange.observe(live.told.append)
    return live


@pytest.fixture
async def live(migrator_sessions: Sessions, worker_sessions: Sessions) -> Live:
    return await a_live(migrator_sessions, worker_sessions, protect=LADDER)


async def test_a_strategy_with_targets_a_trail_and_a_time_stop_is_protected_whole(live: Live) -> None:
    await live.go(*RISE)

    assert await live.working() == [
        ("stop", D("0.4995"), D(98)),
        ("target", D("0.4995"), D(102)),
        ("stop", D("0.4995"), D(98)),
    ]
    assert (await live.plan()).time_stop_ms == START_MS + 25_000


async def test_the_stop_follows_the_candles_and_the_target_is_sold_on_the_way(live: Live) -> None:
    await live.go(*RISE, 101)
    assert {price for role, _, price in await live.working() if role == "stop"} == {D(100)}
    await live.go(102.5)
    assert await live.working() == [("stop", D("0.4995"), D("101.5"))]
    live.exchange.set_price("BTCUSDT", D("101.4"))
    await live.hear()
    plan = await live.plan()

    assert (plan.state, plan.exit_reason) == ("CLOSED", "trail")


async def test_a_trail_and_a_time_stop_go_on_when_the_run_has_stopped(live: Live) -> None:
    await live.go(*RISE)
    await stop_runs_after_recovery(live.store, now_ms=live.next_ms, reason="restarted")
    await live.go(101.5)
    assert [run.state for run in await live.rows(Run)] == [RunState.STOPPED.value]
    assert {price for role, _, price in await live.working() if role == "stop"} == {D("100.5")}
    await live.go(*[101] * 20)

    assert ((await live.plan()).state, (await live.plan()).exit_reason) == ("CLOSED", "time")


async def test_candles_of_a_trailing_plan_are_asked_for_although_its_run_has_stopped(live: Live) -> None:
    await live.go(*RISE)
    await stop_runs_after_recovery(live.store, now_ms=live.next_ms, reason="restarted")
    live.world.clock.ms += 5_000

    assert await live.ticker.wanted_candles("PAPER") == [("BTCUSDT", "1s", 7)]


async def test_candles_that_came_late_are_trailed_on_all_the_same(live: Live) -> None:
    await live.go(*RISE)
    await live.candles(101.5, 101, ticks=False)
    await live.ticker.tick(may_enter=True)
    await live.hear()

    assert {price for role, _, price in await live.working() if role == "stop"} == {D("100.5")}


async def test_an_exit_rule_takes_every_part_away(live: Live) -> None:
    await live.go(*RISE, 98.4)
    plan = await live.plan()

    assert (plan.state, plan.exit_reason) == ("CLOSED", "rule")
    assert await live.working() == []


async def test_a_person_takes_a_stopped_runs_position_over(live: Live) -> None:
    await live.go(*RISE)
    async with live.sessions.begin() as session:
        await stop_run(
            session,
            user_id=live.user_id,
            run_id=live.run_id,
            mode=StopMode.TAKE_OVER_AND_CANCEL,
            clock=live.world.clock,
        )
    await live.ticker.tick(may_enter=True)
    await live.hear()
    plan = await live.plan()

    assert (plan.state, plan.exit_reason) == ("CLOSED", "taken_over")
    assert await live.working() == []
    assert [run.state for run in await live.rows(Run)] == ["STOPPED"]
    assert [o for o in await live.orders() if o[0] == "exit"] == []


async def test_an_entry_whose_parts_the_exchange_would_refuse_is_not_sent(
    migrator_sessions: Sessions, worker_sessions: Sessions
) -> None:
    tiny = {"mode": "fixed_quote", "quote": "5.05"}
    live = await a_live(migrator_sessions, worker_sessions, protect=LADDER, sizing=tiny)
    await live.go(*RISE)

    action, reason = (await live.decisions())[-1]
    assert (action, "its protection would be refused" in reason) == ("refused", True)
    assert "below the least allowed 5" in reason
    assert await live.rows(OrderRow) == []


# --- limit entries -------------------------------------------------------------------------------------------

LIMIT = {"type": "limit", "limit_offset_pct": "1", "expire_bars": 2}


async def test_a_limit_entry_rests_below_the_close_and_is_protected_once_it_is_met(
    migrator_sessions: Sessions, worker_sessions: Sessions
) -> None:
    live = await a_live(migrator_sessions, worker_sessions, protect=LADDER, order=LIMIT)
    await live.go(*RISE)
    assert await live.orders() == [("entry", "LIMIT", "OPEN", D(99))]
    live.exchange.set_price("BTCUSDT", D("98.9"))
    await live.hear()

    assert {(role, price) for role, _, price in await live.working()} == {("stop", D("97.02")), ("target", D("100.98"))}
    assert (await live.plan()).entry_price == D(99)


async def test_a_limit_entry_that_is_not_met_in_its_time_is_given_up(
    migrator_sessions: Sessions, worker_sessions: Sessions
) -> None:
    live = await a_live(migrator_sessions, worker_sessions, protect=LADDER, order=LIMIT)
    await live.go(*RISE, 100.5)
    assert await live.orders() == [("entry", "LIMIT", "OPEN", D(99))]
    await live.go(101)

    assert await live.orders() == [("entry", "LIMIT", "CANCELED", D(99))]
    assert ((await live.plan()).state, (await live.plan()).exit_reason) == ("CLOSED", "the entry was canceled")


@pytest.mark.parametrize("how", ["recovery", "stopped"])
async def test_a_stopped_run_leaves_no_entry_resting(
    migrator_sessions: Sessions, worker_sessions: Sessions, how: str
) -> None:
    live = await a_live(migrator_sessions, worker_sessions, order={"type": "limit", "limit_offset_pct": "1"})
    await live.go(*RISE)
    if how == "recovery":
        await stop_runs_after_recovery(live.store, now_ms=live.next_ms, reason="restarted")
    else:
        async with live.sessions.begin() as session:
            await stop_run(
                session, user_id=live.user_id, run_id=live.run_id, mode=StopMode.KEEP_PROTECTED, clock=live.world.clock
            )
        await live.ticker.tick(may_enter=True)
    await live.hear()

    assert await live.orders() == [("entry", "LIMIT", OrderStatus.CANCELED.value, D(99))]
