"""What a live run cannot do yet. A strategy that needs it is refused at the start, never traded without it."""

from __future__ import annotations

from app.services.strategy.problems import Problem
from app.services.strategy.rules import Strategy


def unsupported_live(strategy: Strategy) -> tuple[Problem, ...]:
    """What a live run would not carry out of this strategy, in words; () when it would do everything.

    Carried out: one symbol, market entries, the stop (or none, said on purpose), the exit rule, the time stop,
    cooldown, entries a day, all ways of sizing.
    """
    problems = []
    if len(strategy.symbols) > 1:
        problems.append(Problem("market.symbols", "a live run trades one symbol; start one run for each"))
    if strategy.order.type == "limit":
        problems.append(Problem("order.type", "a live run enters with market orders only, not limit orders yet"))
    if strategy.protect.take_profit:
        problems.append(Problem("protect.take_profit", "a live run does not place take-profit targets yet"))
    if strategy.protect.trail is not None:
        problems.append(Problem("protect.trail", "a live run does not trail a stop yet"))
    if strategy.limits.max_open != 1:
        problems.append(Problem("limits.max_open", "a live run holds one position at a time"))
    return tuple(problems)
