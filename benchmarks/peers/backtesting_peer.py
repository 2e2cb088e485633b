"""backtesting.py: FractionalBacktest, because with its other class a BTC strategy never buys."""

from __future__ import annotations

import numpy as np
import pandas as pd
from backtesting import Strategy
from backtesting.lib import FractionalBacktest
from common import job, signals, tell, timed

candles, wanted = job()
frame = pd.DataFrame(
    {name.title(): candles[name] for name in ("open", "high", "low", "close", "volume")},
    index=pd.to_datetime(candles["time_ms"], unit="ms"),
)


def pandas_ema(values: np.ndarray, length: int) -> np.ndarray:
    return pd.Series(values).ewm(span=length, adjust=False).mean().to_numpy()


class Cross(Strategy):
    def init(self) -> None:
        entries, exits = signals(candles["close"], wanted["fast"], wanted["slow"], pandas_ema)
        self.enter, self.leave = self.I(lambda: entries), self.I(lambda: exits)

    def next(self) -> None:
        if self.enter[-1] and not self.position:
            self.buy()
        elif self.leave[-1] and self.position:
            self.position.close()


def once() -> pd.Series:
    return FractionalBacktest(frame, Cross, cash=10_000, commission=0.001, fractional_unit=1e-8).run()


taken, stats = timed(once, wanted["runs"])
tell(taken=taken, trades=int(stats["# Trades"]), final=float(stats["Equity Final [$]"]))
