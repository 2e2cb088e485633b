"""What all page states share: one unit of work per event, errors turned into words, and live reloading."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import reflex as rx
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.clock import Clock, Ids, to_datetime
from app.domain.errors import InvalidInput, NotAllowed, NotFound, PlumblineError
from app.domain.money import parse_amount
from app.services.container import get_services
from app.services.identity import Caller, Viewer
from app.state.auth import AuthState, public, viewer_of
from app.state.hub import Hint, hub
from app.state.notify import NotifyState
from app.state.words import clock_time, sentence

#: What the drivers raise when the database cannot be reached.
DATABASE_AWAY = (OperationalError, PoolTimeout, ConnectionError)

Page = TypeVar("Page", bound=type[Any])


@dataclass(frozen=True, slots=True)
class Unit:
    """One transaction on behalf of one viewer."""

    session: AsyncSession
    viewer: Viewer
    clock: Clock
    ids: Ids
    ip: str = ""

    @property
    def user_id(self) -> int:
        """The viewer's id."""
        return self.viewer.user_id

    @property
    def caller(self) -> Caller:
        """The viewer, for the audit log."""
        return Caller(self.viewer, ip=self.ip)

    @property
    def now(self) -> datetime:
        """The time, aware UTC."""
        return to_datetime(self.clock.now_ms())


@asynccontextmanager
async def work(state: rx.State) -> AsyncIterator[Unit]:
    """A transaction for the viewer of this tab; committed at the end, rolled back by an error."""
    viewer = (await state.get_state(AuthState))._viewer
    if viewer is None:
        raise NotAllowed("Please sign in first.")
    services = get_services()
    async with services.sessions.begin() as session:
        yield Unit(session, viewer, services.clock, services.ids, ip=state.router.session.client_ip)


def handler(function: Callable[..., Any]) -> Any:
    """An event handler whose expected errors become sentences: beside the field, or as a message."""

    @functools.wraps(function)
    async def run(self: Any, *args: Any, **named: Any) -> Any:
        try:
            return await function(self, *args, **named)
        except PlumblineError as error:
            words = sentence(error.message)
            field = error.field if isinstance(error, InvalidInput) else ""
            if "errors" in self.vars:
                self.errors = {field or "form": words}
            await say(self, "error", words)
        except DATABASE_AWAY:
            await _tell_database_is_away(self)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            await _tell_database_is_away(self)
        return None

    return rx.event(run)


async def say(state: rx.State, level: str, title: str, text: str = "") -> None:
    """Show a message in this tab: success, info, warning or error."""
    (await state.get_state(NotifyState))._push(level, title, text)


def put(state: Any, **values: Any) -> None:
    """Set vars that have changed: what is equal is not sent to the browser again."""
    for name, value in values.items():
        if getattr(state, name) != value:
            setattr(state, name, value)


#: The states of pages that follow the database: full name → (state, kinds of hints that concern it).
PAGES: dict[str, tuple[type[Any], frozenset[str]]] = {}


def live(*kinds: str) -> Callable[[Page], Page]:
    """Reload this page's state, while a tab shows it, when a hint of one of `kinds` arrives."""

    def remember(page: Page) -> Page:
        PAGES[page.get_full_name()] = (page, frozenset(kinds))
        return page

    return remember


class LiveState(rx.State):
    """Which page the tab shows."""

    _page: str = ""

    async def _refresh(self, hints: frozenset[Hint]) -> None:
        """Look again at whatever the hints are about and the tab shows."""
        from app.state.shell import ShellState

        if not await self._is_still_signed_in():
            return
        kinds = {hint.kind for hint in hints}
        everything = any(hint.means_anything for hint in hints)
        shell = await self.get_state(ShellState)
        page, concerns = PAGES.get(self._page, (None, frozenset()))
        try:
            async with work(self) as unit:
                if everything or kinds & shell.KINDS:
                    await shell._reload(unit)
                if page is not None and (everything or kinds & concerns):
                    await (await self.get_state(page))._renew(unit)
        except DATABASE_AWAY:
            shell._database_is(away=True)

    async def _is_still_signed_in(self) -> bool:
        """Pushes must not go on to a tab whose session has ended: it forgets what it showed, and says so."""
        from app.state.shell import ShellState

        root: Any = self._get_root_state()
        try:
            viewer, session_hash = await viewer_of(root)
        except DATABASE_AWAY:
            (await self.get_state(ShellState))._database_is(away=True)
            return False
        if viewer is not None and (await self.get_state(AuthState))._session_hash == session_hash:
            return True
        hub.forget(root.router.session.client_token)
        root.reset()
        (await self.get_state(ShellState)).signed_out = True
        return False


class PageState(rx.State, mixin=True):
    """A page: `load` on entering, `_reload` to read what it shows."""

    #: Until the first load nothing is shown, because "no orders" would not be true.
    ready: bool = False
    as_of: str = ""
    errors: dict[str, str] = {}  # noqa: RUF012 - Reflex copies it per state
    #: Set when the address names something that does not exist (or is not the viewer's).
    missing: str = ""

    @handler
    async def load(self) -> None:
        """The tab now shows this page."""
        await self._enter()

    async def _enter(self) -> None:
        from app.state.shell import ShellState

        live_state = await self.get_state(LiveState)
        live_state._page = self.get_full_name()
        put(self, errors={}, missing="")
        try:
            async with work(self) as unit:
                await (await self.get_state(ShellState))._reload(unit)
                await self._renew(unit)
        except NotFound as error:
            put(self, missing=sentence(error.message), ready=True)

    def _from_address(self) -> int:
        """The id at the end of the page's address. Raises NotFound when it is none."""
        last = self.router.url.path.rstrip("/").rsplit("/", 1)[-1]
        if not last.isascii() or not last.isdigit() or len(last) > 18:
            raise NotFound(f"there is nothing at {last[:40]!r}")
        return int(last)

    async def _renew(self, unit: Unit) -> None:
        """Reload, and say as of when."""
        await self._reload(unit)
        put(self, as_of=clock_time(unit.now), ready=True)

    async def _reload(self, unit: Unit) -> None:
        """Read what the page shows. Every page has its own."""
        raise NotImplementedError


async def _tell_database_is_away(state: Any) -> None:
    from app.state.shell import ShellState

    (await state.get_state(ShellState))._database_is(away=True)
    await say(state, "error", "The database cannot be reached.", "What you typed stays here.")


# --- arguments of handlers: the browser may send anything ------------------------------------------------


def whole(value: Any, name: str = "number") -> int:
    """An id or a count from the browser. Raises InvalidInput."""
    try:
        if isinstance(value, bool | float):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"This is not a valid {name}.", field=name) from None
    if not 0 <= number < 2**63:
        raise InvalidInput(f"This is not a valid {name}.", field=name)
    return number


def text_of(form: Any, name: str, *, most: int = 300) -> str:
    """A text of a sent form, trimmed. Raises InvalidInput when it is no text or longer than `most`."""
    value = form.get(name) if isinstance(form, dict) else None
    if value is None:  # Reflex sends null for a field that is not on the page at the moment
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise InvalidInput(
            f"{name.replace('_', ' ').capitalize()} is not usable (at most {most} characters).", field=name
        )
    return value.strip()


def amount_of(form: Any, name: str, *, positive: bool = True) -> Any:
    """A decimal amount of a sent form, or None when left empty. Commas between thousands are fine."""
    text = text_of(form, name, most=60).replace(",", "").replace(" ", "")
    return parse_amount(text, field=name, positive=positive) if text else None


__all__ = ["AuthState", "LiveState", "NotifyState", "PageState", "Unit", "amount_of", "handler", "live", "public"]
__all__ += ["put", "say", "text_of", "whole", "work"]
