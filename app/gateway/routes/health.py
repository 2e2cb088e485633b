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
from app.services.execution import service_health

router = APIRouter(tags=["health"])

#: Who asks whether we are well does not wait long for the answer.
PATIENCE_S = 3.0


@router.get("/health")
async def health(request: Request, caller: Everybody) -> JSONResponse:
    """200 when the execution service is HEALTHY, else 503 with its state and the reason."""
    try:
        services = services_of(request)
        async with asyncio.timeout(PATIENCE_S), services.sessions.begin() as session:
            found = await service_health(session, now=to_datetime(services.clock.now_ms()))
    except (OperationalError, InterfaceError, PoolTimeout):
        return _down("DATABASE_DOWN", "The database cannot be reached.")
    except TimeoutError:
        return _down("DATABASE_DOWN", "The database does not answer.")
    except Unavailable as error:
        return _down("STARTING", error.message)
    body: dict[str, Any] = {"status": "ok" if found.ok else "unavailable", **to_json(found)}
    body["reason"] = sentence(found.reason) if found.reason else ""
    return JSONResponse(body, status_code=200 if found.ok else 503)


def _down(state: str, reason: str) -> JSONResponse:
    return JSONResponse({"status": "unavailable", "ok": False, "state": state, "reason": reason}, status_code=503)
