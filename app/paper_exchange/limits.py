"""Request weight by address and minute."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.paper_exchange.errors import too_much_weight

MINUTE_MS = 60_000


@dataclass(slots=True)
class Weights:
    """Weight used in the running minute, which begins at second 0. A limit of 0 only counts."""

    limit: int
    _minute: int = 0
    _used: dict[str, int] = field(default_factory=dict)

    def add(self, address: str, weight: int, now_ms: int) -> int:
        """Count a request. Returns the weight used; raises -1003 above the limit."""
        used = self.used(address, now_ms) + weight
        self._used[address] = used
        if self.limit and used > self.limit:
            raise too_much_weight(self.limit, (MINUTE_MS - now_ms % MINUTE_MS) // 1000 + 1)
        return used

    def give_back(self, address: str, weight: int, now_ms: int) -> int:
        """A request that succeeded and then weighs nothing."""
        used = max(0, self.used(address, now_ms) - weight)
        self._used[address] = used
        return used

    def used(self, address: str, now_ms: int) -> int:
        """Weight used in the running minute."""
        minute = now_ms // MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
        return self._used.get(address, 0)
