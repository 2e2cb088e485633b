"""The matching of the `FakeExchange`: one account against a market that is a price and a quantity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.money import ZERO, floor_to_step
from app.domain.orders import ExchangeReport, Fill, OrderType, Side, TimeInForce
from app.domain.symbols import FilterFailure, SymbolRules, notional_failure, price_failure, quantity_failure
from app.services.exchange.classification import Failure
from app.services.exchange.protocol import BalancesChanged, OrderRequest, OrderUpdate

FINAL_WORDS = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"})
_STOPS = frozenset({OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT})
_AT_MARKET = frozenset({OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT})
_PRICED = frozenset(OrderType) - _AT_MARKET

OTHER_ASSET_SHARE = Decimal("0.75")
FEE_QUANTUM = Decimal("1e-8")

Tell = Callable[[OrderUpdate | BalancesChanged], None]


@dataclass(slots=True)
class FakeOrder:
    """An order in the fake's book."""

    id: int
    request: OrderRequest
    quantity: Decimal
    created_ms: int
    updated_ms: int
    waits_for_trigger: bool
    status: str = "NEW"
    fills: list[Fill] = field(default_factory=list)
    lock_asset: str = ""
    locked: Decimal = ZERO
    visible_at_ms: int = 0
    other: FakeOrder | None = None  # the other leg of its OCO

    @property
    def client_order_id(self) -> str:
        """The id it was placed with."""
        return self.request.client_order_id

    @property
    def executed(self) -> Decimal:
        """Filled base quantity."""
        return sum((f.quantity for f in self.fills), ZERO)

    @property
    def remaining(self) -> Decimal:
        """Base quantity still to fill."""
        return self.quantity - self.executed

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status in FINAL_WORDS

    def report(self, fills: tuple[Fill, ...] = ()) -> ExchangeReport:
        """What the exchange says about it now."""
        return ExchangeReport(
            client_order_id=self.client_order_id,
            exchange_order_id=self.id,
            symbol=self.request.symbol,
            status=self.status,
            executed=self.executed,
            executed_quote=sum((f.quote_quantity for f in self.fills), ZERO),
            updated_at_ms=self.updated_ms,
            fills=fills,
            original_quantity=self.quantity,
            side=self.request.side.value,
            type=self.request.type.value,
            price=self.request.price or ZERO,
            stop_price=self.request.stop_price or ZERO,
            time_in_force=self.request.time_in_force.value if self.request.time_in_force else "",
            created_at_ms=self.created_ms,
        )


class Engine:
    """Books and matching. `free` and `locked` are the account's balances."""

    def __init__(
        self, rules: dict[str, SymbolRules], balances: dict[str, Decimal], fee_rate: Decimal, tell: Tell
    ) -> None:
        self.rules = rules
        self.free: dict[str, Decimal] = defaultdict(Decimal, balances)
        self.locked: dict[str, Decimal] = defaultdict(Decimal)
        self.prices: dict[str, Decimal] = {}
        self.orders: list[FakeOrder] = []
        self.fee_asset: str | None = None
        self._available: dict[str, Decimal | None] = {}
        self._fee_rate = fee_rate
        self._tell = tell
        self._trades = 0

    def open_orders(self) -> list[FakeOrder]:
        """Orders that are not final, oldest first."""
        return [o for o in self.orders if not o.is_final]

    def accept(self, request: OrderRequest, now_ms: int) -> FakeOrder | Failure:
        """Take a new order, match what can be matched, let the rest rest (or expire)."""
        rules = self.rules.get(request.symbol)
        if rules is None:
            return Failure(400, -1121, "Invalid symbol.")
        if rules.status != "TRADING":
            return Failure(400, -2010, "Market is closed.")
        last = self.prices.get(request.symbol)
        if last is None:
            return Failure(400, -2010, "Market is closed.")
        quantity = request.quantity or floor_to_step((request.quote_quantity or ZERO) / last, rules.step_size)
        refusal = self._refusal(rules, request, quantity, last)
        if refusal is not None:
            return refusal
        order = FakeOrder(len(self.orders) + 1, request, quantity, now_ms, now_ms, request.type in _STOPS)
        if not self._lock(order, rules, last):
            return Failure(400, -2010, "Account has insufficient balance for requested action.")
        self.orders.append(order)
        self._tell(OrderUpdate(order.report()))
        if not order.waits_for_trigger:
            self._take(order, now_ms)
        self._tell(BalancesChanged())
        return order

    def accept_oco(self, requests: Sequence[OrderRequest], now_ms: int) -> list[FakeOrder] | Failure:
        """Take two sales of the same coins, the stop first: both or none. The second holds the lock for both."""
        stop, target = requests
        rules, last = self.rules.get(stop.symbol), self.prices.get(stop.symbol)
        if rules is None:
            return Failure(400, -1121, "Invalid symbol.")
        if rules.status != "TRADING" or last is None:
            return Failure(400, -2010, "Market is closed.")
        for request in requests:
            refusal = self._refusal(rules, request, request.quantity or ZERO, last, in_list=True)
            if refusal is not None:
                return refusal
        if not (stop.stop_price or ZERO) < last < (target.price or ZERO):
            return Failure(400, -2010, "The relationship of the prices for the orders is not correct.")
        first = len(self.orders) + 1
        legs = [
            FakeOrder(first + n, request, request.quantity or ZERO, now_ms, now_ms, request.type in _STOPS)
            for n, request in enumerate(requests)
        ]
        if not self._lock(legs[1], rules, last):
            return Failure(400, -2010, "Account has insufficient balance for requested action.")
        legs[0].other, legs[1].other = legs[1], legs[0]
        self.orders.extend(legs)
        for leg in legs:
            self._tell(OrderUpdate(leg.report()))
        self._tell(BalancesChanged())
        return legs

    def _refusal(
        self, rules: SymbolRules, request: OrderRequest, quantity: Decimal, last: Decimal, *, in_list: bool = False
    ) -> Failure | None:
        """Why an order is not taken; for a leg of a list the relation of the prices is looked at by itself."""
        broken = _broken_filter(rules, request, quantity, last)
        if broken is not None:
            return Failure(400, -1013, f"Filter failure: {broken.filter_name}")
        if any(o.client_order_id == request.client_order_id for o in self.open_orders()):
            return Failure(400, -2010, "Duplicate order sent.")
        if in_list:
            return None
        if request.type is OrderType.LIMIT_MAKER and _crosses(request.side, request.price, last):
            return Failure(400, -2010, "Order would immediately match and take.")
        if request.type in _STOPS and _triggers(request, last):
            return Failure(400, -2010, "Stop price would trigger immediately.")
        return None

    def move(self, symbol: str, price: Decimal, available: Decimal | None, now_ms: int) -> None:
        """The market trades at `price`."""
        self.prices[symbol] = price
        self._available[symbol] = available
        for order in self.open_orders():
            if order.request.symbol != symbol or order.is_final:
                continue
            if order.waits_for_trigger:
                if _triggers(order.request, price):
                    order.waits_for_trigger = False
                    self._end_other(order, now_ms)
                    self._take(order, now_ms)
            elif _crosses(order.request.side, order.request.price, price):
                self._fill(order, order.request.price or price, now_ms, is_maker=True)

    def end(self, order: FakeOrder, status: str, now_ms: int, *, alone: bool = False) -> None:
        """Close an order that is open and give back what it locks; the other leg of its OCO ends with it."""
        order.status, order.updated_ms = status, now_ms
        self._unlock(order)
        self._tell(OrderUpdate(order.report()))
        if order.other is not None and not order.other.is_final and not alone:
            self.end(order.other, status, now_ms, alone=True)
        self._tell(BalancesChanged())

    def _end_other(self, order: FakeOrder, now_ms: int) -> None:
        """This leg of an OCO works now: the other one ends EXPIRED, and gives back the coins if it holds them."""
        if order.other is not None and not order.other.is_final:
            self.end(order.other, "EXPIRED", now_ms, alone=True)

    def fill_late(self, order: FakeOrder, quantity: Decimal, price: Decimal, now_ms: int) -> bool:
        """Book a trade of an order that has ended without being filled; False if it cannot have one."""
        rules, is_buy = self.rules[order.request.symbol], order.request.side is Side.BUY
        asset, needed = (rules.quote_asset, quantity * price) if is_buy else (rules.base_asset, quantity)
        # The leg of an OCO that ended because the other works trades no more.
        ended = order.status in ("CANCELED", "EXPIRED") and order.other is None
        if not ended or quantity >= order.remaining or needed > self.free[asset]:
            return False
        self._trade(order, rules, quantity, price, now_ms, is_maker=True)
        self._tell(OrderUpdate(order.report((order.fills[-1],))))
        self._tell(BalancesChanged())
        return True

    def _take(self, order: FakeOrder, now_ms: int) -> None:
        """Match as taker at the market's price; what is left rests or expires by its type."""
        request, price = order.request, self.prices[order.request.symbol]
        at_market = request.type in _AT_MARKET
        available = self._available.get(request.symbol)
        whole = available is None or available >= order.remaining
        if (at_market or _crosses(request.side, request.price, price)) and (
            whole or request.time_in_force is not TimeInForce.FOK
        ):
            self._fill(order, price, now_ms, is_maker=False)
        rests = not at_market and request.time_in_force not in (TimeInForce.IOC, TimeInForce.FOK)
        if not order.is_final and not rests:
            self.end(order, "EXPIRED", now_ms)

    def _fill(self, order: FakeOrder, price: Decimal, now_ms: int, *, is_maker: bool) -> None:
        request, rules = order.request, self.rules[order.request.symbol]
        available = self._available.get(request.symbol)
        quantity = order.remaining if available is None else min(order.remaining, available)
        if quantity <= 0:
            return
        if available is not None:
            self._available[request.symbol] = available - quantity
        quote = quantity * price
        is_buy = request.side is Side.BUY
        if is_buy and quote > self.free[rules.quote_asset] + order.locked:  # a buy stop that gapped up
            self.end(order, "EXPIRED", now_ms)
            return
        self._end_other(order, now_ms)
        self._unlock(order)
        fill = self._trade(order, rules, quantity, price, now_ms, is_maker=is_maker)
        order.status = "PARTIALLY_FILLED" if order.remaining else "FILLED"
        if order.remaining:
            self._lock(order, rules, price)
        self._tell(OrderUpdate(order.report((fill,))))
        self._tell(BalancesChanged())

    def _trade(
        self, order: FakeOrder, rules: SymbolRules, quantity: Decimal, price: Decimal, now_ms: int, *, is_maker: bool
    ) -> Fill:
        """Exchange the amounts, less the fee in what is received."""
        quote, is_buy = quantity * price, order.request.side is Side.BUY
        received, asset = (quantity, rules.base_asset) if is_buy else (quote, rules.quote_asset)
        self._trades += 1
        self.free[rules.quote_asset if is_buy else rules.base_asset] -= quote if is_buy else quantity
        self.free[asset] += received
        fee, fee_asset = self._fee(received, asset, quote, rules)
        self.free[fee_asset] -= fee
        fill = Fill(self._trades, quantity, price, quote, fee, fee_asset, is_maker, now_ms)
        order.fills.append(fill)
        order.updated_ms = now_ms
        return fill

    def _fee(self, received: Decimal, asset: str, quote: Decimal, rules: SymbolRules) -> tuple[Decimal, str]:
        """Out of what is received, unless the account pays in another asset and has enough of it."""
        price = self.prices.get(f"{self.fee_asset}{rules.quote_asset}")
        if self.fee_asset is not None and price is not None:
            fee = (quote * self._fee_rate * OTHER_ASSET_SHARE / price).quantize(FEE_QUANTUM)
            if self.free[self.fee_asset] >= fee:
                return fee, self.fee_asset
        return received * self._fee_rate, asset

    def _lock(self, order: FakeOrder, rules: SymbolRules, last: Decimal) -> bool:
        """Set aside what the rest of the order needs; False if there is not enough."""
        request = order.request
        is_buy = request.side is Side.BUY
        asset = rules.quote_asset if is_buy else rules.base_asset
        needed = order.remaining * (request.price or request.stop_price or last) if is_buy else order.remaining
        if needed > self.free[asset]:
            return False
        order.lock_asset, order.locked = asset, needed
        self.free[asset] -= needed
        self.locked[asset] += needed
        return True

    def _unlock(self, order: FakeOrder) -> None:
        if order.lock_asset:
            self.locked[order.lock_asset] -= order.locked
            self.free[order.lock_asset] += order.locked
        order.lock_asset, order.locked = "", ZERO


def _crosses(side: Side, limit: Decimal | None, price: Decimal) -> bool:
    if limit is None:
        return True
    return price <= limit if side is Side.BUY else price >= limit


def _triggers(request: OrderRequest, price: Decimal) -> bool:
    stop = request.stop_price or ZERO
    is_loss = request.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    rises = (request.side is Side.BUY) == is_loss  # a buy stop and a sell target wait for a higher price
    return price >= stop if rises else price <= stop


def _broken_filter(rules: SymbolRules, request: OrderRequest, quantity: Decimal, last: Decimal) -> FilterFailure | None:
    at_market = request.type in _AT_MARKET
    failures = [quantity_failure(rules, quantity, is_market=at_market)]
    if request.type in _PRICED:
        failures.append(price_failure(rules, request.price or ZERO))
    if request.type in _STOPS:
        failures.append(price_failure(rules, request.stop_price or ZERO, field="stop_price"))
    notional = quantity * (request.price or request.stop_price or last)
    failures.append(notional_failure(rules, notional, is_market=at_market))
    return next((f for f in failures if f is not None), None)
