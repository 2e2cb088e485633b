"""From any JSON to a `Strategy`, or to problems in words that point at the field. Never raises."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidInput
from app.services.strategy.candles import timeframe_ms
from app.services.strategy.canonical import canonical_json
from app.services.strategy.conditions import ConditionReader
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.history import conditions_of, protective_series, used_series, warmup_candles
from app.services.strategy.parsing import (
    SeriesReader,
    read_limits,
    read_market,
    read_order,
    read_params,
    read_protect,
    read_sizing,
)
from app.services.strategy.problems import Problem, at, show, suggestion
from app.services.strategy.reader import Reader, is_number
from app.services.strategy.rules import (
    Arithmetic,
    Limits,
    Number,
    Operand,
    OrderStyle,
    ParamRef,
    RiskPct,
    Series,
    Strategy,
    leaves,
    operands,
)
from app.services.strategy.static import document_problem, read_json

SCHEMA_VERSION = 1
LONG_WARMUP = 5_000
MAX_WARMUP = 1_000_000
_RISKY_PCT = 5
_REQUIRED = ("schema", "name", "market", "series", "entry", "protect", "sizing")
_OPTIONAL = ("note", "params", "exit", "order", "limits")


@dataclass(frozen=True, slots=True)
class Validation:
    """`strategy` is there exactly when there are no errors. Warnings never stop anything."""

    strategy: Strategy | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def parse_text(text: str | bytes) -> Validation:
    """Validate raw JSON text; bad JSON is answered with line and column. Never raises."""
    document, problem = read_json(text)
    return Validation(None, (problem,), ()) if problem else validate(document)


def validate(document: object) -> Validation:
    """Validate a parsed JSON document of any shape and size. Never raises, never changes `document`."""
    problem = document_problem(document)
    if problem:
        return Validation(None, (problem,), ())
    if not isinstance(document, dict):
        return Validation(None, (Problem("", f"a strategy is a JSON object, not {show(document)}"),), ())
    reader = Reader()
    strategy = _read(reader, document)
    if strategy is None or reader.errors:
        return Validation(None, tuple(reader.errors), tuple(reader.warnings))
    return Validation(strategy, (), tuple(reader.warnings))


def with_params(document: Mapping[str, Any], overrides: Mapping[str, Number]) -> dict[str, Any]:
    """A copy of the document whose parameters default to `overrides`. Its version hash differs accordingly.

    Raises InvalidInput for a name that is no parameter or a value outside its min and max.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    params = read_params(Reader(), changed.get("params", {}))
    for name, value in overrides.items():
        param = params.get(name)
        if param is None:
            message = f"no parameter is called {show(name)}{suggestion(name, params)}"
            raise InvalidInput(message, field=at("params", name))
        if not is_number(value) or not param.least <= value <= param.most:
            message = f"{name} must be a number from {param.least} to {param.most}, not {show(value)}"
            raise InvalidInput(message, field=at("params", name))
        changed["params"][name]["default"] = value
    return changed


def _read(reader: Reader, document: dict[str, Any]) -> Strategy | None:
    reader.fields(document, "", "a strategy", _REQUIRED, _OPTIONAL)
    given = document.get
    if "schema" in document and (given("schema") != SCHEMA_VERSION or not is_number(given("schema"))):
        reader.error("schema", f"this reads rule language {SCHEMA_VERSION}, not {show(given('schema'))}")
    name = reader.text(given("name", "?"), "name", 1, 80)
    note = reader.text(given("note", ""), "note", 0, 500)
    market = read_market(reader, given("market")) if "market" in document else None
    params = read_params(reader, given("params", {}))
    series_reader = SeriesReader(reader, params, market[1] if market else None)
    series = series_reader.read(given("series", {}))
    values = {key: param.value if param else 1 for key, param in params.items()}
    conditions = ConditionReader(reader, series, values)
    entry = conditions.condition(given("entry"), "entry") if "entry" in document else None
    exit_rule = conditions.condition(given("exit"), "exit") if "exit" in document else None
    order = read_order(reader, given("order")) if "order" in document else OrderStyle()
    sizing = read_sizing(reader, given("sizing")) if "sizing" in document else None
    protect = read_protect(reader, given("protect"), series) if "protect" in document else None
    limits = read_limits(reader, given("limits")) if "limits" in document else Limits()
    good = {key: item for key, item in series.items() if item is not None}
    if market:
        _check_series(reader, good, market[1])
    if reader.errors or not (name and market and entry and order and sizing and protect and limits) or note is None:
        return None
    # By name, as in the canonical text: the same strategy whatever order somebody wrote them in.
    specs = tuple(param for _, param in sorted(params.items()) if param is not None)
    strategy = Strategy(
        name, note, *market, values, specs, good, entry, exit_rule, order, sizing, protect, limits,
        canonical_json(document),
    )  # fmt: skip
    _check_whole(reader, strategy, series_reader.used_params)
    return strategy


def _check_series(reader: Reader, series: Mapping[str, Series], base_tf: str) -> None:
    """Timeframes are whole multiples of the base, sources share the timeframe, and nothing depends on itself."""
    base_ms = timeframe_ms(base_tf)
    for name, one in series.items():
        path = at("series", name)
        if timeframe_ms(one.tf) < base_ms:
            message = f"{one.tf} is lower than the base timeframe {base_tf}; use {base_tf} or higher"
            reader.error(at(path, "tf"), message)
        elif timeframe_ms(one.tf) % base_ms:
            reader.error(at(path, "tf"), f"{one.tf} is not a whole multiple of the base timeframe {base_tf}")
        source = series.get(one.src or "")
        if source and source.tf != one.tf:
            message = f"{name!r} is on {one.tf} but {one.src!r} is on {source.tf}; give both the same tf"
            reader.error(at(path, "src"), message)
        chain = _sources(series, name)
        if name in chain:
            reader.error(at(path, "src"), f"{name!r} is computed from itself: {' → '.join([name, *chain])}")


def _sources(series: Mapping[str, Series], name: str) -> list[str]:
    """The chain of sources below a series, cut where it comes round."""
    chain: list[str] = []
    source = series[name].src
    while source is not None and source in series and source not in chain:
        chain.append(source)
        source = series[source].src
    return chain


def _check_whole(reader: Reader, strategy: Strategy, used_params: set[str]) -> None:
    """Checks that need the whole strategy: ways out, sizing against stop, unused names, order of lengths, history."""
    protect = strategy.protect
    leaving = (strategy.exit, protect.stop, protect.trail, protect.time_stop_bars, protect.take_profit or None)
    if not any(way is not None for way in leaving):
        reader.error("exit", "nothing ever sells: add an exit rule, a stop, a trail, a target or a time stop")
    elif protect.stop is None:
        reader.warn("protect.stop", "there is no stop, so nothing bounds the loss of a position")
    elif not any(way is not None for way in (leaving[0], *leaving[2:])):
        reader.warn("exit", "only the stop ever sells")
    if isinstance(strategy.sizing, RiskPct):
        if protect.stop is None:
            reader.error("sizing.mode", "risk_pct sizes by the distance to the stop, and there is no stop")
        if strategy.sizing.pct > _RISKY_PCT:
            reader.warn("sizing.pct", f"risking {strategy.sizing.pct} % of equity on one trade is a lot")
    for name in sorted(protective_series(strategy)):
        if not FUNCTIONS[strategy.series[name].fn].is_distance:
            reader.warn("protect", f"{name!r} is used as a distance in price, but it is not one (atr and stddev are)")
    _warn_unused(reader, strategy, used_params)
    _warn_fast_slow(reader, strategy)
    needed = warmup_candles(strategy)
    if needed > MAX_WARMUP:
        reader.error("series", f"the first decision would need {needed:,} candles; {MAX_WARMUP:,} is the most")
    elif needed > LONG_WARMUP:
        hours = needed * timeframe_ms(strategy.timeframe) / 3_600_000
        message = f"the first decision needs {needed:,} {strategy.timeframe} candles ({hours:,.0f} hours) of history"
        reader.warn("series", message)


def _param_refs(operand: Operand) -> Iterator[str]:
    if isinstance(operand, ParamRef):
        yield operand.name
    elif isinstance(operand, Arithmetic):
        for part in operand.args:
            yield from _param_refs(part)


def _warn_unused(reader: Reader, strategy: Strategy, used_params: set[str]) -> None:
    in_rules = {
        name
        for condition in conditions_of(strategy)
        for leaf in leaves(condition)
        for _, operand in operands(leaf)
        for name in _param_refs(operand)
    }
    for name in strategy.series:
        if name not in used_series(strategy):
            reader.warn(at("series", name), f"the series {name!r} is not used")
    for name in strategy.params:
        if name not in used_params | in_rules:
            reader.warn(at("params", name), f"the parameter {name!r} is not used")


def _warn_fast_slow(reader: Reader, strategy: Strategy) -> None:
    """Names with `fast` and `slow` in them, and MACD lengths, should be in that order."""
    lengths: dict[str, Mapping[str, Number]] = {
        "params": strategy.params,
        "series": {name: one.args["len"] for name, one in strategy.series.items() if "len" in one.args},
    }
    lengths |= {at("series", name): one.args for name, one in strategy.series.items() if "fast" in one.args}
    for path, values in lengths.items():
        for name, value in values.items():
            slow = name.replace("fast", "slow")
            if slow != name and slow in values and value >= values[slow]:
                reader.warn(at(path, name), f"{name} ({value}) is not below {slow} ({values[slow]})")

