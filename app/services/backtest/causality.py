"""The proof that nothing looks ahead: candles up to a bar give there what the whole history gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from app.services.backtest.engine import simulated
from app.services.backtest.kernel import FILL_COLUMNS
from app.services.backtest.settings import Settings
from app.services.strategy import CandleColumns, Evaluation, Strategy, evaluate

_Array: TypeAlias = npt.NDArray[Any]
_BAR = FILL_COLUMNS.index("bar")


@dataclass(frozen=True, slots=True)
class Leak:
    """A value at `bar` that changes when the candles after it are taken away. `what`: entry, exit, a series …"""

    bar: int
    what: str


def leaks(
    strategy: Strategy,
    candles: CandleColumns,
    bars: Iterable[int],
    *,
    evaluator: Callable[[Strategy, CandleColumns], Evaluation] = evaluate,
    settings: Settings | None = None,
) -> tuple[Leak, ...]:
    """Compare, bit for bit, every series, both decisions, every fill and the equity at each of `bars`.

    Comparing decisions alone would not do: an evaluator that sees the unfinished candle of a higher timeframe often
    decides the same and still leaks. Empty when nothing looks ahead at these bars.
    """
    settings = settings or Settings()
    symbol = strategy.symbols[0]
    whole = evaluator(strategy, candles)
    run = simulated(whole, settings, symbol, "", None)
    found: list[Leak] = []
    for bar in bars:
        part = evaluator(strategy, candles.window(0, bar + 1))
        short = simulated(part, settings, symbol, "", None)
        pairs: dict[str, tuple[_Array, _Array]] = {
            "entry": (whole.entry[bar : bar + 1], part.entry[-1:]),
            "exit": (whole.exit[bar : bar + 1], part.exit[-1:]),
            "equity": (run.equity[: bar + 1], short.equity),
            "fills": (run.fill_rows[run.fill_rows[:, _BAR] <= bar], short.fill_rows),
            **{name: (values[bar : bar + 1], part.series[name][-1:]) for name, values in whole.series.items()},
        }
        found.extend(Leak(bar, what) for what, (one, other) in pairs.items() if not _same_bits(one, other))
    return tuple(found)


def _same_bits(one: _Array, other: _Array) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))
