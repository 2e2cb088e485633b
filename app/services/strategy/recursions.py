"""The loops behind the recursive indicators, compiled where that pays (`app.services.compiled`)."""

from __future__ import annotations

import numpy as np

from app.services.compiled import compiled
from app.services.strategy.candles import Floats


@compiled
def ema(values: Floats, length: int) -> Floats:
    """y = a·x + (1−a)·y₋₁, a = 2/(length+1), seeded with the first known value; known from the length-th known one."""
    gain = 2.0 / (length + 1)
    keep = 1.0 - gain
    out = np.empty(len(values), np.float64)
    y, seen = 0.0, 0
    for i in range(len(values)):
        x = values[i]
        out[i] = np.nan
        if x == x:
            y = x if seen == 0 else gain * x + keep * y
            seen += 1
            if seen >= length:
                out[i] = y
    return out


@compiled
def wilder(values: Floats, length: int, seed: float) -> Floats:
    """y = (y₋₁·(length−1) + x)/length over the known values, from the length-th on, which gives `seed`."""
    out = np.empty(len(values), np.float64)
    y, seen = seed, 0
    for i in range(len(values)):
        x = values[i]
        out[i] = np.nan
        if x == x:
            seen += 1
            if seen > length:
                y = (y * (length - 1) + x) / length
            if seen >= length:
                out[i] = y
    return out
