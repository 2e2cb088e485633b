"""Rate limits as Binance keeps them: fixed windows aligned to the clock, bans for those who go on after a 429.

Request weight, raw requests and connections are counted by address, unfilled orders by account. A limit of 0
only counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.money import ZERO
from app.paper_exchange import errors
from app.paper_exchange.model import Changes

if TYPE_CHECKING:
    from app.paper_exchange.settings import PaperSettings

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
DAY_MS = 1440 * MINUTE_MS
#: What the first fill of an order takes off its account's count of unfilled orders.
TAKER_CREDIT, MAKER_CREDIT = 1, 5
LONGEST_BAN_MS = 3 * DAY_MS


@dataclass(slots=True)
class Window:
    """Counts by key in the running interval; all begin anew when the next one starts."""

    length_ms: int
    _number: int = -1
    _counts: dict[str | int, int] = field(default_factory=dict)

    def count(self, key: str | int, now_ms: int) -> int:
        """The count so far."""
        number = now_ms // self.length_ms
        if number != self._number:
            self._number = number
            self._counts.clear()
        return self._counts.get(key, 0)

    def add(self, key: str | int, amount: int, now_ms: int) -> int:
        """Add (or, negative, take off; never below 0). Returns the count."""
        count = max(0, self.count(key, now_ms) + amount)
        self._counts[key] = count
        return count

    def wait_s(self, now_ms: int) -> int:
        """Whole seconds until the next interval has begun."""
        return (self.length_ms - now_ms % self.length_ms) // SECOND_MS + 1


@dataclass(slots=True)
class _Ban:
    until_ms: int = 0
    times: int = 0


class Limits:
    """All limits of the exchange. Times are exchange milliseconds."""

    def __init__(self, settings: PaperSettings) -> None:
        self._settings = settings
        self._weight = Window(MINUTE_MS)
        self._raw = Window(5 * MINUTE_MS)
        self._connections = Window(5 * MINUTE_MS)
        self._refusals = Window(MINUTE_MS)
        self._orders_10s = Window(10 * SECOND_MS)
        self._orders_day = Window(DAY_MS)
        self._bans: dict[str, _Ban] = defaultdict(_Ban)

    # -- by address --------------------------------------------------------------------------------------

    def admit(self, address: str, weight: int, now_ms: int) -> None:
        """Count a request. Raises -1003: 429 above a limit, 418 while the address is banned."""
        self.refuse_banned(address, now_ms)
        settings = self._settings
        raw = self._raw.add(address, 1, now_ms)
        used = self._weight.add(address, weight, now_ms)
        if settings.raw_limit_per_5_minutes and raw > settings.raw_limit_per_5_minutes:
            self._refused(address, now_ms)
            raise errors.too_many_requests(settings.raw_limit_per_5_minutes, self._raw.wait_s(now_ms))
        if settings.weight_limit_per_minute and used > settings.weight_limit_per_minute:
            self._refused(address, now_ms)
            raise errors.too_much_weight(settings.weight_limit_per_minute, self._weight.wait_s(now_ms))

    def give_back(self, address: str, weight: int, now_ms: int) -> None:
        """A request that succeeded and then weighs nothing."""
        self._weight.add(address, -weight, now_ms)

    def used(self, address: str, now_ms: int) -> int:
        """Weight used in the running minute."""
        return self._weight.count(address, now_ms)

    def connect(self, address: str, now_ms: int, weight: int = 0) -> None:
        """Count a new connection (and what it weighs). Raises -1034 above the limit, 418 while banned."""
        self.refuse_banned(address, now_ms)
        limit = self._settings.connection_limit_per_5_minutes
        made = self._connections.add(address, 1, now_ms)
        if limit and made > limit:
            raise errors.too_many_connections(limit, self._connections.wait_s(now_ms))
        self._weight.add(address, weight, now_ms)

    def refuse_banned(self, address: str, now_ms: int) -> None:
        """Raise 418 while the address is banned."""
        ban = self._bans.get(address)
        if ban is not None and now_ms < ban.until_ms:
            raise errors.banned(ban.until_ms, -((now_ms - ban.until_ms) // SECOND_MS))

    def ban(self, address: str, length_ms: int, now_ms: int) -> None:
        """Refuse everything from an address for a while, with 418."""
        ban = self._bans[address]
        ban.until_ms, ban.times = now_ms + length_ms, ban.times + 1

    def _refused(self, address: str, now_ms: int) -> None:
        """A 429 was answered; who goes on all the same is banned, each time twice as long."""
        if self._refusals.add(address, 1, now_ms) <= self._settings.refusals_before_ban:
            return
        first_ms = round(self._settings.first_ban_s * SECOND_MS)
        self.ban(address, min(first_ms * 2 ** self._bans[address].times, LONGEST_BAN_MS), now_ms)
        self._refusals.add(address, -self._refusals.count(address, now_ms), now_ms)
        self.refuse_banned(address, now_ms)

    # -- by account --------------------------------------------------------------------------------------

    def take_orders(self, account_id: int, count: int, now_ms: int) -> None:
        """Count new orders. Raises -1015 (429) when a window has no room for them; then none is counted."""
        for window, limit, words in self._order_windows():
            if limit and window.count(account_id, now_ms) + count > limit:
                raise errors.too_many_orders(limit, words, window.wait_s(now_ms))
        self.give_orders_back(account_id, -count, now_ms)

    def give_orders_back(self, account_id: int, count: int, now_ms: int) -> None:
        """Orders that were not placed after all."""
        for window in (self._orders_10s, self._orders_day):
            window.add(account_id, -count, now_ms)

    def order_counts(self, account_id: int, now_ms: int) -> tuple[int, int]:
        """Unfilled orders in the running 10 seconds and in the running day."""
        return self._orders_10s.count(account_id, now_ms), self._orders_day.count(account_id, now_ms)

    def note_fills(self, changes: Changes, now_ms: int) -> None:
        """An order's first fill makes room: for one order if it came as taker, for five as maker."""
        for account_id, is_maker in first_fills(changes):
            self.give_orders_back(account_id, MAKER_CREDIT if is_maker else TAKER_CREDIT, now_ms)

    # -- telling -----------------------------------------------------------------------------------------

    def described(self) -> list[dict[str, Any]]:
        """`rateLimits` of exchangeInfo: those in force."""
        settings = self._settings
        limits = [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, settings.weight_limit_per_minute),
            *self.orders_described(),
            _limit("RAW_REQUESTS", "MINUTE", 5, settings.raw_limit_per_5_minutes),
        ]
        return [limit for limit in limits if limit["limit"]]

    def orders_described(self, account_id: int | None = None, now_ms: int = 0) -> list[dict[str, Any]]:
        """The two limits of unfilled orders; with an account, its counts too."""
        settings = self._settings
        limits = [
            _limit("ORDERS", "SECOND", 10, settings.order_limit_per_10_s),
            _limit("ORDERS", "DAY", 1, settings.order_limit_per_day),
        ]
        if account_id is not None:
            for limit, count in zip(limits, self.order_counts(account_id, now_ms), strict=True):
                limit["count"] = count
        return limits

    def weight_described(self, address: str, now_ms: int) -> dict[str, Any]:
        """The limit of request weight with what the address has used."""
        limit = _limit("REQUEST_WEIGHT", "MINUTE", 1, self._settings.weight_limit_per_minute)
        return {**limit, "count": self.used(address, now_ms)}

    def _order_windows(self) -> tuple[tuple[Window, int, str], ...]:
        return (
            (self._orders_10s, self._settings.order_limit_per_10_s, "10 SECOND"),
            (self._orders_day, self._settings.order_limit_per_day, "1 DAY"),
        )


def first_fills(changes: Changes) -> Iterator[tuple[int, bool]]:
    """(account, as maker) of each order that these changes filled for the first time."""
    filled: dict[tuple[str, int], Decimal] = defaultdict(lambda: ZERO)
    first: dict[tuple[str, int], tuple[int, bool]] = {}
    for trade in changes.trades:
        key = (trade.symbol, trade.order_id)
        filled[key] += trade.quantity
        first.setdefault(key, (trade.account_id, trade.is_maker))
    for key, account in first.items():
        if changes.orders[key].executed == filled[key]:
            yield account


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
