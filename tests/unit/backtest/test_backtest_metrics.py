"""Each metric against its definition computed anew with pandas or by hand; warnings where they belong."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backtest_kit import ENTER, LEAVE, NO_FEE, QUIET, flat, market, traded
from strategy_kit import MONDAY_MS, candles, example

from app.services.backtest import DEFINITIONS, Result, Settings, run
from app.services.strategy import CandleColumns, validate

BALANCE = 10_000.0


@pytest.fixture(scope="module")
def result() -> Result:
    """Three months of hours with stops, starting and ending within a day, with a gap of some days."""
    protect = {"stop": {"pct": "1"}, "take_profit": [{"at": {"r": "2"}, "close_pct": 100}]}
    made = validate(example("golden_ema_12_26") | {"protect": protect}).strategy
    assert made is not None
    data = candles(2_100, seed=21, start_ms=MONDAY_MS + 5 * 3_600_000)
    times = data.open_time_ms.copy()
    times[900:] += 3 * 86_400_000
    return run(made, CandleColumns(times, data.open, data.high, data.low, data.close, data.volume, "1h"), Settings())


def daily(result: Result) -> np.ndarray:
    index = pd.to_datetime(result.candles.open_time_ms, unit="ms", utc=True)
    closes = pd.Series(result.equity, index=index).groupby(index.floor("D")).last()
    return np.diff(np.concatenate(([BALANCE], closes.to_numpy()))) / np.concatenate(([BALANCE], closes.to_numpy()[:-1]))


def test_every_metric_has_a_definition_and_the_other_way_round(result: Result) -> None:
    assert list(result.metrics) == list(DEFINITIONS)
    assert all(one.label and one.text for one in DEFINITIONS.values())
    assert all(value is None or math.isfinite(value) for value in result.metrics.values())


def test_ratios_are_those_of_daily_returns_and_365_days(result: Result) -> None:
    returns, metrics = daily(result), result.metrics
    year = math.sqrt(365)
    assert metrics["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * year)
    assert metrics["volatility_pct"] == pytest.approx(100 * returns.std(ddof=1) * year)
    assert metrics["sortino"] == pytest.approx(returns.mean() / math.sqrt((np.minimum(returns, 0) ** 2).mean()) * year)
    assert metrics["omega"] == pytest.approx(returns[returns > 0].sum() / -returns[returns < 0].sum())
    assert metrics["best_day_pct"] == pytest.approx(100 * returns.max())
    assert metrics["worst_day_pct"] == pytest.approx(100 * returns.min())
    growth = (result.final_equity / BALANCE) ** (365 / metrics["days"]) - 1  # type: ignore[operator]
    assert metrics["cagr_pct"] == pytest.approx(100 * growth)
    assert metrics["calmar"] == pytest.approx(metrics["cagr_pct"] / metrics["max_drawdown_pct"])  # type: ignore[operator]


def test_drawdowns_look_at_every_close(result: Result) -> None:
    equity = pd.Series(np.concatenate(([BALANCE], result.equity)))
    fall = (1 - equity / equity.cummax()).to_numpy()[1:]
    metrics = result.metrics
    assert metrics["max_drawdown_pct"] == pytest.approx(100 * fall.max())
    assert metrics["max_drawdown_quote"] == pytest.approx((equity.cummax() - equity).max())
    assert metrics["ulcer_index"] == pytest.approx(100 * math.sqrt((fall**2).mean()))
    assert metrics["under_water_pct"] == pytest.approx(100 * (fall > 0).mean())
    assert -result.drawdown.min() == pytest.approx(fall.max())
    peak = np.where(fall == 0, result.candles.open_time_ms, 0)
    longest = (
        result.candles.open_time_ms - np.maximum.accumulate(np.maximum(peak, result.candles.open_time_ms[0]))
    ).max()
    recovered = [t - p for p, t in zip(*_between_peaks(fall, result.candles.open_time_ms), strict=True)]
    assert metrics["max_drawdown_days"] == pytest.approx(max([longest, *recovered]) / 86_400_000)


def _between_peaks(fall: np.ndarray, times: np.ndarray) -> tuple[list[int], list[int]]:
    """Times of neighbouring peaks with a fall between them."""
    at = np.flatnonzero(fall == 0)
    pairs = [(int(times[a]), int(times[b])) for a, b in pairwise(at) if b - a > 1]
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_trade_figures_are_those_of_the_trades_listed(result: Result) -> None:
    closed = pd.DataFrame([vars_of(trade) for trade in result.trades if trade.exit_ms is not None])
    metrics = result.metrics
    wins, losses = closed[closed.pnl > 0], closed[closed.pnl <= 0]
    assert metrics["trades"] == len(closed) > 20
    assert (metrics["wins"], metrics["losses"]) == (len(wins), len(losses))
    assert metrics["win_rate_pct"] == pytest.approx(100 * len(wins) / len(closed))
    assert metrics["profit_factor"] == pytest.approx(wins.pnl.sum() / -losses.pnl.sum())
    assert metrics["expectancy"] == pytest.approx(closed.pnl.mean())
    assert metrics["expectancy_pct"] == pytest.approx(closed.pnl_pct.mean())
    assert metrics["expectancy_r"] == pytest.approx(closed.r.mean())
    assert metrics["payoff"] == pytest.approx(wins.pnl.mean() / -losses.pnl.mean())
    assert metrics["sqn"] == pytest.approx(math.sqrt(len(closed)) * closed.pnl.mean() / closed.pnl.std())
    assert metrics["avg_bars"] == pytest.approx(closed.bars.mean())
    assert metrics["max_bars"] == closed.bars.max()
    assert metrics["avg_mae_pct"] == pytest.approx(closed.mae_pct.mean())
    assert metrics["avg_mfe_pct"] == pytest.approx(closed.mfe_pct.mean())
    assert metrics["fees"] == pytest.approx(sum(trade.fees for trade in result.trades))
    assert metrics["turnover"] == pytest.approx(sum(fill.price * fill.quantity for fill in result.fills))
    rows = [
        len(list(text))
        for text in "".join("w" if p > 0 else "l" for p in closed.pnl).replace("wl", "w l").replace("lw", "l w").split()
    ]
    assert max(metrics["max_wins_in_row"], metrics["max_losses_in_row"]) == max(rows)  # type: ignore[type-var]
    exits = sum(metrics[f"exits_{reason}"] or 0 for reason in ("stop", "trail", "target", "time", "rule"))
    assert exits == len(closed)


def vars_of(trade: Any) -> dict[str, Any]:
    return {name: getattr(trade, name) for name in trade.__slots__}


def test_the_farthest_prices_of_the_exit_candle_are_only_the_certain_ones() -> None:
    rows = [flat(signal=ENTER), (100, 103, 99, 101, QUIET), (101, 120, 97, 98, QUIET)]
    (trade,) = traded(market(*rows)).trades
    assert (trade.reason, trade.exit_price) == ("stop", 98)
    assert (trade.mae_pct, trade.mfe_pct) == (pytest.approx(-2), pytest.approx(3))


def test_exposure_counts_closes_with_a_position() -> None:
    rows = [flat(signal=ENTER), flat(), flat(signal=LEAVE), flat(), flat()]
    metrics = traded(market(*rows)).metrics
    assert metrics["exposure_pct"] == pytest.approx(100 * 2 / 5)


def test_buy_and_hold_pays_its_fee_and_is_held_to_the_last_close() -> None:
    result = traded(market((100, 100, 100, 100, QUIET), (100, 150, 100, 150, QUIET)), Settings(fee_pct=Decimal(1)))
    assert result.metrics["buy_hold_pct"] == pytest.approx(100 * (150 / 101 - 1))
    assert result.benchmark[-1] == pytest.approx(10_000 * 150 / 101)


def test_what_is_not_defined_is_none_and_never_infinite() -> None:
    nothing = traded(market(flat(), flat())).metrics
    for name in ("sharpe", "sortino", "calmar", "cagr_pct", "omega", "profit_factor", "win_rate_pct", "payoff", "sqn"):
        assert nothing[name] is None, name
    only_wins = traded(market(flat(signal=ENTER), flat(), flat(101, LEAVE), flat(102))).metrics
    assert (only_wins["profit_factor"], only_wins["payoff"], only_wins["sqn"]) == (None, None, None)
    assert only_wins["win_rate_pct"] == 100


# --- warnings ---


def codes(result: Result) -> list[str]:
    return [warning.code for warning in result.warnings]


def test_no_trades_say_why() -> None:
    never = traded(market(flat(), flat()))
    assert never.warnings[0].message == "Nothing was traded: the entry rule was never true."
    assert codes(never) == ["no_trades"]


def test_few_trades_and_one_that_makes_the_result_are_warned_of() -> None:
    rows = [flat(signal=ENTER), flat(), flat(101, LEAVE), flat(101, ENTER), flat(101), flat(150, LEAVE), flat(150)]
    result = traded(market(*rows))
    assert codes(result) == ["few_trades", "one_trade"]
    assert "One trade made 98 % of all profit" in result.warnings[1].message


def test_fees_that_eat_the_edge_are_warned_of() -> None:
    rows = [flat(100, ENTER), flat(100), flat(100.3, LEAVE), flat(100.3), flat(100, LEAVE)] * 40
    assert "fees" in codes(traded(market(*rows), Settings()))
    assert "fees" not in codes(traded(market(*rows), NO_FEE))


@pytest.mark.parametrize(("value", "warned"), [(5, True), (9, False), (20, True)])
def test_a_parameter_at_its_bound_is_warned_of(value: int, warned: bool) -> None:
    params = {"n": {"default": value, "min": 5, "max": 20, "step": 1}}
    result = traded(market(flat(), flat()), params=params, series={"s": {"fn": "ema", "len": "$n"}})
    assert ("param_at_bound" in codes(result)) is warned
