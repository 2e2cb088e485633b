"""Signing in: tokens for programs, native forms (a cookie and a 303) for the browser.

A native form loads the page anew, and with it a websocket that carries the new cookie. What went wrong is
told by a code in the address, never by text from it: see `app.services.identity.words`.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from pydantic import Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.domain.clock import to_datetime
from app.domain.errors import Conflict, InvalidInput, PlumblineError, Unavailable
from app.gateway.deps import Everybody, Json, Services, check_same_origin
from app.gateway.wire import Body, to_json
from app.services.container import AppServices
from app.services.identity import Caller, Viewer, sessions, setup, throttle, tokens, users
from app.services.identity.audit import audited
from app.services.identity.errors import SignInFailed, TooManyAttempts

router = APIRouter(prefix="/api/v1/auth", tags=["authentication"])

_DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeout)
_COOKIE_S = int(sessions.ABSOLUTE.total_seconds())
_LINK_TOKEN = re.compile(r"[\w-]{20,100}")


class Credentials(Body):
    """E-mail and password of a person."""

    email: Annotated[str, Field(max_length=320)]
    password: Annotated[str, Field(max_length=1000)]


class RefreshBody(Body):
    """A refresh token, good for one use."""

    refresh_token: Annotated[str, Field(max_length=200)]


@router.post("/token")
async def token(body: Credentials, caller: Everybody, services: Services) -> Json:
    """Exchange e-mail and password for an access token (10 minutes) and a refresh token (once, 14 days)."""
    viewer = await _sign_in(services, caller, body.email, body.password)
    async with services.sessions.begin() as session:
        pair = await tokens.issue_tokens(session, viewer=viewer, key=services.jwt_key, clock=services.clock)
        await audited(session, _as(caller, viewer), "token.issued", clock=services.clock)
    return {"token_type": "Bearer", **to_json(pair)}


@router.post("/refresh")
async def refresh(body: RefreshBody, caller: Everybody, services: Services) -> Json:
    """Exchange a refresh token for a new pair. One that comes a second time ends all that came from it."""
    pair = await tokens.refresh_tokens(
        services.sessions, body.refresh_token, key=services.jwt_key, clock=services.clock
    )
    return {"token_type": "Bearer", **to_json(pair)}


@router.post("/login", status_code=303)
async def login(request: Request, caller: Everybody, services: Services) -> Response:
    """The form of the sign-in page: `email`, `password`, and `next`, a path of ours to go to."""
    check_same_origin(request)
    form = await _form(request)
    try:
        viewer = await _sign_in(services, caller, form.get("email", ""), form.get("password", ""))
        async with services.sessions.begin() as session:
            cookie = await _start_session(session, request, services, _as(caller, viewer))
    except (PlumblineError, *_DATABASE_ERRORS) as error:
        return _back_to("/login", error)
    return _with_cookie(_see(_own_path(form.get("next", ""))), services, cookie)


@router.post("/logout", status_code=303)
async def logout(request: Request, caller: Everybody, services: Services) -> Response:
    """End this browser's session and forget the cookie."""
    check_same_origin(request)
    header = request.headers.get("cookie", "")
    viewer = await services.viewer_of(header)
    async with services.sessions.begin() as session:
        cookie = sessions.cookie_value(header, services.cookie_name)
        await sessions.revoke_session(session, cookie, cache=services.session_cache, clock=services.clock)
        if viewer:
            await audited(session, _as(caller, viewer), "user.signed_out", clock=services.clock)
    return _with_cookie(_see("/login"), services, "", max_age_s=0)


@router.post("/setup", status_code=303)
async def use_link(request: Request, caller: Everybody, services: Services) -> Response:
    """The form behind a one-time link: `token`, `password`, `password_again`, and `email` for the first admin."""
    check_same_origin(request)
    form = await _form(request)
    link = form.get("token", "")
    try:
        async with services.sessions.begin() as session:
            bucket, now = throttle.ip_bucket("setup", caller.ip), to_datetime(services.clock.now_ms())
            await throttle.spend(session, bucket, now=now)
        if form.get("password_again", form.get("password")) != form.get("password"):
            raise InvalidInput("The two passwords differ.", field="password_again", reason="differ")
        async with services.sessions.begin() as session:
            viewer = await setup.consume(
                session,
                token=link,
                email=form.get("email", ""),
                password=form.get("password", ""),
                clock=services.clock,
            )
            await throttle.give_back(session, bucket)
            await audited(session, _as(caller, viewer), "link.used", clock=services.clock)
            cookie = await _start_session(session, request, services, _as(caller, viewer))
    except (PlumblineError, *_DATABASE_ERRORS) as error:
        return _back_to("/setup", error, token=link if _LINK_TOKEN.fullmatch(link) else "")
    services.session_cache.forget_user(viewer.user_id)
    return _with_cookie(_see("/"), services, cookie)


async def _sign_in(services: AppServices, caller: Caller, email: str, password: str) -> Viewer:
    try:
        return await users.authenticate(
            services.sessions, email=email, password=password, ip=caller.ip, clock=services.clock
        )
    except (SignInFailed, TooManyAttempts) as error:
        async with services.sessions.begin() as session:
            action = "sign_in.failed" if isinstance(error, SignInFailed) else "sign_in.throttled"
            await audited(session, caller, action, clock=services.clock, email=_storable(email))
        raise


async def _start_session(session: AsyncSession, request: Request, services: AppServices, caller: Caller) -> str:
    """A session with a fresh id, in place of the one this browser may have had."""
    old = sessions.cookie_value(request.headers.get("cookie", ""), services.cookie_name)
    await sessions.revoke_session(session, old, cache=services.session_cache, clock=services.clock)
    agent = _storable(request.headers.get("user-agent", ""))
    cookie = await sessions.create_session(
        session, user_id=caller.user_id, ip=caller.ip, user_agent=agent, clock=services.clock
    )
    await audited(session, caller, "user.signed_in", clock=services.clock)
    return cookie


async def _form(request: Request) -> dict[str, str]:
    async with request.form(max_files=0, max_fields=10, max_part_size=4096) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def _back_to(page: str, error: Exception, **more: str) -> Response:
    """The form again, with the code of what went wrong."""
    query = {name: value for name, value in more.items() if value}
    if isinstance(error, SignInFailed):
        query["error"] = "wrong"
    elif isinstance(error, TooManyAttempts):
        query |= {"error": "wait", "wait_s": str(error.retry_after_s)}
    elif isinstance(error, InvalidInput):
        query["error"] = str(error.facts.get("reason", "email"))
    elif isinstance(error, Conflict):
        query["error"] = "link"
    elif isinstance(error, (Unavailable, *_DATABASE_ERRORS)):
        query["error"] = "unavailable"
    else:
        raise error
    return _see(f"{page}?{urlencode(query)}")


def _own_path(path: str) -> str:
    """`path` if it leads to a page of ours, else the first page: nobody is sent elsewhere from here."""
    return path if re.fullmatch(r"/(?![/\\])[\w\-./?=&%]*", path) else "/"


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


def _with_cookie(response: Response, services: AppServices, cookie: str, *, max_age_s: int = _COOKIE_S) -> Response:
    response.set_cookie(
        services.cookie_name,
        cookie,
        max_age=max_age_s,
        path="/",
        httponly=True,
        samesite="lax",
        secure=services.settings.public_url.startswith("https://"),
    )
    return response


def _as(caller: Caller, viewer: Viewer) -> Caller:
    return Caller(viewer, caller.ip, caller.request_id)


def _storable(text: str) -> str:
    """`text` without what the database cannot keep, and not too much of it."""
    return "".join(char for char in text[:300] if char.isprintable())
