"""The real clock and the real ids: the only place where time and randomness enter the services."""

from __future__ import annotations

import asyncio
import secrets
import time


class SystemClock:
    """This machine's clock, and the exchange's by the last measured offset."""

    def __init__(self, offset_ms: int = 0) -> None:
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def exchange_now_ms(self) -> int:
        """`now_ms` plus the last measured offset (exchange − local)."""
        return self.now_ms() + self.offset_ms

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


class RandomIds:
    """Ids from the operating system's generator."""

    def client_order_id(self) -> str:
        """`pl-` and 26 random base-32 characters (130 bits): within Binance's 36 of `[a-zA-Z0-9-_]`."""
        return "pl-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(26))
