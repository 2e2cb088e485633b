"""Candles for a chart that is already drawn: only those that closed since."""

from __future__ import annotations

from app.services.strategy import CandleColumns


def rows_after(candles: CandleColumns, after_ms: int) -> list[dict[str, float]]:
    """Candles that opened after `after_ms`, oldest first, as the chart wants them (`time` in seconds)."""
    times = candles.open_time_ms.tolist()
    columns = [c.tolist() for c in (candles.open, candles.high, candles.low, candles.close, candles.volume)]
    names = ("open", "high", "low", "close", "volume")
    return [
        {"time": at_ms // 1000, **dict(zip(names, values, strict=True))}
        for at_ms, *values in zip(times, *columns, strict=True)
        if at_ms > after_ms
    ]
