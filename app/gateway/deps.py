"""What routes ask for: who is calling (and may he), the services, and an idempotent write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Request
from structlog.contextvars import bind_contextvars

from app.domain.errors import NotAllowed
from app.gateway.errors import CrossSite
from app.gateway.idempotency import Once
from app.gateway.limits import Limits
from app.services.container import AppServices
from app.services.identity import Caller, Role, Viewer
from app.services.identity.errors import NotSignedIn
from app.services.identity.tokens import viewer_of_token

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def services_of(request: Request) -> AppServices:
    """The services of this process. Raises Unavailable while it starts."""
    services: AppServices = request.app.state.get_services()
    return services


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route. Each route declares exactly one; no roles means everybody."""

    roles: frozenset[Role]

    async def __call__(self, request: Request) -> Caller:
        """The caller. Raises NotSignedIn or NotAllowed."""
        caller = Caller(ip=request.state.client_ip, request_id=request.state.request_id)
        if self.roles:
            caller = replace(caller, viewer=await _viewer(request))
            bind_contextvars(user_id=caller.user_id)
            limits: Limits = request.app.state.limits
            limits.by_user.take(str(caller.user_id))
            if caller.viewer is None or caller.viewer.role not in self.roles:
                raise NotAllowed("Only an admin may do this.")
        request.state.caller = caller
        return caller


async def _viewer(request: Request) -> Viewer:
    """Who the bearer token or, without one, the session cookie speaks for."""
    services = services_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise NotSignedIn("Sign in at /api/v1/auth/token and send the token as `Authorization: Bearer …`.")
        async with services.sessions.begin() as session:
            return await viewer_of_token(session, token.strip(), key=services.jwt_key, clock=services.clock)
    viewer = await services.viewer_of(request.headers.get("cookie", ""))
    if viewer is None:
        raise NotSignedIn("Please sign in.")
    if request.method not in _SAFE:
        check_same_origin(request)
    return viewer


def check_same_origin(request: Request) -> None:
    """Refuse a write from another site's page: browsers add the cookie to those too. Raises CrossSite.

    Browsers say where a request comes from and scripts cannot change it; who says nothing is refused.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = services_of(request).settings.public_url
    if (site is None or site == "same-origin") and (origin == ours or (origin is None and site is not None)):
        return
    raise CrossSite(f"This request did not come from {ours}.")


Everybody = Annotated[Caller, Depends(Access(frozenset()))]
SignedIn = Annotated[Caller, Depends(Access(frozenset(Role)))]
AdminOnly = Annotated[Caller, Depends(Access(frozenset({Role.ADMIN})))]

Services = Annotated[AppServices, Depends(services_of)]


async def _once(request: Request, services: Services) -> Once:
    return Once(request, services)


#: For every write but authentication.
Idempotent = Annotated[Once, Depends(_once)]

#: What routes return to be documented; the answers themselves are made by `wire`.
Json = dict[str, Any]
