"""The real clock and the real ids: the only place where time and randomness enter the services."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    """A clock that nobody sets; where the system has it, the one that counts the time asleep as well."""
    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(kind) // 1_000_000


def _running_ms() -> int:
    """A clock that nobody sets and that stands while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


#: Between two measurements of the offset clocks drift apart by some tens of milliseconds; more is a jump.
JUMP_MS = 500


class SystemClock:
    """This machine's clock, and the exchange's by the last measured offset.

    Once an offset has been measured, exchange time runs on with the steady clock: when somebody sets this machine's
    clock, exchange time does not jump with it, and no death bound passes before its time (F14).
    """

    def __init__(
        self,
        offset_ms: int | None = None,
        *,
        wall_ms: Callable[[], int] = _wall_ms,
        steady_ms: Callable[[], int] = _steady_ms,
        running_ms: Callable[[], int] = _running_ms,
    ) -> None:
        self._wall_ms, self._steady_ms, self._running_ms = wall_ms, steady_ms, running_ms
        self._apart_ms = (0, 0)
        self._offset_ms = 0
        self._exchange_at_steady_zero_ms: int | None = None
        if offset_ms is not None:
            self.offset_ms = offset_ms

    @property
    def offset_ms(self) -> int:
        """Exchange − local, as last measured; 0 before."""
        return self._offset_ms

    @offset_ms.setter
    def offset_ms(self, offset_ms: int) -> None:
        self._offset_ms = offset_ms
        self._exchange_at_steady_zero_ms = self._wall_ms() + offset_ms - self._steady_ms()
        self._apart_ms = self._apart()

    @property
    def has_jumped(self) -> bool:
        """Whether, since the offset was measured, this machine slept or its clock was set: it must be measured again.

        A virtual machine that is stopped and goes on does not see that any clock stood, but the first to set its
        wall clock right shows it.
        """
        if self._exchange_at_steady_zero_ms is None:
            return False
        return any(abs(a - b) > JUMP_MS for a, b in zip(self._apart(), self._apart_ms, strict=True))

    def _apart(self) -> tuple[int, int]:
        """How far the wall clock and the sleeping time are from the steady clock."""
        steady_ms = self._steady_ms()
        return self._wall_ms() - steady_ms, self._running_ms() - steady_ms

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return self._wall_ms()

    def exchange_now_ms(self) -> int:
        """The exchange's time by the last measured offset; this machine's when none was measured."""
        if self._exchange_at_steady_zero_ms is None:
            return self._wall_ms()
        return self._exchange_at_steady_zero_ms + self._steady_ms()

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


class RandomIds:
    """Ids from the operating system's generator."""

    def client_order_id(self) -> str:
        """`pl-` and 26 random base-32 characters (130 bits): within Binance's 36 of `[a-zA-Z0-9-_]`."""
        return "pl-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(26))
