"""True time. Tests pass a clock of their own with the same three methods (`app.domain.clock.Clock`)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from app.domain.clock import Clock


class WallClock:
    """Time of this machine; to the exchange its own time is exchange time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def exchange_now_ms(self) -> int:
        """The same: nobody corrects the exchange."""
        return self.now_ms()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(slots=True)
class SkewedClock:
    """A clock whose exchange time may be put wrong: markets run on true time, the exchange tells and checks another."""

    true: Clock
    skew_ms: int = 0

    def now_ms(self) -> int:
        """True time."""
        return self.true.now_ms()

    def exchange_now_ms(self) -> int:
        """What the exchange takes for the time."""
        return self.true.exchange_now_ms() + self.skew_ms

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self.true.sleep(seconds)
