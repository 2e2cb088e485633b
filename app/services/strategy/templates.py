"""Classic strategies to start from. Each says what it does, when it loses, and has a stop."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import NotFound


@dataclass(frozen=True, slots=True)
class Template:
    """A starting point. `explains` and `loses_when` are sentences for the user."""

    key: str
    title: str
    explains: str
    loses_when: str
    base: Mapping[str, Any]

    def document(self, symbol: str = "BTCUSDT") -> dict[str, Any]:
        """A fresh strategy document for `symbol`, valid as it is and free to change."""
        document = copy.deepcopy(dict(self.base))
        document["market"]["symbols"] = [symbol]
        return document


def _param(default: float, least: float, most: float, step: float, label: str) -> dict[str, Any]:
    return {"default": default, "min": least, "max": most, "step": step, "label": label}


def _ema_cross(name: str, timeframe: str, fast: dict[str, Any], slow: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": name,
        "market": {"symbols": ["BTCUSDT"], "timeframe": timeframe},
        "params": {"fast": fast, "slow": slow},
        "series": {
            "ema_fast": {"fn": "ema", "src": "close", "len": "$fast"},
            "ema_slow": {"fn": "ema", "src": "close", "len": "$slow"},
            "atr": {"fn": "atr", "len": 14},
        },
        "entry": {"all": [{"op": "crosses_above", "left": "ema_fast", "right": "ema_slow"}]},
        "exit": {"any": [{"op": "crosses_below", "left": "ema_fast", "right": "ema_slow"}]},
        "order": {"type": "market"},
    }


EMA_CROSS = Template(
    key="ema_cross",
    title="EMA cross",
    explains="Buys when the fast average of the close rises through the slow one, sells when it falls back through it.",
    loses_when=(
        "Sideways markets cross back and forth: expect many small losses and fees between the few long trends that "
        "have to pay for them. It buys late and sells late by construction."
    ),
    base=_ema_cross("EMA cross", "1h", _param(12, 5, 50, 1, "fast EMA"), _param(26, 20, 200, 2, "slow EMA"))
    | {
        "sizing": {"mode": "risk_pct", "pct": "1", "max_equity_pct": "25"},
        "protect": {"stop": {"series": "atr", "mult": "3"}},
        "limits": {"cooldown_bars": 1, "max_entries_per_day": 6, "max_open": 1},
    },
)

EMA_CROSS_FAST = Template(
    key="ema_cross_fast",
    title="EMA cross, fast (1s)",
    explains=(
        "The EMA cross on one-second candles with short averages: it trades within minutes, "
        "to watch orders, fills and PnL arrive on the paper exchange."
    ),
    loses_when=(
        "Almost always, on a real market: it pays two fees every quarter of a minute for moves smaller than a fee. "
        "It is for trying the platform on paper, not for money."
    ),
    base=_ema_cross("EMA cross, fast (1s)", "1s", _param(3, 2, 20, 1, "fast EMA"), _param(8, 4, 60, 1, "slow EMA"))
    | {
        "sizing": {"mode": "equity_pct", "pct": "10"},
        "protect": {"stop": {"series": "atr", "mult": "4"}, "time_stop_bars": 60},
        "limits": {"max_open": 1},
    },
)

RSI_PULLBACK = Template(
    key="rsi_pullback",
    title="RSI pullback in an uptrend",
    explains=(
        "While the close is above its long average, buys when the RSI recovers from oversold, "
        "and sells when it becomes strong or the trend is lost."
    ),
    loses_when=(
        "In a crash the pullback is the beginning of the fall: several stops in a row are normal. "
        "In a strong trend that never pulls back it does nothing."
    ),
    base={
        "schema": 1,
        "name": "RSI pullback in an uptrend",
        "market": {"symbols": ["BTCUSDT"], "timeframe": "1h"},
        "params": {
            "oversold": _param(35, 15, 45, 1, "oversold below"),
            "strong": _param(65, 55, 90, 1, "strong above"),
        },
        "series": {
            "rsi": {"fn": "rsi", "src": "close", "len": 14},
            "trend": {"fn": "sma", "src": "close", "len": 200},
            "atr": {"fn": "atr", "len": 14},
        },
        "entry": {
            "all": [
                {"op": ">", "left": "close", "right": "trend"},
                {"op": "crosses_above", "left": "rsi", "right": "$oversold"},
            ]
        },
        "exit": {
            "any": [
                {"op": ">", "left": "rsi", "right": "$strong"},
                {"op": "<", "left": "close", "right": "trend", "for": 3},
            ]
        },
        "order": {"type": "market"},
        "sizing": {"mode": "risk_pct", "pct": "1", "max_equity_pct": "25"},
        "protect": {"stop": {"series": "atr", "mult": "2.5"}, "time_stop_bars": 72},
        "limits": {"cooldown_bars": 3, "max_entries_per_day": 3, "max_open": 1},
    },
)

DONCHIAN = Template(
    key="donchian_breakout",
    title="Channel breakout",
    explains=(
        "Buys when the close breaks above the highest high of the candles before it, "
        "sells when it breaks below the lowest low of fewer candles (the Turtle rule)."
    ),
    loses_when=(
        "False breakouts are more frequent than true ones: usually fewer than four trades in ten win. "
        "Long sideways months are a slow bleed."
    ),
    base={
        "schema": 1,
        "name": "Channel breakout",
        "market": {"symbols": ["BTCUSDT"], "timeframe": "4h"},
        "params": {
            "enter_len": _param(20, 10, 100, 5, "breakout channel"),
            "leave_len": _param(10, 5, 50, 5, "exit channel"),
        },
        "series": {
            "top": {"fn": "highest", "src": "high", "len": "$enter_len"},
            "bottom": {"fn": "lowest", "src": "low", "len": "$leave_len"},
            "atr": {"fn": "atr", "len": 20},
        },
        "entry": {"all": [{"op": ">", "left": "close", "right": {"ref": "top", "ago": 1}}]},
        "exit": {"any": [{"op": "<", "left": "close", "right": {"ref": "bottom", "ago": 1}}]},
        "order": {"type": "market"},
        "sizing": {"mode": "risk_pct", "pct": "1", "max_equity_pct": "30"},
        "protect": {"stop": {"series": "atr", "mult": "2"}},
        "limits": {"cooldown_bars": 2, "max_open": 1},
    },
)


def _long_only(
    title: str,
    timeframe: str,
    *,
    params: Mapping[str, Any],
    series: Mapping[str, Any],
    entry: Mapping[str, Any],
    leave: Mapping[str, Any],
    protect: Mapping[str, Any],
    limits: Mapping[str, Any],
) -> dict[str, Any]:
    """A document that buys at market, risking 1 % of equity and never spending more than a quarter of it."""
    return {
        "schema": 1,
        "name": title,
        "market": {"symbols": ["BTCUSDT"], "timeframe": timeframe},
        "params": dict(params),
        "series": dict(series),
        "entry": dict(entry),
        "exit": dict(leave),
        "order": {"type": "market"},
        "sizing": {"mode": "risk_pct", "pct": "1", "max_equity_pct": "25"},
        "protect": dict(protect),
        "limits": {"max_open": 1} | dict(limits),
    }


MACD_TREND = Template(
    key="macd_trend",
    title="MACD above its trend",
    explains=(
        "While the close is above its long average, buys when the MACD line rises through its signal, "
        "and sells when it falls back through it. A trailing stop follows once the trade has earned its risk."
    ),
    loses_when=(
        "In a slow, flat market the two lines cross again and again for nothing. After a long rise the first sharp "
        "fall takes back more than the MACD is quick enough to keep."
    ),
    base=_long_only(
        "MACD above its trend",
        "1h",
        params={"fast": _param(12, 5, 30, 1, "fast EMA"), "slow": _param(26, 20, 60, 2, "slow EMA")},
        series={
            "line": {"fn": "macd", "fast": "$fast", "slow": "$slow"},
            "line_signal": {"fn": "macd_signal", "fast": "$fast", "slow": "$slow", "signal": 9},
            "trend": {"fn": "ema", "len": 200},
            "atr": {"fn": "atr", "len": 14},
        },
        entry={
            "all": [
                {"op": ">", "left": "close", "right": "trend"},
                {"op": "crosses_above", "left": "line", "right": "line_signal"},
            ]
        },
        leave={"any": [{"op": "crosses_below", "left": "line", "right": "line_signal"}]},
        protect={
            "stop": {"series": "atr", "mult": "2.5"},
            "trail": {"series": "atr", "mult": "3"},
            "trail_after_r": "1",
        },
        limits={"cooldown_bars": 2},
    ),
)

BOLLINGER_RETURN = Template(
    key="bollinger_return",
    title="Return into the Bollinger bands",
    explains=(
        "Buys when the close comes back into the bands from below, betting on a return to the middle, "
        "and sells at the middle or after two days."
    ),
    loses_when=(
        "When the market has changed its mind: prices that walk along the lower band make loss after loss. "
        "Gains are small and frequent, losses rare and large."
    ),
    base=_long_only(
        "Return into the Bollinger bands",
        "1h",
        params={"len": _param(20, 10, 60, 2, "band length"), "width": _param(2, 1, 4, 0.25, "deviations")},
        series={
            "lower": {"fn": "bb_lower", "src": "close", "len": "$len", "mult": "$width"},
            "middle": {"fn": "bb_mid", "src": "close", "len": "$len", "mult": "$width"},
            "atr": {"fn": "atr", "len": 14},
        },
        entry={"all": [{"op": "crosses_above", "left": "close", "right": "lower"}]},
        leave={"any": [{"op": ">=", "left": "close", "right": "middle"}]},
        protect={"stop": {"series": "atr", "mult": "3"}, "time_stop_bars": 48},
        limits={"cooldown_bars": 3, "max_entries_per_day": 3},
    ),
)

SUPERTREND_FOLLOW = Template(
    key="supertrend_follow",
    title="SuperTrend",
    explains=(
        "Buys when the SuperTrend turns up and sells when it turns down; "
        "the stop is as far away as the line itself is at the start."
    ),
    loses_when=(
        "Each sideways stretch turns the line several times, and each turn costs two fees and a loss. "
        "It gives back a good part of every gain before it turns."
    ),
    base=_long_only(
        "SuperTrend",
        "4h",
        params={"len": _param(10, 5, 30, 1, "ATR length"), "width": _param(3, 1, 6, 0.5, "ATR multiples")},
        series={
            "direction": {"fn": "supertrend_dir", "len": "$len", "mult": "$width"},
            "atr": {"fn": "atr", "len": 10},
        },
        entry={"all": [{"op": "crosses_above", "left": "direction", "right": 0}]},
        leave={"any": [{"op": "<", "left": "direction", "right": 0}]},
        protect={"stop": {"series": "atr", "mult": "3"}},
        limits={"cooldown_bars": 1},
    ),
)

RSI_2 = Template(
    key="rsi_2",
    title="Two-candle RSI",
    explains=(
        "In an uptrend, buys after two or three falling candles (RSI of 2 very low) and sells at the first strength: "
        "many short trades (after Connors)."
    ),
    loses_when=(
        "In a fall that does not stop: it buys early and again. Fees weigh heavily, since the usual gain is small; "
        "look at the report's share of fees before anything else."
    ),
    base=_long_only(
        "Two-candle RSI",
        "4h",
        params={"low": _param(10, 2, 25, 1, "buy below"), "high": _param(70, 50, 95, 5, "sell above")},
        series={
            "rsi": {"fn": "rsi", "src": "close", "len": 2},
            "trend": {"fn": "sma", "src": "close", "len": 200},
            "atr": {"fn": "atr", "len": 14},
        },
        entry={
            "all": [
                {"op": ">", "left": "close", "right": "trend"},
                {"op": "<", "left": "rsi", "right": "$low"},
            ]
        },
        leave={"any": [{"op": ">", "left": "rsi", "right": "$high"}]},
        protect={"stop": {"series": "atr", "mult": "3"}, "time_stop_bars": 12},
        limits={"cooldown_bars": 1},
    ),
)

GOLDEN_CROSS = Template(
    key="golden_cross",
    title="Golden cross",
    explains=(
        "Buys when the 50-candle average rises through the 200-candle average on 4-hour candles, and sells when it "
        "falls back: a handful of trades a year."
    ),
    loses_when=(
        "It enters weeks after the low and leaves weeks after the high, and a sideways year crosses at the worst "
        "moments. So few trades prove little: one good one can make the whole backtest."
    ),
    base=_long_only(
        "Golden cross",
        "4h",
        params={"fast": _param(50, 10, 100, 5, "fast average"), "slow": _param(200, 100, 400, 10, "slow average")},
        series={
            "fast": {"fn": "sma", "src": "close", "len": "$fast"},
            "slow": {"fn": "sma", "src": "close", "len": "$slow"},
            "atr": {"fn": "atr", "len": 14},
        },
        entry={"all": [{"op": "crosses_above", "left": "fast", "right": "slow"}]},
        leave={"any": [{"op": "crosses_below", "left": "fast", "right": "slow"}]},
        protect={"stop": {"series": "atr", "mult": "6"}},
        limits={},
    ),
)

SQUEEZE = Template(
    key="squeeze",
    title="Squeeze breakout",
    explains=(
        "Waits until the Bollinger bands lie within the Keltner channel (a quiet market), then buys a close above the "
        "upper Bollinger band within a few candles. Sells half at twice the risk and trails the rest."
    ),
    loses_when=(
        "Most breakouts from a quiet market fail at once; a few have to pay for all of them. "
        "Without the few, which come in bursts, it loses slowly for months."
    ),
    base=_long_only(
        "Squeeze breakout",
        "1h",
        params={"len": _param(20, 10, 40, 2, "channel length")},
        series={
            "bb_top": {"fn": "bb_upper", "src": "close", "len": "$len", "mult": 2},
            "kc_top": {"fn": "kc_upper", "len": "$len", "mult": 1.5, "atr_len": 14},
            "middle": {"fn": "kc_mid", "len": "$len"},
            "atr": {"fn": "atr", "len": 14},
        },
        entry={
            "all": [
                {"op": "<", "left": "bb_top", "right": "kc_top", "within": 6},
                {"op": "crosses_above", "left": "close", "right": "bb_top"},
            ]
        },
        leave={"any": [{"op": "crosses_below", "left": "close", "right": "middle"}]},
        protect={
            "stop": {"series": "atr", "mult": "1.5"},
            "take_profit": [{"at": {"r": "2"}, "close_pct": 50}],
            "trail": {"series": "atr", "mult": "2.5"},
            "trail_after_r": "1",
        },
        limits={"cooldown_bars": 3},
    ),
)

ICHIMOKU = Template(
    key="ichimoku",
    title="Above the Ichimoku cloud",
    explains=(
        "Buys when the conversion line rises through the base line while the close is above the cloud, "
        "and sells when the close falls below the base line."
    ),
    loses_when=(
        "Inside and around the cloud, where the market has no direction, it enters late and leaves at once. "
        "Its numbers (9, 26, 52) were made for a six-day trading week long ago; nothing says they fit your market."
    ),
    base=_long_only(
        "Above the Ichimoku cloud",
        "4h",
        params={"fast": _param(9, 5, 20, 1, "conversion line"), "slow": _param(26, 15, 60, 1, "base line")},
        series={
            "conversion": {"fn": "ichimoku_tenkan", "len": "$fast"},
            "base": {"fn": "ichimoku_kijun", "len": "$slow"},
            "span_a": {"fn": "ichimoku_span_a", "fast": "$fast", "slow": "$slow"},
            "span_b": {"fn": "ichimoku_span_b"},
            "atr": {"fn": "atr", "len": 14},
        },
        entry={
            "all": [
                {"op": ">", "left": "close", "right": {"max": ["span_a", "span_b"]}},
                {"op": "crosses_above", "left": "conversion", "right": "base"},
            ]
        },
        leave={"any": [{"op": "<", "left": "close", "right": "base"}]},
        protect={"stop": {"series": "atr", "mult": "3"}},
        limits={"cooldown_bars": 1},
    ),
)

TEMPLATES: tuple[Template, ...] = (
    EMA_CROSS,
    EMA_CROSS_FAST,
    RSI_PULLBACK,
    DONCHIAN,
    MACD_TREND,
    BOLLINGER_RETURN,
    SUPERTREND_FOLLOW,
    RSI_2,
    GOLDEN_CROSS,
    SQUEEZE,
    ICHIMOKU,
)


def template(key: str) -> Template:
    """The template with this key. Raises NotFound."""
    for one in TEMPLATES:
        if one.key == key:
            return one
    raise NotFound(f"there is no template {key!r}; there are {', '.join(one.key for one in TEMPLATES)}")
