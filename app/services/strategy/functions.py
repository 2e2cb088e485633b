"""The whitelist of indicator functions: arguments, warm-up, English name and how each is computed.

The one table that validation, evaluation, reading and the JSON schema agree on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.services.strategy import indicators as ind
from app.services.strategy.candles import DAY_MS, CandleColumns, Floats, timeframe_ms
from app.services.strategy.rules import Number

MAX_LENGTH = 1000
#: A recursion counts as settled when its seed weighs less than this.
SETTLED = 1e-6

Args = Mapping[str, Number]
Compute = Callable[[CandleColumns, Floats, Args], Floats]


@dataclass(frozen=True, slots=True)
class Arg:
    """Bounds of an argument. Without a `default` it must be given, unless it is `optional`."""

    default: Number | None = None
    least: Number = 1
    most: Number = MAX_LENGTH
    whole: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One indicator.

    `source`: default `src`; None means it is computed from whole candles and takes none.
    `warmup(args, tf)`: source values needed until the first value. `settling(args)`: candles more until the seed
    weighs less than `SETTLED`. `is_distance`: its value is a length on the price axis, fit for a stop.
    """

    label: str
    compute: Compute
    args: Mapping[str, Arg] = field(default_factory=dict)
    source: str | None = None
    warmup: Callable[[Args, str], int] = lambda args, tf: int(args["len"])
    settling: Callable[[Args], int] = lambda args: 0
    is_distance: bool = False


def _decay(keep: float) -> int:
    return math.ceil(math.log(SETTLED) / math.log(keep)) if keep > 0 else 0


def ema_settling(length: Number) -> int:
    """Candles until the first value weighs less than `SETTLED` in an EMA."""
    return _decay(1.0 - 2.0 / (length + 1))


def wilder_settling(length: Number) -> int:
    """Candles until the seed weighs less than `SETTLED` in a Wilder average."""
    return _decay(1.0 - 1.0 / length)


def _n(args: Args, name: str = "len") -> int:
    return int(args[name])


def _vwap(candles: CandleColumns, _source: Floats, args: Args) -> Floats:
    typical = candles.column("hlc3")
    if "len" in args:
        return ind.vwap_rolling(typical, candles.volume, _n(args))
    return ind.vwap_day(candles.open_time_ms, typical, candles.volume)


def _vwap_warmup(args: Args, tf: str) -> int:
    return _n(args) if "len" in args else max(1, DAY_MS // timeframe_ms(tf))


def _plain(label: str, compute: Callable[[Floats, int], Floats], source: str = "close", least: int = 1) -> Function:
    return Function(label, lambda c, s, a: compute(s, _n(a)), {"len": Arg(least=least)}, source)


_MACD_LINE = {"fast": Arg(12), "slow": Arg(26)}
_MACD = {**_MACD_LINE, "signal": Arg(9)}
_BAND = {"len": Arg(20, least=2), "mult": Arg(2, least=0.01, most=100, whole=False)}
_STOCH_D = {"len": Arg(14), "signal": Arg(3)}


def _macd_warmup(args: Args, _tf: str) -> int:
    return max(_n(args, "fast"), _n(args, "slow")) + int(args.get("signal", 1)) - 1


def _macd_settling(args: Args) -> int:
    return ema_settling(max(args["fast"], args["slow"])) + ema_settling(args.get("signal", 1))


FUNCTIONS: Mapping[str, Function] = {
    "sma": _plain("SMA", ind.sma),
    "ema": Function(
        "EMA",
        lambda c, s, a: ind.ema(s, _n(a)),
        {"len": Arg()},
        "close",
        settling=lambda args: ema_settling(args["len"]),
    ),
    "wma": _plain("WMA", ind.wma),
    "rsi": Function(
        "RSI",
        lambda c, s, a: ind.rsi(s, _n(a)),
        {"len": Arg(14, least=2)},
        "close",
        warmup=lambda args, tf: _n(args) + 1,
        settling=lambda args: wilder_settling(args["len"]),
    ),
    "atr": Function(
        "ATR",
        lambda c, s, a: ind.atr(c.high, c.low, c.close, _n(a)),
        {"len": Arg(14)},
        warmup=lambda args, tf: _n(args) + 1,
        settling=lambda args: wilder_settling(args["len"]),
        is_distance=True,
    ),
    "macd": Function(
        "MACD",
        lambda c, s, a: ind.macd(s, _n(a, "fast"), _n(a, "slow")),
        _MACD_LINE,
        "close",
        _macd_warmup,
        _macd_settling,
    ),
    "macd_signal": Function(
        "MACD signal",
        lambda c, s, a: ind.macd_signal(s, _n(a, "fast"), _n(a, "slow"), _n(a, "signal")),
        _MACD,
        "close",
        _macd_warmup,
        _macd_settling,
    ),
    "macd_hist": Function(
        "MACD histogram",
        lambda c, s, a: ind.macd_hist(s, _n(a, "fast"), _n(a, "slow"), _n(a, "signal")),
        _MACD,
        "close",
        _macd_warmup,
        _macd_settling,
    ),
    "bb_upper": Function(
        "upper Bollinger band", lambda c, s, a: ind.bollinger(s, _n(a), float(a["mult"])), _BAND, "close"
    ),
    "bb_mid": Function("middle Bollinger band", lambda c, s, a: ind.sma(s, _n(a)), _BAND, "close"),
    "bb_lower": Function(
        "lower Bollinger band", lambda c, s, a: ind.bollinger(s, _n(a), -float(a["mult"])), _BAND, "close"
    ),
    "stoch_k": Function(
        "stochastic %K", lambda c, s, a: ind.stoch_k(c.high, c.low, c.close, _n(a)), {"len": Arg(14)}
    ),
    "stoch_d": Function(
        "stochastic %D",
        lambda c, s, a: ind.stoch_d(c.high, c.low, c.close, _n(a), _n(a, "signal")),
        _STOCH_D,
        warmup=lambda args, tf: _n(args) + _n(args, "signal") - 1,
    ),
    "adx": Function(
        "ADX",
        lambda c, s, a: ind.adx(c.high, c.low, c.close, _n(a)),
        {"len": Arg(14)},
        warmup=lambda args, tf: 2 * _n(args),
        settling=lambda args: 2 * wilder_settling(args["len"]),
    ),
    "cci": Function("CCI", lambda c, s, a: ind.cci(c.high, c.low, c.close, _n(a)), {"len": Arg(20, least=2)}),
    "obv": Function("OBV", lambda c, s, a: ind.obv(c.close, c.volume), warmup=lambda args, tf: 1),
    "vwap": Function("VWAP", _vwap, {"len": Arg(optional=True)}, warmup=_vwap_warmup),
    "roc": Function(
        "ROC", lambda c, s, a: ind.roc(s, _n(a)), {"len": Arg()}, "close", warmup=lambda args, tf: _n(args) + 1
    ),
    "highest": _plain("highest", ind.highest, "high"),
    "lowest": _plain("lowest", ind.lowest, "low"),
    "volume_sma": Function("average volume", lambda c, s, a: ind.sma(c.volume, _n(a)), {"len": Arg()}),
    "stddev": Function(
        "standard deviation", lambda c, s, a: ind.stddev(s, _n(a)), {"len": Arg(least=2)}, "close", is_distance=True
    ),
}
