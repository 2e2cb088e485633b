"""The same inputs give the same bits: again, in another process, cold and warm, with threads, without a compiler."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategy_kit import candles, document, example

from app.domain.errors import Conflict, InvalidInput
from app.domain.intrabar import Preset
from app.services.backtest import (
    Rounding,
    Settings,
    candle_data_version,
    grid_points,
    run,
    settings_from,
    sweep,
    verify,
)
from app.services.strategy import CandleColumns, Strategy, validate

DATA = candles(12_000, seed=11)
HARD = Settings(
    preset=Preset.HARSH,
    rounding=Rounding(lot=Decimal("0.001"), tick=Decimal("0.01"), min_notional=Decimal(5)),
)
BUSY = document(
    params={"len": {"default": 9, "min": 3, "max": 40, "step": 1}},
    series={
        "fast": {"fn": "ema", "len": "$len"},
        "atr": {"fn": "atr"},
        "slow": {"fn": "sma", "len": 30, "tf": "4h"},
    },
    entry={
        "any": [
            {"op": "crosses_above", "left": "close", "right": "fast"},
            {"op": ">", "left": "fast", "right": "slow"},
        ]
    },
    exit={"op": "crosses_below", "left": "close", "right": "slow"},
    sizing={"mode": "risk_pct", "pct": "1", "max_equity_pct": "60"},
    protect={
        "stop": {"series": "atr", "mult": "2"},
        "take_profit": [{"at": {"r": "1"}, "close_pct": 40}, {"at": {"r": "3"}, "close_pct": 30}],
        "trail": {"series": "atr", "mult": "3"},
        "trail_after_r": "1",
        "time_stop_bars": 40,
    },
    limits={"cooldown_bars": 2, "max_entries_per_day": 4},
)  # fmt: skip

#: Run in a process of its own: prints the hash, whether numba was there, and whether it compiled.
SCRIPT = """
import sys
if {no_numba!r}:
    sys.modules["numba"] = None
sys.path[:0] = {path!r}
from test_backtest_identity import BUSY, DATA, HARD, busy
from app.services.backtest import run
from app.services.compiled import can_compile
print(run(busy(), DATA, HARD).result_hash, can_compile())
"""


def busy(**params: float) -> Strategy:
    made = validate(BUSY).strategy
    assert made is not None
    return made


def elsewhere(tmp_path: Path, *, no_numba: bool = False, **environment: str) -> list[str]:
    path = [str(Path(__file__).parent), str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(no_numba=no_numba, path=path)],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def here() -> str:
    return run(busy(), DATA, HARD).result_hash


def test_the_strategy_of_these_tests_exercises_every_kind_of_exit() -> None:
    metrics = run(busy(), DATA, HARD).metrics
    assert all(metrics[f"exits_{reason}"] for reason in ("stop", "trail", "time", "rule"))
    assert (metrics["trades"] or 0) > 200
    assert metrics["refused_entries"]


def test_a_repeat_gives_the_same_bits(here: str) -> None:
    assert run(busy(), DATA, HARD).result_hash == here


def test_another_process_with_a_cold_and_then_a_warm_cache_gives_the_same_bits(here: str, tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert elsewhere(tmp_path, **cache) == [here, "True"]
    assert list((tmp_path / "cache").rglob("*.nbi"))
    assert elsewhere(tmp_path, **cache) == [here, "True"]


def test_without_a_compiler_it_gives_the_same_bits(here: str, tmp_path: Path) -> None:
    assert elsewhere(tmp_path, NUMBA_DISABLE_JIT="1") == [here, "False"]
    assert elsewhere(tmp_path, no_numba=True) == [here, "False"]


def test_compiled_for_a_plain_processor_it_gives_the_same_bits(here: str, tmp_path: Path) -> None:
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert elsewhere(tmp_path, **plain) == [here, "True"]


def test_read_only_and_strided_columns_give_the_same_bits(here: str) -> None:
    columns = []
    for name in ("open_time_ms", "open", "high", "low", "close", "volume"):
        doubled = np.repeat(getattr(DATA, name), 2)
        doubled.flags.writeable = False
        columns.append(doubled[::2])
    assert run(busy(), CandleColumns(*columns, "1h"), HARD).result_hash == here


def test_any_other_input_gives_another_hash(here: str) -> None:
    others = [
        run(busy(), DATA.window(0, len(DATA) - 1), HARD),
        run(busy(), DATA, replace(HARD, fee_pct=Decimal("0.11"))),
        run(busy(), DATA, replace(HARD, balance=Decimal(10_001))),
        run(busy(), DATA, replace(HARD, preset=Preset.OPTIMISTIC)),
    ]
    assert len({here, *(other.result_hash for other in others)}) == 5


# --- sweep ---


@pytest.fixture(scope="module")
def points() -> list[Any]:
    return list(grid_points({"len": [5, 9, 14, 21, 30]}))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_sweep_gives_what_single_runs_give_whatever_the_threads(points: list[Any], threads: int) -> None:
    swept = list(sweep(busy(), DATA, points, HARD, threads=threads, series_bytes=300_000))
    assert [point.params for point in swept] == points
    for point in swept:
        changed = copy.deepcopy(BUSY)
        changed["params"]["len"]["default"] = point.params["len"]
        single = validate(changed).strategy
        assert single is not None
        assert point.metrics == run(single, DATA, HARD).metrics


def test_a_point_that_does_not_fit_is_said_so_and_the_others_go_on() -> None:
    swept = list(sweep(busy(), DATA, [{"len": 99}, {"quick": 1}, {"len": 9}], HARD))
    assert [point.metrics is None for point in swept] == [True, True, False]
    assert swept[0].problem == "len must be a number from 3 to 40, not 99"


def test_a_sweep_that_is_left_stops_asking(points: list[Any]) -> None:
    asked: list[Any] = []

    def ask() -> Any:
        for point in points * 100:
            asked.append(point)
            yield point

    running = sweep(busy(), DATA, ask(), HARD, threads=2)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert len(asked) < 10


def test_a_grid_has_every_combination_and_an_end() -> None:
    assert [tuple(point.values()) for point in grid_points({"a": [1, 2], "b": [3, 4]})] == [
        (1, 3),
        (1, 4),
        (2, 3),
        (2, 4),
    ]
    with pytest.raises(InvalidInput, match="1 to 1,000,000 points"):
        grid_points({name: list(range(101)) for name in "abc"})
    with pytest.raises(InvalidInput, match="not 0"):
        grid_points({"a": []})


# --- verify ---


def stored() -> tuple[dict[str, Any], str]:
    result = run(busy(), DATA, HARD, venue="file:7")
    return json.loads(json.dumps(result.frozen())), result.result_hash


def test_a_stored_run_verifies_against_the_same_candles() -> None:
    frozen, result_hash = stored()
    assert verify(frozen, result_hash, DATA).is_same
    assert not verify(frozen, "0" * 64, DATA).is_same
    assert settings_from(frozen["settings"]).document() == HARD.document()


def test_other_candles_are_rejected_by_their_data_version() -> None:
    frozen, result_hash = stored()
    close = DATA.close.copy()
    close[5_000] = np.nextafter(close[5_000], 1e9)
    with pytest.raises(Conflict, match="data version differs") as caught:
        verify(frozen, result_hash, replace(DATA, close=close))
    assert caught.value.facts["field"] == "candle_data_version"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("engine_version", "0", "The run was made by engine version '0'"),
        ("strategy_version", "f" * 64, "The run's strategy_version is not what it was."),
        ("candles", 5, "The run's candles is not what it was."),
        ("detail_data_version", "f" * 64, "The run's detail_data_version is not what it was."),
        ("strategy", {}, "not a valid one any more"),
    ],
)
def test_a_changed_input_is_rejected_by_name(field: str, value: Any, says: str) -> None:
    frozen, result_hash = stored()
    with pytest.raises(Conflict, match=says) as caught:
        verify({**frozen, field: value}, result_hash, DATA)
    assert caught.value.facts["field"] == field


def test_changed_settings_are_no_settings_or_another_result() -> None:
    frozen, result_hash = stored()
    with pytest.raises(InvalidInput, match="not the settings of a backtest"):
        verify({**frozen, "settings": {"balance": "1"}}, result_hash, DATA)
    dearer = {**frozen["settings"], "fee_pct": "0.2"}
    assert not verify({**frozen, "settings": dearer}, result_hash, DATA).is_same


def test_venue_symbol_timeframe_and_every_bit_are_part_of_the_data_version() -> None:
    version = candle_data_version(DATA, venue="binance", symbol="BTCUSDT")
    assert version == candle_data_version(DATA.window(0, len(DATA)), venue="binance", symbol="BTCUSDT")
    others = {
        candle_data_version(DATA, venue="testnet", symbol="BTCUSDT"),
        candle_data_version(DATA, venue="binance", symbol="ETHUSDT"),
        candle_data_version(DATA.window(0, 11_999), venue="binance", symbol="BTCUSDT"),
        candle_data_version(replace(DATA, timeframe="2h"), venue="binance", symbol="BTCUSDT"),
        candle_data_version(replace(DATA, volume=DATA.volume + 1e-9), venue="binance", symbol="BTCUSDT"),
    }
    assert len(others | {version}) == 6


def test_the_hashes_of_a_small_run_never_change() -> None:
    made = validate(example("golden_ema_12_26")).strategy
    assert made is not None
    ramp = np.array([100.0 + ((bar * 37) % 101) / 8 for bar in range(300)])
    data = CandleColumns(np.arange(300) * 3_600_000, ramp, ramp + 1, ramp - 1, ramp + 0.25, ramp, "1h")
    result = run(made, data, Settings(fee_in="quote"))
    assert result.candle_data_version == "3c92dc6a0b74062e18c3fc200f18f0b02ef3290918164047e207b233efa35603"
    assert result.result_hash == "b5c9fa11091a406725279e125799ba83752678a45278b23e359451e7b74b190a"
