"""Sanity on real candles, where they are at hand: PLUMBLINE_SHARED, or ../shared/data beside the project."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from strategy_kit import example

from app.services.strategy import CandleColumns, evaluate, validate

SHARED = Path(os.environ.get("PLUMBLINE_SHARED") or Path(__file__).parents[4] / "shared" / "data")
FILE = SHARED / "BTCUSDT-1h.csv.gz"
needs_file = pytest.mark.skipif(not FILE.exists(), reason=f"no real candles at {FILE}")


@pytest.fixture(scope="module")
def hours() -> CandleColumns:
    read = pd.read_csv(FILE)
    names = ("open_time", "open", "high", "low", "close", "volume")
    return CandleColumns(*(read[name].to_numpy() for name in names), "1h")


@needs_file
def test_the_golden_strategy_gives_the_known_trades_and_final_equity(hours: CandleColumns) -> None:
    made = validate(example("golden_ema_12_26")).strategy
    assert made is not None
    result = evaluate(made, hours)
    cash, held, closed, fee = 10_000.0, 0.0, 0, 0.001
    for index in range(len(hours) - 1):
        price = float(hours.open[index + 1])
        if held == 0 and result.entry[index] == 1:
            cash, held = 0.0, cash / (price * (1 + fee))
        elif held > 0 and result.exit[index] == 1:
            cash, held, closed = held * price * (1 - fee), 0.0, closed + 1
    assert len(hours) == 58_419
    assert closed == 1_006
    assert held > 0
    assert cash + held * hours.close[-1] == pytest.approx(42_215.15, abs=0.005)


@needs_file
def test_the_worked_example_over_58_419_candles_takes_well_under_a_second(hours: CandleColumns) -> None:
    made = validate(example("ema_rsi_atr")).strategy
    assert made is not None
    times = []
    for _ in range(3):
        began = time.perf_counter()
        result = evaluate(made, hours)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.8
    assert 100 < np.count_nonzero(result.entry == 1) < np.count_nonzero(hours.close > 0) / 50
