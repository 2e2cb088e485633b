"""How many closed candles a strategy needs behind it."""

from __future__ import annotations

from collections.abc import Iterator

from app.services.strategy.candles import timeframe_ms
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.problems import Problem
from app.services.strategy.rules import (
    Arithmetic,
    Compare,
    Condition,
    Leaf,
    Operand,
    Ref,
    SeriesDistance,
    Strategy,
    Trend,
    leaves,
    operands,
    refs,
)


def conditions_of(strategy: Strategy) -> Iterator[Condition]:
    """The entry tree and, where there is one, the exit tree."""
    yield strategy.entry
    if strategy.exit is not None:
        yield strategy.exit


def protective_series(strategy: Strategy) -> set[str]:
    """Names of the series that stop, trail and targets measure with."""
    protect = strategy.protect
    distances = [protect.stop, protect.trail, *(target.at for target in protect.take_profit)]
    return {distance.series for distance in distances if isinstance(distance, SeriesDistance)}


def used_series(strategy: Strategy) -> set[str]:
    """Names of the series that a decision depends on, directly or through `src`."""
    waiting = list(protective_series(strategy))
    for condition in conditions_of(strategy):
        for leaf in leaves(condition):
            waiting.extend(ref.name for _, operand in operands(leaf) for ref in refs(operand))
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in strategy.series and name not in used:
            used.add(name)
            source = strategy.series[name].src
            waiting.extend([source] if source else [])
    return used


def _native(strategy: Strategy, name: str, *, settled: bool) -> int:
    """Candles of the series' own timeframe until its first value (and until its seeds hardly weigh)."""
    series = strategy.series[name]
    function = FUNCTIONS[series.fn]
    needed = function.warmup(series.args, series.tf) + (function.settling(series.args) if settled else 0)
    if series.src is not None and series.src in strategy.series:
        needed += _native(strategy, series.src, settled=settled) - 1
    return needed


def _base(strategy: Strategy, ref: Ref, extra: int, *, settled: bool) -> int:
    if ref.name not in strategy.series:
        return 1 + ref.ago + extra
    times = timeframe_ms(strategy.series[ref.name].tf) // timeframe_ms(strategy.timeframe)
    native = _native(strategy, ref.name, settled=settled) + ref.ago + extra
    # A higher candle that began before the first base candle is left out: up to times-1 bars are lost.
    return native * times + times - 1


def _operand(strategy: Strategy, operand: Operand, extra: int, *, settled: bool) -> int:
    if isinstance(operand, Arithmetic):
        return max(_operand(strategy, part, extra, settled=settled) for part in operand.args)
    return _base(strategy, operand, extra, settled=settled) if isinstance(operand, Ref) else 1


def _leaf(strategy: Strategy, leaf: Leaf, *, settled: bool) -> int:
    steps = leaf.steps if isinstance(leaf, Trend) else 0
    needed = max(_operand(strategy, operand, steps, settled=settled) for _, operand in operands(leaf))
    if isinstance(leaf, Compare):
        needed += (leaf.within - 1) + (leaf.hold - 1) + int(leaf.op.startswith("crosses"))
    return needed


def _candles(strategy: Strategy, *, settled: bool) -> int:
    needed = [_base(strategy, Ref(name), 0, settled=settled) for name in protective_series(strategy)]
    for condition in conditions_of(strategy):
        needed.extend(_leaf(strategy, leaf, settled=settled) for leaf in leaves(condition))
    return max(needed, default=1)


def warmup_candles(strategy: Strategy) -> int:
    """Closed base candles needed until every condition and the stop can be known, if none is missing.

    With fewer, a decision is unknown or rests on fewer bars than it says. Recursive averages have a value by then
    but still carry their seed: see `settled_candles`.
    """
    return _candles(strategy, settled=False)


def settled_candles(strategy: Strategy) -> int:
    """Closed base candles after which the seed of each recursive average weighs less than 1e-6: load these if you can.

    `obv` never settles: its level counts from the first candle given.
    """
    return _candles(strategy, settled=True)


def history_problem(strategy: Strategy, available: int) -> Problem | None:
    """A warning when `available` closed candles are fewer than the strategy needs, or None."""
    needed = warmup_candles(strategy)
    if available >= needed:
        return None
    return Problem(
        "series", f"the first decision needs {needed:,} closed {strategy.timeframe} candles; there are {available:,}"
    )
