"""The web process put together: pages, their states, and the gateway on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import reflex as rx
from reflex.event import EventSpec

from app import pages  # noqa: F401 - registers every page
from app.config import load_settings
from app.database.urls import database_url
from app.gateway.app import create_api
from app.gateway.security import security_layer
from app.logs import get_logger
from app.services.container import web_services
from app.state import ws_guard
from app.state.auth import AuthMiddleware
from app.state.base import LiveState
from app.state.hub import Hint, hub
from app.state.notify import NotifyState

log = get_logger(__name__)
settings = load_settings()


def _sorry(exception: Exception) -> EventSpec | None:
    """A handler failed in a way nobody foresaw: the log gets the error, the person a sentence."""
    log.error("an event handler failed", exc_info=exception)
    say: Any = NotifyState.something_broke
    shown: EventSpec = say()
    return shown


def _page_broke(exception: Exception) -> None:
    """The browser reported an error. It is the browser's word: short, and never more than a log line."""
    log.warning("a page reported an error", error=str(exception)[:500])


app = rx.App(
    api_transformer=[create_api(), security_layer(settings.public_url)],
    stylesheets=["/plumbline.css"],
    backend_exception_handler=_sorry,
    frontend_exception_handler=_page_broke,
    head_components=[rx.el.link(rel="icon", href="/favicon.svg", type="image/svg+xml")],
)
app.add_middleware(AuthMiddleware())
ws_guard.install(app)


async def _refresh(token: str, hints: frozenset[Hint]) -> None:
    async with app.modify_state(rx.BaseStateToken(ident=token, cls=LiveState)) as state:
        live = await state.get_state(LiveState)
        await live._refresh(hints)


def _is_connected(token: str, socket_id: str) -> bool:
    namespace: Any = app.event_namespace
    record = namespace._token_manager.token_to_socket.get(token)
    return record is not None and record.sid == socket_id


@asynccontextmanager
async def _services() -> AsyncIterator[None]:
    async with web_services(settings):
        hub.connect(_refresh, _is_connected)
        yield


async def _listen() -> None:
    await hub.run(database_url(settings, "web"))


# In this order: the services are there before anything listens.
app.register_lifespan_task(_services)
app.register_lifespan_task(_listen)
