"""Times in microseconds, for those who ask for them (`timeUnit=MICROSECOND`, `X-MBX-TIME-UNIT`)."""

from __future__ import annotations

from typing import Any

from app.paper_exchange.errors import ApiError

_MS_FROM, _MS_TO = 10**12, 10**13  # the years 2001 to 2286; no other number of the exchange is as large
_KLINE_LENGTH, _KLINE_CLOSE = 12, 6


def is_microseconds(wanted: str | None) -> bool:
    """Whether microseconds are wanted. Raises -1194 for a word that names no unit."""
    word = (wanted or "MILLISECOND").upper()
    if word not in ("MICROSECOND", "MILLISECOND"):
        raise ApiError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return word == "MICROSECOND"


def in_microseconds(value: Any) -> Any:
    """A payload with all its times in microseconds; a candle closes in the last of them."""
    if isinstance(value, dict):
        scaled = {name: in_microseconds(part) for name, part in value.items()}
        if value.get("e") == "kline":
            scaled["k"]["T"] += 999
        return scaled
    if isinstance(value, list):
        row = [in_microseconds(part) for part in value]
        if len(value) == _KLINE_LENGTH and _is_time(value[0]) and _is_time(value[_KLINE_CLOSE]):
            row[_KLINE_CLOSE] += 999
        return row
    return value * 1000 if _is_time(value) else value


def _is_time(value: Any) -> bool:
    return type(value) is int and _MS_FROM <= value < _MS_TO
