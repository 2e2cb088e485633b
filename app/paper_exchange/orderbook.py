"""The book of one symbol: the market's liquidity, the resting orders, and what a taker would meet there."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from heapq import merge

from app.domain.money import ZERO, floor_to_step
from app.domain.orders import OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules
from app.paper_exchange import errors
from app.paper_exchange.book import Liquidity
from app.paper_exchange.model import STOP_TYPES, NewOrder, Order

Key = tuple[Decimal, int, int]  # (price, negative for bids; sequence; order id): sorts best first


@dataclass(frozen=True, slots=True)
class Match:
    """One piece of what a taker would get. `maker` is None for the market's own liquidity."""

    price: Decimal
    quantity: Decimal
    maker: Order | None


@dataclass(slots=True)
class Market:
    """One symbol as the engine sees it."""

    rules: SymbolRules
    liquidity: Liquidity
    is_open: bool = True
    next_order_id: int = 1
    next_trade_id: int = 1
    next_prevented_id: int = 0
    open_orders: dict[int, Order] = field(default_factory=dict)
    average_price: Decimal = ZERO  # volume weighted, for the filters
    _bids: list[Key] = field(default_factory=list)
    _asks: list[Key] = field(default_factory=list)

    def orders_of(self, account_id: int) -> list[Order]:
        """Open orders of an account."""
        return [o for o in self.open_orders.values() if o.account_id == account_id]

    def lock_asset(self, side: Side) -> str:
        """What an order of that side spends."""
        return self.rules.quote_asset if side is Side.BUY else self.rules.base_asset

    # -- resting orders ----------------------------------------------------------------------------------

    def resting(self, *, is_buy: bool) -> list[Order]:
        """Working limit orders of one side in price-time order."""
        return [self.open_orders[key[2]] for key in self._side(is_buy=is_buy)]

    def rest(self, order: Order) -> None:
        """Put a working limit order at its place in price-time order."""
        insort(self._side(is_buy=order.is_buy), _key(order))

    def remove(self, order: Order) -> None:
        """An order has ended: off the book."""
        del self.open_orders[order.id]
        side, key = self._side(is_buy=order.is_buy), _key(order)
        if key in side:
            side.remove(key)

    def triggered(self, price: Decimal) -> list[Order]:
        """Stops and targets that the path's way to `price` triggers, in the order in which it meets them."""
        hit = [o for o in self.open_orders.values() if o.waits_for_trigger and _is_hit(o, price)]
        falls = self.liquidity.price is not None and price < self.liquidity.price
        return sorted(hit, key=lambda o: (-o.stop_price if falls else o.stop_price, o.sequence))

    # -- what a taker meets ------------------------------------------------------------------------------

    def plan(self, account_id: int, new: NewOrder) -> tuple[list[Match], list[Order]]:
        """What the order would take at once, and which own resting orders stand in its way.

        Raises -1013 LOT_SIZE when a quote quantity does not buy the least lot.
        """
        if new.type in STOP_TYPES or new.type is OrderType.LIMIT_MAKER:
            return [], []
        is_buy = new.side is Side.BUY
        wanted, budget = new.quantity, new.quote_quantity
        plan: list[Match] = []
        own: list[Order] = []
        for price, available, maker in self._offers(is_buy=is_buy):
            if new.price and ((price > new.price) if is_buy else (price < new.price)):
                break
            if maker is not None and maker.account_id == account_id and new.stp_mode != "NONE":
                own.append(maker)
                if new.stp_mode == "EXPIRE_MAKER":
                    continue
                break
            affordable = floor_to_step(budget / price, self.rules.step_size) if new.quote_quantity else wanted
            take = min(available, affordable)
            if take <= 0:
                break
            plan.append(Match(price, take, maker))
            wanted -= take
            budget -= take * price
            if not new.quote_quantity and wanted <= 0:
                break
        if new.quote_quantity and sum((m.quantity for m in plan), ZERO) < self.rules.min_qty:
            raise errors.filter_failure("LOT_SIZE")
        if new.time_in_force is TimeInForce.FOK and wanted > 0:
            return [], []
        return plan, own

    def would_take(self, new: NewOrder) -> bool:
        """Whether a limit order at this price would trade at once."""
        best = next(self._offers(is_buy=new.side is Side.BUY), None)
        if best is None:
            return False
        return best[0] <= new.price if new.side is Side.BUY else best[0] >= new.price

    def depth(self, limit: int) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """(bids, asks) as (price, quantity), best first: the market's liquidity and the resting orders."""
        return self._levels(limit, is_bid=True), self._levels(limit, is_bid=False)

    def _levels(self, limit: int, *, is_bid: bool) -> list[tuple[Decimal, Decimal]]:
        levels: dict[Decimal, Decimal] = dict(self.liquidity.levels(is_bid=is_bid))
        facing = None if self.liquidity.price is None else self.liquidity.best(is_bid=not is_bid)
        for order in self.resting(is_buy=is_bid):
            if facing is not None and ((order.price >= facing) if is_bid else (order.price <= facing)):
                continue  # the market is passing through it, a share of its volume at a time: no book is crossed
            levels[order.price] = levels.get(order.price, ZERO) + order.remaining
        return sorted(levels.items(), reverse=is_bid)[:limit]

    def _offers(self, *, is_buy: bool) -> Iterator[tuple[Decimal, Decimal, Order | None]]:
        """What a taker meets, best first: (price, quantity, maker). At one price the market comes first."""
        sign = 1 if is_buy else -1
        levels: Iterator[tuple[Decimal, int, Decimal, Order | None]] = (
            (sign * price, 0, quantity, None) for price, quantity in self.liquidity.levels(is_bid=not is_buy)
        )
        resting: Iterator[tuple[Decimal, int, Decimal, Order | None]] = (
            (sign * order.price, order.sequence, order.remaining, order) for order in self.resting(is_buy=not is_buy)
        )
        for key, _, quantity, maker in merge(levels, resting, key=lambda offer: offer[:2]):
            yield abs(key), quantity, maker

    def _side(self, *, is_buy: bool) -> list[Key]:
        return self._bids if is_buy else self._asks


def _key(order: Order) -> Key:
    return (-order.price if order.is_buy else order.price, order.sequence, order.id)


def _is_hit(order: Order, price: Decimal) -> bool:
    waits_for_fall = (order.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)) != order.is_buy
    return price <= order.stop_price if waits_for_fall else price >= order.stop_price
