"""Exchange time is this machine's time and the offset that was measured."""

from __future__ import annotations

from app.domain.clock import CorrectedClock, to_datetime, to_ms
from app.services.runtime import SystemClock


def test_a_corrected_clock_tells_exchange_time_by_another_process_measurement() -> None:
    inner = SystemClock()
    clock = CorrectedClock(inner, 7_000)

    assert abs(clock.now_ms() - inner.now_ms()) < 1_000
    assert 6_000 < clock.exchange_now_ms() - inner.now_ms() < 8_000


def test_times_survive_the_way_to_a_datetime_and_back() -> None:
    assert to_ms(to_datetime(1_700_000_000_123)) == 1_700_000_000_123
