"""What a live run makes of a strategy, and what it cannot: a strategy that needs that is refused at the start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.domain.errors import InvalidInput
from app.domain.money import plain
from app.services.strategy.candles import timeframe_ms
from app.services.strategy.evaluation import Evaluation
from app.services.strategy.problems import Problem
from app.services.strategy.rules import Distance, PctDistance, RDistance, Strategy

_HUNDRED = Decimal(100)


def unsupported_live(strategy: Strategy) -> tuple[Problem, ...]:
    """What a live run would not carry out of this strategy, in words; () when it would do everything.

    Carried out: one symbol, one position at a time, market and limit entries, the stop (or none, said on purpose),
    targets, the trail, the time stop, the exit rule, cooldown, entries a day, all ways of sizing.
    """
    problems = []
    if len(strategy.symbols) > 1:
        problems.append(Problem("market.symbols", "a live run trades one symbol; start one run for each"))
    if strategy.limits.max_open != 1:
        problems.append(Problem("limits.max_open", "a live run holds one position at a time"))
    return tuple(problems)


@dataclass(frozen=True, slots=True)
class PlanSpecs:
    """A strategy's protection as a plan keeps it: JSON, every series measured at the candle of the decision.

    `stop` is {"pct"}, {"distance"} (in quote) or {"none": "yes"}; `protect` may hold `targets` (a distance and a
    `close_pct` each), `trail`, `trail_after_r`, `timeframe_ms` and `is_limit`. Numbers are text.
    """

    stop: dict[str, str]
    protect: dict[str, Any]


def plan_specs(evaluation: Evaluation, index: int) -> PlanSpecs:
    """The protection of an entry that is decided at bar `index`, so that nothing is left to be evaluated later.

    A stopped or crashed strategy's plan goes on by these alone. Raises InvalidInput when a distance is missing there
    or not above zero.
    """
    strategy = evaluation.strategy
    protect = strategy.protect
    stop = {"none": "yes"} if protect.stop is None else _measured(protect.stop, evaluation, index)
    kept: dict[str, Any] = {"timeframe_ms": timeframe_ms(strategy.timeframe)}
    if strategy.order.type == "limit":
        kept["is_limit"] = True
    if protect.take_profit:
        kept["targets"] = [
            _measured(target.at, evaluation, index) | {"close_pct": target.close_pct} for target in protect.take_profit
        ]
    if protect.trail is not None:
        kept["trail"] = _measured(protect.trail, evaluation, index)
        kept["trail_after_r"] = plain(protect.trail_after_r or Decimal(0))
    return PlanSpecs(stop, kept)


def _measured(distance: Distance, evaluation: Evaluation, index: int) -> dict[str, Any]:
    match distance:
        case PctDistance(pct=pct):
            return {"pct": plain(pct)}
        case RDistance(r=r):
            return {"r": plain(r)}
        case _:
            value = float(evaluation.series[distance.series][index])
            if math.isnan(value) or value <= 0:
                words = f"{distance.series!r} has no value above zero at this candle, so the position has no protection"
                raise InvalidInput(words, field="protect")
            return {"distance": plain(Decimal(repr(value)) * distance.mult)}


def limit_price(strategy: Strategy, close: Decimal) -> Decimal | None:
    """Where a limit entry decided at this close rests, not rounded; None for entries at market."""
    if strategy.order.type != "limit":
        return None
    return close * (1 - strategy.order.limit_offset_pct / _HUNDRED)
