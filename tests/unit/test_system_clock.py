"""Exchange time does not follow when somebody sets this machine's clock."""

from __future__ import annotations

from app.services.runtime import SystemClock

HOUR_MS = 3_600_000


class Machine:
    """A machine whose wall clock can be set."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_700_000_000_000, 5_000

    def clock(self) -> SystemClock:
        return SystemClock(wall_ms=lambda: self.wall, steady_ms=lambda: self.steady)

    def pass_time(self, ms: int) -> None:
        self.wall += ms
        self.steady += ms


def test_setting_this_machines_clock_does_not_move_exchange_time() -> None:
    """F14."""
    machine = Machine()
    clock = machine.clock()
    clock.offset_ms = 250
    begun = clock.exchange_now_ms()
    machine.wall += HOUR_MS
    machine.pass_time(1_000)

    assert clock.exchange_now_ms() == begun + 1_000
    assert clock.now_ms() == begun - 250 + HOUR_MS + 1_000


def test_the_next_measured_offset_brings_both_clocks_together_again() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.offset_ms = 0
    begun = clock.exchange_now_ms()
    machine.wall -= HOUR_MS
    clock.offset_ms = HOUR_MS

    assert clock.exchange_now_ms() == begun
    assert clock.offset_ms == HOUR_MS


def test_without_a_measured_offset_exchange_time_is_the_machines() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += HOUR_MS

    assert clock.exchange_now_ms() == clock.now_ms() == machine.wall
