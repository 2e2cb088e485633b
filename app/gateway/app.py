"""The gateway as one FastAPI application, mounted into the web process beside the pages."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.gateway import errors
from app.gateway.deps import Everybody, Json, SignedIn
from app.gateway.envelope import Envelope
from app.gateway.limits import Limits
from app.gateway.routes import ROUTERS
from app.services.container import AppServices, get_services

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]


def create_api(services: Callable[[], AppServices] = get_services, *, limits: Limits | None = None) -> FastAPI:
    """The API. Makes nothing at creation: `services` is asked on each call (its own lifespan would not run)."""
    api = FastAPI(
        title="Plumbline",
        version="1",
        description="See docs/api.md.",
        openapi_url=None,
        docs_url=None,  # would load its scripts from a foreign server
        redoc_url=None,
    )
    api.state.get_services = services
    api.state.limits = limits or Limits()
    api.add_middleware(Envelope, limits=api.state.limits)
    errors.install(api)
    for router in ROUTERS:
        api.include_router(router)

    @api.get("/openapi.json", include_in_schema=False)
    async def schema(caller: SignedIn) -> Json:
        return api.openapi()

    @api.api_route("/api/{rest:path}", methods=_METHODS, include_in_schema=False)
    async def unknown(request: Request, caller: Everybody) -> None:
        """Without this the pages' own 404 would answer, in HTML."""
        raise _no_such_route(api, request.url.path)

    return api


def _no_such_route(api: FastAPI, path: str) -> HTTPException:
    allowed: set[str] = set()
    for route in iter_route_contexts(api.routes):
        if route.path and route.path.startswith("/api/v1/") and compile_path(route.path)[0].fullmatch(path):
            allowed |= route.methods or set()
    if not allowed:
        return HTTPException(404, f"There is nothing at {path[:100]}")
    names = ", ".join(sorted(allowed))
    return HTTPException(405, f"Only {names} can be used here", headers={"Allow": names})
