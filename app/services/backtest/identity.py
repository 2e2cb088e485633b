"""What makes a run the same run: the version of its candles, and the hash of its trades and equity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from app.services.backtest.kernel import Floats
from app.services.strategy import CandleColumns

_CANDLE_COLUMNS = ("open", "high", "low", "close", "volume")


def _header(facts: Mapping[str, object]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def candle_data_version(candles: CandleColumns, *, venue: str, symbol: str) -> str:
    """SHA-256 (hex) of venue, symbol, timeframe and the exact bytes of every candle.

    Form: one line of canonical JSON, then the column of open times as little-endian int64, then open, high, low, close
    and volume as little-endian IEEE 754 doubles, each column whole.
    """
    header = {"venue": venue, "symbol": symbol, "timeframe": candles.timeframe, "candles": len(candles)}
    digest = hashlib.sha256(_header({"form": "candles/1", **header}))
    digest.update(np.ascontiguousarray(candles.open_time_ms, "<i8").data)
    for name in _CANDLE_COLUMNS:
        digest.update(np.ascontiguousarray(getattr(candles, name), "<f8").data)
    return digest.hexdigest()


def result_hash(trades: Floats, fills: Floats, equity: Floats) -> str:
    """SHA-256 (hex) over trades, fills and equity: equal exactly when a run gave the same bits.

    Form: for each table one line of canonical JSON with its shape, then its values as little-endian IEEE 754 doubles,
    row by row.
    """
    digest = hashlib.sha256()
    for name, table in (("trades", trades), ("fills", fills), ("equity", equity)):
        digest.update(_header({"form": "result/1", "table": name, "shape": list(table.shape)}))
        digest.update(np.ascontiguousarray(table, "<f8").data)
    return digest.hexdigest()
