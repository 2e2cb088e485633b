"""The intervals of candles: where each candle opens and where it ends, in UTC or another zone."""

from __future__ import annotations

import numpy as np

from app.paper_exchange.noise import Ints

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
#: Length of each interval; of a month the longest it can be: ask `end_ms` where a candle ends.
INTERVALS_MS: dict[str, int] = {
    "1s": SECOND_MS,
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
    "1M": 31 * DAY_MS,
}
_MONDAY_MS = 4 * DAY_MS  # the first Monday of the epoch
MONTH = "1M"


def opens_ms(interval: str, times: Ints) -> Ints:
    """The open time of the candle that holds each time. Weeks open on Monday, months on the first."""
    if interval == MONTH:
        return times.astype("M8[ms]").astype("M8[M]").astype("M8[ms]").astype(np.int64)
    length = INTERVALS_MS[interval]
    return times - (times - _MONDAY_MS if interval == "1w" else times) % length


def open_ms(interval: str, at_ms: int) -> int:
    """The same for one time."""
    if interval == MONTH:
        return int(opens_ms(interval, np.array([at_ms], dtype=np.int64))[0])
    return at_ms - (at_ms - _MONDAY_MS if interval == "1w" else at_ms) % INTERVALS_MS[interval]


def end_ms(interval: str, opened_ms: int) -> int:
    """Where the candle that opens at a time ends: the open time of the next one."""
    if interval != MONTH:
        return opened_ms + INTERVALS_MS[interval]
    return open_ms(interval, opened_ms + INTERVALS_MS[interval])
