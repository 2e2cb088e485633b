"""From the database's notifications to the tabs that show what changed.

One LISTEN connection, one mailbox a tab. The first hint goes out at once; a burst is merged for 100 ms into one
reload of what the tab shows. A tab whose lock is held by a slow handler delays nobody else. Notifications are only
hints: every tab is also told to look for itself every few seconds, and after each reconnect.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from app.database.notifications import RESYNC, Listener
from app.domain.errors import PlumblineError
from app.logs import get_logger

log = get_logger(__name__)

CHANNEL = "plumbline_ui"
MERGE_S = 0.1
POLL_S = 5.0
MOST_HINTS = 200


@dataclass(frozen=True, slots=True)
class Hint:
    """What may have changed: a kind (order, fill, price, ...) and which one; `resync` and `poll` mean anything."""

    kind: str
    id: str = ""

    @property
    def means_anything(self) -> bool:
        """Whether everything shown should be looked at again."""
        return self.kind in (RESYNC, "poll")


@dataclass(frozen=True, slots=True)
class _Tab:
    user_id: int
    socket_id: str


Refresh = Callable[[str, frozenset[Hint]], Awaitable[None]]
IsConnected = Callable[[str, str], bool]


class Hub:
    """Which tabs belong to whom, and what they have still to be told."""

    def __init__(self) -> None:
        self._tabs: dict[str, _Tab] = {}
        self._mail: dict[str, set[Hint]] = {}
        self._carriers: dict[str, asyncio.Task[None]] = {}
        self._refresh: Refresh | None = None
        self._is_connected: IsConnected = lambda token, socket_id: True

    def connect(self, refresh: Refresh, is_connected: IsConnected) -> None:
        """Say how a tab is refreshed, and how to tell that its socket is still the one that signed in."""
        self._refresh, self._is_connected = refresh, is_connected

    def register(self, user_id: int, token: str, socket_id: str) -> None:
        """This tab belongs to this user, on this socket only."""
        if token and socket_id:
            self._tabs[token] = _Tab(user_id, socket_id)

    def forget(self, token: str) -> None:
        """This tab belongs to nobody any more."""
        self._tabs.pop(token, None)

    def tabs_of(self, user_id: int | None) -> list[str]:
        """The connected tabs of a user (None: of everybody). Forgets those that are gone."""
        for token, tab in list(self._tabs.items()):
            if not self._is_connected(token, tab.socket_id):
                del self._tabs[token]
        return [token for token, tab in self._tabs.items() if user_id is None or tab.user_id == user_id]

    def tell(self, hint: Hint, user_id: int | None = None) -> None:
        """Put a hint into the mailboxes of a user's tabs (None: of everybody's)."""
        for token in self.tabs_of(user_id):
            box = self._mail.setdefault(token, set())
            if len(box) < MOST_HINTS:
                box.add(hint)
            if token not in self._carriers:
                carrier = asyncio.create_task(self._carry(token))
                self._carriers[token] = carrier
                carrier.add_done_callback(functools.partial(self._arrived, token))

    def _arrived(self, token: str, _: asyncio.Task[None]) -> None:
        self._carriers.pop(token, None)

    async def heard(self, channel: str, payload: str) -> None:
        """The listener's callback. A payload that is not ours is ignored: it is only a hint."""
        if channel == RESYNC:
            self.tell(Hint(RESYNC))
            return
        try:
            message = json.loads(payload)
            user_id = message.get("user_id")
            hint = Hint(str(message["kind"]), str(message.get("id", "")))
        except (ValueError, KeyError, AttributeError):
            log.warning("odd notification ignored", payload=payload[:200])
            return
        if user_id is None or isinstance(user_id, int):
            self.tell(hint, user_id)

    async def run(self, database_url: str) -> None:
        """Listen, and poll behind it, until cancelled."""
        listener = Listener(database_url, [CHANNEL], self.heard, application_name="plumbline-web-listener")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listener.run())
            tasks.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self.tell(Hint("poll"))

    async def _carry(self, token: str) -> None:
        while hints := self._mail.pop(token, None):
            tab = self._tabs.get(token)
            if self._refresh is None or tab is None or not self._is_connected(token, tab.socket_id):
                return
            try:
                await self._refresh(token, frozenset(hints))
            except (SQLAlchemyError, psycopg.Error, PlumblineError, OSError) as error:
                # The tab is told by the next poll; its other hints must not be lost with this one.
                log.warning("a tab could not be refreshed", error=type(error).__name__, reason=str(error)[:200])
            await asyncio.sleep(MERGE_S)


hub = Hub()
