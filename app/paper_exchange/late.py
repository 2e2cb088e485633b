"""The books as they stood a while ago: what a data source shows that lags behind the matching engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.money import ZERO
from app.paper_exchange.history import Books
from app.paper_exchange.model import Amendment, Order, OrderList, PreventedMatch, Trade
from app.paper_exchange.rows import read_order


@dataclass(frozen=True, slots=True)
class LateBooks(Books):
    """`Books` without what happened after `cutoff_ms`."""

    cutoff_ms: int = 0

    def order(self, account_id: int, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        """As in `Books`."""
        by, value = ("client_id", client_id) if order_id is None else ("id", order_id)
        row = self.reader.execute(
            f"SELECT * FROM orders WHERE account_id = ? AND symbol = ? AND {by} = ? AND created_ms <= ? "  # noqa: S608
            "ORDER BY id DESC LIMIT 1",
            (account_id, symbol, value, self.cutoff_ms),
        ).fetchone()
        return None if row is None else self._then(read_order(row))

    def orders(
        self, account_id: int, symbol: str, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Order]:
        """As in `Books`."""
        found = Books.orders(self, account_id, symbol, from_id, start_ms, end_ms, limit)
        return [self._then(order) for order in found if order.created_ms <= self.cutoff_ms]

    def trades(
        self, account_id: int, symbol: str, order_id: int | None, from_id: int | None,
        start_ms: int | None, end_ms: int | None, limit: int,
    ) -> list[Trade]:  # fmt: skip
        """As in `Books`."""
        found = Books.trades(self, account_id, symbol, order_id, from_id, start_ms, end_ms, limit)
        return [trade for trade in found if trade.traded_ms <= self.cutoff_ms]

    def order_list(self, account_id: int, list_id: int | None, client_id: str | None) -> OrderList | None:
        """As in `Books`; a list that was there says whether it is done by now."""
        found = Books.order_list(self, account_id, list_id, client_id)
        return found if found is not None and found.created_ms <= self.cutoff_ms else None

    def order_lists(
        self, account_id: int, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[OrderList]:
        """As in `Books`."""
        found = Books.order_lists(self, account_id, from_id, start_ms, end_ms, limit)
        return [one for one in found if one.created_ms <= self.cutoff_ms]

    def amendments(self, account_id: int, symbol: str, order_id: int, from_id: int, limit: int) -> list[Amendment]:
        """As in `Books`."""
        found = Books.amendments(self, account_id, symbol, order_id, from_id, limit)
        return [one for one in found if one.amended_ms <= self.cutoff_ms]

    def prevented(
        self, account_id: int, symbol: str, match_id: int | None, order_id: int | None, from_id: int, limit: int
    ) -> list[PreventedMatch]:
        """As in `Books`."""
        found = Books.prevented(self, account_id, symbol, match_id, order_id, from_id, limit)
        return [one for one in found if one.prevented_ms <= self.cutoff_ms]

    def open_then(self, account_id: int, symbol: str | None, open_now: Sequence[Order]) -> list[Order]:
        """Orders that were open: those that still are, and those that have ended since."""
        rows = self.reader.execute(
            "SELECT * FROM orders WHERE account_id = ? AND created_ms <= ? AND updated_ms > ? "
            "AND status NOT IN ('NEW', 'PARTIALLY_FILLED', 'PENDING_NEW') AND (? IS NULL OR symbol = ?)",
            (account_id, self.cutoff_ms, self.cutoff_ms, symbol, symbol),
        )
        ended = [read_order(row) for row in rows]
        found = [self._then(o) for o in (*open_now, *ended) if o.created_ms <= self.cutoff_ms]
        return sorted(found, key=lambda o: (o.symbol, o.id))

    def _then(self, order: Order) -> Order:
        """An order as it stood. What changed later had not ended yet: nothing leaves a final state."""
        if order.updated_ms <= self.cutoff_ms:
            return order
        trades = self.trades(order.account_id, order.symbol, order.id, None, None, None, 1_000_000)
        return replace(
            order,
            status="PARTIALLY_FILLED" if trades else "NEW",
            executed=sum((t.quantity for t in trades), ZERO),
            executed_quote=sum((t.quote_quantity for t in trades), ZERO),
            updated_ms=max((t.traded_ms for t in trades), default=order.created_ms),
            working_ms=order.working_ms if order.working_ms <= self.cutoff_ms else 0,
            expiry_reason="",
        )
