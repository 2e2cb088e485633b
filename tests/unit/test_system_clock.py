"""Exchange time does not follow when somebody sets this machine's clock."""

from __future__ import annotations

import pytest

from app.services.runtime import SystemClock

HOUR_MS = 3_600_000


class Machine:
    """A machine whose wall clock can be set, and that can sleep."""

    def __init__(self) -> None:
        self.wall, self.steady, self.running = 1_700_000_000_000, 5_000, 3_000

    def clock(self) -> SystemClock:
        return SystemClock(wall_ms=lambda: self.wall, steady_ms=lambda: self.steady, running_ms=lambda: self.running)

    def pass_time(self, ms: int) -> None:
        self.sleep(ms)
        self.running += ms

    def sleep(self, ms: int) -> None:
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


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, 501, -501])
def test_a_clock_that_was_set_has_jumped_until_the_offset_is_measured_again(jump_ms: int) -> None:
    """F14. A virtual machine that was stopped shows it in the same way, once its wall clock is put right."""
    machine = Machine()
    clock = machine.clock()
    clock.offset_ms = 0
    machine.pass_time(60_000)
    machine.wall += jump_ms
    assert clock.has_jumped
    clock.offset_ms = -jump_ms
    assert not clock.has_jumped


def test_a_machine_that_slept_has_jumped_and_exchange_time_has_gone_on() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.offset_ms = 0
    begun = clock.exchange_now_ms()
    machine.sleep(HOUR_MS)
    assert clock.has_jumped
    assert clock.exchange_now_ms() == begun + HOUR_MS


def test_an_hour_of_ordinary_drift_is_no_jump_and_before_a_measurement_nothing_is() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += HOUR_MS
    assert not clock.has_jumped
    clock.offset_ms = 0
    machine.pass_time(HOUR_MS)
    machine.wall += 180  # 50 ppm
    assert not clock.has_jumped


def test_on_this_machine_nothing_jumps_by_itself() -> None:
    clock = SystemClock(0)
    assert not clock.has_jumped
