"""Update ids of a book, and what changed between two of them: what a client needs to keep a book of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.domain.money import ZERO
from app.paper_exchange.reports import fixed

Level = tuple[Decimal, Decimal]
Side = dict[Decimal, Decimal]
SPEEDS = ("100ms", "1000ms")


@dataclass(slots=True)
class _Pending:
    """Changes that have not been sent: new quantities by price, since an id."""

    first_id: int
    bids: Side = field(default_factory=dict)
    asks: Side = field(default_factory=dict)


class DepthFeed:
    """One symbol's book as it is told. Every look at a book that has changed gets the next update id.

    A snapshot taken with `look` and the events that follow it agree: nothing happens between two ids.
    """

    def __init__(self, first_id: int) -> None:
        self.update_id = first_id
        self.bids: list[Level] = []
        self.asks: list[Level] = []
        self._pending: dict[str, _Pending] = {}
        self._told_best: tuple[list[Level], list[Level]] = ([], [])

    def watch(self, speed: str, *, wanted: bool) -> None:
        """Keep changes for `take`, from now on or no longer."""
        if not wanted:
            self._pending.pop(speed, None)
        elif speed not in self._pending:
            self._pending[speed] = _Pending(self.update_id + 1)

    def look(self, bids: Sequence[Level], asks: Sequence[Level]) -> int:
        """Take notice of the book as it stands. Returns its update id."""
        new_bids, new_asks = list(bids), list(asks)
        if new_bids != self.bids or new_asks != self.asks:
            self.update_id += 1
            for pending in self._pending.values():
                pending.bids |= _changes(self.bids, new_bids)
                pending.asks |= _changes(self.asks, new_asks)
            self.bids, self.asks = new_bids, new_asks
        return self.update_id

    def take(self, speed: str) -> dict[str, Any] | None:
        """The `U`, `u`, `b` and `a` of a depthUpdate; None when nothing has changed since the last one."""
        pending = self._pending.get(speed)
        if pending is None or pending.first_id > self.update_id:
            return None
        self._pending[speed] = _Pending(self.update_id + 1)
        bids = sorted(pending.bids.items(), reverse=True)
        return {
            "U": pending.first_id, "u": self.update_id,
            "b": rows(bids), "a": rows(sorted(pending.asks.items())),
        }  # fmt: skip

    def partial(self, levels: int) -> dict[str, Any]:
        """The payload of a partial book stream, and of a snapshot."""
        return {
            "lastUpdateId": self.update_id,
            "bids": rows(self.bids[:levels]),
            "asks": rows(self.asks[:levels]),
        }

    def best(self, symbol: str) -> dict[str, Any]:
        """The payload of a book ticker."""
        empty = [(ZERO, ZERO)]
        (bid, bid_quantity), (ask, ask_quantity) = (self.bids or empty)[0], (self.asks or empty)[0]
        return {
            "u": self.update_id, "s": symbol, "b": fixed(bid), "B": fixed(bid_quantity),
            "a": fixed(ask), "A": fixed(ask_quantity),
        }  # fmt: skip

    def best_has_changed(self) -> bool:
        """Whether the best prices or quantities differ from those of the last time this was asked."""
        best = (self.bids[:1], self.asks[:1])
        has_changed = best != self._told_best
        self._told_best = best
        return has_changed


def rows(levels: Sequence[Level]) -> list[list[str]]:
    """Levels as on the wire."""
    return [[fixed(price), fixed(quantity)] for price, quantity in levels]


def _changes(before: list[Level], after: list[Level]) -> Side:
    old, new = dict(before), dict(after)
    gone = {price: ZERO for price in old if price not in new}
    return {**gone, **{price: quantity for price, quantity in new.items() if old.get(price) != quantity}}
