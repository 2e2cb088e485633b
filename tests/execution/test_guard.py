"""What a loop of the worker survives, and what must end it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from app.domain.errors import Unavailable
from app.domain.orders import EventSource
from app.jobs.guard import JobBoard, forever
from app.models.execution import WorkerLease
from app.services.execution import job_runs
from app.services.execution.intents import request_cancel
from app.services.execution.lease import LeaseLost
from tests.execution.conftest import START_MS, D, Sessions, World, postgres_world
from tests.execution.test_store_contract import place, submit


async def test_a_worker_that_was_replaced_ends_at_its_first_refused_write(
    migrator_sessions: Sessions, worker_sessions: Sessions
) -> None:
    """F41, F42: the old epoch's writes fail, and the old worker stops."""
    world: World = await postgres_world(migrator_sessions, worker_sessions, {"USDT": D(1000)})
    order = await submit(world, await place(world))
    async with migrator_sessions.begin() as session:
        await session.execute(update(WorkerLease).values(epoch=2))

    async def write() -> None:
        async with world.store.transaction() as tx:
            await request_cancel(tx, order.id, source=EventSource.PLAN, clock=world.clock)

    with pytest.raises(LeaseLost):
        await forever("writer", write)


async def test_a_loop_goes_on_after_a_transient_failure() -> None:
    rounds: list[int] = []

    async def once() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise Unavailable("not there")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await forever("rounds", once)
    assert rounds == [0, 1]


async def test_a_job_has_a_deadline_and_leaves_its_result(worker_sessions: Sessions) -> None:
    """F47."""
    board = JobBoard(worker_sessions, lambda: START_MS)
    await board.job("endless", asyncio.Event().wait, deadline_s=0.05)()
    async with worker_sessions.begin() as session:
        found = await job_runs(session)

    assert [(job.name, job.runs, job.failures) for job in found] == [("endless", 1, 1)]
    assert found[0].error
