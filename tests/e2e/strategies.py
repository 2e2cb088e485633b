"""Strategy documents for tests: one that buys once and holds, two that trade at every candle."""

from __future__ import annotations

from typing import Any

_ALWAYS: dict[str, Any] = {"op": ">", "left": "close", "right": 0}
_NEVER: dict[str, Any] = {"op": "<", "left": "close", "right": 0}


def hold() -> dict[str, Any]:
    """Buys at its first candle and keeps it; the stop rests far below."""
    return _document("Hold", entry=_ALWAYS, leave=_NEVER, limits={"max_open": 1, "max_entries_per_day": 1})


def busy() -> dict[str, Any]:
    """Buys at one candle and sells at the next: an order, a stop, a cancel and another order every two seconds."""
    return _document("Busy", entry=_ALWAYS, leave=_ALWAYS, limits={"max_open": 1})


def paired() -> dict[str, Any]:
    """Busy with a target near by for half of the position: stop and target rest as a pair of which one cancels the
    other."""
    document = _document("Paired", entry=_ALWAYS, leave=_ALWAYS, limits={"max_open": 1})
    document["protect"]["take_profit"] = [{"at": {"pct": "0.1"}, "close_pct": 50}]
    return document


def _document(name: str, *, entry: dict[str, Any], leave: dict[str, Any], limits: dict[str, int]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": name,
        "market": {"symbols": ["BTCUSDT"], "timeframe": "1s"},
        "params": {},
        "series": {},
        "entry": {"all": [entry]},
        "exit": {"any": [leave]},
        "order": {"type": "market"},
        "sizing": {"mode": "equity_pct", "pct": "2"},
        "protect": {"stop": {"pct": "20"}},
        "limits": limits,
    }
