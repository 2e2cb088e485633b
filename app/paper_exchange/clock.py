"""True time. Tests pass a clock of their own with the same three methods (`app.domain.clock.Clock`)."""

from __future__ import annotations

import asyncio
import time


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
