"""Every column and series of a strategy, computed on its own timeframe and seen from the base bars."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

import numpy as np

from app.domain.errors import InvalidInput
from app.services.strategy import candles as candle_rules
from app.services.strategy.candles import CandleColumns, Floats, Ints
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.rules import COLUMNS, Arithmetic, Const, Number, Operand, ParamRef, Series, Strategy

#: What a series is, whatever it is called: function, source (a column or another definition), arguments, timeframe.
Definition: TypeAlias = tuple[str, object, tuple[tuple[str, Number], ...], str]

_FOLDS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "min": np.minimum, "max": np.maximum}


@dataclass(frozen=True, slots=True)
class Frame:
    """Candles of one timeframe; `position` is, for each base bar, the index of the last one closed (-1: none).

    None stands for the base timeframe itself, where each bar sees its own candle.
    """

    candles: CandleColumns
    position: Ints | None


def _shifted(values: Floats, places: int) -> Floats:
    out = np.full(len(values), np.nan)
    out[places:] = values[: max(len(values) - places, 0)]
    return out


@dataclass(frozen=True, slots=True)
class Seen:
    """Values on their own timeframe, with the view of them from the base bars."""

    values: Floats
    position: Ints | None

    def at(self, ago: int = 0) -> Floats:
        """For each base bar the value `ago` closed candles of its own timeframe back; NaN where there is none."""
        if self.position is None:
            return self.values if ago == 0 else _shifted(self.values, ago)
        place = self.position - ago
        out = np.full(len(place), np.nan)
        there = place >= 0
        out[there] = self.values[place[there]]
        return out


class SharedSeries:
    """Values over one stretch of closed base candles, computed once for every strategy and name that means the same.

    Keeps at most `most_bytes` of series, the least recently used go first; None: all. May be used by several threads.
    """

    def __init__(self, base: CandleColumns, most_bytes: int | None = None) -> None:
        self.base = base
        self._most_bytes = most_bytes
        self._bytes = 0
        self._frames: dict[str, Frame] = {}
        self._values: OrderedDict[Definition, Floats] = OrderedDict()
        self._lock = Lock()

    def frame(self, tf: str) -> Frame:
        """Candles of a timeframe and which of them each base bar may see."""
        found = self._frames.get(tf)
        if found is None:
            if tf == self.base.timeframe:
                found = Frame(self.base, None)
            else:
                higher = candle_rules.aggregate(self.base, tf)
                found = Frame(higher, candle_rules.last_closed(self.base, higher))
            self._frames[tf] = found
        return found

    def values(self, definition: Definition, compute: Callable[[], Floats]) -> Floats:
        """What `definition` means here; computed at the first need of it (twice where two threads meet)."""
        with self._lock:
            known = self._values.get(definition)
            if known is not None:
                self._values.move_to_end(definition)
                return known
        made = compute()
        with self._lock:
            if definition not in self._values:
                self._values[definition] = made
                self._bytes += made.nbytes
            while self._most_bytes is not None and self._bytes > self._most_bytes and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1].nbytes
        return made


class Frames:
    """All values a strategy can name, over one stretch of closed base candles. Computed once, on demand."""

    def __init__(self, strategy: Strategy, base: CandleColumns, shared: SharedSeries | None = None) -> None:
        if base.timeframe != strategy.timeframe:
            message = f"the strategy decides on {strategy.timeframe} candles, these are {base.timeframe}"
            raise InvalidInput(message, field="timeframe")
        self._strategy = strategy
        self._base = base
        self._shared = SharedSeries(base) if shared is None else shared
        self._seen: dict[str, Seen] = {}

    def seen(self, name: str) -> Seen:
        """A candle column (base timeframe) or a series, by name."""
        if name not in self._seen:
            if name in COLUMNS:
                self._seen[name] = Seen(self._base.column(name), None)
            else:
                self._seen[name] = self._compute(self._strategy.series[name])
        return self._seen[name]

    def _compute(self, series: Series) -> Seen:
        frame = self._shared.frame(series.tf)

        def compute() -> Floats:
            source = frame.candles.close
            if series.src in COLUMNS:
                source = frame.candles.column(series.src)
            elif series.src is not None:
                source = self.seen(series.src).values
            return FUNCTIONS[series.fn].compute(frame.candles, source, series.args)

        return Seen(self._shared.values(self._definition(series), compute), frame.position)

    def _definition(self, series: Series) -> Definition:
        below = self._strategy.series.get(series.src or "")
        source: object = series.src if below is None else self._definition(below)
        return series.fn, source, tuple(sorted(series.args.items())), series.tf

    def all_series(self) -> Mapping[str, Floats]:
        """Every series, used or not, as the base bars see it."""
        return {name: self.seen(name).at() for name in self._strategy.series}

    def operand(self, operand: Operand, back: int = 0) -> Floats:
        """The operand at each base bar, `back` candles of each value's own timeframe ago. NaN: missing."""
        if isinstance(operand, Const | ParamRef):
            return np.full(len(self._base), float(operand.value))
        if isinstance(operand, Arithmetic):
            return self._fold(operand, back)
        return self.seen(operand.name).at(operand.ago + back)

    def _fold(self, operand: Arithmetic, back: int) -> Floats:
        fold = _FOLDS[operand.op]
        total, *rest = (self.operand(part, back) for part in operand.args)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for part in rest:
                total = fold(total, part)
                # Division by zero, and anything beyond a double, is missing.
                total = np.where(np.isfinite(total), total, np.nan)
        return total
