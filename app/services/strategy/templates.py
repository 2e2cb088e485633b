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

TEMPLATES: tuple[Template, ...] = (EMA_CROSS, EMA_CROSS_FAST, RSI_PULLBACK, DONCHIAN)


def template(key: str) -> Template:
    """The template with this key. Raises NotFound."""
    for one in TEMPLATES:
        if one.key == key:
            return one
    raise NotFound(f"there is no template {key!r}; there are {', '.join(one.key for one in TEMPLATES)}")
