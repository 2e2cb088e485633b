"""From a strategy, its evaluation and the settings to the arrays the kernel runs over."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from app.domain.errors import InvalidInput
from app.services.backtest import kernel as k
from app.services.backtest.settings import Settings
from app.services.strategy import CandleColumns, Evaluation, Strategy, timeframe_ms
from app.services.strategy.rules import Distance, EquityPct, FixedQuote, PctDistance, RDistance, SeriesDistance

#: Binance keeps quote amounts to 8 places, and live sizing rounds to them.
_QUOTE_PLACES = 1e8


class Inputs(NamedTuple):
    """The arguments of `kernel.simulate`, in its order."""

    time_ms: k.Ints
    open: k.Floats
    high: k.Floats
    low: k.Floats
    close: k.Floats
    entry: k.Truths
    leave: k.Truths
    distances: k.Floats
    target_modes: k.Ints
    target_rows: k.Ints
    target_values: k.Floats
    target_shares: k.Ints
    detail_from: k.Ints
    detail: k.Floats
    numbers: k.Floats
    counts: k.Ints


def candles_from(candles: CandleColumns, first: int) -> CandleColumns:
    """The candles from place `first` on."""
    return candles if first == 0 else candles.window(first, len(candles))


def check_supported(strategy: Strategy) -> None:
    """Raise InvalidInput for what neither a backtest nor a live run does: more than one position at a time."""
    if strategy.limits.max_open != 1:
        raise InvalidInput("a run holds one position at a time; set limits.max_open to 1", field="limits.max_open")


def make_inputs(
    evaluation: Evaluation, settings: Settings, first: int = 0, detail: CandleColumns | None = None
) -> Inputs:
    """Arrays from candle `first` on. `detail`: finer candles of the same market. Raises InvalidInput."""
    strategy, candles = evaluation.strategy, candles_from(evaluation.candles, first)
    check_supported(strategy)
    protect = strategy.protect
    rows: dict[str, int] = {}
    modes, at, values = [], [], []
    stop_mode, stop_row, stop_value = _distance(protect.stop, rows)
    trail_mode, trail_row, trail_value = _distance(protect.trail, rows)
    for target in protect.take_profit:
        mode, row, value = _distance(target.at, rows)
        modes.append(mode)
        at.append(row)
        values.append(value)
    distances = np.array([evaluation.series[name][first:] for name in rows]).reshape(len(rows), len(candles))
    detail_from, finer = _detail(candles, detail)
    return Inputs(
        candles.open_time_ms,
        candles.open,
        candles.high,
        candles.low,
        candles.close,
        evaluation.entry[first:],
        evaluation.exit[first:],
        distances,
        np.array(modes, np.int64),
        np.array(at, np.int64),
        np.array(values, np.float64),
        np.array([target.close_pct for target in protect.take_profit], np.int64),
        detail_from,
        finer,
        _numbers(strategy, settings, stop_value, trail_value),
        _counts(strategy, settings, (stop_mode, stop_row), (trail_mode, trail_row)),
    )


def _distance(distance: Distance | None, rows: dict[str, int]) -> tuple[int, int, float]:
    """Mode, row in `distances` and factor; a new series gets the next row."""
    match distance:
        case None:
            return k.NO_DISTANCE, 0, 0.0
        case PctDistance(pct=pct):
            return k.BY_PCT, 0, float(pct / 100)
        case RDistance(r=r):
            return k.BY_R, 0, float(r)
        case SeriesDistance(series=series, mult=mult):
            return k.BY_SERIES, rows.setdefault(series, len(rows)), float(mult)


def _numbers(strategy: Strategy, settings: Settings, stop_value: float, trail_value: float) -> k.Floats:
    sizing, rounding = strategy.sizing, settings.rounding
    found: dict[int, Decimal | float] = {
        k.BALANCE: settings.balance,
        k.FEE_RATE: settings.fee_pct / 100,
        k.SLIPPAGE: settings.slippage / 10_000,
        k.SIZE_VALUE: sizing.quote if isinstance(sizing, FixedQuote) else sizing.pct,
        k.SIZE_MOST: 0.0 if isinstance(sizing, FixedQuote | EquityPct) else sizing.max_equity_pct,
        k.STOP_VALUE: stop_value,
        k.TRAIL_VALUE: trail_value,
        k.TRAIL_AFTER_R: strategy.protect.trail_after_r or 0.0,
        k.LIMIT_OFFSET: strategy.order.limit_offset_pct / 100,
        k.PER_LOT: 1 / rounding.lot if rounding.lot else 0.0,
        k.PER_TICK: 1 / rounding.tick if rounding.tick else 0.0,
        k.PER_QUOTE: _QUOTE_PLACES if rounding.lot else 0.0,
        k.LEAST_QUANTITY: rounding.min_quantity,
        k.LEAST_NOTIONAL: rounding.min_notional,
    }
    return np.array([float(found[place]) for place in range(k.NUMBERS)])


def _counts(strategy: Strategy, settings: Settings, stop: tuple[int, int], trail: tuple[int, int]) -> k.Ints:
    modes: dict[type[Any], int] = {FixedQuote: k.FIXED_QUOTE, EquityPct: k.EQUITY_PCT}
    found = {
        k.TIMEFRAME_MS: timeframe_ms(strategy.timeframe),
        k.FEE_IN_QUOTE: settings.fee_in == "quote",
        k.TOUCH_FILLS: settings.touch_fills,
        k.OPEN_FILLS: settings.open_beyond_fills_at_open,
        k.SIZE_MODE: modes.get(type(strategy.sizing), k.RISK_PCT),
        k.STOP_MODE: stop[0],
        k.STOP_ROW: stop[1],
        k.TRAIL_MODE: trail[0],
        k.TRAIL_ROW: trail[1],
        k.IS_LIMIT: strategy.order.type == "limit",
        k.EXPIRE_BARS: strategy.order.expire_bars or 0,
        k.TIME_STOP_BARS: strategy.protect.time_stop_bars or 0,
        k.COOLDOWN_BARS: strategy.limits.cooldown_bars,
        k.ENTRIES_A_DAY: strategy.limits.max_entries_per_day or 0,
    }
    return np.array([int(found[place]) for place in range(k.COUNTS)], np.int64)


def _detail(candles: CandleColumns, detail: CandleColumns | None) -> tuple[k.Ints, k.Floats]:
    """Which finer candles lie in each candle, and their open, high and low as rows."""
    if detail is None:
        return np.zeros(0, np.int64), np.zeros((3, 0))
    if timeframe_ms(detail.timeframe) >= timeframe_ms(candles.timeframe):
        message = f"the finer candles must be below {candles.timeframe}, not {detail.timeframe}"
        raise InvalidInput(message, field="detail")
    place = np.searchsorted(candles.open_time_ms, detail.open_time_ms, side="right") - 1
    inside = (place >= 0) & (detail.open_time_ms < candles.close_time_ms[np.maximum(place, 0)])
    edges = np.searchsorted(place[inside], np.arange(len(candles) + 1)).astype(np.int64)
    return edges, np.array([detail.open[inside], detail.high[inside], detail.low[inside]])
