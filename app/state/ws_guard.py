"""The first thing behind the websocket: unknown handlers, floods and odd frames never reach the event queue or a log.

(Reflex logs an unknown event whole, with the cookie header of the connection.)
"""

from __future__ import annotations

import time
from typing import Any

from reflex_base.registry import RegistrationContext

RATE_PER_S = 30.0
BURST = 60.0


class Buckets:
    """A token bucket for each connection."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, sid: str, now_s: float) -> bool:
        """Whether this connection may send one more event at `now_s` (any steady clock)."""
        left, since_s = self._left.get(sid, (BURST, now_s))
        left = min(BURST, left + (now_s - since_s) * RATE_PER_S)
        allowed = left >= 1
        self._left[sid] = (left - 1 if allowed else left, now_s)
        return allowed

    def forget(self, sid: str) -> None:
        """The connection is gone."""
        self._left.pop(sid, None)


def is_wanted(data: Any) -> bool:
    """Whether a frame names a handler that exists and is not `setvar` (which can set any var by name)."""
    name = data.get("name") if isinstance(data, dict) else None
    known = isinstance(name, str) and name in RegistrationContext.get().event_handlers
    return known and not str(name).endswith(".setvar")


def install(app: Any) -> None:
    """Put the guard before the event namespace of `app`."""
    namespace, buckets = app.event_namespace, Buckets()
    on_event, on_disconnect = namespace.on_event, namespace.on_disconnect

    async def guarded_event(sid: str, data: Any) -> None:
        if buckets.take(sid, time.monotonic()) and is_wanted(data):
            await on_event(sid, data)

    def guarded_disconnect(sid: str, *rest: Any) -> Any:
        buckets.forget(sid)
        return on_disconnect(sid, *rest)

    namespace.on_event, namespace.on_disconnect = guarded_event, guarded_disconnect
