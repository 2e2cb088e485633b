"""The worker's ticker: intervals in UTC only, so that no change of any clock's zone leaves a gap or a repetition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.jobs.guard import JobBoard

#: Jobs at least this often begin at once; rarer ones after their first interval.
AT_ONCE_S = 60


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is done every so many seconds, and ended when it takes longer than `deadline_s`."""

    name: str
    work: Callable[[], Awaitable[object]]
    every_s: float
    deadline_s: float


def schedule(board: JobBoard, jobs: Sequence[Job], *, now: datetime) -> AsyncIOScheduler:
    """A scheduler, not started. A job never overlaps itself; runs that came due meanwhile are one run, at once."""
    ticker = AsyncIOScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
    )
    for job in jobs:
        ticker.add_job(
            board.job(job.name, job.work, deadline_s=job.deadline_s),
            "interval",
            seconds=job.every_s,
            id=job.name,
            next_run_time=now if job.every_s <= AT_ONCE_S else now + timedelta(seconds=job.every_s),
            timezone="UTC",
        )
    return ticker
