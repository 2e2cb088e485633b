"""The synthetic order book around the market's price: pure, and the same for the same inputs.

Quantities at each level vary in a fixed pattern, so that the book does not look like a ruler, without any
randomness. What takers have taken stays gone until the next path point brings fresh liquidity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal

from app.domain.intrabar import PresetRules
from app.domain.money import MAX_AMOUNT, ZERO, ceil_to_step, floor_to_step
from app.domain.symbols import SymbolRules

LEVELS = 20
_BPS = Decimal("0.0001")
_LEVEL_SPACING_BPS = Decimal("0.2")
_PATTERN = tuple(Decimal(n) / 10 for n in (10, 7, 14, 9, 21, 12, 17, 8, 25, 13))


@dataclass(slots=True)
class Liquidity:
    """The market's side of the book of one symbol."""

    rules: SymbolRules
    preset: PresetRules
    price: Decimal | None = None
    typical_volume: Decimal = ZERO  # of one candle, base
    half_spread: Decimal | None = None  # instead of the preset's, where a mirrored exchange tells it
    taken: dict[Decimal, Decimal] = field(default_factory=dict)

    def move(self, price: Decimal, typical_volume: Decimal) -> None:
        """The path reaches `price`: fresh liquidity."""
        self.price = price
        self.typical_volume = typical_volume
        self.taken.clear()

    def take(self, price: Decimal, quantity: Decimal) -> None:
        """A taker took `quantity` at `price`."""
        self.taken[price] = self.taken.get(price, ZERO) + quantity

    def best(self, *, is_bid: bool) -> Decimal:
        """Best price of one side. Requires a price."""
        assert self.price is not None
        half = self.price * self.preset.half_spread_bps * _BPS
        if half and self.half_spread is not None:
            half = self.half_spread
        tick = self.rules.tick_size
        if not half:
            return self.price
        if is_bid:
            return max(floor_to_step(self.price - half, tick), tick)
        least = self.best(is_bid=True) + tick
        return max(ceil_to_step(self.price + half, tick), least)

    def levels(self, *, is_bid: bool, limit: int = LEVELS) -> Iterator[tuple[Decimal, Decimal]]:
        """(price, quantity) from the best level outwards, without what has been taken."""
        if self.price is None:
            return
        if self.preset.depth_share is None:
            yield self.price, MAX_AMOUNT
            return
        tick = self.rules.tick_size
        spacing = max(tick, (self.price * _LEVEL_SPACING_BPS * _BPS / tick).to_integral_value(ROUND_CEILING) * tick)
        best = self.best(is_bid=is_bid)
        unit = self.typical_volume * self.preset.depth_share
        shift = int(self.price / tick) + (3 if is_bid else 0)
        for n in range(limit):
            price = best - n * spacing if is_bid else best + n * spacing
            if price <= 0:
                return
            quantity = self._quantity(unit * _PATTERN[(shift + n) % len(_PATTERN)] * (1 + Decimal(n) / 4))
            quantity -= self.taken.get(price, ZERO)
            if quantity > 0:
                yield price, quantity

    def displayed_at(self, price: Decimal, *, is_bid: bool) -> Decimal:
        """Quantity that stands before an order which joins `price` now (a whole level's worth beyond the book)."""
        if self.price is None or self.preset.depth_share is None:
            return ZERO
        worst = ZERO
        for level, quantity in self.levels(is_bid=is_bid):
            worst = quantity
            if level == price:
                return quantity
            if (level < price) if is_bid else (level > price):
                break
        return worst

    def _quantity(self, wanted: Decimal) -> Decimal:
        step = self.rules.step_size
        return max(step, (wanted / step).to_integral_value(ROUND_DOWN) * step)
