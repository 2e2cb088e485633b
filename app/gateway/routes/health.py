"""Whether orders are accepted right now: for load balancers, monitors and the person who wonders."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.clock import to_datetime
from app.domain.errors import Unavailable
from app.gateway.deps import Everybody, services_of
from app.gateway.errors import sentence
from app.gateway.wire import to_json
from app.services.container import AppServices
from app.services.execution import ServiceHealth, service_health

router = APIRouter(tags=["health"])

#: Who asks whether we are well does not wait long for the answer.
PATIENCE_S = 3.0


@router.get("/health")
async def health(request: Request, caller: Everybody) -> JSONResponse:
    """200 when the execution service is HEALTHY, else 503 with its state and the reason."""
    try:
        asking = asyncio.create_task(_ask(services_of(request)))
        # Not `timeout`: that would wait until the driver has given its connection up, which takes another 10 s.
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_S)
        if not done:
            asking.cancel()
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody waits for it
            return _down("DATABASE_DOWN", "The database does not answer.")
        found = asking.result()
    except (OperationalError, InterfaceError, PoolTimeout):
        return _down("DATABASE_DOWN", "The database cannot be reached.")
    except Unavailable as error:
        return _down("STARTING", error.message)
    body: dict[str, Any] = {"status": "ok" if found.ok else "unavailable", **to_json(found)}
    body["reason"] = sentence(found.reason) if found.reason else ""
    if found.clock_offset_ms is not None:
        body["time_drift_seconds"] = found.clock_offset_ms / 1000
    return JSONResponse(body, status_code=200 if found.ok else 503)


async def _ask(services: AppServices) -> ServiceHealth:
    async with services.sessions.begin() as session:
        return await service_health(session, now=to_datetime(services.clock.now_ms()))


def _down(state: str, reason: str) -> JSONResponse:
    return JSONResponse({"status": "unavailable", "ok": False, "state": state, "reason": reason}, status_code=503)
