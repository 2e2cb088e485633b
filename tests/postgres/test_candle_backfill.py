"""Candles that a stream lost are fetched, also when later ones have come; what is whole is not fetched again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.jobs.market_work import BASE_HISTORY, SETTLED_MS, MarketWork, first_missing_ms
from app.models.execution import AccountKind
from app.services.exchange.fake import FakeExchange
from app.services.exchange.protocol import KlineEvent
from app.services.market.candles import read_candles, store_candles
from tests.conftest import Sessions
from tests.execution.conftest import START_MS, StillClock

VENUE, SYMBOL = "paper:1", "BTCUSDT"


class Exchange(FakeExchange):
    """Remembers what was asked: (start, end)."""

    def __init__(self, clock: StillClock) -> None:
        super().__init__(clock, [], balances={})
        self.asked: list[tuple[int, int]] = []

    async def closed_candles(self, symbol: str, timeframe: str, *, start_ms: int, end_ms: int) -> Sequence[KlineEvent]:
        self.asked.append((start_ms, end_ms))
        return await super().closed_candles(symbol, timeframe, start_ms=start_ms, end_ms=end_ms)


def candle(open_ms: int) -> KlineEvent:
    return KlineEvent(SYMBOL, "1s", open_ms, 1.0, 2.0, 0.5, 1.5, 3.0, closed=True)


class Desk:
    """A second a candle, at the exchange; what reaches our books is up to the test."""

    def __init__(self, sessions: Sessions) -> None:
        self.clock = StillClock(START_MS - START_MS % 1_000)
        self.exchange = Exchange(self.clock)
        self.sessions = sessions
        self.work = self.restarted()

    def restarted(self) -> MarketWork:
        async def nothing(kind: str) -> list[tuple[str, str, int]]:
            return []

        work = MarketWork(
            self.sessions,
            AccountKind.PAPER.value,
            self.exchange,
            self.clock,
            wanted_by_runs=nothing,
            on_close=lambda: None,
        )
        work.shown[SYMBOL] = VENUE
        return work

    def seconds_pass(self, count: int) -> list[int]:
        """Open times of the candles that closed meanwhile."""
        opened = [self.clock.ms + n * 1_000 for n in range(count)]
        for open_ms in opened:
            self.exchange.push_candle(candle(open_ms))
        self.clock.ms += count * 1_000
        return opened

    async def hear(self, opened: Sequence[int]) -> None:
        """The stream delivers these closes."""
        for open_ms in opened:
            async with self.sessions.begin() as session:
                await store_candles(session, venue=VENUE, symbol=SYMBOL, timeframe="1s", rows=[candle(open_ms)])

    async def stored(self) -> list[int]:
        async with self.sessions.begin() as session:
            found = await read_candles(session, venue=VENUE, symbol=SYMBOL, timeframe="1s")
        return [int(t) for t in found.open_time_ms]


@pytest.fixture
def desk(worker_sessions: Sessions) -> Desk:
    return Desk(worker_sessions)


async def test_a_close_that_later_ones_have_overtaken_is_fetched(desk: Desk) -> None:
    all_of_them = desk.seconds_pass(SETTLED_MS // 1_000 + 5)
    await desk.work.ingest()
    opened = desk.seconds_pass(6)
    await desk.hear(opened[:2] + opened[3:])
    await desk.work.ingest()
    assert await desk.stored() == all_of_them + opened
    assert desk.exchange.asked[1:] == [(opened[2], desk.clock.ms)]


async def test_a_hole_from_before_a_restart_is_found_as_well(desk: Desk) -> None:
    opened = desk.seconds_pass(40)
    await desk.work.ingest()
    more = desk.seconds_pass(10)
    await desk.hear(more[1:])
    await desk.restarted().ingest()
    assert await desk.stored() == opened + more


async def test_an_old_gap_of_the_exchanges_own_is_asked_for_once(desk: Desk) -> None:
    desk.seconds_pass(3)
    desk.clock.ms += 4_000  # it was halted: there are no candles
    desk.seconds_pass(SETTLED_MS // 1_000)
    await desk.work.ingest()
    for _ in range(3):
        await desk.hear(desk.seconds_pass(2))
        await desk.work.ingest()
    end_ms = desk.clock.ms - 6_000
    assert desk.exchange.asked == [(end_ms - BASE_HISTORY * 1_000, end_ms)]


async def test_a_close_that_the_exchange_shows_late_is_fetched_by_a_later_look(desk: Desk) -> None:
    desk.seconds_pass(3)
    await desk.work.ingest()
    missing = desk.clock.ms
    desk.clock.ms += 1_000  # closed, and not to be seen yet
    await desk.hear(desk.seconds_pass(2))
    await desk.work.ingest()
    desk.exchange.push_candle(candle(missing))
    await desk.work.ingest()
    assert await desk.stored() == list(range(missing - 3_000, desk.clock.ms, 1_000))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], 1_000),
        ([1_000, 2_000, 3_000], 4_000),
        ([1_000, 3_000, 4_000, 6_000], 2_000),
        ([2_000, 3_000], 1_000),
        ([1_500, 2_500], 3_500),  # weeks begin on Mondays, the epoch was a Thursday
    ],
)
def test_the_first_hole_is_where_asking_begins(times: list[int], expected: int) -> None:
    assert first_missing_ms(times, 1_000, 1_000) == expected
