"""Comparisons of long arrays in one compiled pass each: truths as `logic` has them (1 true, 0 false, -1 unknown)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.services.compiled import compiled
from app.services.strategy.candles import Floats


@compiled
def crosses(above: Floats, below: Floats) -> npt.NDArray[np.int8]:
    """`above` is higher than `below` now and was not at the bar before; unknown where any of the four is."""
    out = np.empty(len(above), np.int8)
    out[:1] = -1
    for i in range(1, len(above)):
        a, b, a_before, b_before = above[i], below[i], above[i - 1], below[i - 1]
        is_known = (a == a) & (b == b) & (a_before == a_before) & (b_before == b_before)
        out[i] = ((a > b) & (a_before <= b_before)) if is_known else -1
    return out


@compiled
def exceeds(above: Floats, below: Floats) -> npt.NDArray[np.int8]:
    """`above` is higher than `below`; unknown where one of them is."""
    out = np.empty(len(above), np.int8)
    for i in range(len(above)):
        is_known = (above[i] == above[i]) & (below[i] == below[i])
        out[i] = (above[i] > below[i]) if is_known else -1
    return out


@compiled
def reaches(above: Floats, below: Floats) -> npt.NDArray[np.int8]:
    """`above` is at least as high as `below`; unknown where one of them is."""
    out = np.empty(len(above), np.int8)
    for i in range(len(above)):
        is_known = (above[i] == above[i]) & (below[i] == below[i])
        out[i] = (above[i] >= below[i]) if is_known else -1
    return out
