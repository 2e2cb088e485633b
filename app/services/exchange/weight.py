"""The request weight that all calls from this address share.

Binance counts weight per IP in minutes of the clock, tells the sum in every answer, and bans addresses that go
on after a 429. So one budget is shared by every session of the process: a call asks before it is sent, every
answer corrects the count, and a 429 or 418 stops everything until it is over. The last tenth is kept for
cancels: what closes a risk must not starve behind what only looks.
"""

from __future__ import annotations

from enum import Enum

from app.domain.clock import Clock
from app.services.exchange.connections import ConnectionTurns

#: Request weight of what reconciliation asks (Binance Spot, rest-api.md): one order, open orders of a symbol and of
#: all, a page of orders, an order's trades, a page of a symbol's trades, balances.
WEIGHT_QUERY, WEIGHT_OPEN, WEIGHT_ALL_OPEN, WEIGHT_ALL_ORDERS = 4, 6, 80, 20
WEIGHT_TRADES_OF_ORDER, WEIGHT_TRADES, WEIGHT_ACCOUNT = 5, 20, 20

MINUTE_MS = 60_000
DEFAULT_LIMIT_PER_MINUTE = 6_000
DEFAULT_BAN_S = 120.0


class Purpose(Enum):
    """Why a call is made; the value is the share of the budget up to which such calls may go."""

    CANCEL = 1.0
    PLACE = 0.9
    QUERY = 0.85
    LIST = 0.8


class WeightBudget:
    """Counts weight by the minute. Not thread-safe: one event loop."""

    def __init__(self, *, clock: Clock, limit_per_minute: int = DEFAULT_LIMIT_PER_MINUTE) -> None:
        self.limit_per_minute = limit_per_minute
        self.connections = ConnectionTurns()
        self._clock = clock
        self._minute = -1
        self._used = 0
        self._paused_until_ms = 0

    @property
    def used(self) -> int:
        """Weight used in this minute, as far as is known."""
        self._turn()
        return self._used

    def wait_s(self, weight: int, purpose: Purpose) -> float:
        """0 and the weight is booked, or seconds to wait and nothing is booked. Weight 0 was booked before."""
        now_ms = self._turn()
        if now_ms < self._paused_until_ms:
            return (self._paused_until_ms - now_ms) / 1000
        if weight and self._used + weight > self.limit_per_minute * purpose.value:
            return ((self._minute + 1) * MINUTE_MS - now_ms) / 1000
        self._used += weight
        return 0.0

    def left(self, purpose: Purpose) -> int:
        """Weight that calls of this purpose may still use in this minute; 0 while everything is paused."""
        paused = self._turn() < self._paused_until_ms
        return 0 if paused else max(0, int(self.limit_per_minute * purpose.value) - self._used)

    def observe(self, used_in_minute: int) -> None:
        """What the exchange says was used (X-MBX-USED-WEIGHT-1M); others on this address count as well."""
        self._turn()
        self._used = max(self._used, used_in_minute)

    def pause(self, status: int, retry_after_s: float | None) -> None:
        """429 or 418: nobody sends anything before `Retry-After` (default: next minute; two minutes for a ban)."""
        now_ms = self._turn()
        if retry_after_s is None:
            to_next_minute_s = ((self._minute + 1) * MINUTE_MS - now_ms) / 1000
            retry_after_s = DEFAULT_BAN_S if status == 418 else to_next_minute_s
        self._paused_until_ms = max(self._paused_until_ms, now_ms + round(retry_after_s * 1000))

    def _turn(self) -> int:
        now_ms = self._clock.exchange_now_ms()
        if now_ms // MINUTE_MS != self._minute:
            self._minute, self._used = now_ms // MINUTE_MS, 0
        return now_ms
