"""The shared request weight, and what the exchange's clock allows."""

from __future__ import annotations

import pytest

from app.services.exchange.clock import ClockVerdict, OffsetSample, measure_offset, verdict
from app.services.exchange.fake import FakeExchange
from app.services.exchange.protocol import AskingFailed
from app.services.exchange.weight import Purpose, WeightBudget

MINUTE_MS = 60_000
START_MS = 1_795_000_020_000 - 1_795_000_020_000 % MINUTE_MS


class HandClock:
    def __init__(self, ms: int = START_MS, offset_ms: int = 0) -> None:
        self.ms, self.offset_ms = ms, offset_ms

    def now_ms(self) -> int:
        return self.ms

    def exchange_now_ms(self) -> int:
        return self.ms + self.offset_ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def budget(clock: HandClock) -> WeightBudget:
    return WeightBudget(clock=clock, limit_per_minute=100)


def test_looking_stops_before_trading_and_trading_before_cancelling(budget: WeightBudget) -> None:
    budget.observe(79)
    assert budget.wait_s(1, Purpose.LIST) == 0
    assert budget.wait_s(1, Purpose.LIST) > 0
    assert budget.wait_s(5, Purpose.QUERY) == 0
    assert budget.wait_s(1, Purpose.QUERY) > 0
    assert budget.wait_s(5, Purpose.PLACE) == 0
    assert budget.wait_s(1, Purpose.PLACE) > 0
    assert budget.wait_s(10, Purpose.CANCEL) == 0
    assert budget.wait_s(1, Purpose.CANCEL) > 0
    assert budget.used == 100


def test_a_new_minute_of_the_exchange_is_a_new_budget(budget: WeightBudget, clock: HandClock) -> None:
    clock.ms += 20_000
    budget.observe(100)
    assert budget.wait_s(1, Purpose.LIST) == 40.0
    clock.ms += 40_000
    assert budget.wait_s(1, Purpose.LIST) == 0
    assert budget.used == 1


def test_the_count_follows_the_exchange_upwards_only(budget: WeightBudget) -> None:
    budget.observe(50)
    budget.observe(20)
    assert budget.used == 50


@pytest.mark.parametrize(
    ("status", "retry_after_s", "wait_s"), [(429, 7.0, 7.0), (429, None, 60.0), (418, None, 120.0), (418, 300.0, 300.0)]
)
def test_after_a_refusal_for_load_even_cancels_wait(
    budget: WeightBudget, clock: HandClock, status: int, retry_after_s: float | None, wait_s: float
) -> None:
    budget.pause(status, retry_after_s)
    assert budget.wait_s(1, Purpose.CANCEL) == wait_s
    clock.ms += round(wait_s * 1000)
    assert budget.wait_s(1, Purpose.CANCEL) == 0


def test_a_shorter_pause_does_not_end_a_longer_one(budget: WeightBudget) -> None:
    budget.pause(418, 300.0)
    budget.pause(429, 1.0)
    assert budget.wait_s(1, Purpose.CANCEL) == 300.0


class SlowExchange(FakeExchange):
    """Answers after a while, with a clock that is off."""

    def __init__(self, clock: HandClock, *, takes_ms: int, off_ms: int) -> None:
        super().__init__(clock, [], balances={})
        self.clock, self.takes_ms, self.off_ms = clock, takes_ms, off_ms

    async def server_time_ms(self) -> int:
        self.clock.ms += self.takes_ms // 2
        answer = self.clock.ms + self.off_ms
        self.clock.ms += self.takes_ms - self.takes_ms // 2
        return answer


@pytest.mark.parametrize("off_ms", [0, 7, -3_000, 60_000])
async def test_the_offset_is_taken_at_the_middle_of_the_round_trip(clock: HandClock, off_ms: int) -> None:
    exchange = SlowExchange(clock, takes_ms=400, off_ms=off_ms)
    assert await measure_offset(exchange, clock.now_ms) == OffsetSample(off_ms, 400)


async def test_a_slow_answer_is_no_measurement(clock: HandClock) -> None:
    assert (await measure_offset(SlowExchange(clock, takes_ms=2_000, off_ms=0), clock.now_ms)).round_trip_ms == 2_000
    with pytest.raises(AskingFailed):
        await measure_offset(SlowExchange(clock, takes_ms=2_001, off_ms=0), clock.now_ms)
    with pytest.raises(AskingFailed):
        await measure_offset(SlowExchange(clock, takes_ms=-50, off_ms=0), clock.now_ms)


@pytest.mark.parametrize(
    ("offset_ms", "expected"),
    [(0, "FINE"), (1_000, "FINE"), (-1_000, "FINE"), (1_001, "WARN"), (-5_000, "WARN"), (5_001, "BLOCK"),
     (-5_001, "BLOCK"), (None, "BLOCK")],
)  # fmt: skip
def test_what_an_offset_allows(offset_ms: int | None, expected: str) -> None:
    assert verdict(offset_ms) is ClockVerdict(expected)
