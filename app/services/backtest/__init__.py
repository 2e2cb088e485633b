"""Backtests: a strategy over candles, the same bits on every machine. Pure: no database, no clock, no I/O.

    run(strategy, candles, settings) ──► Result       trades, fills, equity, metrics, warnings, result_hash
    verify(frozen, hash, candles)    ──► Verified     the same run again, refused when an input differs
    sweep(strategy, candles, points) ──► SweepPoints  the same rules with many parameters, indicators shared

docs/backtest.md states what is assumed inside a candle and what each metric means.
"""

from app.services.backtest.causality import Leak, leaks
from app.services.backtest.engine import Verified, run, verify
from app.services.backtest.identity import candle_data_version
from app.services.backtest.metrics import DEFINITIONS, Definition, Metrics
from app.services.backtest.result import ENGINE_VERSION, Fill, Result, Trade
from app.services.backtest.settings import Rounding, Settings, settings_from
from app.services.backtest.sweep import SweepPoint, grid_points, sweep
from app.services.backtest.warnings import Warning_

__all__ = [
    "DEFINITIONS",
    "ENGINE_VERSION",
    "Definition",
    "Fill",
    "Leak",
    "Metrics",
    "Result",
    "Rounding",
    "Settings",
    "SweepPoint",
    "Trade",
    "Verified",
    "Warning_",
    "candle_data_version",
    "grid_points",
    "leaks",
    "run",
    "settings_from",
    "sweep",
    "verify",
]
