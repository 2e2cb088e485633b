"""Whoever books a fill, advances a plan or decides on a candle waits for nobody who waits for him.

Found by `make chaos`.
"""

from __future__ import annotations

import asyncio

from app.domain.orders import OrderStatus
from app.jobs.strategy_tick import _still_running
from app.models.execution import OrderRow, Plan
from app.models.strategy import Run
from app.services.execution import plans
from tests.execution.test_strategy_tick import Bench, bench

__all__ = ["bench"]
RISE = (100, 99, 98, 97, 96, 100)


async def test_a_fill_is_booked_while_somebody_advances_the_plan(bench: Bench) -> None:
    await bench.candles(*RISE)
    async with bench.store.transaction() as advancing:
        [plan] = await advancing.plans_open()
        assert await advancing.plan(plan.id) is not None
        async with asyncio.timeout(5):
            claimed = await bench.submitter.claim(may_send=True)
            assert claimed is not None
            sent = await bench.submitter.send(claimed)
        assert (sent.plan_id, sent.status) == (plan.id, OrderStatus.FILLED)


async def test_a_plan_is_advanced_while_its_run_decides(bench: Bench) -> None:
    await bench.candles(*RISE)
    claimed = await bench.submitter.claim(may_send=True)
    assert claimed is not None
    await bench.submitter.send(claimed)
    [run] = await bench.rows(Run)
    [plan] = await bench.rows(Plan)
    async with bench.sessions.begin() as deciding:
        assert await _still_running(deciding, run)
        async with asyncio.timeout(5), bench.store.transaction() as tx:
            await plans.advance(tx, plan.id, clock=bench.world.clock, ids=bench.world.ids)

    assert [o.type for o in await bench.rows(OrderRow)] == ["MARKET", "STOP_LOSS"]
