"""The same strategy with many values of its parameters over the same candles; indicators are computed once, shared."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from app.domain.errors import InvalidInput
from app.services.backtest.engine import check_run, simulated
from app.services.backtest.metrics import Metrics
from app.services.backtest.settings import Settings
from app.services.strategy import CandleColumns, SharedSeries, Strategy, evaluate, validate, with_params
from app.services.strategy.rules import Number

Point = Mapping[str, Number]
Grid = Mapping[str, Sequence[Number]]

#: Series kept for later points; a year of minutes is 4 MB a series.
SERIES_BYTES = 200_000_000
#: Points asked for at most; more is no search but a mistake.
MOST_POINTS = 1_000_000


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One combination and its metrics; the same metrics `run` gives for it. `problem`: why it could not be run."""

    params: Point
    metrics: Metrics | None
    problem: str = ""


def grid_points(grid: Grid) -> Iterator[Point]:
    """Every combination, the last name changing fastest. Raises InvalidInput for none or more than `MOST_POINTS`."""
    count = 1
    for values in grid.values():
        count *= len(values)
    if not 1 <= count <= MOST_POINTS:
        raise InvalidInput(f"a sweep has 1 to {MOST_POINTS:,} points, not {count:,}", field="grid")
    return (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))


def sweep(
    strategy: Strategy,
    candles: CandleColumns,
    points: Iterator[Point] | Sequence[Point],
    settings: Settings | None = None,
    *,
    symbol: str | None = None,
    threads: int = 1,
    series_bytes: int = SERIES_BYTES,
) -> Iterator[SweepPoint]:
    """Run every point, in order, each as soon as it and those before it are done. Stop asking, and it stops.

    Compiled parts run outside the interpreter's lock, so threads use cores; results do not depend on their number.
    Memory: `series_bytes` of series and one run's arrays a thread. Raises as `run` does; a point whose parameters do
    not fit is not an error but a `problem`.
    """
    settings, symbol = settings or Settings(), symbol or strategy.symbols[0]
    check_run(strategy, candles, symbol)
    shared = SharedSeries(candles, series_bytes)
    document = strategy.document

    def one(point: Point) -> SweepPoint:
        try:
            made = validate(with_params(document, point))
        except InvalidInput as error:
            return SweepPoint(point, None, error.message)
        if made.strategy is None:
            return SweepPoint(point, None, made.errors[0].message)
        result = simulated(evaluate(made.strategy, candles, shared), settings, symbol, "", None)
        return SweepPoint(point, result.metrics)

    return _in_order(one, iter(points), threads)


def _in_order(one: Callable[[Point], SweepPoint], points: Iterator[Point], threads: int) -> Iterator[SweepPoint]:
    if threads <= 1:
        yield from map(one, points)
        return
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[SweepPoint]] = deque()
        try:
            for point in points:
                running.append(pool.submit(one, point))
                if len(running) > 2 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
