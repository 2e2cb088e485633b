"""What changed from one version of a strategy to the next, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.services.strategy.reading import (
    say_condition,
    say_distance,
    say_limits,
    say_number,
    say_order,
    say_series,
    say_sizing,
    say_target,
)
from app.services.strategy.rules import AllOf, AnyOf, Condition, Param, Strategy, parts_of


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs. `path` is where it stands in the document; "" as `was` or `now`: it is not there."""

    path: str
    was: str
    now: str


def differences(old: Strategy, new: Strategy) -> tuple[Change, ...]:
    """Every part that reads differently, in the order of the document; () for two versions that do the same."""
    before, after = dict(_parts(old)), dict(_parts(new))
    found = [Change(path, before.get(path, ""), after.get(path, "")) for path in before | after]
    changes = (change for change in found if change.was != change.now)
    return (*changes, *_conditions("entry", old, new), *_conditions("exit", old, new))


def _parts(strategy: Strategy) -> Iterator[tuple[str, str]]:
    yield "name", strategy.name
    yield "note", strategy.note
    yield "market.symbols", ", ".join(strategy.symbols)
    yield "market.timeframe", strategy.timeframe
    for param in strategy.param_specs:
        yield f"params.{param.name}", _param(param)
    for name in sorted(strategy.series):
        yield f"series.{name}", say_series(strategy, name)
    yield from _protection(strategy)
    yield "order", say_order(strategy)
    yield "sizing", say_sizing(strategy.sizing)
    yield "limits", say_limits(strategy)


def _param(param: Param) -> str:
    bounds = f"{say_number(param.least)} to {say_number(param.most)}, step {say_number(param.step)}"
    label = f", “{param.label}”" if param.label else ""
    return f"{say_number(param.value)} ({bounds}{label})"


def _protection(strategy: Strategy) -> Iterator[tuple[str, str]]:
    protect = strategy.protect
    yield "protect.stop", "none" if protect.stop is None else say_distance(strategy, protect.stop)
    for place, target in enumerate(protect.take_profit):
        yield f"protect.take_profit[{place}]", say_target(strategy, target)
    yield "protect.trail", "" if protect.trail is None else say_distance(strategy, protect.trail)
    yield "protect.trail_after_r", "" if protect.trail_after_r is None else say_number(protect.trail_after_r)
    yield "protect.time_stop_bars", "" if protect.time_stop_bars is None else str(protect.time_stop_bars)


def _conditions(path: str, old: Strategy, new: Strategy) -> Iterator[Change]:
    """What came and what went; the whole rule where `all` became `any` or the like."""
    was, now = _rule(old, path), _rule(new, path)
    if not _same_group(was, now):
        texts = ["" if rule is None else say_condition(of, rule) for of, rule in ((old, was), (new, now))]
        if texts[0] != texts[1]:
            yield Change(path, texts[0], texts[1])
        return
    before, after = _clauses(old, was), _clauses(new, now)
    yield from (Change(at, clause, "") for clause, at in before.items() if clause not in after)
    yield from (Change(at, "", clause) for clause, at in after.items() if clause not in before)


def _rule(strategy: Strategy, path: str) -> Condition | None:
    return strategy.entry if path == "entry" else strategy.exit


def _same_group(was: Condition | None, now: Condition | None) -> bool:
    return type(was) is type(now) and isinstance(was, AllOf | AnyOf)


def _clauses(strategy: Strategy, group: Condition | None) -> Mapping[str, str]:
    """Clause → its path, for each part of a group."""
    parts = () if group is None else parts_of(group)
    return {say_condition(strategy, part): part.path for part in parts}
