"""What every peer does alike: read candles, make the signals of an EMA cross, time a call, print one line of JSON.

Runs in a peer's own environment, so it needs nothing but NumPy (pandas for a CSV): `PEER.py CANDLES.npz JOB-AS-JSON`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

PROCESSOR: list[float] = []


def job() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return _candles(sys.argv[1]), json.loads(sys.argv[2])


def _candles(path: str) -> dict[str, np.ndarray]:
    if path.endswith(".csv"):
        import pandas as pd

        table = pd.read_csv(path).rename(columns={"open_time": "time_ms"})
        return {name: table[name].to_numpy() for name in table}
    with np.load(path) as data:
        return {name: data[name] for name in data.files}


def ema(values: np.ndarray, length: int) -> np.ndarray:
    """a·x + (1−a)·y₋₁ seeded with the first value, as ours."""
    gain = 2.0 / (length + 1)
    keep, out, y = 1.0 - gain, [], float(values[0])
    for x in values.tolist():
        y = gain * x + keep * y if out else x
        out.append(y)
    return np.array(out)


def signals(close: np.ndarray, fast: int, slow: int, make: Callable[..., np.ndarray] = ema) -> tuple[Any, Any]:
    """Entries and exits of the cross, from candle slow − 1 on, as ours."""
    one, other = make(close, fast), make(close, slow)
    above, below = one > other, one < other
    entries, exits = np.zeros(len(close), bool), np.zeros(len(close), bool)
    entries[slow:] = above[slow:] & ~above[slow - 1 : -1]
    exits[slow:] = below[slow:] & ~below[slow - 1 : -1]
    return entries, exits


def shifted(mask: np.ndarray) -> np.ndarray:
    return np.concatenate(([False], mask[:-1]))


def timed(call: Callable[[], Any], runs: int) -> tuple[list[float], Any]:
    """Seconds on the wall of each run, and what the last gave; seconds of processor are told with the rest."""
    taken, result = [], None
    for _ in range(runs):
        began, busy = time.perf_counter(), time.process_time()
        result = call()
        taken.append(time.perf_counter() - began)
        PROCESSOR.append(time.process_time() - busy)
    return taken, result


def tell(**facts: Any) -> None:
    facts["processor"] = PROCESSOR[-len(facts["taken"]) :]
    facts["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps(facts) + "\n")
