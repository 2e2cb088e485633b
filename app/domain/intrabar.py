"""What happens inside one candle: one definition for the paper exchange and for the backtester.

A candle tells four prices and a volume, not their order. A preset settles the order and how hard the
market is on an order. The same three words are used in both places:

`optimistic`
    The open holds until the next candle: an order that arrives during the candle trades at the open,
    whole, without spread or slippage. The rest of the path (nearer extreme, farther extreme, close) is
    passed at the very end of the candle. A resting order fills whole as soon as its price is touched.
`realistic`
    Open, nearer extreme, farther extreme, close, a quarter of the candle each. A market order pays half
    the spread and walks a book of finite depth. A resting order fills at its own price when the market
    trades through it, by at most a quarter of the printed volume; at a mere touch it waits behind the queue.
`harsh`
    Open, farther extreme, nearer extreme, close. Three times the spread, a third of the depth, a tenth of
    the printed volume, and a touch never fills: the market must trade through.

Prices may be `int` (ticks) or `Decimal`; nothing here knows a clock, a symbol or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

Price = TypeVar("Price", int, Decimal)


class Preset(StrEnum):
    """How a candle is walked and how hard fills are."""

    OPTIMISTIC = "optimistic"
    REALISTIC = "realistic"
    HARSH = "harsh"


@dataclass(frozen=True, slots=True)
class PresetRules:
    """The numbers behind a preset."""

    half_spread_bps: Decimal  # distance of best bid and ask from the path, in 1/10,000 of the price
    depth_share: Decimal | None  # quantity at the best level as a share of a typical candle's volume; None: no end
    volume_share: Decimal | None  # most of the printed volume that resting orders may take; None: no limit
    fills_on_touch: bool  # whether a price that is reached but not passed can fill a resting order
    waits_in_queue: bool  # whether, at a touch, the displayed quantity is served first
    point_offsets_permille: tuple[int, int, int, int]  # when in the candle each path point is reached


RULES: dict[Preset, PresetRules] = {
    Preset.OPTIMISTIC: PresetRules(Decimal(0), None, None, True, False, (0, 1000, 1000, 1000)),
    Preset.REALISTIC: PresetRules(Decimal("0.5"), Decimal("0.3"), Decimal("0.25"), True, True, (0, 250, 500, 750)),
    Preset.HARSH: PresetRules(Decimal("1.5"), Decimal("0.1"), Decimal("0.1"), False, True, (0, 250, 500, 750)),
}


def nearer_extreme_is_high(open_: Price, high: Price, low: Price, close: Price) -> bool:
    """Whether the high lies nearer to the open than the low; a tie is settled by the candle's direction:
    a rising candle is taken to have dipped first.
    """
    up, down = high - open_, open_ - low
    return up < down if up != down else close < open_


def path(preset: Preset, open_: Price, high: Price, low: Price, close: Price) -> tuple[Price, Price, Price, Price]:
    """The four prices of a candle in the order in which `preset` passes them.

    Guaranteed: starts with the open, ends with the close, and holds both extremes; each leg is monotone.
    Precondition: low <= open, close <= high.
    """
    high_first = nearer_extreme_is_high(open_, high, low, close)
    if preset is Preset.HARSH:
        high_first = not high_first
    first, second = (high, low) if high_first else (low, high)
    return open_, first, second, close
