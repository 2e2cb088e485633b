"""What must hold of rows of candles, over whole columns at once; the first row that breaks a rule is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain.clock import to_datetime
from app.domain.errors import InvalidInput
from app.services.strategy.candles import TIMEFRAMES, CandleColumns, Floats, Ints, opening_of, timeframe_ms

#: Times from here on are microseconds (as milliseconds they would lie in the year 5138).
MICROSECONDS_FROM = 10**14
#: Between these (2009 and 2100) a time in milliseconds is believed.
EARLIEST_MS, LATEST_MS = 1_230_768_000_000, 4_102_444_800_000
#: A larger factor from one close to the next is taken for a mix-up of symbols or units.
LARGEST_JUMP = 20.0

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Rows that break a rule, the column to blame, and the sentence about one of them."""

    broken: _Mask
    column: str
    say: Callable[[int], str]


def check_rows(
    raw_time: Ints,
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    *,
    timeframe: str,
    first_row: int,
) -> None:
    """Raise InvalidInput about the first bad row (and how many there are). `raw_time` may mix ms and µs."""
    time_ms = in_ms(raw_time)
    _raise_first(_value_rules(time_ms, raw_time, open_, high, low, close, volume), first_row)
    _check_spacing(time_ms, timeframe)
    _raise_first(_order_rules(time_ms, raw_time, timeframe, first_row), first_row)


def check_scale(candles: CandleColumns, *, first_row: int) -> None:
    """Raise InvalidInput where the close jumps by a factor of more than `LARGEST_JUMP` from one row to the next."""
    if len(candles) < 2:
        return
    ratio = candles.close[1:] / candles.close[:-1]
    jumps = np.flatnonzero((ratio > LARGEST_JUMP) | (ratio < 1 / LARGEST_JUMP))
    if len(jumps) == 0:
        return
    at = int(jumps[0])
    before, after = float(candles.close[at]), float(candles.close[at + 1])
    factor = max(after / before, before / after)
    raise InvalidInput(
        f"Row {first_row + at + 1:,}, column close: the price jumps from {before:.12g} to {after:.12g}, a factor of "
        f"{factor:,.0f}, from one candle to the next. That looks like two symbols or two units in one file. "
        "If it is right, confirm the scale and import it again.",
        field="file",
        row=first_row + at + 1,
        column="close",
        confirm="accept_scale",
    )


def in_ms(raw_time: Ints) -> Ints:
    """Times in milliseconds, of times that may be in microseconds."""
    return np.where(raw_time >= MICROSECONDS_FROM, raw_time // 1000, raw_time)


def count(number: int, noun: str) -> str:
    """`1 candle`, `1,024 candles`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_words(text: str) -> str:
    """A value as the user wrote it, quoted and cut short."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def moment(ms: int) -> str:
    """`2024-04-21 14:00:00`, UTC."""
    return to_datetime(ms).strftime("%Y-%m-%d %H:%M:%S")


def _value_rules(
    time_ms: Ints, raw_time: Ints, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats
) -> list[_Rule]:
    def bad_time(i: int) -> str:
        if EARLIEST_MS <= int(raw_time[i]) * 1000 < LATEST_MS:
            return f"{raw_time[i]} looks like seconds; milliseconds or microseconds since 1970 are needed"
        return f"{raw_time[i]} is no time between 2009 and 2100 in milliseconds or microseconds"

    rules = [_Rule((time_ms < EARLIEST_MS) | (time_ms >= LATEST_MS), "open_time", bad_time)]
    for name, values in (("open", open_), ("high", high), ("low", low), ("close", close), ("volume", volume)):
        least = "at least" if name == "volume" else "above"
        outside = values < 0 if name == "volume" else values <= 0

        def no_number(i: int, values: Floats = values) -> str:
            return f"{values[i]} is not a finite number"

        def too_small(i: int, values: Floats = values, least: str = least) -> str:
            return f"{values[i]:.12g} must be {least} zero"

        rules += [_Rule(~np.isfinite(values), name, no_number), _Rule(outside, name, too_small)]
    rules += [
        _Rule(high < low, "high", lambda i: f"the high {high[i]:.12g} is below the low {low[i]:.12g}"),
        _Rule(
            high < np.maximum(open_, close),
            "high",
            lambda i: f"the high {high[i]:.12g} is below the open {open_[i]:.12g} or the close {close[i]:.12g}",
        ),
        _Rule(
            low > np.minimum(open_, close),
            "low",
            lambda i: f"the low {low[i]:.12g} is above the open {open_[i]:.12g} or the close {close[i]:.12g}",
        ),
    ]
    return rules


def _check_spacing(time_ms: Ints, timeframe: str) -> None:
    """Raise InvalidInput when most rows lie as far apart as another timeframe's candles do."""
    steps = np.diff(np.sort(time_ms))
    steps = steps[steps > 0]
    if len(steps) == 0:
        return
    usual = int(np.median(steps))
    if usual == timeframe_ms(timeframe):
        return
    named = next((name for name, span in TIMEFRAMES.items() if span == usual), None)
    apart = f"like {named} candles" if named else f"{usual / 1000:,.10g} seconds apart"
    raise InvalidInput(
        f"The rows of this file are mostly spaced {apart}, but the timeframe chosen is {timeframe}.",
        field="timeframe",
        spacing_ms=usual,
        suggestion=named,
    )


def _order_rules(time_ms: Ints, raw_time: Ints, timeframe: str, first_row: int) -> list[_Rule]:
    steps = np.diff(time_ms, prepend=time_ms[0] - 1)
    stray = (opening_of(time_ms, timeframe) != time_ms) | ((raw_time >= MICROSECONDS_FROM) & (raw_time % 1000 != 0))

    def not_later(i: int) -> str:
        earlier = np.flatnonzero(time_ms[:i] == time_ms[i])
        if len(earlier):
            return f"the time {moment(int(time_ms[i]))} stands in row {first_row + int(earlier[0]):,} already"
        before = f"row {first_row + i - 1:,} ({moment(int(time_ms[i - 1]))})"
        return f"the time {moment(int(time_ms[i]))} is earlier than that of {before}; rows must be in order of time"

    def misaligned(i: int) -> str:
        return f"the time {moment(int(time_ms[i]))} ({raw_time[i]}) is not the beginning of a {timeframe} candle"

    return [_Rule(steps <= 0, "open_time", not_later), _Rule(stray, "open_time", misaligned)]


def _raise_first(rules: list[_Rule], first_row: int) -> None:
    """Raise InvalidInput about the first row that breaks a rule; with several in one row, the first rule's words."""
    broken = [rule for rule in rules if rule.broken.any()]
    if not broken:
        return
    at = min(int(rule.broken.argmax()) for rule in broken)
    rule = next(rule for rule in broken if rule.broken[at])
    rows = int(np.logical_or.reduce([each.broken for each in broken]).sum())
    others = f" ({rows:,} rows of this file are wrong.)" if rows > 1 else ""
    raise InvalidInput(
        f"Row {first_row + at:,}, column {rule.column}: {rule.say(at)}.{others}",
        field="file",
        row=first_row + at,
        column=rule.column,
        rows=rows,
    )
