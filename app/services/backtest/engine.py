"""`run`: a strategy over candles. `verify`: the same run again, refused when any input differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.domain.errors import Conflict, InvalidInput
from app.services.backtest.identity import candle_data_version
from app.services.backtest.inputs import check_supported, make_inputs
from app.services.backtest.kernel import simulate
from app.services.backtest.result import ENGINE_VERSION, Result
from app.services.backtest.settings import Settings, settings_from
from app.services.strategy import CandleColumns, Evaluation, Strategy, evaluate, validate


def run(
    strategy: Strategy,
    candles: CandleColumns,
    settings: Settings | None = None,
    *,
    symbol: str | None = None,
    venue: str = "file",
    detail: CandleColumns | None = None,
) -> Result:
    """Backtest a strategy on one symbol. Pure: the same arguments give the same bits on every machine.

    `symbol` defaults to the strategy's first. `detail`: finer candles of the same market, to tell whether stop or
    target came first where one candle touches both. Raises InvalidInput when the candles are none, of another timeframe
    or not positive, when the strategy does not trade `symbol`, or for what a run cannot do.
    """
    settings = settings or Settings()
    check_run(strategy, candles, symbol or strategy.symbols[0])
    return simulated(evaluate(strategy, candles), settings, symbol or strategy.symbols[0], venue, detail)


def simulated(
    evaluation: Evaluation, settings: Settings, symbol: str, venue: str, detail: CandleColumns | None
) -> Result:
    """Trade what an evaluation decided."""
    candles = evaluation.candles
    first = 0 if settings.start_ms is None else int(np.searchsorted(candles.open_time_ms, settings.start_ms))
    if first >= len(candles):
        raise InvalidInput("the run starts after the last candle", field="start_ms")
    equity, trades, fills, told = simulate(*make_inputs(evaluation, settings, first, detail))
    return Result(evaluation, settings, venue, symbol, first, equity, trades, fills, told, detail)


def check_run(strategy: Strategy, candles: CandleColumns, symbol: str) -> None:
    """Raise InvalidInput for what cannot be run: see `run`."""
    check_supported(strategy)
    if symbol not in strategy.symbols:
        names = ", ".join(strategy.symbols)
        raise InvalidInput(f"the strategy trades {names}, not {symbol}", field="symbol")
    if len(candles) == 0:
        raise InvalidInput("there are no candles to run over", field="candles")
    lowest = min(float(column.min()) for column in (candles.open, candles.high, candles.low, candles.close))
    if lowest <= 0:
        raise InvalidInput("a price of zero or below cannot be traded", field="candles")


@dataclass(frozen=True, slots=True)
class Verified:
    """A run that was run again with the same inputs; `is_same` tells whether it gave the same bits."""

    result: Result
    stored_hash: str

    @property
    def is_same(self) -> bool:
        """Whether trades, fills and equity are equal to the last bit."""
        return self.result.result_hash == self.stored_hash


def verify(
    frozen: Mapping[str, Any], stored_hash: str, candles: CandleColumns, *, detail: CandleColumns | None = None
) -> Verified:
    """Run a stored run again. `frozen` is its `Result.frozen()`, `candles` what its range reads as now.

    Raises Conflict naming the first input that is not the same any more (`facts["field"]`): engine, candles, strategy.
    """
    if frozen.get("engine_version") != ENGINE_VERSION:
        said = f"engine version {frozen.get('engine_version')!r}, and this is {ENGINE_VERSION!r}"
        raise Conflict(f"The run was made by {said}.", field="engine_version")
    now = candle_data_version(candles, venue=str(frozen["venue"]), symbol=str(frozen["symbol"]))
    if now != frozen["candle_data_version"]:
        message = "The candles are not those of the run any more: their data version differs."
        raise Conflict(message, field="candle_data_version", stored=frozen["candle_data_version"], now=now)
    strategy = validate(frozen["strategy"]).strategy
    if strategy is None:
        raise Conflict("The strategy of the run is not a valid one any more.", field="strategy")
    settings = settings_from(frozen["settings"])
    result = run(strategy, candles, settings, symbol=frozen["symbol"], venue=frozen["venue"], detail=detail)
    again = result.frozen()
    for field, value in frozen.items():
        if again.get(field) != value:
            raise Conflict(f"The run's {field} is not what it was.", field=field, stored=value, now=again.get(field))
    return Verified(result, stored_hash)
