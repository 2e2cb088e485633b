"""What a backtest gives: trades with their reasons, fills, equity, metrics and warnings, and the hash of it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from app.services.backtest import kernel as k
from app.services.backtest.identity import candle_data_version, result_hash
from app.services.backtest.inputs import candles_from
from app.services.backtest.metrics import Metrics, measure
from app.services.backtest.settings import Settings
from app.services.backtest.warnings import Warning_, warn
from app.services.strategy import CandleColumns, Evaluation, Strategy, version_hash

#: Changes whenever the same inputs may give other numbers.
ENGINE_VERSION = "1"
REASONS: Mapping[int, str] = {
    k.BUY_MARKET: "entry",
    k.BUY_LIMIT: "entry (limit)",
    k.STOP: "stop",
    k.TRAIL: "trail",
    k.TARGET: "target",
    k.TIME: "time",
    k.RULE: "rule",
    -1: "open",
}
_COLUMN = {name: place for place, name in enumerate(k.TRADE_COLUMNS)}


@dataclass(frozen=True, slots=True)
class Trade:
    """One position from entry to its last exit. Prices and amounts in quote, times are opens of candles (ms UTC).

    `exit_price`: the mean over all exits. `pnl`: proceeds less cost, both net of fees. `mae_pct`, `mfe_pct`: farthest
    against and for the position while held; of the candle of the exit only its open and the exit price count.
    `r`: pnl in units of what the first stop risked, None without a stop. `ambiguous`: stop and target lay in the same
    candle and the stop was counted; `resolved`: finer candles told which came first.
    """

    decided_ms: int
    entry_ms: int
    exit_ms: int | None
    entry_price: float
    exit_price: float | None
    quantity: float
    cost: float
    proceeds: float
    pnl: float
    pnl_pct: float
    fees: float
    bars: int
    reason: str
    stop: float | None
    r: float | None
    mae_pct: float
    mfe_pct: float
    ambiguous: bool
    resolved: bool


@dataclass(frozen=True, slots=True)
class Fill:
    """A buy or a sell; `trade` counts positions from 0, `time_ms` is the open of its candle, `fee` in quote."""

    trade: int
    time_ms: int
    side: str
    reason: str
    price: float
    quantity: float
    fee: float


@dataclass(frozen=True)
class Result:
    """A finished run. Arrays have one value a candle of the run (`candles`, without those that only warmed up).

    `trade_rows` and `fill_rows` hold the columns `kernel.TRADE_COLUMNS` and `kernel.FILL_COLUMNS`; of the trades a last
    row with exit_bar -1 is the position still open, marked to the last close in `equity`.
    """

    evaluation: Evaluation
    settings: Settings
    venue: str
    symbol: str
    first: int
    equity: k.Floats
    trade_rows: k.Floats
    fill_rows: k.Floats
    told: k.Ints
    detail: CandleColumns | None

    @property
    def strategy(self) -> Strategy:
        """What was traded, parameters resolved."""
        return self.evaluation.strategy

    @cached_property
    def candles(self) -> CandleColumns:
        """The candles of the run."""
        return candles_from(self.evaluation.candles, self.first)

    @property
    def closed_rows(self) -> k.Floats:
        """Rows of the closed trades."""
        return self.trade_rows[: self.trades_count]

    @property
    def trades_count(self) -> int:
        """Closed trades."""
        is_open = len(self.trade_rows) > 0 and self.trade_rows[-1, _COLUMN["exit_bar"]] < 0
        return len(self.trade_rows) - int(is_open)

    @property
    def final_equity(self) -> float:
        """Cash and what is held at the last close, in quote."""
        return float(self.equity[-1]) if len(self.equity) else float(self.settings.balance)

    @cached_property
    def trades(self) -> tuple[Trade, ...]:
        """Every trade in order; the last may still be open (reason "open", no exit)."""
        return tuple(self._trade(row) for row in self.trade_rows.tolist())

    @cached_property
    def fills(self) -> tuple[Fill, ...]:
        """Every buy and sell in order."""
        return tuple(self._fill(row) for row in self.fill_rows.tolist())

    @cached_property
    def drawdown(self) -> k.Floats:
        """Share below the highest equity so far at each close: 0, or below 0."""
        peak = np.maximum.accumulate(np.maximum(self.equity, float(self.settings.balance)))
        drawdown: k.Floats = self.equity / peak - 1.0
        return drawdown

    @cached_property
    def benchmark(self) -> k.Floats:
        """Equity of buying everything at the first open, fee paid, and holding."""
        paid = float(self.candles.open[0]) * (1.0 + float(self.settings.fee_pct / 100))
        held: k.Floats = self.candles.close * (float(self.settings.balance) / paid)
        return held

    @cached_property
    def metrics(self) -> Metrics:
        """The standard set; see `metrics.DEFINITIONS`."""
        return measure(
            self.candles, self.equity, self.trade_rows, self.fill_rows, self.told, balance=float(self.settings.balance),
            fee_rate=float(self.settings.fee_pct / 100),
        )  # fmt: skip

    @cached_property
    def warnings(self) -> tuple[Warning_, ...]:
        """What makes this result worth less than it looks."""
        return warn(self.strategy, self.metrics, self.closed_rows, self.told)

    @cached_property
    def candle_data_version(self) -> str:
        """Hash of the candles given, warm-up included: see `identity`."""
        return candle_data_version(self.evaluation.candles, venue=self.venue, symbol=self.symbol)

    @cached_property
    def result_hash(self) -> str:
        """SHA-256 over trades, fills and equity: see `identity`."""
        return result_hash(self.trade_rows, self.fill_rows, self.equity)

    def frozen(self) -> dict[str, Any]:
        """Every input as plain JSON, as it is stored before and compared when the run is run again."""
        candles = self.evaluation.candles
        data_version = partial(candle_data_version, venue=self.venue, symbol=self.symbol)
        return {
            "engine_version": ENGINE_VERSION,
            "strategy": self.strategy.document,
            "strategy_version": version_hash(self.strategy.document),
            "venue": self.venue,
            "symbol": self.symbol,
            "timeframe": self.strategy.timeframe,
            "first_ms": int(candles.open_time_ms[0]),
            "last_ms": int(candles.open_time_ms[-1]),
            "candles": len(candles),
            "candle_data_version": self.candle_data_version,
            "detail_data_version": None if self.detail is None else data_version(self.detail),
            "settings": self.settings.document(),
        }

    def _trade(self, row: Sequence[float]) -> Trade:
        of = dict(zip(k.TRADE_COLUMNS, row, strict=True))
        times = self.candles.open_time_ms
        entry, cost, stop = of["entry_price"], of["cost"], of["stop"]
        is_open = of["exit_bar"] < 0
        until = len(times) - 1 if is_open else int(of["exit_bar"])
        pnl = self._open_pnl() if is_open else of["proceeds"] - cost
        risk = (entry - stop) * of["quantity"] if 0 < stop < entry else 0.0
        return Trade(
            decided_ms=int(times[int(of["decision_bar"])]),
            entry_ms=int(times[int(of["entry_bar"])]),
            exit_ms=None if is_open else int(times[until]),
            entry_price=entry,
            exit_price=None if is_open else of["exit_price"],
            quantity=of["quantity"],
            cost=cost,
            proceeds=of["proceeds"],
            pnl=pnl,
            pnl_pct=100.0 * pnl / cost if cost else 0.0,
            fees=of["fees"],
            bars=until - int(of["entry_bar"]) + int(is_open),
            reason=REASONS[int(of["reason"])],
            stop=stop if stop > 0 else None,
            r=pnl / risk if risk > 0 else None,
            mae_pct=100.0 * (of["lowest"] / entry - 1.0),
            mfe_pct=100.0 * (of["highest"] / entry - 1.0),
            ambiguous=bool(of["ambiguous"]),
            resolved=bool(of["resolved"]) and not of["ambiguous"],
        )

    def _open_pnl(self) -> float:
        """Of the open position: what equity has gained beyond the closed trades."""
        rows = self.closed_rows
        closed = float((rows[:, _COLUMN["proceeds"]] - rows[:, _COLUMN["cost"]]).sum())
        return self.final_equity - float(self.settings.balance) - closed

    def _fill(self, row: Sequence[float]) -> Fill:
        trade, bar, reason, price, quantity, fee = row
        side = "BUY" if int(reason) in (k.BUY_MARKET, k.BUY_LIMIT) else "SELL"
        time_ms = int(self.candles.open_time_ms[int(bar)])
        return Fill(int(trade), time_ms, side, REASONS[int(reason)], price, quantity, fee)
