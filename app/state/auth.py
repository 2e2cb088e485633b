"""Who sits behind a tab: derived, for every single event, from the HttpOnly cookie of that tab's own websocket.

Each public method of a state is an endpoint that anybody may call with any arguments. So the guard denies by
default: a handler of ours needs a signed-in viewer unless it is `@public`, and a role if it says `@roles(...)`;
of Reflex's own handlers only those in `FRAMEWORK` pass (`setvar` exists on every state and is not among them).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import reflex as rx
from reflex.state import BaseState, StateUpdate
from reflex_base.event import Event
from reflex_base.registry import RegistrationContext
from sqlalchemy.exc import SQLAlchemyError

from app.domain.errors import Unavailable
from app.logs import get_logger
from app.services.container import get_services
from app.services.identity import Role, Viewer
from app.services.identity.sessions import cookie_value, hash_of
from app.state.hub import hub
from app.state.notify import NotifyState

log = get_logger(__name__)

FRAMEWORK = frozenset(
    {
        "hydrate",
        "hydrate_and_load",
        "on_load_internal",
        "set_is_hydrated",
        "update_vars_internal",
        "handle_frontend_exception",
    }
)
#: What `required_roles` answers for handlers that nobody may call.
NOBODY: frozenset[str] = frozenset({"nobody"})
ANYBODY_SIGNED_IN: frozenset[str] = frozenset()

Handler = TypeVar("Handler", bound=Callable[..., Any])


def public(handler: Handler) -> Handler:
    """Mark a handler that may be called without being signed in."""
    handler.__public__ = True  # type: ignore[attr-defined]
    return handler


def roles(*allowed: Role) -> Callable[[Handler], Handler]:
    """Mark a handler that only these roles may call."""

    def mark(handler: Handler) -> Handler:
        handler.__roles__ = frozenset(role.value for role in allowed)  # type: ignore[attr-defined]
        return handler

    return mark


class AuthState(rx.State):
    """The viewer of this tab. Only `email` and `role` reach the browser, and nothing trusts them from there."""

    email: str = ""
    role: str = ""
    _session_hash: str = ""
    _viewer: Viewer | None = None

    def _become(self, viewer: Viewer | None, session_hash: str) -> None:
        if self._viewer == viewer and self._session_hash == session_hash:
            return  # nothing to send
        self._viewer, self._session_hash = viewer, session_hash
        self.email = viewer.email if viewer else ""
        self.role = viewer.role.value if viewer else ""


def required_roles(event_name: str) -> frozenset[str] | None:
    """Who may call a handler: None anybody, an empty set anybody signed in, else these roles."""
    registered = RegistrationContext.get().event_handlers.get(event_name)
    if registered is None:
        return NOBODY
    function = inspect.unwrap(registered.handler.fn)
    if not (function.__module__ or "").startswith("app."):
        return None if event_name.rsplit(".", 1)[-1] in FRAMEWORK else NOBODY
    if getattr(function, "__public__", False):
        return None
    allowed: frozenset[str] = getattr(function, "__roles__", ANYBODY_SIGNED_IN)
    return allowed


class AuthMiddleware(rx.Middleware):
    """Runs under the tab's lock before every event, `hydrate` included."""

    async def preprocess(self, app: rx.App, state: BaseState, event: Event) -> StateUpdate | None:
        """Refresh who this is; answer instead of the handler when he may not call it."""
        root: Any = state._get_root_state()
        try:
            viewer, session_hash = await viewer_of(root)
        except (SQLAlchemyError, Unavailable, OSError) as error:
            log.warning("cannot look up a session", error=type(error).__name__)
            return await _while_database_is_away(root, event)
        auth = await root.get_state(AuthState)
        if auth._session_hash != session_hash:
            # Another sign-in, a sign-out, or somebody else's client token: forget all that this state held.
            root.reset()
            auth = await root.get_state(AuthState)
        auth._become(viewer, session_hash)
        if viewer is not None:
            session = root.router.session
            hub.register(viewer.user_id, session.client_token, session.session_id)
        needed = required_roles(event.name)
        if needed is None or (viewer is not None and (not needed or viewer.role.value in needed)):
            return None
        log.info("event refused", handler=event.name[:200], signed_in=viewer is not None)
        if viewer is not None:
            (await root.get_state(NotifyState))._push("error", "Only an admin may do this.")
        answer = Event.from_event_type([rx.redirect("/login")]) if viewer is None else []
        return StateUpdate(delta=await root._get_resolved_delta(), events=answer)


async def viewer_of(root: Any) -> tuple[Viewer | None, str]:
    """Who the cookie of this tab's websocket belongs to now, and the hash that names the session."""
    services = get_services()
    header: str = root.router.headers.cookie
    viewer = await services.viewer_of(header)
    return viewer, hash_of(cookie_value(header, services.cookie_name)) if viewer else ""


async def _while_database_is_away(root: Any, event: Event) -> StateUpdate | None:
    """Let the framework go on, refuse the rest, and say why. Nothing in the tab is forgotten."""
    from app.state.shell import ShellState

    if required_roles(event.name) is None:
        return None
    (await root.get_state(ShellState))._database_is(away=True)
    (await root.get_state(NotifyState))._push("error", "The database cannot be reached.", "What you typed stays here.")
    return StateUpdate(delta=await root._get_resolved_delta(), events=[])
