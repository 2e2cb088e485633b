"""Whole numbers of a symbol's smallest price and quantity units, and the way back to decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from app.domain.symbols import SymbolRules


@dataclass(frozen=True, slots=True)
class Units:
    """Scales of one symbol: a price of 1 unit is 10**-price_decimals, a quantity likewise."""

    price_decimals: int
    quantity_decimals: int
    tick: int  # the tick in price units
    step: int  # the lot step in quantity units

    @classmethod
    def of(cls, rules: SymbolRules) -> Units:
        """The scales that a symbol's tick and lot step imply."""
        price_decimals, quantity_decimals = _decimals(rules.tick_size), _decimals(rules.step_size)
        return cls(
            price_decimals,
            quantity_decimals,
            int(rules.tick_size.scaleb(price_decimals)),
            int(rules.step_size.scaleb(quantity_decimals)),
        )

    def price(self, units: int) -> Decimal:
        """Decimal price."""
        return Decimal(units).scaleb(-self.price_decimals)

    def quantity(self, units: int) -> Decimal:
        """Decimal quantity."""
        return Decimal(units).scaleb(-self.quantity_decimals)

    def quote(self, price: int, volume: int) -> float:
        """Quote value of a volume, for display."""
        return float(price) * volume / 10.0 ** (self.price_decimals + self.quantity_decimals)

    def price_units(self, price: Decimal | float) -> int:
        """Nearest whole tick, at least one."""
        return max(1, round(_scaled(price, self.price_decimals) / self.tick)) * self.tick

    def quantity_units(self, quantity: Decimal | float) -> int:
        """Nearest whole quantity unit, at least none."""
        return max(0, round(_scaled(quantity, self.quantity_decimals)))

    def price_text(self, units: int) -> str:
        """Eight decimals."""
        return _text(units, self.price_decimals)

    def quantity_text(self, units: int) -> str:
        """Eight decimals."""
        return _text(units, self.quantity_decimals)


def _scaled(value: Decimal | float, decimals: int) -> Decimal | float:
    if isinstance(value, Decimal):
        return value.scaleb(decimals).quantize(Decimal(1), ROUND_HALF_EVEN)
    return value * 10.0**decimals


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _text(units: int, decimals: int) -> str:
    whole, part = divmod(units, 10**decimals)
    return f"{whole}.{part * 10 ** (8 - decimals):08d}"
