"""A live run on PostgreSQL with an exchange in memory: decide, enter, protect, leave; each candle once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlmodel import col

from app.domain.clock import to_datetime
from app.domain.orders import EventSource, OrderStatus, OrderType, Side
from app.jobs.strategy_tick import StrategyTicker, stop_runs_after_recovery
from app.models.auth import User
from app.models.execution import OrderRow, PaperMarket, Plan, WorkerLease
from app.models.strategy import Decision, Run, StopMode
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import refuse
from app.services.exchange.protocol import KlineEvent
from app.services.execution import plans
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.submit import REFUSALS_THAT_PAUSE, SubmitSettings, Submitter
from app.services.market.candles import store_candles
from app.services.market.prices import store_prices
from app.services.strategy.library import create_strategy
from app.services.strategy.runs import start_run, stop_run
from tests.execution.conftest import RULES, START_MS, Sessions, World, postgres_world

D = Decimal
STRATEGY: dict[str, Any] = {
    "schema": 1,
    "name": "Above and below",
    "market": {"symbols": ["BTCUSDT"], "timeframe": "1s"},
    "series": {"mean": {"fn": "sma", "src": "close", "len": 3}},
    "entry": {"all": [{"op": "crosses_above", "left": "close", "right": "mean"}]},
    "exit": {"any": [{"op": "crosses_below", "left": "close", "right": "mean"}]},
    "sizing": {"mode": "fixed_quote", "quote": "100"},
    "protect": {"stop": {"pct": "2"}},
}


@dataclass
class Bench:
    """A world, its exchange, and one run of `STRATEGY`."""

    world: World
    exchange: FakeExchange
    submitter: Submitter
    ticker: StrategyTicker
    sessions: Sessions
    run_id: int
    user_id: int
    next_ms: int = START_MS

    @property
    def store(self) -> PostgresStore:
        assert isinstance(self.world.store, PostgresStore)
        return self.world.store

    async def candles(self, *closes: float, ticks: bool = True) -> None:
        """Candles close one after another; the market stands at the last close."""
        for close in closes:
            candle = KlineEvent("BTCUSDT", "1s", self.next_ms, close, close, close, close, 1.0, closed=True)
            async with self.sessions.begin() as session:
                await store_candles(session, venue="paper:1", symbol="BTCUSDT", timeframe="1s", rows=[candle])
                await store_prices(
                    session, kind="PAPER", prices={"BTCUSDT": D(str(close))}, now=to_datetime(self.next_ms + 1000)
                )
            self.next_ms += 1000
            self.world.clock.ms = self.next_ms
            self.exchange.set_price("BTCUSDT", D(str(close)))
            if ticks:
                await self.ticker.tick(may_enter=True)

    async def settle(self) -> None:
        """Send what was decided and advance plans until nothing moves."""
        for _ in range(8):
            async with self.store.transaction() as tx:
                cancels = await tx.with_status(OrderStatus.CANCELING)
                open_plans = await tx.plans_open()
            for order in cancels:
                await self.submitter.cancel(order)
            while (claimed := await self.submitter.claim(may_send=True)) is not None:
                if claimed.status is OrderStatus.SUBMITTED:
                    await self.submitter.send(claimed)
            for plan in open_plans:
                async with self.store.transaction() as tx:
                    await plans.advance(tx, plan.id, clock=self.world.clock, ids=self.world.ids)

    async def rows(self, model: Any) -> list[Any]:
        async with self.sessions.begin() as session:
            return list((await session.execute(select(model))).scalars())

    async def decisions(self) -> list[tuple[str, str]]:
        rows = sorted(await self.rows(Decision), key=lambda d: d.open_time_ms)
        return [(d.action, d.reason) for d in rows]


@pytest.fixture
async def bench(migrator_sessions: Sessions, worker_sessions: Sessions) -> Bench:
    world = await postgres_world(migrator_sessions, worker_sessions, {"USDT": D(1000)})
    async with migrator_sessions.begin() as session:
        user_id = (await session.execute(select(col(User.id)))).scalar_one()
        market = {"symbol": "BTCUSDT", "venue": "paper:1", "status": {}, "seen_at": to_datetime(START_MS)}
        await session.execute(insert(PaperMarket).values(market))
        await session.execute(update(WorkerLease).values(state="HEALTHY"))
        strategy = await create_strategy(session, user_id=user_id, name="Above and below", document=STRATEGY)
        run = await start_run(
            session, user_id=user_id, strategy_id=strategy.id, account_id=world.account_id, clock=world.clock
        )
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1000)})
    submitter = Submitter(world.store, {world.account_id: exchange}, world.clock, SubmitSettings())
    assert isinstance(world.store, PostgresStore)
    ticker = StrategyTicker(world.store, world.clock, world.ids)
    return Bench(world, exchange, submitter, ticker, worker_sessions, run.id, user_id)


async def test_a_run_warms_up_on_history_and_never_trades_on_it(bench: Bench) -> None:
    await bench.candles(100, 99, 98, 105, ticks=False)
    await bench.ticker.tick(may_enter=True)
    runs = await bench.rows(Run)

    assert runs[0].state == "RUNNING"
    assert runs[0].last_decided_ms is not None
    assert await bench.rows(OrderRow) == []


async def test_a_run_waits_for_fresh_candles_before_it_starts(bench: Bench) -> None:
    await bench.candles(100, 99, ticks=False)
    bench.world.clock.ms += 60_000
    await bench.ticker.tick(may_enter=True)

    assert [r.state for r in await bench.rows(Run)] == ["STARTING"]


async def test_an_entry_is_bought_once_and_its_stop_rests_on_the_exchange(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    await bench.ticker.tick(may_enter=True)
    await bench.settle()
    orders = sorted(await bench.rows(OrderRow), key=lambda o: o.id)

    assert [(o.side, o.type, o.status) for o in orders] == [("BUY", "MARKET", "FILLED"), ("SELL", "STOP_LOSS", "OPEN")]
    assert orders[1].stop_price == D(98)
    assert [p.state for p in await bench.rows(Plan)] == ["PROTECTED"]
    assert (await bench.decisions())[-1][0] == "enter"


async def test_the_exit_rule_cancels_the_stop_then_sells_everything(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    await bench.settle()
    await bench.candles(101, 99.5)
    await bench.settle()
    orders = sorted(await bench.rows(OrderRow), key=lambda o: o.id)
    plan = (await bench.rows(Plan))[0]

    assert [(o.side, o.type, o.status) for o in orders][1:] == [
        ("SELL", "STOP_LOSS", "CANCELED"),
        ("SELL", "MARKET", "FILLED"),
    ]
    assert (plan.state, plan.exit_reason) == ("CLOSED", "rule")
    assert (await bench.decisions())[-1][0] == "exit"


async def test_a_stop_that_triggers_closes_the_plan(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    await bench.settle()
    bench.exchange.set_price("BTCUSDT", D(97))
    async with bench.store.transaction() as tx:
        stop = next(o for o in await tx.in_flight() if o.side is Side.SELL)
    await bench.submitter.ask(stop)
    await bench.settle()

    assert [(p.state, p.exit_reason) for p in await bench.rows(Plan)] == [("CLOSED", "stop")]


async def test_stopping_can_keep_the_position_protected(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    await bench.settle()
    async with bench.sessions.begin() as session:
        await stop_run(
            session,
            user_id=bench.user_id,
            run_id=bench.run_id,
            mode=StopMode.KEEP_PROTECTED,
            reason="enough",
            clock=bench.world.clock,
        )
    await bench.candles(90)
    await bench.settle()

    assert [r.state for r in await bench.rows(Run)] == ["STOPPED"]
    assert next(o.status for o in await bench.rows(OrderRow) if o.type == "STOP_LOSS") in ("OPEN", "FILLED")


async def test_stopping_can_close_the_position_first(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    await bench.settle()
    async with bench.sessions.begin() as session:
        await stop_run(
            session,
            user_id=bench.user_id,
            run_id=bench.run_id,
            mode=StopMode.CLOSE,
            reason="enough",
            clock=bench.world.clock,
        )
    await bench.ticker.tick(may_enter=True)
    await bench.settle()
    await bench.ticker.tick(may_enter=True)

    assert [(p.state, p.exit_reason) for p in await bench.rows(Plan)] == [("CLOSED", "stopped")]
    assert [r.state for r in await bench.rows(Run)] == ["STOPPED"]


async def test_recovery_stops_every_run_and_leaves_its_protection(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    await bench.settle()
    stopped = await stop_runs_after_recovery(bench.store, now_ms=bench.next_ms, reason="restarted")
    await bench.candles(90)
    await bench.settle()

    assert stopped == [bench.run_id]
    assert [r.state for r in await bench.rows(Run)] == ["STOPPED"]
    assert len(await bench.rows(OrderRow)) == 2


async def test_a_changed_paper_market_stops_the_run(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    async with bench.sessions.begin() as session:
        await session.execute(update(PaperMarket).values(venue="paper:2"))
    await bench.ticker.tick(may_enter=True)
    await bench.ticker.tick(may_enter=True)
    run = (await bench.rows(Run))[0]

    assert run.state == "STOPPED"
    assert "paper market" in run.stop_reason


async def test_an_entry_forbidden_by_the_service_is_recorded_with_its_reason(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    candle = KlineEvent("BTCUSDT", "1s", bench.next_ms, 97, 97, 97, 97, 1.0, closed=True)
    later = KlineEvent("BTCUSDT", "1s", bench.next_ms + 1000, 100, 100, 100, 100, 1.0, closed=True)
    async with bench.sessions.begin() as session:
        await store_candles(session, venue="paper:1", symbol="BTCUSDT", timeframe="1s", rows=[candle, later])
    bench.world.clock.ms = bench.next_ms + 2000
    await bench.ticker.tick(may_enter=False, why_not="the clock is off")

    assert (await bench.decisions())[-1] == ("refused", "the clock is off")
    assert await bench.rows(OrderRow) == []


async def test_a_candle_seen_too_late_is_not_acted_on(bench: Bench) -> None:
    await bench.candles(100, 99, 98, 97)
    bench.world.clock.ms += 60_000
    late = KlineEvent("BTCUSDT", "1s", bench.next_ms, 100, 100, 100, 100, 1.0, closed=True)
    async with bench.sessions.begin() as session:
        await store_candles(session, venue="paper:1", symbol="BTCUSDT", timeframe="1s", rows=[late])
    await bench.ticker.tick(may_enter=True)

    assert (await bench.decisions())[-1] == ("refused", "seen too late to act on")


async def test_a_run_whose_entries_are_refused_five_times_in_a_row_is_stopped_with_the_reason(bench: Bench) -> None:
    await bench.candles(100, 99, 98)
    await bench.candles(97, 100)
    owner = Owner(EventSource.STRATEGY, run_id=bench.run_id)
    draft = OrderDraft(bench.world.account_id, "BTCUSDT", Side.BUY, OrderType.MARKET, quote_quantity=D(50))
    for n in range(REFUSALS_THAT_PAUSE - 1):
        async with bench.store.transaction() as tx:
            await commit_intent(
                tx, draft, intent_key=f"more {n}", owner=owner, clock=bench.world.clock, ids=bench.world.ids
            )
    refused = refuse(-2010, "Account has insufficient balance for requested action.")
    bench.exchange.fail_next("place", *[refused] * REFUSALS_THAT_PAUSE)
    await bench.settle()
    await bench.ticker.tick(may_enter=True)
    [run] = await bench.rows(Run)

    assert {o.status for o in await bench.rows(OrderRow)} == {"REJECTED"}
    assert (run.state, run.stop_mode) == ("STOPPED", "keep_protected")
    assert "refused 5 entries in a row" in run.stop_reason
