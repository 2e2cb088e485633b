"""Each indicator against a slow definition written from its formula, and pandas where it is the same thing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from strategy_kit import candles, closes

from app.services.strategy import indicators as ind
from app.services.strategy.candles import CandleColumns, Floats
from app.services.strategy.functions import FUNCTIONS

NAN = math.nan
DATA = candles(400, seed=7)
H, L, C, V = (column.tolist() for column in (DATA.high, DATA.low, DATA.close, DATA.volume))
TYPICAL = [(h + low + c) / 3 for h, low, c in zip(H, L, C, strict=True)]
Values = Sequence[float]


def slow_ema(x: Values, n: int) -> list[float]:
    known = [i for i, value in enumerate(x) if not math.isnan(value)]
    out, y = [NAN] * len(x), NAN
    for count, i in enumerate(known, start=1):
        y = x[i] if count == 1 else y + (x[i] - y) * 2 / (n + 1)
        if count >= n:
            out[i] = y
    return out


def slow_wilder(x: Values, n: int) -> list[float]:
    out = [NAN] * len(x)
    first = next(i for i, value in enumerate(x) if not math.isnan(value))
    y = sum(x[first : first + n]) / n
    out[first + n - 1] = y
    for i in range(first + n, len(x)):
        y = y + (x[i] - y) / n
        out[i] = y
    return out


def windowed(x: Values, n: int, fold: Callable[[Values], float]) -> list[float]:
    return [NAN if i < n - 1 else fold(x[i - n + 1 : i + 1]) for i in range(len(x))]


def mean(x: Values) -> float:
    return sum(x) / len(x)


def deviation(x: Values) -> float:
    return math.sqrt(sum((value - mean(x)) ** 2 for value in x) / len(x))


def minus(a: Values, b: Values) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True)]


def slow_rsi(x: Values, n: int) -> list[float]:
    gains = [NAN] + [max(x[i] - x[i - 1], 0.0) for i in range(1, len(x))]
    losses = [NAN] + [max(x[i - 1] - x[i], 0.0) for i in range(1, len(x))]
    pairs = zip(slow_wilder(gains, n), slow_wilder(losses, n), strict=True)
    return [100 - 100 / (1 + gain / loss) for gain, loss in pairs]


def slow_true_range() -> list[float]:
    return [NAN] + [max(H[i] - L[i], abs(H[i] - C[i - 1]), abs(L[i] - C[i - 1])) for i in range(1, len(C))]


def slow_k(n: int) -> list[float]:
    tops, bottoms = windowed(H, n, max), windowed(L, n, min)
    return [100 * (c - bottom) / (top - bottom) for c, top, bottom in zip(C, tops, bottoms, strict=True)]


def slow_adx(n: int) -> list[float]:
    up, down = [NAN], [NAN]
    for i in range(1, len(C)):
        rise, fall = H[i] - H[i - 1], L[i - 1] - L[i]
        up.append(rise if rise > fall and rise > 0 else 0.0)
        down.append(fall if fall > rise and fall > 0 else 0.0)
    reach = slow_wilder(slow_true_range(), n)
    plus = [100 * a / b for a, b in zip(slow_wilder(up, n), reach, strict=True)]
    less = [100 * a / b for a, b in zip(slow_wilder(down, n), reach, strict=True)]
    return slow_wilder([100 * abs(p - m) / (p + m) for p, m in zip(plus, less, strict=True)], n)


def slow_cci(n: int) -> list[float]:
    def one(x: Values) -> float:
        return (x[-1] - mean(x)) / (0.015 * mean([abs(value - mean(x)) for value in x]))

    return windowed(TYPICAL, n, one)


def slow_obv() -> list[float]:
    out = [0.0]
    for i in range(1, len(C)):
        out.append(out[-1] + (V[i] if C[i] > C[i - 1] else -V[i] if C[i] < C[i - 1] else 0.0))
    return out


def slow_vwap_day() -> list[float]:
    out = []
    for i, time in enumerate(DATA.open_time_ms.tolist()):
        same = [j for j in range(i + 1) if DATA.open_time_ms[j] // 86_400_000 == time // 86_400_000]
        out.append(sum(TYPICAL[j] * V[j] for j in same) / sum(V[j] for j in same))
    return out


def slow_vwap(n: int) -> list[float]:
    worth = windowed([t * v for t, v in zip(TYPICAL, V, strict=True)], n, sum)
    return [a / b for a, b in zip(worth, windowed(V, n, sum), strict=True)]


def line(fast: int, slow: int) -> list[float]:
    return minus(slow_ema(C, fast), slow_ema(C, slow))


CASES: dict[str, tuple[str, dict[str, float], list[float]]] = {
    "ema": ("ema", {"len": 12}, slow_ema(C, 12)),
    "ema of one": ("ema", {"len": 1}, C),
    "sma": ("sma", {"len": 20}, windowed(C, 20, mean)),
    "wma": ("wma", {"len": 9}, windowed(C, 9, lambda x: sum(v * (i + 1) for i, v in enumerate(x)) / 45)),
    "rsi": ("rsi", {"len": 14}, slow_rsi(C, 14)),
    "atr": ("atr", {"len": 14}, slow_wilder(slow_true_range(), 14)),
    "macd": ("macd", {"fast": 12, "slow": 26}, line(12, 26)),
    "macd_signal": ("macd_signal", {"fast": 12, "slow": 26, "signal": 9}, slow_ema(line(12, 26), 9)),
    "macd_hist": (
        "macd_hist",
        {"fast": 12, "slow": 26, "signal": 9},
        minus(line(12, 26), slow_ema(line(12, 26), 9)),
    ),
    "bb_upper": ("bb_upper", {"len": 20, "mult": 2}, windowed(C, 20, lambda x: mean(x) + 2 * deviation(x))),
    "bb_mid": ("bb_mid", {"len": 20, "mult": 2}, windowed(C, 20, mean)),
    "bb_lower": ("bb_lower", {"len": 20, "mult": 2}, windowed(C, 20, lambda x: mean(x) - 2 * deviation(x))),
    "stoch_k": ("stoch_k", {"len": 14}, slow_k(14)),
    "stoch_d": ("stoch_d", {"len": 14, "signal": 3}, windowed(slow_k(14), 3, mean)),
    "adx": ("adx", {"len": 14}, slow_adx(14)),
    "cci": ("cci", {"len": 20}, slow_cci(20)),
    "obv": ("obv", {}, slow_obv()),
    "vwap of the day": ("vwap", {}, slow_vwap_day()),
    "vwap of a window": ("vwap", {"len": 30}, slow_vwap(30)),
    "roc": ("roc", {"len": 10}, [NAN if i < 10 else 100 * (C[i] / C[i - 10] - 1) for i in range(400)]),
    "highest": ("highest", {"len": 20}, windowed(H, 20, max)),
    "lowest": ("lowest", {"len": 20}, windowed(L, 20, min)),
    "volume_sma": ("volume_sma", {"len": 20}, windowed(V, 20, mean)),
    "stddev": ("stddev", {"len": 20}, windowed(C, 20, deviation)),
}


def compute(fn: str, args: dict[str, float], given: CandleColumns = DATA) -> Floats:
    function = FUNCTIONS[fn]
    return function.compute(given, given.column(function.source or "close"), args)


@pytest.mark.parametrize("case", CASES)
def test_an_indicator_equals_its_slow_definition(case: str) -> None:
    fn, args, expected = CASES[case]
    np.testing.assert_allclose(compute(fn, args), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_first_value_comes_exactly_at_the_stated_warm_up(case: str) -> None:
    fn, args, _ = CASES[case]
    known = np.flatnonzero(~np.isnan(compute(fn, args)))
    stated = FUNCTIONS[fn].warmup(args, "1h")
    if case == "vwap of the day":
        assert known[0] + 1 <= stated == 24  # at the latest, wherever in the day the data starts
    else:
        assert known[0] + 1 == stated


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [0, 1, 2, 13])
def test_too_few_candles_give_missing_values_and_no_error(case: str, count: int) -> None:
    fn, args, _ = CASES[case]
    assert len(compute(fn, args, DATA.window(0, count))) == count


# obv counts from the first candle for ever, vwap from midnight: neither has a seed to forget.
@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] not in ("obv", "vwap")])
def test_the_seed_of_a_recursion_is_forgotten_after_the_stated_settling(case: str) -> None:
    fn, args, _ = CASES[case]
    needed = FUNCTIONS[fn].warmup(args, "1h") + FUNCTIONS[fn].settling(args)
    data = candles(2_000, seed=5)
    whole, late = compute(fn, args, data), compute(fn, args, data.window(2_000 - needed, 2_000))
    scale = np.nanmax(np.abs(whole))
    assert abs(whole[-1] - late[-1]) <= 2e-5 * scale


def test_an_ema_is_what_pandas_computes_without_adjustment() -> None:
    expected = pd.Series(C).ewm(span=26, adjust=False).mean().to_numpy()
    assert ind.ema(DATA.close, 26)[25:].tolist() == expected[25:].tolist()


def test_rolling_mean_deviation_and_extremes_are_what_pandas_computes() -> None:
    rolling = pd.Series(C).rolling(20)
    np.testing.assert_allclose(ind.sma(DATA.close, 20), rolling.mean(), rtol=1e-12)
    np.testing.assert_allclose(ind.stddev(DATA.close, 20), rolling.std(ddof=0), rtol=1e-9)
    assert ind.highest(DATA.close, 20)[19:].tolist() == rolling.max()[19:].tolist()
    assert ind.lowest(DATA.close, 20)[19:].tolist() == rolling.min()[19:].tolist()


@pytest.mark.parametrize("fn", ["sma", "wma", "stddev", "highest", "lowest", "volume_sma", "stoch_k", "cci"])
def test_a_windowed_value_does_not_depend_on_where_the_data_starts(fn: str) -> None:
    whole = compute(fn, {"len": 20})
    part = compute(fn, {"len": 20}, DATA.window(137, 400))
    assert part[19:].tolist() == whole[156:].tolist()


@pytest.mark.parametrize("fn", ["rsi", "stoch_k", "cci", "adx"])
def test_a_market_that_does_not_move_has_no_value_where_zero_would_divide_zero(fn: str) -> None:
    assert np.isnan(compute(fn, {"len": 5}, closes(*[0.1] * 60))).all()


def test_a_market_that_does_not_move_deviates_by_exactly_nothing() -> None:
    assert compute("stddev", {"len": 5}, closes(*[0.1] * 20))[4:].tolist() == [0.0] * 16


def test_an_rsi_without_losses_is_100_and_without_gains_0() -> None:
    assert compute("rsi", {"len": 3}, closes(1, 2, 3, 4, 5))[3:].tolist() == [100.0, 100.0]
    assert compute("rsi", {"len": 3}, closes(5, 4, 3, 2, 1))[3:].tolist() == [0.0, 0.0]


def test_a_recursion_skips_a_missing_value_and_goes_on() -> None:
    gone = ind.ema(np.array([1.0, NAN, 2.0, 3.0]), 1)
    assert np.isnan(gone[1])
    assert gone[[0, 2, 3]].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(ind.sma(np.array([1.0, NAN, 2.0, 3.0]), 2)).tolist() == [True, True, True, False]


def test_the_day_vwap_is_missing_until_a_midnight_is_seen() -> None:
    given = candles(30, start_ms=1_704_067_200_000 + 20 * 3_600_000)
    assert np.isnan(compute("vwap", {}, given)).tolist() == [True] * 4 + [False] * 26
