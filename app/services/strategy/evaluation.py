"""The one evaluator: closed candles in, every series and every condition's three-valued truth out.

Backtest and live run this same code, a backtest over all candles, a live run over a window whose last bar has just
closed. The value at a bar depends on that bar and earlier ones only; a decision at a bar's close acts at the next open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from app.domain.errors import InvalidInput
from app.domain.money import plain
from app.services.strategy import logic
from app.services.strategy.candles import CandleColumns, Floats
from app.services.strategy.frames import Frames, SharedSeries
from app.services.strategy.logic import Truths
from app.services.strategy.reading import say_condition, say_distance, say_operand
from app.services.strategy.rules import (
    AllOf,
    AnyOf,
    AtLeast,
    Compare,
    Condition,
    Leaf,
    NotOf,
    PctDistance,
    Range,
    SeriesDistance,
    Strategy,
    Trend,
    operands,
    parts_of,
)

#: A JSON-able tree: see `Evaluation.trace`.
Trace: TypeAlias = dict[str, Any]

_HUNDRED = Decimal(100)


def _before(values: Floats) -> Floats:
    """The value at the base bar before; missing at the first."""
    out = np.full(len(values), np.nan)
    out[1:] = values[:-1]
    return out


class Conditions:
    """Truth of conditions over the frames. `remembers`: keeps each by its path, so that a trace can be told."""

    def __init__(self, frames: Frames, *, remembers: bool = False) -> None:
        self._frames = frames
        self._remembers = remembers
        self.truths: dict[str, Truths] = {}
        self.now: dict[str, Truths] = {}
        self.values: dict[str, list[Floats]] = {}

    def truth(self, condition: Condition) -> Truths:
        """Three-valued truth at each base bar."""
        match condition:
            case AllOf(parts=parts):
                result = logic.all_of([self.truth(part) for part in parts])
            case AnyOf(parts=parts):
                result = logic.any_of([self.truth(part) for part in parts])
            case AtLeast(count=count, parts=parts):
                result = logic.at_least(count, [self.truth(part) for part in parts])
            case NotOf(part=part):
                result = logic.negate(self.truth(part))
            case _:
                result = self._leaf(condition)
        if self._remembers:
            self.truths[condition.path] = result
        return result

    def _leaf(self, leaf: Leaf) -> Truths:
        match leaf:
            case Compare():
                now = self._compare(leaf)
                if self._remembers:
                    self.now[leaf.path] = now
                return logic.seen_within(logic.held_for(now, leaf.hold), leaf.within)
            case Range():
                now = self._range(leaf)
            case Trend():
                now = self._trend(leaf)
        if self._remembers:
            self.now[leaf.path] = now
        return now

    def _read(self, leaf: Leaf, steps_back: int = 0) -> list[list[Floats]]:
        """Values of each operand: now and, for trends, at each of the `steps_back` candles before."""
        found = []
        for key, operand in operands(leaf):
            values = [self._frames.operand(operand, back) for back in range(steps_back + 1)]
            if self._remembers:
                self.values[f"{leaf.path}.{key}"] = values
            found.append(values)
        return found

    def _compare(self, leaf: Compare) -> Truths:
        (left,), (right,) = self._read(leaf)
        if not leaf.op.startswith("crosses"):
            return logic.compare(leaf.op, left, right)
        if self._remembers:
            self.values[f"{leaf.path}.left"].append(_before(left))
            self.values[f"{leaf.path}.right"].append(_before(right))
        return logic.crosses(left, right) if leaf.op == "crosses_above" else logic.crosses(right, left)

    def _range(self, leaf: Range) -> Truths:
        (value,), (low,), (high,) = self._read(leaf)
        inside = logic.all_of([logic.decide(value >= low, value, low), logic.decide(value <= high, value, high)])
        return inside if leaf.op == "between" else logic.negate(inside)

    def _trend(self, leaf: Trend) -> Truths:
        (values,) = self._read(leaf, leaf.steps)
        compare = np.greater if leaf.op == "rising" else np.less
        return logic.all_of([logic.decide(compare(newer, older), newer, older) for newer, older in pairwise(values)])


@dataclass(frozen=True)
class Evaluation:
    """What a strategy says at each closed candle.

    `entry` and `exit`: 1 true, 0 false, -1 unknown. `entry` is unknown where the stop's distance is missing or would
    reach zero, so a true entry can always be protected. `series`: each as the base bars see it, NaN while missing.
    """

    strategy: Strategy
    candles: CandleColumns
    entry: Truths
    exit: Truths
    series: Mapping[str, Floats]

    @cached_property
    def _told(self) -> Conditions:
        # Computed again for a trace only: keeping each operand of every run would cost more than it saves.
        conditions = Conditions(Frames(self.strategy, self.candles), remembers=True)
        conditions.truth(self.strategy.entry)
        if self.strategy.exit is not None:
            conditions.truth(self.strategy.exit)
        return conditions

    def stop_price(self, index: int, entry_price: Decimal) -> Decimal | None:
        """Stop for an entry decided at bar `index` and filled at `entry_price`; None when the strategy has no stop.

        Exact, not rounded to a tick. Raises InvalidInput when the distance is missing there or reaches zero.
        """
        stop = self.strategy.protect.stop
        return None if stop is None else self._stop(stop, index, entry_price)

    def _stop(self, stop: PctDistance | SeriesDistance, index: int, entry_price: Decimal) -> Decimal:
        if isinstance(stop, PctDistance):
            return entry_price * (1 - stop.pct / _HUNDRED)
        distance = float(self.series[stop.series][index])
        if math.isnan(distance):
            raise InvalidInput(f"{stop.series!r} has no value at this candle, so no stop can be placed", field="stop")
        price = entry_price - Decimal(repr(distance)) * stop.mult
        if price <= 0 or distance <= 0:
            raise InvalidInput("the stop would not lie between zero and the entry price", field="stop")
        return price

    def trace(self, index: int) -> Trace:
        """Why, or why not, at bar `index` (negative counts from the end): a JSON-able tree.

        Keys: `open_time_ms`, `close_time_ms`, `candle`, `series` (name → value or null), `entry`, `exit` and `stop`.
        A condition is `{path, kind, text, truth, …}` with `parts` for groups, and for comparisons `operands` as
        `{name, text, value, before}` (`before`: the values the comparison also looked at, newest first), `now` (its
        truth before `for` and `within`) and `id`. Truths are "true", "false" or "unknown". Raises IndexError.
        """
        index = range(len(self.candles))[index]
        tree = self.strategy.exit
        columns = ("open", "high", "low", "close", "volume")
        return {
            "open_time_ms": int(self.candles.open_time_ms[index]),
            "close_time_ms": int(self.candles.close_time_ms[index]),
            "candle": {name: _json(self.candles.column(name)[index]) for name in columns},
            "series": {name: _json(values[index]) for name, values in self.series.items()},
            "decision": {
                "entry": logic.truth_name(int(self.entry[index])),
                "exit": logic.truth_name(int(self.exit[index])),
            },
            "entry": self._node(self.strategy.entry, index),
            "exit": None if tree is None else self._node(tree, index),
            "stop": self._stop_node(index),
        }

    def _node(self, condition: Condition, index: int) -> Trace:
        told = self._told
        node: Trace = {
            "path": condition.path,
            "kind": _kind(condition),
            "text": say_condition(self.strategy, condition),
            "truth": logic.truth_name(int(told.truths[condition.path][index])),
        }
        if isinstance(condition, Compare | Range | Trend):
            node["now"] = logic.truth_name(int(told.now[condition.path][index]))
            node["operands"] = [self._operand_node(condition, key, index) for key, _ in operands(condition)]
            if condition.id:
                node["id"] = condition.id
        else:
            node["parts"] = [self._node(part, index) for part in parts_of(condition)]
        return node

    def _operand_node(self, leaf: Leaf, key: str, index: int) -> Trace:
        now, *before = (_json(values[index]) for values in self._told.values[f"{leaf.path}.{key}"])
        text = say_operand(self.strategy, dict(operands(leaf))[key])
        return {"name": key, "text": text, "value": now, "before": before}

    def _stop_node(self, index: int) -> Trace | None:
        stop = self.strategy.protect.stop
        if stop is None:
            return None
        close = Decimal(repr(float(self.candles.close[index])))
        try:
            price = self._stop(stop, index, close)
        except InvalidInput as error:
            return {"text": say_distance(self.strategy, stop), "at_close": None, "problem": error.message}
        return {"text": say_distance(self.strategy, stop), "at_close": plain(price), "problem": None}


def _kind(condition: Condition) -> str:
    names: Mapping[type, str] = {AllOf: "all", AnyOf: "any", NotOf: "not", AtLeast: "at_least"}
    return names[type(condition)] if not isinstance(condition, Compare | Range | Trend) else condition.op


def _json(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def evaluate(strategy: Strategy, candles: CandleColumns, shared: SharedSeries | None = None) -> Evaluation:
    """Evaluate every bar. Pure: same strategy and candles, same bits.

    Only closed candles may be given. `shared`: series computed over these very candles before, to be used again.
    Raises InvalidInput when the candles' timeframe is not the strategy's.
    """
    frames = Frames(strategy, candles, shared)
    conditions = Conditions(frames)
    entry = conditions.truth(strategy.entry)
    exit_ = np.zeros(len(candles), np.int8) if strategy.exit is None else conditions.truth(strategy.exit)
    series = frames.all_series()
    return Evaluation(strategy, candles, _protectable(strategy, candles, series, entry), exit_, series)


def _protectable(strategy: Strategy, candles: CandleColumns, series: Mapping[str, Floats], entry: Truths) -> Truths:
    stop = strategy.protect.stop
    if stop is None or isinstance(stop, PctDistance):
        return entry
    distance = series[stop.series]
    placeable = (distance > 0) & (distance * float(stop.mult) < candles.close)
    return np.where((entry == logic.TRUE) & ~placeable, logic.UNKNOWN, entry).astype(np.int8)
