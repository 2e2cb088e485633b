"""LISTEN/NOTIFY. A notification is only a hint that rows changed: the rows are the truth.

Nobody hears what was sent before LISTEN or while the connection was down, so the listener says `RESYNC`
after every connect, the first included: the callback then looks at the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import psycopg
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.urls import CONNECT_TIMEOUT_S, plain_url
from app.logs import get_logger

log = get_logger(__name__)

#: The channel name given to the callback after every (re)connect.
RESYNC = "resync"

MAX_PAYLOAD_BYTES = 7_999
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_PROBE_EVERY_S = 15.0

Callback = Callable[[str, str], Awaitable[None]]


async def notify(session: AsyncSession, channel: str, payload: str) -> None:
    """Send `payload` (say `order:42`, under 8,000 bytes) to `channel` when the session's transaction commits."""
    if len(payload.encode()) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a notification carries a hint, not data: payload was {len(payload)} characters")
    await session.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})


class Listener:
    """One connection that listens to `channels` and calls `callback(channel, payload)` for each notification.

    Calls come one after another, in order. A lost connection is opened again for ever, with back-off.
    """

    def __init__(
        self, url: str, channels: Sequence[str], callback: Callback, *, application_name: str = "plumbline-listener"
    ) -> None:
        self._url = plain_url(url)
        self._channels = list(channels)
        self._callback = callback
        self._application_name = application_name
        self._pause_s = _FIRST_PAUSE_S

    async def run(self) -> None:
        """Listen until cancelled. An error in the callback ends it: the callback must handle its own."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("notifications lost; connecting again", error=str(error).strip(), pause_s=self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            application_name=self._application_name,
            connect_timeout=CONNECT_TIMEOUT_S,
        )
        async with connection:
            for channel in self._channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._pause_s = _FIRST_PAUSE_S
            await self._callback(RESYNC, "")
            while True:
                async for notification in connection.notifies(timeout=_PROBE_EVERY_S):
                    await self._callback(notification.channel, notification.payload)
                # A silent line and a dead line look the same: ask, so that a dead one is noticed.
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connection.execute("SELECT 1")
