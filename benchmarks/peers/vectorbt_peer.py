"""vectorbt: from_signals with shifted signals at the open; "engine" chooses its numba or its rust part.

Only final value and trade count are asked for, far less than our metrics. "stop" and "target" (shares) measure stops
from the fill, as ours do.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import vectorbt as vbt
from common import ema, job, shifted, signals, tell, timed

candles, wanted = job()
index = pd.to_datetime(candles["time_ms"], unit="ms")
series = {name: pd.Series(candles[name], index=index) for name in ("open", "high", "low", "close")}


def pandas_ema(values: np.ndarray, length: int) -> np.ndarray:
    return pd.Series(values).ewm(span=length, adjust=False).mean().to_numpy()


def portfolio(pairs: list[list[int]], make: object) -> object:
    masks = [signals(candles["close"], fast, slow, make) for fast, slow in pairs]  # type: ignore[arg-type]
    names = [f"{fast}/{slow}" for fast, slow in pairs]
    entries, exits = (
        pd.DataFrame(np.column_stack([shifted(pair[at]) for pair in masks]), index=index, columns=names)
        for at in (0, 1)
    )
    stops = {}
    if "stop" in wanted:
        stops = {"sl_stop": wanted["stop"], "tp_stop": wanted["target"], "stop_entry_price": "fillprice"}
    return vbt.Portfolio.from_signals(
        series["close"],
        entries,
        exits,
        price=series["open"],
        open=series["open"],
        high=series["high"],
        low=series["low"],
        fees=0.001,
        init_cash=10_000.0,
        engine=wanted.get("engine", "numba"),
        freq="1min",
        **stops,
    )


def sweep() -> None:
    for start in range(0, len(wanted["pairs"]), 25):  # all at once would take ten gigabytes
        part = portfolio(wanted["pairs"][start : start + 25], pandas_ema)
        part.final_value()  # type: ignore[attr-defined]
        part.max_drawdown()  # type: ignore[attr-defined]


def once(make: object = pandas_ema) -> tuple[int, float]:
    run = portfolio([[wanted["fast"], wanted["slow"]]], make)
    final = float(np.asarray(run.final_value())[0])  # type: ignore[attr-defined]
    return int(np.asarray(run.trades.closed.count())[0]), final  # type: ignore[attr-defined]


if "pairs" in wanted:
    taken, _ = timed(sweep, wanted["runs"])
    tell(taken=taken)
else:
    first, _ = timed(once, 1)
    taken, (trades, final) = timed(once, wanted["runs"])
    if wanted.get("exact"):
        trades, final = once(ema)
    tell(taken=taken, first=first[0], trades=trades, final=final)
