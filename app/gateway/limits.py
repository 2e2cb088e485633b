"""Token buckets in memory, one process each: a brake on plain calls, in front of the counters in the database."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from app.gateway.errors import RateLimited

_MOST_KEYS = 10_000


@dataclass(slots=True)
class TokenBuckets:
    """`burst` calls at once for each key, then `per_s` a second."""

    per_s: float
    burst: int
    now_s: Callable[[], float] = monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, key: str) -> None:
        """Spend one token of `key`. Raises RateLimited saying when the next one is there."""
        now_s = self.now_s()
        tokens, seen_s = self._left.get(key, (float(self.burst), now_s))
        tokens = min(float(self.burst), tokens + (now_s - seen_s) * self.per_s)
        if tokens < 1:
            wait_s = max(1, math.ceil((1 - tokens) / self.per_s))
            raise RateLimited("Too many requests in a short time. Please slow down.", retry_after_s=wait_s)
        if key not in self._left and len(self._left) >= _MOST_KEYS:
            self._drop_full(now_s)
        self._left[key] = (tokens - 1, now_s)

    def _drop_full(self, now_s: float) -> None:
        """Forget keys whose bucket is full again; if all are busy, forget all rather than grow for ever."""
        busy = {k: v for k, v in self._left.items() if v[0] + (now_s - v[1]) * self.per_s < self.burst}
        self._left = busy if len(busy) < _MOST_KEYS else {}


@dataclass(slots=True)
class Limits:
    """The buckets of one gateway. A person's page makes few calls; a program may make a steady stream."""

    by_ip: TokenBuckets = field(default_factory=lambda: TokenBuckets(per_s=50, burst=200))
    by_user: TokenBuckets = field(default_factory=lambda: TokenBuckets(per_s=20, burst=100))
