"""Positions at moving average cost, and what a fill does to balances.

The arithmetic, once, for both directions. A fill is a change of base `d` (coins that came, after a fee in
base) and a change of quote `f` (money that came, after a fee in quote). Then:

* `d` points away from zero (or the position was flat): the position grows, `cost -= f`.
* `d` points towards zero: the part of the cost that leaves is `cost * |d| / |quantity|`, quantised by
  `money.quantise_quote`, and all of it when nothing is left, so no residue of cost stays; `realised += f - part`.
* `d` crosses zero: the part of `f` that closes is `f * |quantity| / |d|`, quantised; the rest opens.

So `realised - cost` is the sum of all `f`, without rounding, and realised + unrealised = change of cash + value
holds to the last digit. A position below zero (more sold than held, because a fill came late) is the same with
signs turned: `quantity` and `cost` are negative, `-cost` is what was received for coins not held.

A fee in a third asset is an expense: its worth in quote is taken from `realised`, its amount from that asset's
balance. Where the asset's price is not known the worth cannot be told: it is left out of `realised` and `fees_quote`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from app.domain.errors import require
from app.domain.money import ZERO, quantise_quote
from app.domain.orders import Fill, Side


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one symbol. All but `quantity` (base) are in the quote asset.

    `cost` is the total paid for `quantity`, not the average: an average drifts. `fees_quote` is for show; fees
    are already in `cost`, `quantity` or `realised`.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    fees_quote: Decimal = ZERO


FLAT = Position()


@dataclass(frozen=True, slots=True)
class SidedFill:
    """A fill as a position needs it. `commission_price`: quote units for one of a third commission asset."""

    side: Side
    fill: Fill
    commission_price: Decimal | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in exchange order: (time, trade id)."""
        return self.fill.traded_at_ms, self.fill.trade_id


@dataclass(frozen=True, slots=True)
class Taken:
    """Coins that left a position by no fill of its own (sold or withdrawn elsewhere), at exchange time `at_ms`."""

    quantity: Decimal
    at_ms: int
    number: int  # of its row

    @property
    def place(self) -> tuple[int, int]:
        """After the fills of its millisecond: whoever found them gone had read those."""
        return self.at_ms, _AFTER_ALL_TRADES + self.number


_AFTER_ALL_TRADES = 2**62


def balance_changes(side: Side, fill: Fill, base_asset: str, quote_asset: str) -> dict[str, Decimal]:
    """What a fill changes in each asset's balance, the fee included; assets it leaves alone are not named."""
    sign = 1 if side is Side.BUY else -1
    changes = {base_asset: sign * fill.quantity}
    changes[quote_asset] = changes.get(quote_asset, ZERO) - sign * fill.quote_quantity
    if fill.commission:
        changes[fill.commission_asset] = changes.get(fill.commission_asset, ZERO) - fill.commission
    return {asset: change for asset, change in changes.items() if change}


def apply_fill(
    position: Position,
    *,
    side: Side,
    fill: Fill,
    base_asset: str,
    quote_asset: str,
    commission_price: Decimal | None,
) -> Position:
    """The position after a fill. `commission_price` matters only for a fee in a third asset."""
    changes = balance_changes(side, fill, base_asset, quote_asset)
    moved = _move(position, changes.get(base_asset, ZERO), changes.get(quote_asset, ZERO))
    fee = fee_in_quote(fill, base_asset, quote_asset, commission_price)
    is_third = fill.commission_asset not in (base_asset, quote_asset)
    return Position(moved.quantity, moved.cost, moved.realised - (fee if is_third else ZERO), position.fees_quote + fee)


def take(position: Position, quantity: Decimal) -> Position:
    """The position without coins that went by no fill of its own.

    They leave at cost: what they cost goes with them, and nothing is gained or lost by it, because what somebody
    got for them elsewhere is not known. Never more than is held.
    """
    gone = min(quantity, max(position.quantity, ZERO))
    part = position.cost if gone == position.quantity else quantise_quote(position.cost * gone / position.quantity)
    return Position(position.quantity - gone, position.cost - part, position.realised, position.fees_quote)


def fee_in_quote(fill: Fill, base_asset: str, quote_asset: str, commission_price: Decimal | None) -> Decimal:
    """Worth of a fill's fee in quote: a base fee at the fill's price, a third asset's at `commission_price`, else 0."""
    if fill.commission_asset == quote_asset:
        return fill.commission
    price = fill.price if fill.commission_asset == base_asset else commission_price
    return quantise_quote(fill.commission * price) if price is not None else ZERO


def fold(fills: Iterable[SidedFill | Taken], *, base_asset: str, quote_asset: str, start: Position = FLAT) -> Position:
    """The position after `fills` and what was taken, in exchange order whatever order they are given in.

    Raises InvariantViolated when a trade id comes twice.
    """
    ordered = sorted(fills, key=lambda item: item.place)
    require(len({item.place for item in ordered}) == len(ordered), "a trade was given twice")
    position = start
    for item in ordered:
        if isinstance(item, Taken):
            position = take(position, item.quantity)
            continue
        position = apply_fill(
            position,
            side=item.side,
            fill=item.fill,
            base_asset=base_asset,
            quote_asset=quote_asset,
            commission_price=item.commission_price,
        )
    return position


def value_at(quantity: Decimal, price: Decimal) -> Decimal:
    """Worth of a quantity of base in quote, quantised by the one rule."""
    return quantise_quote(quantity * price)


def unrealised(position: Position, price: Decimal) -> Decimal:
    """Gain or loss of what is still held, were it worth `price`: value less cost, in quote."""
    return value_at(position.quantity, price) - position.cost


def average_cost(position: Position) -> Decimal | None:
    """Cost of one unit of base, for show only; None when nothing is held."""
    return quantise_quote(position.cost / position.quantity) if position.quantity else None


def _move(position: Position, d: Decimal, f: Decimal) -> Position:
    """The position after base changed by `d` and quote by `f` (see the module's words); fees_quote untouched."""
    quantity, cost, realised = position.quantity, position.cost, position.realised
    if d == 0:
        realised += f  # money moved, coins did not: a fee that ate all that was bought
    elif quantity * d >= 0:
        cost -= f
    elif abs(d) <= abs(quantity):
        part = cost if abs(d) == abs(quantity) else quantise_quote(cost * abs(d) / abs(quantity))
        realised += f - part
        cost -= part
    else:
        closing = quantise_quote(f * abs(quantity) / abs(d))
        realised += closing - cost
        cost = closing - f
    return Position(quantity + d, cost, realised, position.fees_quote)
