"""Every column and series of a strategy, computed on its own timeframe and seen from the base bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.domain.errors import InvalidInput
from app.services.strategy import candles as candle_rules
from app.services.strategy.candles import CandleColumns, Floats, Ints
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.rules import COLUMNS, Arithmetic, Const, Operand, ParamRef, Series, Strategy

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


class Frames:
    """All values a strategy can name, over one stretch of closed base candles. Computed once, on demand."""

    def __init__(self, strategy: Strategy, base: CandleColumns) -> None:
        if base.timeframe != strategy.timeframe:
            message = f"the strategy decides on {strategy.timeframe} candles, these are {base.timeframe}"
            raise InvalidInput(message, field="timeframe")
        self._strategy = strategy
        self._base = base
        self._frames: dict[str, Frame] = {}
        self._seen: dict[str, Seen] = {}

    def frame(self, tf: str) -> Frame:
        """Candles of a timeframe and which of them each base bar may see."""
        if tf not in self._frames:
            if tf == self._base.timeframe:
                self._frames[tf] = Frame(self._base, None)
            else:
                higher = candle_rules.aggregate(self._base, tf)
                self._frames[tf] = Frame(higher, candle_rules.last_closed(self._base, higher))
        return self._frames[tf]

    def seen(self, name: str) -> Seen:
        """A candle column (base timeframe) or a series, by name."""
        if name not in self._seen:
            if name in COLUMNS:
                base = self.frame(self._base.timeframe)
                self._seen[name] = Seen(base.candles.column(name), base.position)
            else:
                self._seen[name] = self._compute(self._strategy.series[name])
        return self._seen[name]

    def _compute(self, series: Series) -> Seen:
        frame = self.frame(series.tf)
        source = frame.candles.close
        if series.src in COLUMNS:
            source = frame.candles.column(series.src)
        elif series.src is not None:
            source = self.seen(series.src).values
        return Seen(FUNCTIONS[series.fn].compute(frame.candles, source, series.args), frame.position)

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
