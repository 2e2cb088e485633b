"""The figures of a result, each with its definition: the same curve's Sharpe is 0.15 to 0.68 across engines.

Conventions: daily figures are from equity at the last close of each UTC day (the first day from the starting balance;
a day without candles has none), with the sample deviation, no risk-free rate, annualised by 365 days. Drawdown looks
at every close. Amounts are in quote, net of fees. A figure that is not defined is None, never 0 or infinity. Sums are
exact (`math.fsum`), so they do not depend on how a machine adds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from app.services.backtest import kernel as k
from app.services.compiled import compiled
from app.services.strategy import CandleColumns

Metrics = dict[str, float | int | None]

DAYS_A_YEAR = 365
_DAY_MS = 86_400_000
_LEAST_DAYS = 2


class Definition(NamedTuple):
    """How a metric is called, its unit ("" for a plain number) and what exactly it is."""

    label: str
    unit: str
    text: str


DEFINITIONS: Mapping[str, Definition] = {
    "days": Definition("Length", "days", "first open to last close, in days of 24 hours"),
    "candles": Definition("Candles", "", "candles of the run, warm-up of a stated start left out"),
    "start_balance": Definition("Starting balance", "quote", "cash before the first candle"),
    "final_equity": Definition("Final equity", "quote", "cash and what is held at the last close, no exit fee"),
    "peak_equity": Definition("Highest equity", "quote", "highest equity at any close, at least the starting balance"),
    "net_profit": Definition("Net profit", "quote", "final equity less starting balance"),
    "return_pct": Definition("Total return", "%", "final equity over starting balance, less 1"),
    "cagr_pct": Definition("Yearly return (CAGR)", "%", "(1 + total return)^(365 / days) − 1; one day at least"),
    "buy_hold_pct": Definition("Buy and hold", "%", "all in at the first open, fee paid, marked to the last close"),
    "excess_pct": Definition("Beyond buy and hold", "%", "total return less that of buy and hold, in points"),
    "volatility_pct": Definition("Volatility", "%", "sample deviation of daily returns × √365"),
    "sharpe": Definition("Sharpe", "", "mean over sample deviation of daily returns × √365, no risk-free rate"),
    "sortino": Definition("Sortino", "", "mean daily return over √(mean of min(return, 0)² over all days) × √365"),
    "calmar": Definition("Calmar", "", "CAGR over the largest drawdown"),
    "omega": Definition("Omega", "", "sum of the daily gains over the sum of the daily losses"),
    "best_day_pct": Definition("Best day", "%", "highest daily return"),
    "worst_day_pct": Definition("Worst day", "%", "lowest daily return"),
    "max_drawdown_pct": Definition("Largest drawdown", "%", "deepest fall of equity below its peak, over all closes"),
    "max_drawdown_quote": Definition("Largest drawdown", "quote", "deepest fall of equity below its peak"),
    "max_drawdown_days": Definition("Longest drawdown", "days", "longest time from a peak until it is reached again"),
    "ulcer_index": Definition("Ulcer index", "%", "√(mean of the squared drawdowns over all closes)"),
    "under_water_pct": Definition("Time under water", "%", "share of closes below the peak before them"),
    "exposure_pct": Definition("Exposure", "%", "share of closes at which a position is held"),
    "trades": Definition("Closed trades", "", "positions entered and wholly left"),
    "open_trades": Definition("Open trades", "", "positions held at the last close"),
    "wins": Definition("Wins", "", "closed trades with a profit after fees"),
    "losses": Definition("Losses", "", "closed trades without one"),
    "win_rate_pct": Definition("Win rate", "%", "wins over closed trades"),
    "profit_factor": Definition("Profit factor", "", "sum of profits over sum of losses, in quote after fees"),
    "expectancy": Definition("Expectancy", "quote", "mean profit of a closed trade"),
    "expectancy_pct": Definition("Mean trade", "%", "mean of profit over cost of each closed trade"),
    "expectancy_r": Definition("Expectancy in R", "R", "mean profit over what the first stop risked"),
    "best_trade_pct": Definition("Best trade", "%", "highest profit over cost"),
    "worst_trade_pct": Definition("Worst trade", "%", "lowest profit over cost"),
    "avg_win": Definition("Mean win", "quote", "mean profit of the wins"),
    "avg_loss": Definition("Mean loss", "quote", "mean result of the losses, 0 or below"),
    "payoff": Definition("Payoff ratio", "", "mean win over mean loss"),
    "kelly_pct": Definition("Kelly share", "%", "win rate less loss rate over payoff ratio; a bound, no advice"),
    "sqn": Definition("SQN", "", "√trades × mean over sample deviation of profit in quote"),
    "avg_bars": Definition("Mean time held", "candles", "candles from entry to exit, mean over closed trades"),
    "avg_bars_win": Definition("Mean time of wins", "candles", "the same over the wins"),
    "avg_bars_loss": Definition("Mean time of losses", "candles", "the same over the losses"),
    "max_bars": Definition("Longest trade", "candles", "most candles from entry to exit"),
    "max_wins_in_row": Definition("Wins in a row", "", "longest series of wins"),
    "max_losses_in_row": Definition("Losses in a row", "", "longest series of losses"),
    "avg_mae_pct": Definition("Mean MAE", "%", "mean of the farthest price against the position, from the entry price"),
    "avg_mfe_pct": Definition("Mean MFE", "%", "mean of the farthest price for the position, from the entry price"),
    "fees": Definition("Fees", "quote", "all fees paid, fees in base valued at their fill's price"),
    "turnover": Definition("Turnover", "quote", "price × quantity of all buys and sells"),
    "turnover_ratio": Definition("Turnover ratio", "", "turnover over mean equity"),
    "trades_a_day": Definition("Trades a day", "", "closed trades over days"),
    "exits_stop": Definition("Exits by stop", "", "closed trades whose last exit was the stop"),
    "exits_trail": Definition("Exits by trail", "", "closed trades whose last exit was the trailed stop"),
    "exits_target": Definition("Exits by target", "", "closed trades whose last exit was a target"),
    "exits_time": Definition("Exits by time", "", "closed trades whose last exit was the time stop"),
    "exits_rule": Definition("Exits by rule", "", "closed trades whose last exit was the exit rule"),
    "ambiguous_exits": Definition("Ambiguous exits", "", "candles that touched stop and target; the stop counted"),
    "resolved_exits": Definition("Resolved exits", "", "such exits that finer candles settled"),
    "refused_entries": Definition("Refused entries", "", "entry rule true, but cooldown, day limit or size forbade it"),
    "unfilled_limits": Definition("Unfilled limits", "", "resting entries that expired or were cancelled"),
}  # fmt: skip


@compiled
def curve(equity: k.Floats, time_ms: k.Ints, balance: float) -> k.Floats:
    """One pass: peak, deepest share and amount below it, longest ms below it, sum of squares, closes below."""
    peak, peak_at = balance, 0
    deepest, most, longest, squares, below = 0.0, 0.0, 0, 0.0, 0
    total = 0.0
    for i in range(len(equity)):
        worth = equity[i]
        total += worth
        if worth >= peak:
            longest = max(longest, time_ms[i] - time_ms[peak_at])
            peak, peak_at = worth, i
        else:
            fall = peak - worth
            share = fall / peak
            squares += share * share
            below += 1
            deepest, most = max(deepest, share), max(most, fall)
    if below > 0 and equity[-1] < peak:
        longest = max(longest, time_ms[-1] - time_ms[peak_at])
    return np.array([peak, deepest, most, float(longest), squares, float(below), total])


def measure(
    candles: CandleColumns,
    equity: k.Floats,
    trade_rows: k.Floats,
    fill_rows: k.Floats,
    told: k.Ints,
    *,
    balance: float,
    fee_rate: float,
) -> Metrics:
    """Every metric of `DEFINITIONS`, in that order. `candles` and `equity` are those of the run, at least one."""
    days = (int(candles.open_time_ms[-1] - candles.open_time_ms[0]) + _span(candles)) / _DAY_MS
    rows = dict(zip(k.TRADE_COLUMNS, trade_rows.T, strict=True))
    is_closed = rows["exit_bar"] >= 0
    closed = {name: column[is_closed] for name, column in rows.items()}
    found: Metrics = {
        **_returns(candles, equity, balance, fee_rate, days),
        **_drawdowns(candles, equity, balance),
        **_trades(closed),
        **_activity(fill_rows, equity, len(closed["exit_bar"]), days),
        **_exits(closed, told),
    }
    found["open_trades"] = int(len(is_closed) - is_closed.sum())
    found["exposure_pct"] = 100.0 * int(told[0]) / len(equity)
    drawdown, cagr = found["max_drawdown_pct"], found["cagr_pct"]
    found["calmar"] = cagr / drawdown if cagr is not None and drawdown else None
    return {name: found[name] for name in DEFINITIONS}


def _span(candles: CandleColumns) -> int:
    return int(candles.close_time_ms[-1] - candles.open_time_ms[-1])


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _deviation(values: Sequence[float]) -> float | None:
    """Sample deviation; None for fewer than two values."""
    if len(values) < _LEAST_DAYS:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def daily_returns(candles: CandleColumns, equity: k.Floats, balance: float) -> list[float]:
    """Return of each UTC day that has candles, from the close before (the starting balance on the first)."""
    day = candles.open_time_ms // _DAY_MS
    last = np.append(np.flatnonzero(day[1:] != day[:-1]), len(day) - 1)
    worth = np.concatenate(([balance], equity[last]))
    return [after / before - 1.0 for before, after in zip(worth[:-1].tolist(), worth[1:].tolist(), strict=True)]


def _returns(candles: CandleColumns, equity: k.Floats, balance: float, fee_rate: float, days: float) -> Metrics:
    final = float(equity[-1])
    held = float(candles.close[-1]) / (float(candles.open[0]) * (1.0 + fee_rate)) - 1.0
    daily = daily_returns(candles, equity, balance)
    mean, deviation = _mean(daily), _deviation(daily)
    enough = deviation is not None and mean is not None
    downside = math.sqrt(math.fsum(min(value, 0.0) ** 2 for value in daily) / len(daily))
    year = math.sqrt(DAYS_A_YEAR)
    return {
        "days": days,
        "candles": len(equity),
        "start_balance": balance,
        "final_equity": final,
        "net_profit": final - balance,
        "return_pct": 100.0 * (final / balance - 1.0),
        "cagr_pct": 100.0 * ((final / balance) ** (DAYS_A_YEAR / days) - 1.0) if days >= 1 else None,
        "buy_hold_pct": 100.0 * held,
        "excess_pct": 100.0 * (final / balance - 1.0 - held),
        "volatility_pct": 100.0 * deviation * year if deviation is not None else None,
        "sharpe": mean / deviation * year if enough and mean is not None and deviation else None,
        "sortino": mean / downside * year if enough and mean is not None and downside else None,
        "omega": _ratio(math.fsum(v for v in daily if v > 0), -math.fsum(v for v in daily if v < 0)),
        "best_day_pct": 100.0 * max(daily),
        "worst_day_pct": 100.0 * min(daily),
    }


def _drawdowns(candles: CandleColumns, equity: k.Floats, balance: float) -> Metrics:
    peak, deepest, most, longest, squares, below, _total = curve(equity, candles.open_time_ms, balance).tolist()
    return {
        "peak_equity": peak,
        "max_drawdown_pct": 100.0 * deepest,
        "max_drawdown_quote": most,
        "max_drawdown_days": longest / _DAY_MS,
        "ulcer_index": 100.0 * math.sqrt(squares / len(equity)),
        "under_water_pct": 100.0 * below / len(equity),
    }


def _trades(closed: Mapping[str, k.Floats]) -> Metrics:
    pnl = (closed["proceeds"] - closed["cost"]).tolist()
    share = ((closed["proceeds"] / closed["cost"] - 1.0) * 100.0).tolist()
    bars = (closed["exit_bar"] - closed["entry_bar"]).tolist()
    wins, losses = [p for p in pnl if p > 0], [p for p in pnl if p <= 0]
    rate = _ratio(len(wins), len(pnl))
    avg_win, avg_loss = _mean(wins), _mean(losses)
    payoff = _ratio(avg_win, None if avg_loss is None else -avg_loss)
    risk = ((closed["entry_price"] - closed["stop"]) * closed["quantity"]).tolist()
    in_r = [p / r for p, r, stop in zip(pnl, risk, closed["stop"].tolist(), strict=True) if stop > 0 and r > 0]
    runs = [(win, sum(1 for _ in group)) for win, group in groupby(p > 0 for p in pnl)]
    deviation = _deviation(pnl)
    mean = _mean(pnl)
    return {
        "trades": len(pnl),
        "wins": len(wins),
        "losses": len(losses),
        "win_rate_pct": None if rate is None else 100.0 * rate,
        "profit_factor": _ratio(math.fsum(wins), -math.fsum(losses)),
        "expectancy": mean,
        "expectancy_pct": _mean(share),
        "expectancy_r": _mean(in_r),
        "best_trade_pct": max(share, default=None),
        "worst_trade_pct": min(share, default=None),
        "avg_win": avg_win,
        "avg_loss": avg_loss,
        "payoff": payoff,
        "kelly_pct": 100.0 * (rate - (1.0 - rate) / payoff) if rate is not None and payoff else None,
        "sqn": math.sqrt(len(pnl)) * mean / deviation if mean is not None and deviation else None,
        "avg_bars": _mean(bars),
        "avg_bars_win": _mean([b for b, p in zip(bars, pnl, strict=True) if p > 0]),
        "avg_bars_loss": _mean([b for b, p in zip(bars, pnl, strict=True) if p <= 0]),
        "max_bars": int(max(bars)) if bars else None,
        "max_wins_in_row": max((size for win, size in runs if win), default=0),
        "max_losses_in_row": max((size for win, size in runs if not win), default=0),
        "avg_mae_pct": _mean((100.0 * (closed["lowest"] / closed["entry_price"] - 1.0)).tolist()),
        "avg_mfe_pct": _mean((100.0 * (closed["highest"] / closed["entry_price"] - 1.0)).tolist()),
    }


def _activity(fill_rows: k.Floats, equity: k.Floats, trades: int, days: float) -> Metrics:
    fills = dict(zip(k.FILL_COLUMNS, fill_rows.T, strict=True))
    turnover = math.fsum((fills["price"] * fills["quantity"]).tolist())
    return {
        "fees": math.fsum(fills["fee"].tolist()),
        "turnover": turnover,
        "turnover_ratio": turnover / float(np.mean(equity)),
        "trades_a_day": trades / days,
    }


def _exits(closed: Mapping[str, k.Floats], told: k.Ints) -> Metrics:
    by_reason = {"stop": k.STOP, "trail": k.TRAIL, "target": k.TARGET, "time": k.TIME, "rule": k.RULE}
    counted: Metrics = {f"exits_{name}": int((closed["reason"] == code).sum()) for name, code in by_reason.items()}
    happened = dict(zip(k.TOLD, told.tolist(), strict=True))
    return counted | {
        "ambiguous_exits": int(closed["ambiguous"].sum()),
        "resolved_exits": int(((closed["resolved"] == 1) & (closed["ambiguous"] == 0)).sum()),
        "refused_entries": sum(count for name, count in happened.items() if name.startswith("refused")),
        "unfilled_limits": happened["limits_expired"] + happened["limits_cancelled"],
    }
