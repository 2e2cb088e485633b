"""The paper exchange's clock is put back: one order is refused for its time, the next is signed by a new offset."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from app.domain.orders import OrderStatus, Side
from app.jobs.clock_keeper import ClockKeeper
from app.services.exchange.clock import OffsetSample, measure_offset
from app.services.runtime import SystemClock
from tests.exchange.test_stream_gaps_paper import desk_at

D = Decimal


async def test_an_order_refused_for_the_time_brings_a_new_offset(tmp_path: Path) -> None:
    """F13 over the wire."""
    clock, told = SystemClock(0), list[OffsetSample]()

    async def tell(sample: OffsetSample) -> None:
        told.append(sample)

    async with desk_at(tmp_path, clock, None, symbols=("BTCUSDT",)) as desk:
        keeper = ClockKeeper(
            clock, lambda: measure_offset(desk.market, clock.now_ms), tell, refusals_every_s=0.0, doubts_every_s=0.0
        )
        desk.submitter.clock_refused = lambda _: keeper.was_refused()
        await keeper.sync()
        assert keeper.why_not() == ""

        await desk.fault("clock_skew", skew_ms=-3_000)
        refused = await desk.order("a", Side.BUY, None)
        assert (refused.status, refused.reject_code) == (OrderStatus.REJECTED, "-1021")
        assert "refused a request for its time" in keeper.why_not()

        await keeper.sync_on_doubt()
        assert keeper.why_not() == ""
        assert abs(told[-1].offset_ms + 3_000) < 1_000
        bought = await desk.order("b", Side.BUY, None)
        assert (bought.status, bought.filled) == (OrderStatus.FILLED, D("0.1"))
        assert len((await desk.paper.books(desk.exchange_account))["orders"]) == 1

        await desk.fault("clock_skew", skew_ms=-6_000)  # and three more: beyond what is allowed
        await keeper.sync()
        assert "more than 5 s" in keeper.why_not()
        assert keeper.may_exit()
