"""The figures of a result, each with its definition: the same curve's Sharpe is 0.15 to 0.68 across engines.

Conventions: daily figures are from equity at the last close of each UTC day (the first day from the starting balance;
a day without candles has none), with the sample deviation, no risk-free rate, annualised by 365 days. Drawdown looks
at every close. Amounts are in quote, net of fees. A figure that is not defined is None, never 0 or infinity. Sums run
in the order of time, one after the other, so they are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from app.services.backtest import kernel as k
from app.services.compiled import compiled
from app.services.strategy import CandleColumns, timeframe_ms

Metrics = dict[str, float | int | None]

DAYS_A_YEAR = 365
_DAY_MS = 86_400_000


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
def pass_over_curve(equity: k.Floats, time_ms: k.Ints, balance: float) -> tuple[k.Floats, k.Floats]:
    """Equity at the end of each UTC day that has candles, and the figures of the curve named in `_CURVE`."""
    ends = np.empty(len(equity), np.float64)
    days, midnight = 0, (time_ms[0] // _DAY_MS + 1) * _DAY_MS
    peak, peak_ms, per_peak = balance, time_ms[0], 1.0 / balance
    deepest, most, longest, squares, below, total, is_below = 0.0, 0.0, 0, 0.0, 0, 0.0, False
    for i in range(len(equity)):
        worth = equity[i]
        if time_ms[i] >= midnight:
            ends[days] = equity[i - 1]
            days += 1
            midnight = (time_ms[i] // _DAY_MS + 1) * _DAY_MS
        total += worth
        if worth < peak:
            fall = peak - worth
            share = fall * per_peak
            squares += share * share
            below += 1
            deepest, most = max(deepest, share), max(most, fall)
            is_below = True
        else:
            if is_below:
                longest = max(longest, time_ms[i] - peak_ms)
            peak, peak_ms, per_peak, is_below = worth, time_ms[i], 1.0 / worth, False
    if is_below:
        longest = max(longest, time_ms[-1] - peak_ms)
    ends[days] = equity[-1]
    return ends[: days + 1].copy(), np.array([peak, deepest, most, float(longest), squares, float(below), total])


_CURVE = ("peak", "deepest", "most", "longest_ms", "squares", "below", "total")


@compiled
def pass_over_values(values: k.Floats) -> k.Floats:
    """The figures of a list of results named in `_VALUES`; a value above 0 is a gain."""
    size = len(values)
    total, gains, losses, downside, wins, best, worst = 0.0, 0.0, 0.0, 0.0, 0, -np.inf, np.inf
    row, is_row_of_wins, most_wins, most_losses = 0, False, 0, 0
    for i in range(size):
        value = values[i]
        total += value
        best, worst = max(best, value), min(worst, value)
        is_win = value > 0.0
        row = row + 1 if i > 0 and is_win == is_row_of_wins else 1
        is_row_of_wins = is_win
        if is_win:
            wins += 1
            gains += value
            most_wins = max(most_wins, row)
        else:
            losses += value
            downside += value * value
            most_losses = max(most_losses, row)
    mean = total / size if size > 0 else 0.0
    spread = 0.0
    for i in range(size):
        spread += (values[i] - mean) * (values[i] - mean)
    return np.array(
        [float(size), mean, spread, gains, losses, downside, float(wins), best, worst, float(most_wins),
         float(most_losses)]
    )  # fmt: skip


_VALUES = (
    "size", "mean", "spread", "gains", "losses", "downside", "wins", "best", "worst", "most_wins", "most_losses",
)  # fmt: skip


@compiled
def sum_of(values: k.Floats) -> float:
    """Sum, added up in order."""
    total = 0.0
    for value in values:
        total += value
    return total


class Spread:
    """A list of results, looked at once."""

    def __init__(self, values: k.Floats) -> None:
        named = dict(zip(_VALUES, pass_over_values(values).tolist(), strict=True))
        self.size, self.wins = int(named["size"]), int(named["wins"])
        self.most_wins, self.most_losses = int(named["most_wins"]), int(named["most_losses"])
        self.gains, self.losses, self.downside = named["gains"], named["losses"], named["downside"]
        has_any = self.size > 0
        self.mean = named["mean"] if has_any else None
        self.best = named["best"] if has_any else None
        self.worst = named["worst"] if has_any else None
        #: Sample deviation; None for fewer than two.
        self.deviation = math.sqrt(named["spread"] / (self.size - 1)) if self.size > 1 else None


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
    days = (int(candles.open_time_ms[-1] - candles.open_time_ms[0]) + timeframe_ms(candles.timeframe)) / _DAY_MS
    ends, passed = pass_over_curve(equity, candles.open_time_ms, balance)
    curve = dict(zip(_CURVE, passed.tolist(), strict=True))
    is_open = len(trade_rows) > 0 and trade_rows[-1, k.TRADE_COLUMNS.index("exit_bar")] < 0
    closed = dict(zip(k.TRADE_COLUMNS, trade_rows[: len(trade_rows) - int(is_open)].T, strict=True))
    held = float(candles.close[-1]) / (float(candles.open[0]) * (1.0 + fee_rate)) - 1.0
    found: Metrics = {
        **_returns(float(equity[-1]), balance, held, days),
        **_daily(ends, balance),
        **_drawdowns(curve, len(equity)),
        **_trades(closed),
        **_held(closed),
        **_activity(fill_rows, curve["total"] / len(equity)),
        **_exits(closed, told),
    }
    found["open_trades"] = int(is_open)
    found["trades_a_day"] = len(closed["exit_bar"]) / days
    found["exposure_pct"] = 100.0 * int(told[0]) / len(equity)
    drawdown, cagr = found["max_drawdown_pct"], found["cagr_pct"]
    found["calmar"] = cagr / drawdown if cagr is not None and drawdown else None
    return {name: found[name] for name in DEFINITIONS}


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _mean(values: k.Floats) -> float | None:
    return sum_of(values) / len(values) if len(values) else None


def _pct(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _returns(final: float, balance: float, held: float, days: float) -> Metrics:
    return {
        "days": days,
        "start_balance": balance,
        "final_equity": final,
        "net_profit": final - balance,
        "return_pct": 100.0 * (final / balance - 1.0),
        "cagr_pct": 100.0 * ((final / balance) ** (DAYS_A_YEAR / days) - 1.0) if days >= 1 else None,
        "buy_hold_pct": 100.0 * held,
        "excess_pct": 100.0 * (final / balance - 1.0 - held),
    }


def _daily(ends: k.Floats, balance: float) -> Metrics:
    before = np.concatenate((np.array([balance]), ends[:-1]))
    daily = Spread(ends / before - 1.0)
    year = math.sqrt(DAYS_A_YEAR)
    enough = daily.mean is not None and daily.deviation is not None
    downside = math.sqrt(daily.downside / daily.size)
    mean = daily.mean if enough else None
    sharpe, sortino = _ratio(mean, daily.deviation), _ratio(mean, downside)
    return {
        "volatility_pct": None if daily.deviation is None else 100.0 * daily.deviation * year,
        "sharpe": None if sharpe is None else sharpe * year,
        "sortino": None if sortino is None else sortino * year,
        "omega": _ratio(daily.gains, -daily.losses),
        "best_day_pct": _pct(daily.best),
        "worst_day_pct": _pct(daily.worst),
    }


def _drawdowns(curve: Mapping[str, float], size: int) -> Metrics:
    return {
        "candles": size,
        "peak_equity": curve["peak"],
        "max_drawdown_pct": 100.0 * curve["deepest"],
        "max_drawdown_quote": curve["most"],
        "max_drawdown_days": curve["longest_ms"] / _DAY_MS,
        "ulcer_index": 100.0 * math.sqrt(curve["squares"] / size),
        "under_water_pct": 100.0 * curve["below"] / size,
    }


def _trades(closed: Mapping[str, k.Floats]) -> Metrics:
    profit = closed["proceeds"] - closed["cost"]
    pnl, share = Spread(profit), Spread(profit / closed["cost"])
    risk = (closed["entry_price"] - closed["stop"]) * closed["quantity"]
    has_risk = (closed["stop"] > 0) & (risk > 0)
    rate = _ratio(pnl.wins, pnl.size)
    lost = pnl.size - pnl.wins
    avg_win, avg_loss = _ratio(pnl.gains, pnl.wins), _ratio(pnl.losses, lost)
    payoff = _ratio(avg_win, None if avg_loss is None else -avg_loss)
    sqn = _ratio(pnl.mean, pnl.deviation)
    return {
        "trades": pnl.size,
        "wins": pnl.wins,
        "losses": lost,
        "win_rate_pct": _pct(rate),
        "profit_factor": _ratio(pnl.gains, -pnl.losses) if pnl.size else None,
        "expectancy": pnl.mean,
        "expectancy_pct": _pct(share.mean),
        "expectancy_r": _mean(profit[has_risk] / risk[has_risk]),
        "best_trade_pct": _pct(share.best),
        "worst_trade_pct": _pct(share.worst),
        "avg_win": avg_win,
        "avg_loss": avg_loss,
        "payoff": payoff,
        "kelly_pct": 100.0 * (rate - (1.0 - rate) / payoff) if rate is not None and payoff else None,
        "sqn": None if sqn is None else math.sqrt(pnl.size) * sqn,
        "max_wins_in_row": pnl.most_wins,
        "max_losses_in_row": pnl.most_losses,
    }


def _held(closed: Mapping[str, k.Floats]) -> Metrics:
    bars = closed["exit_bar"] - closed["entry_bar"]
    has_won = closed["proceeds"] > closed["cost"]
    return {
        "avg_bars": _mean(bars),
        "avg_bars_win": _mean(bars[has_won]),
        "avg_bars_loss": _mean(bars[~has_won]),
        "max_bars": int(bars.max()) if len(bars) else None,
        "avg_mae_pct": _pct(_mean(closed["lowest"] / closed["entry_price"] - 1.0)),
        "avg_mfe_pct": _pct(_mean(closed["highest"] / closed["entry_price"] - 1.0)),
    }


def _activity(fill_rows: k.Floats, mean_equity: float) -> Metrics:
    fills = dict(zip(k.FILL_COLUMNS, fill_rows.T, strict=True))
    turnover = sum_of(fills["price"] * fills["quantity"])
    return {"fees": sum_of(fills["fee"]), "turnover": turnover, "turnover_ratio": turnover / mean_equity}


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
