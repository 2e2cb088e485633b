"""Order lists: one cancels the other (OCO), one triggers the other (OTO), and both (OTOCO).

An OCO locks funds once: the leg that needs more holds the lock, and hands it to the other when that one
trades or is triggered. What waits in an OTO has no lock until the working order has filled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.money import ZERO
from app.domain.orders import OrderType, Side
from app.paper_exchange import errors, reports
from app.paper_exchange.errors import ApiError
from app.paper_exchange.model import MARKET_TYPES, PENDING, STOP_TYPES, NewList, NewOrder, Order, OrderList

if TYPE_CHECKING:
    from app.paper_exchange.matching import Engine, Intake
    from app.paper_exchange.orderbook import Market

_STOP_LOSSES = (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
#: Ends that come from another order of the same list: they end nothing more.
_FROM_LIST = ("OCO_TRIGGER", "OTO_PHASE_ONE_EXPIRED")


class OrderLists:
    """The open order lists of an engine and what binds their orders."""

    def __init__(self, engine: Engine) -> None:
        self.open: dict[int, OrderList] = {}
        self.next_id = 0
        self._engine = engine
        self._members: dict[int, list[Order]] = {}  # of open lists, ended orders too
        self._filled: list[OrderList] = []  # whose pending orders are due

    def restore(self, one: OrderList, members: list[Order]) -> None:
        """Take up a stored open list with all its orders."""
        self.open[one.id], self._members[one.id] = one, members

    def count(self, account_id: int, symbol: str) -> int:
        """Open lists of an account on a symbol."""
        return sum(1 for one in self.open.values() if (one.account_id, one.symbol) == (account_id, symbol))

    def members_of(self, one: OrderList) -> list[Order]:
        """All orders of an open list, ended ones too."""
        return self._members[one.id]

    def members(self, order: Order) -> list[Order]:
        """All orders of the order's open list, ended ones too; nothing for an order without one."""
        return self._members.get(order.list_id, [])

    def open_orders(self, order: Order) -> list[Order]:
        """The open orders of the order's list, itself among them; nothing for an order without one."""
        return [o for o in self.members(order) if not o.is_final]

    # -- placing -----------------------------------------------------------------------------------------

    def place(self, account_id: int, new: NewList, now_ms: int) -> tuple[OrderList, list[Order]]:
        """Accept a list. Returns it with its orders; pending ones are started by `release` only. Raises ApiError."""
        engine = self._engine
        market = self._check(account_id, new)
        is_pair = new.contingency == "OCO"
        first = new.orders if is_pair else new.orders[:1]
        intakes = [engine.weigh(market, account_id, one) for one in first]
        engine.check_funds(account_id, max(intakes, key=lambda intake: intake.lock))
        one = OrderList(
            self.next_id, account_id, market.rules.symbol, new.client_id or engine.make_id(), new.contingency, (),
            False, now_ms,
        )  # fmt: skip
        self.next_id += 1
        orders = [
            engine.make(
                market, account_id, request, now_ms, list_id=one.id, status="NEW" if n < len(first) else PENDING
            )
            for n, request in enumerate(new.orders)
        ]
        one.order_ids = tuple(o.id for o in orders)
        self.restore(one, orders)
        self._admit(market, orders[: len(first)], intakes, now_ms)
        for order in orders[len(first) :]:
            engine.report(order, "NEW", now_ms)
        self.tell(one, now_ms)
        for order, intake in zip(orders, intakes, strict=False):
            engine.work(market, order, intake, now_ms)
        return one, orders

    def _check(self, account_id: int, new: NewList) -> Market:
        engine = self._engine
        algo = 0
        for n, request in enumerate(new.orders):
            market = engine.check_request(account_id, request, more_orders=n, more_algo=algo, more_lists=1)
            algo += request.type in STOP_TYPES
        ids = [request.client_id for request in new.orders if request.client_id]
        if len(set(ids)) != len(ids) or any(
            one.client_id == new.client_id and one.account_id == account_id for one in self.open.values()
        ):
            raise errors.rejected("Duplicate order sent.")
        for client_id in ids:
            engine.check_id(market, account_id, client_id)
        self._check_prices(market, new.orders if new.contingency == "OCO" else new.orders[:1])
        return market

    def _check_prices(self, market: Market, legs: tuple[NewOrder, ...]) -> None:
        if len(legs) == 2:
            check_relation(market, legs)
        for leg in legs:
            self._engine.check_prices(market, leg)

    def _admit(self, market: Market, legs: list[Order], intakes: list[Intake], now_ms: int) -> None:
        """Lock funds once, for the leg that needs more, and tell of all legs."""
        most = max(range(len(legs)), key=lambda n: intakes[n].lock)
        for n, (order, intake) in enumerate(zip(legs, intakes, strict=True)):
            self._engine.admit(market, order, intake if n == most else intake.unlocked(), now_ms)

    # -- what binds the orders ---------------------------------------------------------------------------

    def before_work(self, order: Order, now_ms: int) -> None:
        """The order is about to trade or has been triggered: the other leg of its OCO ends and hands over its lock."""
        one = self.open.get(order.list_id)
        pair = () if one is None else one.pair_of(order.id)
        for other in self.open_orders(order) if pair else []:
            if other is order or other.id not in pair:
                continue
            order.locked, other.locked = order.locked + other.locked, ZERO
            self._engine.end(other, "EXPIRED", now_ms, reason="OCO_TRIGGER")
            if order.type not in MARKET_TYPES or not order.is_buy:
                need = order.price * order.remaining if order.is_buy else order.remaining
                self._engine.ledger.release(order.account_id, order.lock_asset, order.locked - need)
                order.locked = need

    def ended(self, order: Order, now_ms: int) -> None:
        """An order has ended: start or end what depends on it; a list without open orders is done."""
        one = self.open.get(order.list_id)
        if one is None:
            return
        others = self.open_orders(order)
        if order.status == "FILLED":
            if one.pending_of(order.id):
                self._filled.append(one)
        elif order.status != "CANCELED" and order.expiry_reason not in _FROM_LIST:
            reason = "OTO_PHASE_ONE_EXPIRED" if one.pending_of(order.id) else "OCO_TRIGGER"
            for other in others:
                self._engine.end(other, "EXPIRED", now_ms, reason=reason)
        if not self.open_orders(order) and not one.is_done:
            one.is_done = True
            self.tell(one, now_ms)
            del self.open[one.id], self._members[one.id]

    def release(self, now_ms: int) -> None:
        """Start the pending orders of lists whose working order has filled. To be called when a step is over."""
        while self._filled:
            one = self._filled.pop(0)
            legs = [o for o in self._members.get(one.id, []) if o.status == PENDING]
            if legs:
                self._start(legs, now_ms)

    def _start(self, legs: list[Order], now_ms: int) -> None:
        engine, account_id = self._engine, legs[0].account_id
        market = engine.markets[legs[0].symbol]
        requests = tuple(as_request(order) for order in legs)
        try:
            self._check_prices(market, requests)
            intakes = [engine.weigh(market, account_id, request) for request in requests]
            engine.check_funds(account_id, max(intakes, key=lambda intake: intake.lock))
        except ApiError:
            engine.end(legs[0], "EXPIRED", now_ms, reason="REJECTED")
            return
        for order in legs:
            engine.sequence += 1
            order.sequence, order.status, order.updated_ms = engine.sequence, "NEW", now_ms
            order.working_ms = 0 if order.type in STOP_TYPES else now_ms
        self._admit(market, legs, intakes, now_ms)
        for order, intake in zip(legs, intakes, strict=True):
            engine.work(market, order, intake, now_ms)

    def tell(self, one: OrderList, now_ms: int, *, status_type: str = "") -> None:
        """Note the list as changed and send `listStatus`."""
        changes = self._engine.ledger.changes
        changes.lists[one.id] = one
        event = reports.list_status(one, self._members[one.id], now_ms, status_type=status_type)
        changes.events.append((one.account_id, event))


def check_relation(market: Market, legs: tuple[NewOrder, ...]) -> None:
    """-2010 unless the last price lies between the two legs of an OCO, the stop on the losing side."""
    last = market.liquidity.price
    assert last is not None
    for leg in legs:
        is_stop = leg.type in _STOP_LOSSES
        at = leg.stop_price if is_stop or leg.type is OrderType.TAKE_PROFIT else leg.price
        is_above = is_stop == (leg.side is Side.BUY)
        if (at <= last) if is_above else (at >= last):
            raise errors.rejected("The relationship of the prices for the orders is not correct.")


def as_request(order: Order) -> NewOrder:
    """The request an order was made from."""
    return NewOrder(
        order.symbol, order.side, order.type, order.time_in_force, order.quantity, price=order.price,
        stop_price=order.stop_price, client_id=order.client_id, stp_mode=order.stp_mode,
    )  # fmt: skip
