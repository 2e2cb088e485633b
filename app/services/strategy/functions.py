"""The whitelist of indicator functions: arguments, warm-up, English name and how each is computed.

The one table that validation, evaluation, reading and the JSON schema agree on.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.services.strategy import indicators as ind
from app.services.strategy.candles import DAY_MS, CandleColumns, Floats, timeframe_ms
from app.services.strategy.catalogue import AVERAGES, BANDS, FLOWS, OSCILLATORS, PATTERNS, TREND
from app.services.strategy.function import (
    Arg,
    Args,
    Function,
    ema_settling,
    plain,
    whole,
    wilder_settling,
)


def _vwap(candles: CandleColumns, _source: Floats, args: Args) -> Floats:
    typical = candles.column("hlc3")
    if "len" in args:
        return ind.vwap_rolling(typical, candles.volume, whole(args))
    return ind.vwap_day(candles.open_time_ms, typical, candles.volume)


def _vwap_warmup(args: Args, tf: str) -> int:
    return whole(args) if "len" in args else max(1, DAY_MS // timeframe_ms(tf))


_MACD_LINE = {"fast": Arg(12), "slow": Arg(26)}
_MACD = {**_MACD_LINE, "signal": Arg(9)}
_BAND = {"len": Arg(20, least=2), "mult": Arg(2, least=0.01, most=100, whole=False)}
_STOCH_D = {"len": Arg(14), "signal": Arg(3)}


def _macd_warmup(args: Args, _tf: str) -> int:
    return max(whole(args, "fast"), whole(args, "slow")) + int(args.get("signal", 1)) - 1


def _macd_settling(args: Args) -> int:
    return ema_settling(max(args["fast"], args["slow"])) + ema_settling(args.get("signal", 1))


_BASIC: Mapping[str, Function] = {
    "sma": plain("SMA", ind.sma),
    "ema": Function(
        "EMA",
        lambda c, s, a: ind.ema(s, whole(a)),
        {"len": Arg()},
        "close",
        settling=lambda args: ema_settling(args["len"]),
    ),
    "wma": plain("WMA", ind.wma),
    "rsi": Function(
        "RSI",
        lambda c, s, a: ind.rsi(s, whole(a)),
        {"len": Arg(14, least=2)},
        "close",
        warmup=lambda args, tf: whole(args) + 1,
        settling=lambda args: wilder_settling(args["len"]),
    ),
    "atr": Function(
        "ATR",
        lambda c, s, a: ind.atr(c.high, c.low, c.close, whole(a)),
        {"len": Arg(14)},
        warmup=lambda args, tf: whole(args) + 1,
        settling=lambda args: wilder_settling(args["len"]),
        is_distance=True,
    ),
    "macd": Function(
        "MACD",
        lambda c, s, a: ind.macd(s, whole(a, "fast"), whole(a, "slow")),
        _MACD_LINE,
        "close",
        _macd_warmup,
        _macd_settling,
    ),
    "macd_signal": Function(
        "MACD signal",
        lambda c, s, a: ind.macd_signal(s, whole(a, "fast"), whole(a, "slow"), whole(a, "signal")),
        _MACD,
        "close",
        _macd_warmup,
        _macd_settling,
    ),
    "macd_hist": Function(
        "MACD histogram",
        lambda c, s, a: ind.macd_hist(s, whole(a, "fast"), whole(a, "slow"), whole(a, "signal")),
        _MACD,
        "close",
        _macd_warmup,
        _macd_settling,
    ),
    "bb_upper": Function(
        "upper Bollinger band", lambda c, s, a: ind.bollinger(s, whole(a), float(a["mult"])), _BAND, "close"
    ),
    "bb_mid": Function("middle Bollinger band", lambda c, s, a: ind.sma(s, whole(a)), _BAND, "close"),
    "bb_lower": Function(
        "lower Bollinger band", lambda c, s, a: ind.bollinger(s, whole(a), -float(a["mult"])), _BAND, "close"
    ),
    "stoch_k": Function(
        "stochastic %K", lambda c, s, a: ind.stoch_k(c.high, c.low, c.close, whole(a)), {"len": Arg(14)}
    ),
    "stoch_d": Function(
        "stochastic %D",
        lambda c, s, a: ind.stoch_d(c.high, c.low, c.close, whole(a), whole(a, "signal")),
        _STOCH_D,
        warmup=lambda args, tf: whole(args) + whole(args, "signal") - 1,
    ),
    "adx": Function(
        "ADX",
        lambda c, s, a: ind.adx(c.high, c.low, c.close, whole(a)),
        {"len": Arg(14)},
        warmup=lambda args, tf: 2 * whole(args),
        settling=lambda args: 2 * wilder_settling(args["len"]),
    ),
    "cci": Function("CCI", lambda c, s, a: ind.cci(c.high, c.low, c.close, whole(a)), {"len": Arg(20, least=2)}),
    "obv": Function("OBV", lambda c, s, a: ind.obv(c.close, c.volume), warmup=lambda args, tf: 1),
    "vwap": Function("VWAP", _vwap, {"len": Arg(optional=True)}, warmup=_vwap_warmup),
    "roc": Function(
        "ROC", lambda c, s, a: ind.roc(s, whole(a)), {"len": Arg()}, "close", warmup=lambda args, tf: whole(args) + 1
    ),
    "highest": plain("highest", ind.highest, "high"),
    "lowest": plain("lowest", ind.lowest, "low"),
    "volume_sma": Function("average volume", lambda c, s, a: ind.sma(c.volume, whole(a)), {"len": Arg()}),
    "stddev": Function(
        "standard deviation", lambda c, s, a: ind.stddev(s, whole(a)), {"len": Arg(least=2)}, "close", is_distance=True
    ),
}

#: Every indicator a strategy can name.
FUNCTIONS: Mapping[str, Function] = {**_BASIC, **AVERAGES, **OSCILLATORS, **TREND, **BANDS, **FLOWS, **PATTERNS}
