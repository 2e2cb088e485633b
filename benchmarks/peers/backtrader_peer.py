"""backtrader: market orders of all cash, filled at the next open; only for the comparison of answers."""

from __future__ import annotations

import backtrader as bt
from common import job, signals, tell, timed

candles, wanted = job()
entries, exits = signals(candles["close"], wanted["fast"], wanted["slow"])
FEE = 0.001


class Candles(bt.feed.DataBase):
    def __init__(self) -> None:
        super().__init__()
        self.at = 0

    def _load(self) -> bool:
        if self.at >= len(candles["close"]):
            return False
        self.lines.datetime[0] = 719_163.0 + candles["time_ms"][self.at] / 86_400_000
        for name in ("open", "high", "low", "close", "volume"):
            getattr(self.lines, name)[0] = candles[name][self.at]
        self.lines.openinterest[0] = 0.0
        self.at += 1
        return True


class Cross(bt.Strategy):
    """Cheat-on-open: yesterday's signal, sized and filled at today's open."""

    closed = 0

    def next_open(self) -> None:
        at = len(self.data) - 2
        if at < 0:
            return
        if entries[at] and not self.position:
            self.buy(size=self.broker.getcash() * (1 - 1e-15) / (self.data.open[0] * (1 + FEE)))
        elif exits[at] and self.position:
            self.close()
            Cross.closed += 1


def once() -> float:
    Cross.closed = 0
    cerebro = bt.Cerebro(cheat_on_open=True, stdstats=False)
    cerebro.adddata(Candles())
    cerebro.addstrategy(Cross)
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=FEE)
    cerebro.broker.set_checksubmit(False)
    cerebro.broker.set_coo(True)
    cerebro.run()
    return float(cerebro.broker.getvalue())


taken, final = timed(once, wanted["runs"])
tell(taken=taken, trades=Cross.closed, final=final)
