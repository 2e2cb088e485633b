"""A process that has warmed up compiles nothing more; where nothing can be cached or compiled, all works the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
from backtest_kit import ENTER, flat, market, traded
from strategy_kit import candles
from test_backtest_identity import HARD, busy

from app.services import compiled as compiled_module
from app.services.backtest import run
from app.services.backtest.warm import _COMPILED, keep_freed_memory, warm_up
from app.services.compiled import can_compile, compiled
from app.services.market.candle_files import parse_candles

needs_numba = pytest.mark.skipif(not can_compile(), reason="numba is not installed or switched off")


def versions() -> list[int]:
    """How many compiled versions each loop has."""
    return [len(one._ready.signatures) for one in _COMPILED]  # type: ignore[union-attr]


@needs_numba
def test_after_warming_up_no_run_and_no_file_compiles_anything() -> None:
    assert warm_up()
    before = versions()
    assert set(before) == {1}
    data = candles(12_000, seed=4)
    assert run(busy(), data, HARD).metrics["trades"]
    detail = market(flat(), flat(), tf="1m")
    ladder = {"stop": {"pct": "2"}, "take_profit": [{"at": {"pct": "2"}, "close_pct": 50}]}
    assert traded(market(flat(signal=ENTER), flat(), flat()), detail=detail, protect=ladder).trades
    text = "\n".join(f"{1_704_067_200_000 + bar * 60_000},1,1,1,1,1" for bar in range(50))
    parse_candles(io.BytesIO(text.encode()), filename="f", symbol="BTCUSDT", timeframe="1m", compiled=True)
    assert versions() == before


def test_keeping_freed_memory_is_a_wish() -> None:
    assert keep_freed_memory() in (True, False)


def test_short_arrays_do_not_load_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(compiled_module.sys.modules, "numba", raising=False)
    loop = compiled(lambda values: values.sum())
    assert loop(np.ones(10)) == 10.0
    assert loop._ready is None


@needs_numba
def test_where_nothing_can_be_cached_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    real = numba.njit

    def njit(**options: object) -> object:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)

    def twice(values: np.ndarray) -> np.ndarray:
        return values * 2.0

    loop = compiled(twice)
    loop.load()
    assert loop(np.ones(3)).tolist() == [2.0, 2.0, 2.0]
