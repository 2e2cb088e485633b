"""Trading rules of a symbol, and the checks an order must pass before it is sent.

Source: Binance Spot API, filters.md (PRICE_FILTER, LOT_SIZE, MARKET_LOT_SIZE, NOTIONAL). A bound of 0
switches that bound off. The platform and the paper exchange use these same functions.
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


def round_price(rules: SymbolRules, price: Decimal) -> Decimal:
    """Nearest lower multiple of the tick."""
    return floor_to_step(price, rules.tick_size)
