"""The worker's process boundary: what may end a loop, what only delays it, and how a job is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.refusals import Refusal, refusal_of
from app.domain.clock import to_datetime
from app.domain.errors import InvariantViolated, PlumblineError
from app.logs import get_logger
from app.models.execution import JobRun
from app.services.exchange.protocol import AskingFailed
from app.services.execution.lease import LeaseLost

log = get_logger(__name__)

#: What the outside world may do to a loop at any time; the next round starts from the rows again.
TRANSIENT = (DBAPIError, PoolTimeout, AskingFailed, PlumblineError, OSError, TimeoutError)
#: What one item of a round may do besides without taking the others with it: a fault of ours, told and gone on.
FAULTS = (LookupError, ValueError, ArithmeticError, InvariantViolated)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


async def forever(name: str, once: Callable[[], Awaitable[None]]) -> None:
    """Call `once` again and again. A transient failure is logged and delays the next call; others end the worker."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            await once()
            pause_s = _FIRST_PAUSE_S
        except TRANSIENT as error:
            end_if_fenced(error)
            log.warning("a loop failed and goes on", loop=name, error=_words(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


class JobBoard:
    """Runs scheduled jobs under a deadline and keeps their last result in `execution.job_runs`."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], now_ms: Callable[[], int]) -> None:
        self._sessions = sessions
        self._now_ms = now_ms
        self.ended_monotonic_s: dict[str, float] = {}  # job → when it last came to an end, well or not

    def job(
        self, name: str, work: Callable[[], Awaitable[object]], *, deadline_s: float
    ) -> Callable[[], Awaitable[None]]:
        """A job for the scheduler: never raises for what is transient, never runs longer than `deadline_s`."""

        async def run() -> None:
            started_ms, started_s, error = self._now_ms(), time.monotonic(), ""
            try:
                async with asyncio.timeout(deadline_s):
                    await work()
            except TRANSIENT as failure:
                end_if_fenced(failure)
                error = _words(failure)
                log.warning("job failed", job=name, error=error)
            finally:
                self.ended_monotonic_s[name] = time.monotonic()
            await self._record(name, started_ms, round((time.monotonic() - started_s) * 1000), error)

        return run

    async def _record(self, name: str, started_ms: int, duration_ms: int, error: str) -> None:
        values = {
            "started_at": to_datetime(started_ms),
            "finished_at": to_datetime(started_ms + duration_ms),
            "duration_ms": duration_ms,
            "error": error,
        }
        statement = upsert(JobRun).values(name=name, runs=1, failures=int(bool(error)), **values)
        counted = {"runs": col(JobRun.runs) + 1, "failures": col(JobRun.failures) + int(bool(error))}
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=values | counted)
        try:
            async with self._sessions.begin() as session:
                await session.execute(statement)
        except (DBAPIError, PoolTimeout, OSError) as failure:
            log.warning("job result not recorded", job=name, error=_words(failure))


def end_if_fenced(error: BaseException) -> None:
    """A write refused for its epoch means that another worker has taken over: stop at once."""
    if isinstance(error, DBAPIError) and refusal_of(error) is Refusal.FENCED:
        raise LeaseLost("a write was refused: another worker has taken over") from error


def _words(error: BaseException) -> str:
    if isinstance(error, PlumblineError):
        return error.message
    if isinstance(error, DBAPIError):
        return str(error.orig).strip().splitlines()[0] if error.orig else "database error"
    return str(error).strip() or type(error).__name__
