"""The golden figure on real candles, where they are at hand; on generated ones the same rules in a plain loop."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from strategy_kit import candles, example

from app.services.backtest import Settings, run
from app.services.strategy import CandleColumns, validate

SHARED = Path(os.environ.get("PLUMBLINE_SHARED") or Path(__file__).parents[4] / "shared" / "data")
FILE = SHARED / "BTCUSDT-1h.csv.gz"
needs_file = pytest.mark.skipif(not FILE.exists(), reason=f"no real candles at {FILE}")
IN_QUOTE = Settings(fee_in="quote")


def plain_loop(data: CandleColumns, fast: int, slow: int, *, fee: float, fee_in_base: bool) -> tuple[int, float, float]:
    """EMA cross, all in, next open, written without anything of ours: closed trades, final equity, fees in quote."""

    def ema(span: int) -> np.ndarray:
        return pd.Series(data.close).ewm(span=span, adjust=False).mean().to_numpy()

    above = ema(fast) > ema(slow)
    cash, held, closed, fees = 10_000.0, 0.0, 0, 0.0
    for bar in range(slow, len(data) - 1):
        price = float(data.open[bar + 1])
        if above[bar] and not above[bar - 1] and held == 0:
            if fee_in_base:
                held, fees = cash / price * (1 - fee), fees + cash * fee
            else:
                held = cash / price / (1 + fee)
                fees += held * price * fee
            cash = 0.0
        elif above[bar - 1] and not above[bar] and held > 0:
            cash, fees, closed = held * price * (1 - fee), fees + held * price * fee, closed + 1
            held = 0.0
    return closed, cash + held * float(data.close[-1]), fees


@needs_file
def test_the_golden_strategy_closes_1006_trades_and_ends_at_42215_15() -> None:
    read = pd.read_csv(FILE)
    names = ("open_time", "open", "high", "low", "close", "volume")
    strategy = validate(example("golden_ema_12_26")).strategy
    assert strategy is not None
    result = run(strategy, CandleColumns(*(read[name].to_numpy() for name in names), "1h"), IN_QUOTE)
    assert result.trades_count == 1_006
    assert result.metrics["open_trades"] == 1
    assert round(result.final_equity, 2) == 42_215.15
    assert result.final_equity == pytest.approx(42215.15279585455, rel=1e-13)
    assert result.metrics["sharpe"] == pytest.approx(0.6664, abs=5e-4)
    assert result.metrics["max_drawdown_pct"] == pytest.approx(72.82, abs=5e-3)


@pytest.mark.parametrize("fee_in_base", [False, True])
@pytest.mark.parametrize(("seed", "fast", "slow"), [(1, 12, 26), (2, 5, 20), (3, 30, 31)])
def test_an_independent_loop_gives_the_same_trades_fees_and_equity(
    seed: int, fast: int, slow: int, fee_in_base: bool
) -> None:
    document = example("golden_ema_12_26")
    document["params"]["fast"]["default"], document["params"]["slow"]["default"] = fast, slow
    document["params"]["slow"]["step"] = 1
    strategy = validate(document).strategy
    assert strategy is not None
    data = candles(4_000, seed=seed)
    result = run(strategy, data, Settings(fee_in="received" if fee_in_base else "quote"))
    closed, final, fees = plain_loop(data, fast, slow, fee=0.001, fee_in_base=fee_in_base)
    assert closed > 20
    assert result.trades_count == closed
    assert result.final_equity == pytest.approx(final, rel=1e-12)
    assert result.metrics["fees"] == pytest.approx(fees, rel=1e-12)
