"""Turns to connect: Binance counts the WebSocket connections that an address opens."""

from __future__ import annotations

import asyncio
from collections import deque

#: Binance takes 300 connections from an address in five minutes (web-socket-streams.md "Limits"); a fifth is left.
MOST_CONNECTIONS, WINDOW_S = 240, 300.0
#: So that hundreds of accounts cut off in one moment do not all come back in the next.
APART_S = 0.05


class ConnectionTurns:
    """One after the other, and never too many in a while. Shared by all streams of this address; one event loop."""

    def __init__(self, *, most: int = MOST_CONNECTIONS, window_s: float = WINDOW_S, apart_s: float = APART_S) -> None:
        self._taken_s: deque[float] = deque(maxlen=most)  # the turns of the last window, the newest at the end
        self._window_s = window_s
        self._apart_s = apart_s

    def take(self) -> float:
        """Take the next turn, and say in how many seconds it comes."""
        now_s = asyncio.get_running_loop().time()
        turn_s = now_s
        if self._taken_s:
            turn_s = max(turn_s, self._taken_s[-1] + self._apart_s)
        if len(self._taken_s) == self._taken_s.maxlen:
            turn_s = max(turn_s, self._taken_s[0] + self._window_s)
        self._taken_s.append(turn_s)
        return turn_s - now_s
