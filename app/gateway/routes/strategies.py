"""Strategies and their live runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.clock import to_datetime
from app.domain.errors import Unavailable
from app.gateway.deps import Idempotent, Json, Services, SignedIn
from app.gateway.idempotency import Answer
from app.gateway.wire import Body, Id, Limit, PathId, to_json
from app.models.strategy import StopMode
from app.services.execution import service_health
from app.services.identity.audit import audited
from app.services.strategy.library import (
    StrategyView,
    archive_strategy,
    create_strategy,
    get_strategy,
    list_strategies,
    save_version,
)
from app.services.strategy.runs import decision, list_runs, run_detail, start_run, stop_run

router = APIRouter(prefix="/api/v1", tags=["strategies"])


class StrategyBody(Body):
    """A new strategy. An empty name means the document's own."""

    name: Annotated[str, Field(max_length=200)] = ""
    document: dict[str, Any]


class VersionBody(Body):
    """A new version of a strategy."""

    document: dict[str, Any]


class StartBody(Body):
    """Where to run which version (the newest by default)."""

    account_id: Id
    version_number: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    symbol: Annotated[str | None, Field(max_length=20)] = None
    confirm_no_stop: bool = False
    confirm_live: bool = False


class StopBody(Body):
    """What becomes of the position: its stop stays on the exchange, or it is sold at market."""

    mode: Literal["keep_protected", "close", "take_over", "take_over_and_cancel"]
    reason: Annotated[str, Field(max_length=300)] = ""


@router.get("/strategies")
async def strategies(caller: SignedIn, services: Services) -> Json:
    """Your strategies, newest first, each with its newest version."""
    async with services.sessions.begin() as session:
        return {"strategies": to_json(await list_strategies(session, user_id=caller.user_id))}


@router.post("/strategies", status_code=201)
async def create(body: StrategyBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Store a strategy. What is wrong with its document comes as `problems`, each with its path."""

    async def work(session: AsyncSession) -> Answer:
        made = await create_strategy(session, user_id=caller.user_id, name=body.name, document=body.document)
        what = f"strategy:{made.id}"
        await audited(session, caller, "strategy.created", object=what, clock=services.clock, name=made.name)
        return Answer(201, to_json(made))

    return await once.run(caller, body, work)


@router.get("/strategies/{strategy_id}")
async def strategy(strategy_id: PathId, caller: SignedIn, services: Services) -> Json:
    """One strategy with all its versions, each with its reading in English."""
    async with services.sessions.begin() as session:
        found = await get_strategy(session, user_id=caller.user_id, strategy_id=strategy_id)
    return {"strategy": to_json(found)}


@router.post("/strategies/{strategy_id}/versions", status_code=201)
async def save(
    strategy_id: PathId, body: VersionBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Add a version. A document that the strategy has already adds none."""

    async def work(session: AsyncSession) -> Answer:
        saved: StrategyView = await save_version(
            session, user_id=caller.user_id, strategy_id=strategy_id, document=body.document
        )
        await audited(session, caller, "strategy.saved", object=f"strategy:{strategy_id}", clock=services.clock)
        return Answer(201, to_json(saved))

    return await once.run(caller, body, work)


@router.delete("/strategies/{strategy_id}")
async def archive(strategy_id: PathId, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Take a strategy out of the list. Its runs and versions stay."""

    async def work(session: AsyncSession) -> Answer:
        await archive_strategy(session, user_id=caller.user_id, strategy_id=strategy_id, clock=services.clock)
        await audited(session, caller, "strategy.archived", object=f"strategy:{strategy_id}", clock=services.clock)
        return Answer(200, {"archived": strategy_id})

    return await once.run(caller, None, work)


@router.post("/strategies/{strategy_id}/start", status_code=201)
async def start(
    strategy_id: PathId, body: StartBody, caller: SignedIn, once: Idempotent, services: Services
) -> Response:
    """Ask for a live run; the worker warms it up and trades it from the next candle on."""

    async def work(session: AsyncSession) -> Answer:
        health = await service_health(session, now=to_datetime(services.clock.now_ms()))
        if not health.ok:
            raise Unavailable(f"Nothing can be started now: {health.reason or health.state.lower()}.")
        run = await start_run(
            session, user_id=caller.user_id, strategy_id=strategy_id, clock=services.clock, **dict(body)
        )
        await audited(session, caller, "run.started", object=f"run:{run.id}", clock=services.clock)
        return Answer(201, to_json(run))

    return await once.run(caller, body, work)


@router.get("/runs")
async def runs(caller: SignedIn, services: Services, active_only: bool = False, limit: Limit = 50) -> Json:
    """Your runs, newest first."""
    async with services.sessions.begin() as session:
        found = await list_runs(session, user_id=caller.user_id, active_only=active_only, limit=limit)
    return {"runs": to_json(found)}


@router.get("/runs/{run_id}")
async def run(run_id: PathId, caller: SignedIn, services: Services) -> Json:
    """One run with its version, its plan (entry, protection, exit) and its newest decisions."""
    async with services.sessions.begin() as session:
        found: Json = to_json(await run_detail(session, user_id=caller.user_id, run_id=run_id))
    return found


@router.get("/runs/{run_id}/decisions/{open_time_ms}")
async def why(run_id: PathId, open_time_ms: PathId, caller: SignedIn, services: Services) -> Json:
    """What the run decided at the candle that opened then, and why (or why not)."""
    async with services.sessions.begin() as session:
        found = await decision(session, user_id=caller.user_id, run_id=run_id, open_time_ms=open_time_ms)
    return {"decision": to_json(found)}


@router.post("/runs/{run_id}/stop")
async def stop(run_id: PathId, body: StopBody, caller: SignedIn, once: Idempotent, services: Services) -> Response:
    """Ask a run to stop. `mode` says what becomes of its position."""

    async def work(session: AsyncSession) -> Answer:
        stopped = await stop_run(
            session,
            user_id=caller.user_id,
            run_id=run_id,
            mode=StopMode(body.mode),
            reason=body.reason,
            clock=services.clock,
        )
        await audited(session, caller, "run.stopped", object=f"run:{run_id}", clock=services.clock, mode=body.mode)
        return Answer(200, to_json(stopped))

    return await once.run(caller, body, work)
