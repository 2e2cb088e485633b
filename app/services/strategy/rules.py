"""The rule language as frozen, typed Python: what a strategy *is* once it has been validated.

Nothing here reads, checks or computes. `parsing` builds these from JSON, `evaluation` runs them over candles,
`reading` says them in English; all three follow the same tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Number = int | float

COLUMNS = ("open", "high", "low", "close", "volume", "hl2", "hlc3", "ohlc4")
COMPARISONS = (">", ">=", "<", "<=", "crosses_above", "crosses_below")
RANGES = ("between", "outside")
TRENDS = ("rising", "falling")
ARITHMETIC = ("add", "sub", "mul", "div", "min", "max")


@dataclass(frozen=True, slots=True)
class Param:
    """A number the optimiser may move. `value` is the default unless overridden."""

    name: str
    value: Number
    least: Number
    most: Number
    step: Number
    label: str


@dataclass(frozen=True, slots=True)
class Series:
    """A named indicator with its arguments resolved. `tf` is always given (the base timeframe by default)."""

    name: str
    fn: str
    src: str | None
    args: Mapping[str, Number]
    tf: str


@dataclass(frozen=True, slots=True)
class Const:
    """A plain number."""

    value: Number


@dataclass(frozen=True, slots=True)
class ParamRef:
    """`$name`, resolved to the parameter's value."""

    name: str
    value: Number


@dataclass(frozen=True, slots=True)
class Ref:
    """A candle column or a series, `ago` closed candles of its own timeframe back."""

    name: str
    ago: int = 0


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`add`, `sub`, `mul`, `div`, `min` or `max`, folded from the left."""

    op: str
    args: tuple[Operand, ...]


Operand = Const | ParamRef | Ref | Arithmetic


@dataclass(frozen=True, slots=True)
class Compare:
    """left `op` right; true for `hold` bars in a row; at least once in the last `within` bars."""

    path: str
    op: str
    left: Operand
    right: Operand
    within: int = 1
    hold: int = 1
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """`between` includes both ends; `outside` is its negation."""

    path: str
    op: str
    left: Operand
    low: Operand
    high: Operand
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Trend:
    """Each of the last `steps` closed candles of the operand's own timeframe above (below) the one before."""

    path: str
    op: str
    left: Operand
    steps: int = 1
    id: str | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part is true."""

    path: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part is true."""

    path: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class NotOf:
    """The part is false; unknown stays unknown."""

    path: str
    part: Condition


@dataclass(frozen=True, slots=True)
class AtLeast:
    """At least `count` of the parts are true."""

    path: str
    count: int
    parts: tuple[Condition, ...]


Leaf = Compare | Range | Trend
Condition = AllOf | AnyOf | NotOf | AtLeast | Leaf


@dataclass(frozen=True, slots=True)
class PctDistance:
    """A distance in per cent of the entry price."""

    pct: Decimal


@dataclass(frozen=True, slots=True)
class SeriesDistance:
    """A distance of `mult` times a series at the candle of the decision."""

    series: str
    mult: Decimal


@dataclass(frozen=True, slots=True)
class RDistance:
    """A distance in R, the distance from entry to stop."""

    r: Decimal


Distance = PctDistance | SeriesDistance | RDistance


@dataclass(frozen=True, slots=True)
class TakeProfit:
    """At this distance above entry, sell this share of the first quantity."""

    at: Distance
    close_pct: int


@dataclass(frozen=True, slots=True)
class Protect:
    """What ends a position apart from the exit rule. `stop` None means "none" was said on purpose."""

    stop: PctDistance | SeriesDistance | None
    take_profit: tuple[TakeProfit, ...] = ()
    trail: Distance | None = None
    trail_after_r: Decimal | None = None
    time_stop_bars: int | None = None


@dataclass(frozen=True, slots=True)
class OrderStyle:
    """How an entry is sent. A limit rests `limit_offset_pct` below the close of the decision."""

    type: Literal["market", "limit"] = "market"
    limit_offset_pct: Decimal = Decimal(0)
    expire_bars: int | None = None


@dataclass(frozen=True, slots=True)
class FixedQuote:
    """Spend this much of the quote asset."""

    quote: Decimal


@dataclass(frozen=True, slots=True)
class EquityPct:
    """Spend this share of equity."""

    pct: Decimal


@dataclass(frozen=True, slots=True)
class RiskPct:
    """Lose this share of equity if the stop is hit, never spending more than `max_equity_pct` of it."""

    pct: Decimal
    max_equity_pct: Decimal


Sizing = FixedQuote | EquityPct | RiskPct


@dataclass(frozen=True, slots=True)
class Limits:
    """Brakes on entries. None of them ever refuses an exit."""

    cooldown_bars: int = 0
    max_entries_per_day: int | None = None
    max_open: int = 1


@dataclass(frozen=True, slots=True)
class Strategy:
    """A valid strategy. `params` holds name → value; `canonical` is the exact text its version hash is of."""

    name: str
    note: str
    symbols: tuple[str, ...]
    timeframe: str
    params: Mapping[str, Number]
    param_specs: tuple[Param, ...]
    series: Mapping[str, Series]
    entry: Condition
    exit: Condition | None
    order: OrderStyle
    sizing: Sizing
    protect: Protect
    limits: Limits
    canonical: str

    @property
    def document(self) -> dict[str, Any]:
        """The plain JSON document, a fresh copy each time."""
        document: dict[str, Any] = json.loads(self.canonical)
        return document


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """The conditions directly inside a group; () for a leaf."""
    match condition:
        case AllOf(parts=parts) | AnyOf(parts=parts) | AtLeast(parts=parts):
            return parts
        case NotOf(part=part):
            return (part,)
        case _:
            return ()


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every comparison in the tree, in reading order."""
    if isinstance(condition, Compare | Range | Trend):
        yield condition
    for part in parts_of(condition):
        yield from leaves(part)


def operands(leaf: Leaf) -> tuple[tuple[str, Operand], ...]:
    """The operands of a comparison under the names they have in JSON."""
    match leaf:
        case Compare(left=left, right=right):
            return ("left", left), ("right", right)
        case Range(left=left, low=low, high=high):
            return ("left", left), ("low", low), ("high", high)
        case Trend(left=left):
            return (("left", left),)


def refs(operand: Operand) -> Iterator[Ref]:
    """Every column or series an operand looks at."""
    if isinstance(operand, Ref):
        yield operand
    elif isinstance(operand, Arithmetic):
        for part in operand.args:
            yield from refs(part)
