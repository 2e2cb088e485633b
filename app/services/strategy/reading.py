"""A strategy in plain English, from the same tree that is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from app.domain.money import plain
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.rules import (
    AllOf,
    AnyOf,
    Arithmetic,
    AtLeast,
    Compare,
    Condition,
    Const,
    Distance,
    EquityPct,
    FixedQuote,
    NotOf,
    Number,
    Operand,
    ParamRef,
    PctDistance,
    RDistance,
    Ref,
    Series,
    Sizing,
    Strategy,
    TakeProfit,
    Trend,
    operands,
)

_COLUMNS = {
    "hl2": "middle of high and low",
    "hlc3": "typical price (high, low, close)",
    "ohlc4": "average price (open, high, low, close)",
}
_OPS = {
    ">": "is above",
    ">=": "is at or above",
    "<": "is below",
    "<=": "is at or below",
    "crosses_above": "crosses above",
    "crosses_below": "crosses below",
}
_WITH_ARTICLE = {"highest", "lowest", "volume_sma", "supertrend_dir", "linreg_slope", "psar", "chop", "tr"}
_SIGNS = {"add": " + ", "sub": " − ", "mul": " × ", "div": " ÷ "}


def say_number(value: Number | Decimal) -> str:
    """A number without a needless fraction."""
    return plain(Decimal(str(value)))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def say_series(strategy: Strategy, name: str) -> str:
    """A series by its indicator, like `EMA 12` or `last closed 4h EMA 50`."""
    series = strategy.series[name]
    text = _indicator(strategy, series)
    return text if series.tf == strategy.timeframe else f"last closed {series.tf} {text}"


def _indicator(strategy: Strategy, series: Series) -> str:
    label = FUNCTIONS[series.fn].label
    args = [say_number(value) for value in series.args.values()]
    if series.fn in ("highest", "lowest"):
        return f"{label} {_source(strategy, series)} of {args[0]} candles"
    if series.fn == "volume_sma":
        return f"{label} of {args[0]} candles"
    if series.fn == "vwap":
        return f"VWAP of {args[0]} candles" if args else "VWAP of the UTC day"
    text = " ".join([label, "/".join(args)]) if args else label
    is_default = series.src == FUNCTIONS[series.fn].source
    return text if is_default else f"{text} of the {_source(strategy, series)}"


def _source(strategy: Strategy, series: Series) -> str:
    source = series.src or ""
    if source in strategy.series:
        return _indicator(strategy, strategy.series[source])
    return _COLUMNS.get(source, source)


def say_operand(strategy: Strategy, operand: Operand) -> str:
    """A value as words, like `the close` or `(EMA 12 − EMA 26)`."""
    match operand:
        case Const(value=value) | ParamRef(value=value):
            return say_number(value)
        case Ref():
            return _ref(strategy, operand)
        case Arithmetic(op=op, args=args):
            parts = [say_operand(strategy, part) for part in args]
            if op in _SIGNS:
                return f"({_SIGNS[op].join(parts)})"
            return f"the {'least' if op == 'min' else 'greatest'} of {_joined(parts, 'and')}"


def _ref(strategy: Strategy, ref: Ref) -> str:
    if ref.name not in strategy.series:
        text = f"the {_COLUMNS.get(ref.name, ref.name)}"
        return text if ref.ago == 0 else f"{text} {_count(ref.ago, 'candle')} ago"
    series = strategy.series[ref.name]
    text = say_series(strategy, ref.name)
    if series.tf != strategy.timeframe:
        if ref.ago == 0:
            return f"the {text}"
        past = f"the {series.tf} {_indicator(strategy, series)}"
        return f"{past} of {_count(ref.ago, 'candle')} before the last closed one"
    article = "the " if series.fn in _WITH_ARTICLE or series.fn.startswith(("bb_", "kc_", "dc_")) else ""
    return f"{article}{text}" if ref.ago == 0 else f"{article}{text} as of {_count(ref.ago, 'candle')} ago"


def _joined(parts: Sequence[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def say_condition(strategy: Strategy, condition: Condition) -> str:
    """A condition as a clause. Groups inside groups stand in brackets, so that nothing can be read two ways."""
    match condition:
        case AllOf(parts=parts):
            return " and ".join(_inner(strategy, part, alone=len(parts) == 1) for part in parts)
        case AnyOf(parts=parts):
            return " or ".join(_inner(strategy, part, alone=len(parts) == 1) for part in parts)
        case NotOf(part=part):
            return f"it is not so that {_inner(strategy, part, alone=False)}"
        case AtLeast(count=count, parts=parts):
            clauses = "; ".join(_inner(strategy, part, alone=False) for part in parts)
            return f"at least {count} of these {len(parts)} hold: {clauses}"
        case Compare():
            return _compare(strategy, condition)
        case Trend(left=left, op=op, steps=steps):
            subject = say_operand(strategy, left)
            return f"{subject} is {op}" if steps == 1 else f"{subject} has been {op} for {steps} candles in a row"
        case _:
            subject, low, high = (say_operand(strategy, operand) for _, operand in operands(condition))
            return f"{subject} is {condition.op} {low} {'and' if condition.op == 'between' else 'to'} {high}"


def _inner(strategy: Strategy, condition: Condition, *, alone: bool) -> str:
    text = say_condition(strategy, condition)
    is_group = isinstance(condition, AllOf | AnyOf | AtLeast | NotOf)
    return f"({text})" if is_group and not alone else text


def _compare(strategy: Strategy, condition: Compare) -> str:
    text = f"{say_operand(strategy, condition.left)} {_OPS[condition.op]} {say_operand(strategy, condition.right)}"
    if condition.hold > 1:
        text += f" for {condition.hold} candles in a row"
    if condition.within > 1:
        text += f", at least once in the last {condition.within} candles,"
    return text


def say_distance(strategy: Strategy, distance: Distance) -> str:
    """A distance, like `2 %`, `2 × ATR 14` or `2 R`."""
    match distance:
        case PctDistance(pct=pct):
            return f"{say_number(pct)} %"
        case RDistance(r=r):
            return f"{say_number(r)} R"
        case _:
            return f"{say_number(distance.mult)} × {say_series(strategy, distance.series)}"


def say_target(strategy: Strategy, target: TakeProfit) -> str:
    """A target, like `at 2 R above entry sell half`."""
    share = {50: "half", 100: "all"}.get(target.close_pct, f"{target.close_pct} %")
    return f"at {say_distance(strategy, target.at)} above entry sell {share}"


def _protection(strategy: Strategy) -> str:
    protect = strategy.protect
    parts = ["no stop"] if protect.stop is None else [f"stop {say_distance(strategy, protect.stop)} below entry"]
    parts += [say_target(strategy, target) for target in protect.take_profit]
    if protect.trail is not None:
        once = "" if protect.trail_after_r is None else f"once {say_number(protect.trail_after_r)} R up "
        parts.append(f"{once}trail {say_distance(strategy, protect.trail)} below the highest price")
    if protect.time_stop_bars is not None:
        parts.append(f"leave after {_count(protect.time_stop_bars, 'candle')}")
    return "; ".join(parts)


def say_order(strategy: Strategy) -> str:
    """How an entry is sent."""
    order = strategy.order
    if order.type == "market":
        return "Market orders"
    life = "until cancelled" if order.expire_bars is None else f"{_count(order.expire_bars, 'candle')} to fill"
    return f"Limit order {say_number(order.limit_offset_pct)} % below the close, {life}"


def say_sizing(sizing: Sizing) -> str:
    """How large an entry is."""
    match sizing:
        case FixedQuote(quote=quote):
            return f"Spend {say_number(quote)} of the quote asset on each entry"
        case EquityPct(pct=pct):
            return f"Spend {say_number(pct)} % of equity on each entry"
        case _:
            most = say_number(sizing.max_equity_pct)
            return f"Risk {say_number(sizing.pct)} % of equity, never spending over {most} % of it"


def say_limits(strategy: Strategy) -> str:
    """The brakes on entries; "" when there are none."""
    limits = strategy.limits
    parts = []
    if limits.cooldown_bars:
        parts.append(f"wait {_count(limits.cooldown_bars, 'candle')} between trades")
    if limits.max_entries_per_day is not None:
        parts.append(f"enter at most {_count(limits.max_entries_per_day, 'time')} a UTC day")
    if limits.max_open > 1:
        parts.append(f"at most {limits.max_open} open positions")
    return ", ".join(parts)


def read_aloud(strategy: Strategy) -> str:
    """The whole strategy in a few plain sentences. What is not said is not in the strategy."""
    where = f"{_joined(strategy.symbols, 'and')} {strategy.timeframe}"
    leave = strategy.exit
    sentences = [
        f"On {where}, buy when {say_condition(strategy, strategy.entry)}",
        "No exit rule" if leave is None else f"Sell when {say_condition(strategy, leave)}",
        _protection(strategy),
        say_order(strategy),
        say_sizing(strategy.sizing),
        say_limits(strategy),
    ]
    return " ".join(f"{sentence[0].upper()}{sentence[1:].rstrip(',')}." for sentence in sentences if sentence)
