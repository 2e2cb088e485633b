"""Filters and trigger prices: what Binance refuses although every parameter is well formed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.orders import OrderType, Side
from app.domain.symbols import (
    FilterFailure,
    SymbolRules,
    notional_failure,
    open_orders_failure,
    percent_price_failure,
    position_failure,
    price_failure,
    quantity_failure,
)
from app.paper_exchange import errors
from app.paper_exchange.model import MARKET_TYPES, STOP_TYPES, NewOrder, Order

MAX_NUM_ORDER_LISTS = 20
MAX_NUM_ORDER_AMENDS = 10


def check_filters(
    rules: SymbolRules, new: NewOrder, average: Decimal, open_orders: Sequence[Order], held: Decimal,
    *, more_orders: int = 0, more_algo: int = 0,
) -> None:  # fmt: skip
    """Raise -1013 with the first filter of the symbol that `new` breaks.

    `average` is the volume-weighted price the filters refer to, `open_orders` the account's own on this
    symbol, `held` its base asset, locked part included; the counts are of orders that come together with `new`.
    """
    algo = more_algo + sum(1 for o in open_orders if o.type in STOP_TYPES and o.working_ms == 0)
    count = open_orders_failure(rules, more_orders + len(open_orders), algo, is_algo=new.type in STOP_TYPES)
    for failure in [*_failures(rules, new, average, open_orders, held), count]:
        if failure is not None:
            raise errors.filter_failure(failure.filter_name)


def _failures(
    rules: SymbolRules, new: NewOrder, average: Decimal, open_orders: Sequence[Order], held: Decimal
) -> list[FilterFailure | None]:
    is_market = new.type in MARKET_TYPES
    found: list[FilterFailure | None] = []
    if new.price:
        found.append(price_failure(rules, new.price))
        found.append(percent_price_failure(rules, new.price, average, is_buy=new.side is Side.BUY))
    if new.stop_price:
        found.append(price_failure(rules, new.stop_price, field="stop_price"))
    if new.quantity:
        found.append(quantity_failure(rules, new.quantity, is_market=new.type is OrderType.MARKET))
    notional = (
        new.quote_quantity or (new.price or (new.stop_price if new.type in STOP_TYPES else average)) * new.quantity
    )
    found.append(notional_failure(rules, notional, is_market=is_market))
    if new.side is Side.BUY:
        resting = sum((o.remaining for o in open_orders if o.is_buy), ZERO)
        found.append(position_failure(rules, held + resting + (new.quantity or new.quote_quantity / average)))
    return found


def check_trigger(new: NewOrder, last: Decimal) -> None:
    """Raise -2010 when a stop or target would be triggered at once by the `last` price."""
    is_stop = new.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    waits_for_fall = is_stop != (new.side is Side.BUY)
    if (last <= new.stop_price) if waits_for_fall else (last >= new.stop_price):
        raise errors.rejected("Order would trigger immediately.")
