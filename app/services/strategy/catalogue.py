"""The indicators of `ta` as entries of the whitelist, by family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.services.strategy import indicators as ind
from app.services.strategy.candles import CandleColumns, Floats
from app.services.strategy.function import (
    Arg,
    Args,
    Compute,
    Function,
    decay,
    ema_settling,
    plain,
    whole,
    wilder_settling,
)
from app.services.strategy.ta import averages, bands, flows, oscillators, patterns, trend

#: Candles after which a line that forgets at each turn (SAR, SuperTrend) is taken as settled: no bound can be proved.
TURNS = 500
_FACTOR = Arg(2, least=0.01, most=100, whole=False)


def _length(least: int = 1, default: int | None = None) -> Mapping[str, Arg]:
    return {"len": Arg(default, least=least)}


def _after(more: int) -> Callable[[Args, str], int]:
    return lambda args, tf: whole(args) + more


def _wilder(args: Args) -> int:
    return wilder_settling(args["len"])


def _emas(times: int) -> Callable[[Args], int]:
    return lambda args: times * ema_settling(args["len"])


AVERAGES: Mapping[str, Function] = {
    "dema": Function(
        "double EMA",
        lambda c, s, a: averages.dema(s, whole(a)),
        _length(),
        "close",
        lambda args, tf: 2 * whole(args) - 1,
        _emas(2),
    ),
    "tema": Function(
        "triple EMA",
        lambda c, s, a: averages.tema(s, whole(a)),
        _length(),
        "close",
        lambda args, tf: 3 * whole(args) - 2,
        _emas(3),
    ),
    "hma": Function(
        "Hull average",
        lambda c, s, a: averages.hma(s, whole(a)),
        _length(2),
        "close",
        lambda args, tf: whole(args) + int(args["len"] ** 0.5) - 1,
    ),
    "trima": plain("triangular average", averages.trima),
    "kama": Function(
        "KAMA",
        lambda c, s, a: averages.kama(s, whole(a), whole(a, "fast"), whole(a, "slow")),
        {"len": Arg(10), "fast": Arg(2), "slow": Arg(30)},
        "close",
        _after(1),
        lambda args: decay(1.0 - (2.0 / (args["slow"] + 1)) ** 2),
    ),
    "rma": Function(
        "Wilder average",
        lambda c, s, a: ind.wilder(s, whole(a)),
        _length(),
        "close",
        settling=_wilder,
    ),
    "vwma": Function(
        "volume-weighted average", lambda c, s, a: averages.vwma(c.close, c.volume, whole(a)), _length(default=20)
    ),
    "linreg": plain("linear regression", averages.linreg, least=2),
    "linreg_slope": plain("slope of the linear regression", averages.linreg_slope, least=2),
}

OSCILLATORS: Mapping[str, Function] = {
    "mom": Function("momentum", lambda c, s, a: oscillators.mom(s, whole(a)), _length(default=10), "close", _after(1)),
    "cmo": Function("CMO", lambda c, s, a: oscillators.cmo(s, whole(a)), _length(default=14), "close", _after(1)),
    "willr": Function(
        "Williams %R", lambda c, s, a: oscillators.willr(c.high, c.low, c.close, whole(a)), _length(default=14)
    ),
    "stochrsi_k": Function(
        "stochastic RSI %K",
        lambda c, s, a: oscillators.stochrsi_k(s, whole(a)),
        _length(2, default=14),
        "close",
        lambda args, tf: 2 * whole(args),
        _wilder,
    ),
    "stochrsi_d": Function(
        "stochastic RSI %D",
        lambda c, s, a: oscillators.stochrsi_d(s, whole(a), whole(a, "signal")),
        {"len": Arg(14, least=2), "signal": Arg(3)},
        "close",
        lambda args, tf: 2 * whole(args) + whole(args, "signal") - 1,
        _wilder,
    ),
    "stoch_slow_k": Function(
        "slow stochastic %K",
        lambda c, s, a: oscillators.stoch_slow_k(c.high, c.low, c.close, whole(a), whole(a, "smooth")),
        {"len": Arg(14), "smooth": Arg(3)},
        warmup=lambda args, tf: whole(args) + whole(args, "smooth") - 1,
    ),
    "stoch_slow_d": Function(
        "slow stochastic %D",
        lambda c, s, a: oscillators.stoch_slow_d(
            c.high, c.low, c.close, whole(a), whole(a, "smooth"), whole(a, "signal")
        ),
        {"len": Arg(14), "smooth": Arg(3), "signal": Arg(3)},
        warmup=lambda args, tf: whole(args) + whole(args, "smooth") + whole(args, "signal") - 2,
    ),
    "ppo": Function(
        "PPO",
        lambda c, s, a: oscillators.ppo(s, whole(a, "fast"), whole(a, "slow")),
        {"fast": Arg(12), "slow": Arg(26)},
        "close",
        lambda args, tf: max(whole(args, "fast"), whole(args, "slow")),
        lambda args: ema_settling(max(args["fast"], args["slow"])),
    ),
    "trix": Function(
        "TRIX",
        lambda c, s, a: oscillators.trix(s, whole(a)),
        _length(default=15),
        "close",
        lambda args, tf: 3 * whole(args) - 1,
        _emas(3),
    ),
    "ultosc": Function(
        "ultimate oscillator",
        lambda c, s, a: oscillators.ultosc(c.high, c.low, c.close, whole(a, "fast"), whole(a, "mid"), whole(a, "slow")),
        {"fast": Arg(7), "mid": Arg(14), "slow": Arg(28)},
        warmup=lambda args, tf: max(whole(args, name) for name in ("fast", "mid", "slow")) + 1,
    ),
    "aroon_up": Function(
        "Aroon up", lambda c, s, a: oscillators.aroon_up(c.high, whole(a)), _length(default=14), warmup=_after(1)
    ),
    "aroon_down": Function(
        "Aroon down", lambda c, s, a: oscillators.aroon_down(c.low, whole(a)), _length(default=14), warmup=_after(1)
    ),
    "aroon_osc": Function(
        "Aroon oscillator",
        lambda c, s, a: oscillators.aroon_osc(c.high, c.low, whole(a)),
        _length(default=14),
        warmup=_after(1),
    ),
    "ao": Function(
        "awesome oscillator",
        lambda c, s, a: oscillators.ao(c.high, c.low, whole(a, "fast"), whole(a, "slow")),
        {"fast": Arg(5), "slow": Arg(34)},
        warmup=lambda args, tf: max(whole(args, "fast"), whole(args, "slow")),
    ),
    "bop": Function(
        "balance of power", lambda c, s, a: oscillators.bop(c.open, c.high, c.low, c.close), warmup=lambda args, tf: 1
    ),
}


def _psar(c: CandleColumns, _source: Floats, args: Args) -> Floats:
    return trend.psar(c.high, c.low, float(args["step"]), float(args["limit"]))


_SUPERTREND = {"len": Arg(10), "mult": Arg(3, least=0.01, most=100, whole=False)}

TREND: Mapping[str, Function] = {
    "plus_di": Function(
        "+DI",
        lambda c, s, a: trend.plus_di(c.high, c.low, c.close, whole(a)),
        _length(default=14),
        warmup=_after(1),
        settling=_wilder,
    ),
    "minus_di": Function(
        "−DI",
        lambda c, s, a: trend.minus_di(c.high, c.low, c.close, whole(a)),
        _length(default=14),
        warmup=_after(1),
        settling=_wilder,
    ),
    "psar": Function(
        "parabolic SAR",
        _psar,
        {
            "step": Arg(0.02, least=0.001, most=1, whole=False),
            "limit": Arg(0.2, least=0.001, most=1, whole=False),
        },
        warmup=lambda args, tf: 2,
        settling=lambda args: TURNS,
    ),
    "supertrend": Function(
        "SuperTrend",
        lambda c, s, a: trend.supertrend(c.high, c.low, c.close, whole(a), float(a["mult"])),
        _SUPERTREND,
        warmup=_after(1),
        settling=lambda args: wilder_settling(args["len"]) + TURNS,
    ),
    "supertrend_dir": Function(
        "direction of the SuperTrend",
        lambda c, s, a: trend.supertrend_dir(c.high, c.low, c.close, whole(a), float(a["mult"])),
        _SUPERTREND,
        warmup=_after(1),
        settling=lambda args: wilder_settling(args["len"]) + TURNS,
    ),
    "ichimoku_tenkan": Function(
        "Ichimoku conversion line", lambda c, s, a: trend.ichimoku_mid(c.high, c.low, whole(a)), _length(default=9)
    ),
    "ichimoku_kijun": Function(
        "Ichimoku base line", lambda c, s, a: trend.ichimoku_mid(c.high, c.low, whole(a)), _length(default=26)
    ),
    "ichimoku_span_a": Function(
        "Ichimoku leading span A",
        lambda c, s, a: trend.ichimoku_span_a(c.high, c.low, whole(a, "fast"), whole(a, "slow"), whole(a, "shift")),
        {"fast": Arg(9), "slow": Arg(26), "shift": Arg(26)},
        warmup=lambda args, tf: max(whole(args, "fast"), whole(args, "slow")) + whole(args, "shift"),
    ),
    "ichimoku_span_b": Function(
        "Ichimoku leading span B",
        lambda c, s, a: trend.ichimoku_span_b(c.high, c.low, whole(a), whole(a, "shift")),
        {"len": Arg(52), "shift": Arg(26)},
        warmup=lambda args, tf: whole(args) + whole(args, "shift"),
    ),
}


def _keltner(label: str, sign: float) -> Function:
    return Function(
        label,
        lambda c, s, a: bands.keltner(c.high, c.low, c.close, whole(a), sign * float(a["mult"]), whole(a, "atr_len")),
        {"len": Arg(20), "mult": _FACTOR, "atr_len": Arg(10)},
        warmup=lambda args, tf: max(whole(args), whole(args, "atr_len") + 1),
        settling=lambda args: max(ema_settling(args["len"]), wilder_settling(args["atr_len"])),
    )


def _donchian(label: str, compute: Compute) -> Function:
    return Function(label, compute, _length(default=20))


_BAND = {"len": Arg(20, least=2), "mult": _FACTOR}

BANDS: Mapping[str, Function] = {
    "kc_upper": _keltner("upper Keltner line", 1.0),
    "kc_mid": Function(
        "middle Keltner line",
        lambda c, s, a: ind.ema(c.close, whole(a)),
        _length(default=20),
        settling=_emas(1),
    ),
    "kc_lower": _keltner("lower Keltner line", -1.0),
    "dc_upper": _donchian("upper Donchian line", lambda c, s, a: ind.highest(c.high, whole(a))),
    "dc_mid": _donchian("middle Donchian line", lambda c, s, a: bands.donchian_mid(c.high, c.low, whole(a))),
    "dc_lower": _donchian("lower Donchian line", lambda c, s, a: ind.lowest(c.low, whole(a))),
    "bb_width": Function(
        "Bollinger band width", lambda c, s, a: bands.bb_width(s, whole(a), float(a["mult"])), _BAND, "close"
    ),
    "bb_pct": Function("Bollinger %b", lambda c, s, a: bands.bb_pct(s, whole(a), float(a["mult"])), _BAND, "close"),
    "natr": Function(
        "NATR",
        lambda c, s, a: bands.natr(c.high, c.low, c.close, whole(a)),
        _length(default=14),
        warmup=_after(1),
        settling=_wilder,
    ),
    "tr": Function(
        "true range",
        lambda c, s, a: ind.true_range(c.high, c.low, c.close),
        warmup=lambda args, tf: 2,
        is_distance=True,
    ),
    "chop": Function(
        "choppiness index",
        lambda c, s, a: bands.chop(c.high, c.low, c.close, whole(a)),
        _length(2, default=14),
        warmup=_after(1),
    ),
}

FLOWS: Mapping[str, Function] = {
    "mfi": Function(
        "MFI",
        lambda c, s, a: flows.mfi(c.high, c.low, c.close, c.volume, whole(a)),
        _length(default=14),
        warmup=_after(1),
    ),
    "ad": Function(
        "accumulation/distribution",
        lambda c, s, a: flows.ad(c.high, c.low, c.close, c.volume),
        warmup=lambda args, tf: 1,
    ),
    "adosc": Function(
        "Chaikin oscillator",
        lambda c, s, a: flows.adosc(c.high, c.low, c.close, c.volume, whole(a, "fast"), whole(a, "slow")),
        {"fast": Arg(3), "slow": Arg(10)},
        warmup=lambda args, tf: max(whole(args, "fast"), whole(args, "slow")),
        settling=lambda args: 2 * ema_settling(max(args["fast"], args["slow"])),
    ),
    "cmf": Function(
        "Chaikin money flow",
        lambda c, s, a: flows.cmf(c.high, c.low, c.close, c.volume, whole(a)),
        _length(default=20),
    ),
    "force": Function(
        "force index",
        lambda c, s, a: flows.force(c.close, c.volume, whole(a)),
        _length(default=13),
        warmup=_after(1),
        settling=_emas(1),
    ),
}


def _pattern(label: str, compute: Callable[[CandleColumns], Floats], needed: int) -> Function:
    return Function(label, lambda c, s, a: compute(c), warmup=lambda args, tf: needed)


PATTERNS: Mapping[str, Function] = {
    "doji": _pattern("doji", patterns.doji, 11),
    "hammer": _pattern("hammer", patterns.hammer, 12),
    "shooting_star": _pattern("shooting star", patterns.shooting_star, 12),
    "engulfing_bull": _pattern("bullish engulfing", patterns.engulfing_bull, 2),
    "engulfing_bear": _pattern("bearish engulfing", patterns.engulfing_bear, 2),
    "harami_bull": _pattern("bullish harami", patterns.harami_bull, 12),
    "harami_bear": _pattern("bearish harami", patterns.harami_bear, 12),
    "inside_bar": _pattern("inside bar", patterns.inside_bar, 2),
}
