"""The newest trades of each symbol as the public sees them: kept in memory, since this start."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from app.paper_exchange.model import Print

KEPT = 20_000


class PublicTrades:
    """The last `KEPT` trades by symbol, oldest first."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, deque[Print]] = defaultdict(lambda: deque(maxlen=KEPT))

    def add(self, prints: Iterable[Print]) -> None:
        """Later trades."""
        for one in prints:
            self._by_symbol[one.symbol].append(one)

    def read(
        self,
        symbol: str,
        limit: int | None,
        *,
        from_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Print]:
        """Trades from an id or a time on, or the newest; all of them without a limit."""
        found = [
            one
            for one in self._by_symbol[symbol]
            if (from_id is None or one.id >= from_id)
            and (start_ms is None or one.traded_ms >= start_ms)
            and (end_ms is None or one.traded_ms <= end_ms)
        ]
        if limit is None:
            return found
        return found[-limit:] if from_id is None and start_ms is None else found[:limit]
