"""The strategy service, pure part: rule language, validation, English reading, indicators, evaluation, sizing.

    text or document ── validate ──► Strategy ── evaluate(closed candles) ──► Evaluation
                                     ├ read_aloud: the rules in English      ├ entry, exit: three-valued, a bar each
                                     └ document, version_hash                ├ trace(bar): why, or why not
                                                                             └ stop_price(bar, entry price)

No database, no clock, no I/O: the same functions decide in a backtest and in a live run.
"""

from app.services.strategy.candles import TIMEFRAMES, CandleColumns, timeframe_ms
from app.services.strategy.canonical import canonical_json, version_hash
from app.services.strategy.differences import Change, differences
from app.services.strategy.evaluation import Evaluation, Trace, evaluate
from app.services.strategy.frames import SharedSeries
from app.services.strategy.history import history_problem, settled_candles, warmup_candles
from app.services.strategy.live import unsupported_live
from app.services.strategy.problems import Problem
from app.services.strategy.reading import read_aloud
from app.services.strategy.rules import Strategy
from app.services.strategy.schema import strategy_schema
from app.services.strategy.sizing import Sized, entry_refusal, size_entry
from app.services.strategy.templates import TEMPLATES, Template, template
from app.services.strategy.validation import Validation, parse_text, validate, with_params

__all__ = [
    "TEMPLATES",
    "TIMEFRAMES",
    "CandleColumns",
    "Change",
    "Evaluation",
    "Problem",
    "SharedSeries",
    "Sized",
    "Strategy",
    "Template",
    "Trace",
    "Validation",
    "canonical_json",
    "differences",
    "entry_refusal",
    "evaluate",
    "history_problem",
    "parse_text",
    "read_aloud",
    "settled_candles",
    "size_entry",
    "strategy_schema",
    "template",
    "timeframe_ms",
    "unsupported_live",
    "validate",
    "version_hash",
    "warmup_candles",
    "with_params",
]
