"""The worker's ticker: a job never overlaps itself, one that hangs holds up nobody, and no zone's clock is asked."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from app.jobs.guard import JobBoard
from app.jobs.schedule import Job, schedule

NOW = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)


class Board(JobBoard):
    """Keeps no rows: what a job does is what matters here."""

    def __init__(self) -> None:
        super().__init__(None, lambda: 0)  # type: ignore[arg-type]  # nothing is recorded
        self.errors: dict[str, str] = {}

    async def _record(self, name: str, started_ms: int, duration_ms: int, error: str) -> None:
        self.errors[name] = error


async def run_until(enough: Callable[[], bool], *jobs: Job) -> Board:
    board = Board()
    ticker = schedule(board, jobs, now=datetime.now(UTC))
    ticker.start()
    async with asyncio.timeout(30):
        while not enough() or len(board.errors) < len(jobs):  # noqa: ASYNC110 — what jobs do, they do not tell
            await asyncio.sleep(0.02)
    ticker.shutdown(wait=False)
    return board


def counted(times: list[tuple[float, float]], lasts_s: float) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        begun = time.monotonic()
        await asyncio.sleep(lasts_s)
        times.append((begun, time.monotonic()))

    return work


async def test_a_run_that_takes_longer_than_its_interval_is_followed_at_once_and_never_overlapped() -> None:
    """F46: what came due meanwhile is one run."""
    times: list[tuple[float, float]] = []
    await run_until(lambda: len(times) >= 3, Job("slow", counted(times, 0.3), 0.1, 5))

    assert all(begun >= ended for (_, ended), (begun, _) in itertools.pairwise(times))


async def test_a_job_that_hangs_is_ended_at_its_deadline_and_holds_up_no_other() -> None:
    """F47."""
    times: list[tuple[float, float]] = []

    async def hangs() -> None:
        await asyncio.Event().wait()

    board = await run_until(
        lambda: len(times) >= 4, Job("hangs", hangs, 0.1, 0.3), Job("quick", counted(times, 0), 0.1, 5)
    )

    assert board.errors == {"hangs": "TimeoutError", "quick": ""}


@pytest.fixture(params=["Europe/Berlin", "America/New_York", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "night", [NOW, datetime(2026, 10, 24, 22, 30, tzinfo=UTC), datetime(2028, 2, 28, 23, tzinfo=UTC)]
)
async def test_no_change_of_the_hosts_clock_and_no_leap_day_leaves_a_gap_or_a_repetition(
    zone: str, night: datetime
) -> None:
    """F48: the nights in which clocks go forward and back, and a 29th of February."""
    ticker = schedule(Board(), [Job("each half hour", counted([], 0), 1_800, 5)], now=night)
    ticker.start(paused=True)
    job = ticker.get_job("each half hour")
    times, at = [], job.next_run_time
    while len(times) < 100:
        times.append(at.astimezone(UTC))
        at = job.trigger.get_next_fire_time(at, at)
    ticker.shutdown(wait=False)

    assert times == [night + timedelta(minutes=30 * n) for n in range(1, 101)]
