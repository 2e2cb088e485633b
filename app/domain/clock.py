"""Time and ids as things that are passed in, so that every decision can be replayed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the core may know of time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC, of this machine."""
        ...

    def exchange_now_ms(self) -> int:
        """The same corrected by the last measured offset to the exchange."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a virtual clock returns when it has been moved on far enough."""
        ...


class Ids(Protocol):
    """Where random ids come from."""

    def client_order_id(self) -> str:
        """A fresh random client order id, `[a-z0-9-]{1,36}`, never derived from a sequence."""
        ...


def to_datetime(ms: int) -> datetime:
    """Aware UTC datetime of a millisecond timestamp."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(at: datetime) -> int:
    """Millisecond timestamp of an aware datetime."""
    return round(at.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class CorrectedClock:
    """A clock whose exchange time is corrected by an offset somebody else measured (exchange − local)."""

    clock: Clock
    offset_ms: int

    def now_ms(self) -> int:
        """This machine's time."""
        return self.clock.now_ms()

    def exchange_now_ms(self) -> int:
        """This machine's time and the offset."""
        return self.clock.now_ms() + self.offset_ms

    async def sleep(self, seconds: float) -> None:
        """The inner clock's sleep."""
        await self.clock.sleep(seconds)
