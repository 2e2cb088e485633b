"""How far this machine's clock is from the exchange's, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from app.services.exchange.protocol import AskingFailed, MarketData

#: A slower answer says too little: the true offset may lie half of it to either side.
MOST_ROUND_TRIP_MS = 2_000
WARN_ABOVE_MS = 1_000
BLOCK_ABOVE_MS = 5_000


@dataclass(frozen=True, slots=True)
class OffsetSample:
    """`offset_ms` is exchange − local; it may be wrong by half of `round_trip_ms`."""

    offset_ms: int
    round_trip_ms: int


class ClockVerdict(StrEnum):
    """What an offset allows."""

    FINE = "FINE"
    WARN = "WARN"
    BLOCK = "BLOCK"  # alert, and no new orders


async def measure_offset(market_data: MarketData, now_ms: Callable[[], int]) -> OffsetSample:
    """Ask the exchange for its time and compare it with ours at the middle of the round trip.

    `now_ms` is the local clock. Raises AskingFailed when there was no answer or it took more than 2 s.
    """
    sent_ms = now_ms()
    exchange_ms = await market_data.server_time_ms()
    received_ms = now_ms()
    round_trip_ms = received_ms - sent_ms
    if not 0 <= round_trip_ms <= MOST_ROUND_TRIP_MS:  # below 0: our own clock was set back meanwhile
        raise AskingFailed(f"the time came after {round_trip_ms} ms: too slow to set a clock by")
    return OffsetSample(exchange_ms - (sent_ms + received_ms) // 2, round_trip_ms)


def verdict(offset_ms: int | None) -> ClockVerdict:
    """What the last measured offset allows; never measured (None) blocks."""
    if offset_ms is None or abs(offset_ms) > BLOCK_ABOVE_MS:
        return ClockVerdict.BLOCK
    return ClockVerdict.WARN if abs(offset_ms) > WARN_ABOVE_MS else ClockVerdict.FINE
