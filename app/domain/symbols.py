"""Trading rules of a symbol, and the checks an order must pass before it is sent.

Source: Binance Spot API, filters.md (PRICE_FILTER, PERCENT_PRICE_BY_SIDE, LOT_SIZE, MARKET_LOT_SIZE,
NOTIONAL, MAX_NUM_ORDERS, MAX_NUM_ALGO_ORDERS, MAX_POSITION). A bound of 0 switches that bound off.
The platform and the paper exchange use these same functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.domain.money import ZERO, floor_to_step, is_multiple, plain


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """Filters of one symbol as `exchangeInfo` states them."""

    symbol: str
    base_asset: str
    quote_asset: str
    status: str = "TRADING"
    base_precision: int = 8
    quote_precision: int = 8
    tick_size: Decimal = ZERO
    min_price: Decimal = ZERO
    max_price: Decimal = ZERO
    step_size: Decimal = ZERO
    min_qty: Decimal = ZERO
    max_qty: Decimal = ZERO
    market_step_size: Decimal = ZERO
    market_min_qty: Decimal = ZERO
    market_max_qty: Decimal = ZERO
    min_notional: Decimal = ZERO
    max_notional: Decimal = ZERO
    min_notional_applies_to_market: bool = True
    max_notional_applies_to_market: bool = False
    bid_multiplier_up: Decimal = ZERO
    bid_multiplier_down: Decimal = ZERO
    ask_multiplier_up: Decimal = ZERO
    ask_multiplier_down: Decimal = ZERO
    average_price_mins: int = 5
    max_num_orders: int = 0
    max_num_algo_orders: int = 0
    max_position: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class FilterFailure:
    """Which filter an order breaks, where, and the sentence that says so."""

    filter_name: str
    field: str
    message: str


def price_failure(rules: SymbolRules, price: Decimal, *, field: str = "price") -> FilterFailure | None:
    """First reason why `price` is not allowed by PRICE_FILTER, or None."""
    word = field.replace("_", " ")
    if rules.min_price and price < rules.min_price:
        return FilterFailure(
            "PRICE_FILTER", field, f"{word} {plain(price)} is below the least allowed {plain(rules.min_price)}"
        )
    if rules.max_price and price > rules.max_price:
        return FilterFailure(
            "PRICE_FILTER", field, f"{word} {plain(price)} is above the most allowed {plain(rules.max_price)}"
        )
    if not is_multiple(price, rules.tick_size):
        return FilterFailure(
            "PRICE_FILTER", field, f"{word} {plain(price)} is not a multiple of the tick {plain(rules.tick_size)}"
        )
    return None


def percent_price_failure(
    rules: SymbolRules, price: Decimal, average: Decimal, *, is_buy: bool
) -> FilterFailure | None:
    """First reason why `price` is too far from the `average` traded price (PERCENT_PRICE_BY_SIDE), or None."""
    up, down = (
        (rules.bid_multiplier_up, rules.bid_multiplier_down)
        if is_buy
        else (rules.ask_multiplier_up, rules.ask_multiplier_down)
    )
    if up and price > average * up:
        message = f"price {plain(price)} is more than {plain(up)} times the average {plain(average)}"
        return FilterFailure("PERCENT_PRICE_BY_SIDE", "price", message)
    if down and price < average * down:
        message = f"price {plain(price)} is less than {plain(down)} times the average {plain(average)}"
        return FilterFailure("PERCENT_PRICE_BY_SIDE", "price", message)
    return None


def open_orders_failure(
    rules: SymbolRules, open_orders: int, open_algo_orders: int, *, is_algo: bool
) -> FilterFailure | None:
    """First reason why one more open order is not allowed (MAX_NUM_ORDERS, MAX_NUM_ALGO_ORDERS), or None."""
    if rules.max_num_orders and open_orders >= rules.max_num_orders:
        message = f"{rules.max_num_orders} orders are open on {rules.symbol} already, the most allowed"
        return FilterFailure("MAX_NUM_ORDERS", "", message)
    if is_algo and rules.max_num_algo_orders and open_algo_orders >= rules.max_num_algo_orders:
        message = f"{rules.max_num_algo_orders} stops and targets are open on {rules.symbol} already, the most allowed"
        return FilterFailure("MAX_NUM_ALGO_ORDERS", "", message)
    return None


def position_failure(rules: SymbolRules, position: Decimal) -> FilterFailure | None:
    """Why holding `position` of the base asset (open buys included) is not allowed (MAX_POSITION), or None."""
    if rules.max_position and position > rules.max_position:
        message = (
            f"a position of {plain(position)} {rules.base_asset} is above the most allowed {plain(rules.max_position)}"
        )
        return FilterFailure("MAX_POSITION", "quantity", message)
    return None


def quantity_failure(rules: SymbolRules, quantity: Decimal, *, is_market: bool = False) -> FilterFailure | None:
    """First reason why `quantity` is not allowed by LOT_SIZE or (market orders) MARKET_LOT_SIZE, or None."""
    bounds = [("LOT_SIZE", rules.min_qty, rules.max_qty, rules.step_size)]
    if is_market:
        bounds.append(("MARKET_LOT_SIZE", rules.market_min_qty, rules.market_max_qty, rules.market_step_size))
    for name, least, most, step in bounds:
        if least and quantity < least:
            return FilterFailure(
                name, "quantity", f"quantity {plain(quantity)} is below the lot minimum {plain(least)}"
            )
        if most and quantity > most:
            return FilterFailure(name, "quantity", f"quantity {plain(quantity)} is above the lot maximum {plain(most)}")
        if not is_multiple(quantity, step):
            return FilterFailure(
                name, "quantity", f"quantity {plain(quantity)} is not a multiple of the lot step {plain(step)}"
            )
    return None


def notional_failure(rules: SymbolRules, notional: Decimal, *, is_market: bool = False) -> FilterFailure | None:
    """First reason why price x quantity is not allowed by NOTIONAL, or None."""
    check_least = not is_market or rules.min_notional_applies_to_market
    if check_least and rules.min_notional and notional < rules.min_notional:
        return FilterFailure(
            "NOTIONAL",
            "quantity",
            f"order value {plain(notional)} {rules.quote_asset} is below the least allowed {plain(rules.min_notional)}",
        )
    check_most = not is_market or rules.max_notional_applies_to_market
    if check_most and rules.max_notional and notional > rules.max_notional:
        return FilterFailure(
            "NOTIONAL",
            "quantity",
            f"order value {plain(notional)} {rules.quote_asset} is above the most allowed {plain(rules.max_notional)}",
        )
    return None


def round_quantity(rules: SymbolRules, quantity: Decimal, *, is_market: bool = False) -> Decimal:
    """Largest allowed quantity not above `quantity`: always rounds down, so nothing is oversold."""
    rounded = floor_to_step(quantity, rules.step_size)
    return floor_to_step(rounded, rules.market_step_size) if is_market else rounded


def market_part(rules: SymbolRules, quantity: Decimal, price: Decimal | None) -> Decimal:
    """The part of `quantity` that one market order can sell; 0 when it is too little. Without a price its worth is
    not judged: the exchange will."""
    most = rules.market_max_qty or rules.max_qty
    part = round_quantity(rules, min(quantity, most) if most else quantity, is_market=True)
    if part <= 0 or quantity_failure(rules, part, is_market=True) is not None:
        return Decimal(0)
    if price is not None and notional_failure(rules, part * price, is_market=True) is not None:
        return Decimal(0)
    return part


def round_price(rules: SymbolRules, price: Decimal) -> Decimal:
    """Nearest lower multiple of the tick."""
    return floor_to_step(price, rules.tick_size)
