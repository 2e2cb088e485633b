"""What one entry of the whitelist of indicators is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.services.strategy.candles import CandleColumns, Floats
from app.services.strategy.rules import Number

MAX_LENGTH = 1000
#: A recursion counts as settled when its seed weighs less than this.
SETTLED = 1e-6

Args = Mapping[str, Number]
Compute = Callable[[CandleColumns, Floats, Args], Floats]


@dataclass(frozen=True, slots=True)
class Arg:
    """Bounds of an argument. Without a `default` it must be given, unless it is `optional`."""

    default: Number | None = None
    least: Number = 1
    most: Number = MAX_LENGTH
    whole: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One indicator.

    `source`: default `src`; None means it is computed from whole candles and takes none.
    `warmup(args, tf)`: source values needed until the first value. `settling(args)`: candles more until the seed
    weighs less than `SETTLED`. `is_distance`: its value is a length on the price axis, fit for a stop.
    """

    label: str
    compute: Compute
    args: Mapping[str, Arg] = field(default_factory=dict)
    source: str | None = None
    warmup: Callable[[Args, str], int] = lambda args, tf: int(args["len"])
    settling: Callable[[Args], int] = lambda args: 0
    is_distance: bool = False


def decay(keep: float) -> int:
    """Steps until what is kept of the seed weighs less than `SETTLED`."""
    return math.ceil(math.log(SETTLED) / math.log(keep)) if keep > 0 else 0


def ema_settling(length: Number) -> int:
    """Candles until the first value weighs less than `SETTLED` in an EMA."""
    return decay(1.0 - 2.0 / (length + 1))


def wilder_settling(length: Number) -> int:
    """Candles until the seed weighs less than `SETTLED` in a Wilder average."""
    return decay(1.0 - 1.0 / length)


def whole(args: Args, name: str = "len") -> int:
    """An argument as a whole number."""
    return int(args[name])


def plain(label: str, compute: Callable[[Floats, int], Floats], source: str = "close", least: int = 1) -> Function:
    """An indicator of one source and one length, known from `length` values on."""
    return Function(label, lambda c, s, a: compute(s, whole(a)), {"len": Arg(least=least)}, source)
