"""Indicators beside TA-Lib's, over candles of a random walk; where a definition differs, beside its own slow form.

TA-Lib seeds an EMA with an SMA, we with the first value: such cases are compared from where the seed no longer counts.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import talib
from strategy_kit import candles, closes
from test_strategy_indicators import CASES, slow_wilder, windowed

from app.services.strategy.candles import CandleColumns, Floats
from app.services.strategy.functions import FUNCTIONS

DATA = candles(3_000, seed=11)
O, H, L, C, V = DATA.open, DATA.high, DATA.low, DATA.close, DATA.volume  # noqa: E741 - the usual letters

#: fn → (arguments, what TA-Lib gives, first bar to compare).
TALIB: dict[str, tuple[dict[str, float], Floats, int]] = {
    "sma": ({"len": 20}, talib.SMA(C, 20), 0),
    "ema": ({"len": 12}, talib.EMA(C, 12), 300),
    "wma": ({"len": 9}, talib.WMA(C, 9), 0),
    "rsi": ({"len": 14}, talib.RSI(C, 14), 0),
    "atr": ({"len": 14}, talib.ATR(H, L, C, 14), 0),
    "macd": ({"fast": 12, "slow": 26}, talib.MACD(C, 12, 26, 9)[0], 600),
    "macd_signal": ({"fast": 12, "slow": 26, "signal": 9}, talib.MACD(C, 12, 26, 9)[1], 600),
    "macd_hist": ({"fast": 12, "slow": 26, "signal": 9}, talib.MACD(C, 12, 26, 9)[2], 600),
    "bb_upper": ({"len": 20, "mult": 2}, talib.BBANDS(C, 20, 2, 2)[0], 0),
    "bb_mid": ({"len": 20, "mult": 2}, talib.BBANDS(C, 20, 2, 2)[1], 0),
    "bb_lower": ({"len": 20, "mult": 2}, talib.BBANDS(C, 20, 2, 2)[2], 0),
    "stoch_k": ({"len": 14}, talib.STOCHF(H, L, C, 14, 3)[0], 16),
    "stoch_d": ({"len": 14, "signal": 3}, talib.STOCHF(H, L, C, 14, 3)[1], 0),
    "stoch_slow_k": ({"len": 14, "smooth": 3}, talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[0], 17),
    "stoch_slow_d": ({"len": 14, "smooth": 3, "signal": 3}, talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[1], 0),
    "adx": ({"len": 14}, talib.ADX(H, L, C, 14), 700),
    "plus_di": ({"len": 14}, talib.PLUS_DI(H, L, C, 14), 500),
    "minus_di": ({"len": 14}, talib.MINUS_DI(H, L, C, 14), 500),
    "cci": ({"len": 20}, talib.CCI(H, L, C, 20), 0),
    "obv": ({}, talib.OBV(C, V) - V[0], 0),
    "roc": ({"len": 10}, talib.ROC(C, 10), 0),
    "highest": ({"len": 20}, talib.MAX(H, 20), 0),
    "lowest": ({"len": 20}, talib.MIN(L, 20), 0),
    "dc_upper": ({"len": 20}, talib.MAX(H, 20), 0),
    "dc_mid": ({"len": 20}, talib.MIDPRICE(H, L, 20), 0),
    "dc_lower": ({"len": 20}, talib.MIN(L, 20), 0),
    "ichimoku_tenkan": ({"len": 9}, talib.MIDPRICE(H, L, 9), 0),
    "ichimoku_kijun": ({"len": 26}, talib.MIDPRICE(H, L, 26), 0),
    "volume_sma": ({"len": 20}, talib.SMA(V, 20), 0),
    "stddev": ({"len": 20}, talib.STDDEV(C, 20), 0),
    "dema": ({"len": 10}, talib.DEMA(C, 10), 400),
    "tema": ({"len": 10}, talib.TEMA(C, 10), 400),
    "trima": ({"len": 21}, talib.TRIMA(C, 21), 0),
    "kama": ({"len": 30, "fast": 2, "slow": 30}, talib.KAMA(C, 30), 0),
    "linreg": ({"len": 14}, talib.LINEARREG(C, 14), 0),
    "linreg_slope": ({"len": 14}, talib.LINEARREG_SLOPE(C, 14), 0),
    "mom": ({"len": 10}, talib.MOM(C, 10), 0),
    "willr": ({"len": 14}, talib.WILLR(H, L, C, 14), 0),
    "stochrsi_k": ({"len": 14}, talib.STOCHRSI(C, 14, 14, 3)[0], 29),
    "stochrsi_d": ({"len": 14, "signal": 3}, talib.STOCHRSI(C, 14, 14, 3)[1], 0),
    "ppo": ({"fast": 12, "slow": 26}, talib.PPO(C, 12, 26, 1), 600),
    "trix": ({"len": 15}, talib.TRIX(C, 15), 700),
    "ultosc": ({"fast": 7, "mid": 14, "slow": 28}, talib.ULTOSC(H, L, C, 7, 14, 28), 0),
    "aroon_up": ({"len": 14}, talib.AROON(H, L, 14)[1], 0),
    "aroon_down": ({"len": 14}, talib.AROON(H, L, 14)[0], 0),
    "aroon_osc": ({"len": 14}, talib.AROONOSC(H, L, 14), 0),
    "bop": ({}, talib.BOP(O, H, L, C), 0),
    "psar": ({"step": 0.02, "limit": 0.2}, talib.SAR(H, L, 0.02, 0.2), 0),
    "natr": ({"len": 14}, talib.NATR(H, L, C, 14), 0),
    "tr": ({}, talib.TRANGE(H, L, C), 0),
    "mfi": ({"len": 14}, talib.MFI(H, L, C, V, 14), 0),
    "ad": ({}, talib.AD(H, L, C, V), 0),
    "adosc": ({"fast": 3, "slow": 10}, talib.ADOSC(H, L, C, V, 3, 10), 0),
    "doji": ({}, talib.CDLDOJI(O, H, L, C) / 100.0, 10),
    "hammer": ({}, talib.CDLHAMMER(O, H, L, C) / 100.0, 11),
    "engulfing_bull": ({}, (talib.CDLENGULFING(O, H, L, C) > 0).astype(float), 2),
    "engulfing_bear": ({}, (talib.CDLENGULFING(O, H, L, C) < 0).astype(float), 2),
    "harami_bull": ({}, (talib.CDLHARAMI(O, H, L, C) > 0).astype(float), 11),
    "harami_bear": ({}, (talib.CDLHARAMI(O, H, L, C) < 0).astype(float), 11),
}


def compute(fn: str, args: dict[str, float], given: CandleColumns = DATA) -> Floats:
    function = FUNCTIONS[fn]
    return function.compute(given, given.column(function.source or "close"), args)


@pytest.mark.parametrize("fn", TALIB)
def test_an_indicator_is_what_talib_computes(fn: str) -> None:
    args, expected, first = TALIB[fn]
    mine = compute(fn, args)[first:]
    assert not np.isnan(mine[-1])
    np.testing.assert_allclose(mine, expected[first:], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("fn", ["doji", "hammer", "shooting_star", "engulfing_bull", "harami_bull", "inside_bar"])
def test_a_pattern_occurs_and_does_not_always_occur(fn: str) -> None:
    values = compute(fn, {})
    assert set(np.unique(values[~np.isnan(values)])) == {0.0, 1.0}


# What TA-Lib does not have, or means otherwise: from the formula, slowly.

NAN = math.nan
SMALL = candles(400, seed=7)
H4, L4, C4, V4 = (column.tolist() for column in (SMALL.high, SMALL.low, SMALL.close, SMALL.volume))


def slow_supertrend(length: int, mult: float) -> tuple[list[float], list[float]]:
    reach = compute("atr", {"len": length}, SMALL).tolist()
    line, direction = [NAN] * 400, [NAN] * 400
    upper, lower, is_up = math.inf, -math.inf, False
    for i in range(length, 400):
        top, bottom = (H4[i] + L4[i]) / 2 + mult * reach[i], (H4[i] + L4[i]) / 2 - mult * reach[i]
        upper = min(top, upper) if C4[i - 1] <= upper else top
        lower = max(bottom, lower) if C4[i - 1] >= lower else bottom
        if (is_up and C4[i] < lower) or (not is_up and C4[i] > upper):
            is_up = not is_up
        line[i], direction[i] = (lower, 1.0) if is_up else (upper, -1.0)
    return line, direction


def slow_cmo(n: int) -> list[float]:
    change = [NAN, *(C4[i] - C4[i - 1] for i in range(1, 400))]

    def one(x: list[float]) -> float:
        gains, losses = sum(v for v in x if v > 0), sum(-v for v in x if v < 0)
        return 100 * (gains - losses) / (gains + losses)

    return [NAN if i < n else one(change[i - n + 1 : i + 1]) for i in range(400)]


def slow_middle(n: int) -> list[float]:
    tops, bottoms = windowed(H4, n, max), windowed(L4, n, min)
    return [(top + bottom) / 2 for top, bottom in zip(tops, bottoms, strict=True)]


def shifted(values: list[float], by: int) -> list[float]:
    return [NAN] * by + values[: 400 - by]


def flow(i: int) -> float:
    return ((C4[i] - L4[i]) - (H4[i] - C4[i])) / (H4[i] - L4[i]) * V4[i]


def slow_force(n: int) -> list[float]:
    out, y = [NAN] * 400, NAN
    for i in range(1, 400):
        x = (C4[i] - C4[i - 1]) * V4[i]
        y = x if i == 1 else y + (x - y) * 2 / (n + 1)
        out[i] = y if i >= n else NAN
    return out


def slow_star() -> list[float]:
    opens = SMALL.open.tolist()
    out = [NAN] * 400
    for i in range(11, 400):
        body, usual = abs(C4[i] - opens[i]), sum(abs(C4[k] - opens[k]) for k in range(i - 10, i)) / 10
        reach = sum(H4[k] - L4[k] for k in range(i - 10, i)) / 10
        near = 0.2 * sum(H4[k] - L4[k] for k in range(i - 6, i - 1)) / 5
        top, bottom = max(C4[i], opens[i]), min(C4[i], opens[i])
        is_star = body < usual and H4[i] - top > body and bottom - L4[i] < 0.1 * reach and top >= H4[i - 1] - near
        out[i] = float(is_star)
    return out


def slow_keltner(sign: float) -> list[float]:
    reach, middle = compute("atr", {"len": 10}, SMALL), compute("ema", {"len": 20}, SMALL)
    return [m + sign * 2 * r for m, r in zip(middle.tolist(), reach.tolist(), strict=True)]


def slow_chop(n: int) -> list[float]:
    reach = compute("tr", {}, SMALL).tolist()
    tops, bottoms = windowed(H4, n, max), windowed(L4, n, min)
    return [
        NAN if i < n else 100 * math.log10(sum(reach[i - n + 1 : i + 1]) / (tops[i] - bottoms[i])) / math.log10(n)
        for i in range(400)
    ]


def over_volume(values: list[float], n: int) -> list[float]:
    return [NAN if i < n - 1 else sum(values[i - n + 1 : i + 1]) / sum(V4[i - n + 1 : i + 1]) for i in range(400)]


def slow_bands() -> tuple[list[float], list[float]]:
    upper, middle, lower = (part.tolist() for part in talib.BBANDS(SMALL.close, 20, 2, 2))
    width = [(u - low) / m for u, m, low in zip(upper, middle, lower, strict=True)]
    return width, [(c - low) / (u - low) for c, u, low in zip(C4, upper, lower, strict=True)]


def slow_ao() -> Floats:
    middle = (SMALL.high + SMALL.low) / 2
    gap: Floats = talib.SMA(middle, 5) - talib.SMA(middle, 34)
    return gap


WMA, SPAN_A = talib.WMA, [(a + b) / 2 for a, b in zip(slow_middle(9), slow_middle(26), strict=True)]
OWN: dict[str, tuple[dict[str, float], Floats | list[float]]] = {
    "hma": ({"len": 16}, WMA(2 * WMA(SMALL.close, 8) - WMA(SMALL.close, 16), 4)),
    "rma": ({"len": 14}, slow_wilder(C4, 14)),
    "vwma": ({"len": 20}, over_volume([c * v for c, v in zip(C4, V4, strict=True)], 20)),
    "cmo": ({"len": 14}, slow_cmo(14)),
    "ao": ({"fast": 5, "slow": 34}, slow_ao()),
    "supertrend": ({"len": 10, "mult": 3}, slow_supertrend(10, 3)[0]),
    "supertrend_dir": ({"len": 10, "mult": 3}, slow_supertrend(10, 3)[1]),
    "ichimoku_span_a": ({"fast": 9, "slow": 26, "shift": 26}, shifted(SPAN_A, 26)),
    "ichimoku_span_b": ({"len": 52, "shift": 26}, shifted(slow_middle(52), 26)),
    "kc_upper": ({"len": 20, "mult": 2, "atr_len": 10}, slow_keltner(1)),
    "kc_mid": ({"len": 20}, slow_keltner(0)),
    "kc_lower": ({"len": 20, "mult": 2, "atr_len": 10}, slow_keltner(-1)),
    "bb_width": ({"len": 20, "mult": 2}, slow_bands()[0]),
    "bb_pct": ({"len": 20, "mult": 2}, slow_bands()[1]),
    "chop": ({"len": 14}, slow_chop(14)),
    "cmf": ({"len": 20}, over_volume([flow(i) for i in range(400)], 20)),
    "force": ({"len": 13}, slow_force(13)),
    "shooting_star": ({}, slow_star()),
    "inside_bar": ({}, [NAN] + [float(H4[i] < H4[i - 1] and L4[i] > L4[i - 1]) for i in range(1, 400)]),
}
EVERY = {fn: args for fn, (args, _) in OWN.items()} | {fn: args for fn, (args, _, _) in TALIB.items()} | {"vwap": {}}


@pytest.mark.parametrize("fn", OWN)
def test_an_indicator_is_its_slow_definition(fn: str) -> None:
    args, expected = OWN[fn]
    np.testing.assert_allclose(compute(fn, args, SMALL), expected, rtol=1e-9, atol=1e-9)


def test_every_indicator_of_the_whitelist_is_compared_with_something() -> None:
    assert TALIB.keys() | OWN.keys() | {fn for fn, _, _ in CASES.values()} == FUNCTIONS.keys()


# What holds for all of them.


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_the_first_value_comes_at_the_stated_warm_up(fn: str) -> None:
    known = np.flatnonzero(~np.isnan(compute(fn, EVERY[fn])))
    stated = FUNCTIONS[fn].warmup(EVERY[fn], "1h")
    assert known[0] + 1 == stated or (fn == "vwap" and known[0] + 1 <= stated)


@pytest.mark.parametrize("fn", FUNCTIONS)
@pytest.mark.parametrize("count", [0, 1, 2, 13])
def test_few_candles_give_missing_values_and_no_error(fn: str, count: int) -> None:
    assert len(compute(fn, EVERY[fn], DATA.window(0, count))) == count


#: Their level counts from the first candle given, or from midnight: there is no seed to forget.
LEVELS = {"obv", "ad", "vwap"}


@pytest.mark.parametrize("fn", FUNCTIONS.keys() - LEVELS)
def test_a_seed_is_forgotten_after_the_stated_settling(fn: str) -> None:
    args = EVERY[fn] | ({"slow": 5} if fn == "kama" else {})
    needed = FUNCTIONS[fn].warmup(args, "1h") + FUNCTIONS[fn].settling(args)
    whole, late = compute(fn, args), compute(fn, args, DATA.window(3_000 - needed, 3_000))
    assert abs(whole[-1] - late[-1]) <= 2e-5 * np.nanmax(np.abs(whole))


@pytest.mark.parametrize("fn", sorted(fn for fn in FUNCTIONS.keys() - LEVELS if FUNCTIONS[fn].settling(EVERY[fn]) == 0))
def test_what_has_no_seed_does_not_depend_on_where_the_data_starts(fn: str) -> None:
    whole, part = compute(fn, EVERY[fn]), compute(fn, EVERY[fn], DATA.window(137, 3_000))
    needed = FUNCTIONS[fn].warmup(EVERY[fn], "1h") - 1
    assert part[needed:].tobytes() == whole[137 + needed :].tobytes()


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_a_market_that_does_not_move_gives_no_infinity_and_no_warning(fn: str) -> None:
    assert not np.isinf(compute(fn, EVERY[fn], closes(*[0.1] * 120))).any()
