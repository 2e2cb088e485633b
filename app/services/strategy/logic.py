"""Logic with three values, over arrays: 1 true, 0 false, -1 unknown (Kleene). Only *true* ever trades."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.services.compiled import pays
from app.services.strategy import comparisons
from app.services.strategy.candles import Floats

Truths = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

TRUE, FALSE, UNKNOWN = 1, 0, -1
NAMES = {TRUE: "true", FALSE: "false", UNKNOWN: "unknown"}


def truth_name(value: int) -> str:
    """`true`, `false` or `unknown`."""
    return NAMES[value]


def decide(holds: Mask, *operands: Floats) -> Truths:
    """`holds` where every operand is known, unknown elsewhere."""
    missing = np.isnan(operands[0])
    for operand in operands[1:]:
        missing |= np.isnan(operand)
    return _unless(missing, holds)


def _unless(missing: Mask, holds: Mask) -> Truths:
    truths: Truths = np.where(missing, np.int8(UNKNOWN), holds.view(np.int8))
    return truths


def crosses(above: Floats, below: Floats) -> Truths:
    """Where `above` is higher than `below` now and was not at the bar before; unknown where any of the four is."""
    if pays(len(above)):
        return comparisons.crosses(above, below)
    missing = np.isnan(above)
    missing |= np.isnan(below)
    missing[1:] |= missing[:-1].copy()
    missing[:1] = True
    holds = above > below
    holds[1:] &= above[:-1] <= below[:-1]
    return _unless(missing, holds)


def compare(op: str, left: Floats, right: Floats) -> Truths:
    """`left` `op` `right`, one of > >= < <=; unknown where one of them is."""
    above, below = (left, right) if op in (">", ">=") else (right, left)
    if pays(len(above)):
        return comparisons.reaches(above, below) if "=" in op else comparisons.exceeds(above, below)
    return decide(above >= below if "=" in op else above > below, above, below)


def all_of(parts: Sequence[Truths]) -> Truths:
    """False where any is false, else unknown where any is unknown, else true."""
    if len(parts) == 1:
        return parts[0]
    false = np.logical_or.reduce([part == FALSE for part in parts])
    unknown = np.logical_or.reduce([part == UNKNOWN for part in parts])
    return np.where(false, FALSE, np.where(unknown, UNKNOWN, TRUE)).astype(np.int8)


def negate(part: Truths) -> Truths:
    """True and false swapped; unknown stays unknown."""
    return np.where(part == UNKNOWN, UNKNOWN, 1 - part).astype(np.int8)


def any_of(parts: Sequence[Truths]) -> Truths:
    """True where any is true, else unknown where any is unknown, else false."""
    return at_least(1, parts)


def at_least(count: int, parts: Sequence[Truths]) -> Truths:
    """True where `count` are true, false where so many no longer can be, else unknown."""
    if count == 1 and len(parts) == 1:
        return parts[0]
    true = np.add.reduce([part == TRUE for part in parts], dtype=np.int64)
    possible = np.add.reduce([part != FALSE for part in parts], dtype=np.int64)
    return np.where(true >= count, TRUE, np.where(possible < count, FALSE, UNKNOWN)).astype(np.int8)


def earlier(part: Truths, bars: int) -> Truths:
    """The truth `bars` bars before; unknown before the first bar."""
    out = np.full(len(part), UNKNOWN, np.int8)
    out[bars:] = part[: len(part) - bars] if bars < len(part) else []
    return out


def held_for(part: Truths, bars: int) -> Truths:
    """True at this bar and the `bars`-1 before it."""
    return part if bars == 1 else all_of([earlier(part, back) for back in range(bars)])


def seen_within(part: Truths, bars: int) -> Truths:
    """True at this bar or one of the `bars`-1 before it."""
    return part if bars == 1 else any_of([earlier(part, back) for back in range(bars)])
