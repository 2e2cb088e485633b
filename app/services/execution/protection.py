"""What should rest on the exchange for a position: pure, from a plan, what is held and the symbol's rules.

A position is protected in parts. Each target of the strategy is one part: a stop and a target for the same coins,
of which one cancels the other (OCO). What no target covers is a part with the stop alone. The driver in `plans`
compares the wanted parts with the plan's working orders and moves the one towards the other.

The arithmetic (where a stop, a target and a trail lie, what is too small to be an order) is that of the backtest's
kernel, in decimals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from itertools import groupby
from typing import Any

from app.domain.money import ZERO, ceil_to_step, plain
from app.domain.orders import FINAL, Order, OrderRole, OrderStatus, OrderType
from app.domain.symbols import (
    FilterFailure,
    SymbolRules,
    notional_failure,
    percent_price_failure,
    price_failure,
    quantity_failure,
    round_price,
    round_quantity,
)
from app.services.execution.store import PlanRecord

_HUNDRED = Decimal(100)
#: Before an entry its protection is checked for a hundredth less than it may buy: what a fee or a better price take.
LESS_THAN_EXPECTED = Decimal("0.99")
_RESTING = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED})


class Reason(StrEnum):
    """Why a plan left its position; other words of `exit_reason` say why there was none."""

    RULE = "rule"
    STOP = "stop"
    TRAIL = "trail"  # a stop that had been moved up
    TARGET = "target"  # the last of the targets
    TIME = "time"
    STOPPED = "stopped"  # the run, with the wish to close
    KILL_SWITCH = "kill_switch"
    TAKEN_OVER = "taken_over"  # by a person; nothing was sold


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the ladder of targets: sell this base quantity at this price."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """Coins that are protected as one. Without a stop price there is a target alone; `at_once` sells at market."""

    quantity: Decimal
    stop_price: Decimal | None
    target_price: Decimal | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Working:
    """Orders of a plan that sell the same coins: a pair or a single one, and the part they make."""

    orders: tuple[Order, ...]
    part: Part

    @property
    def rests(self) -> bool:
        """Whether the exchange has confirmed it whole and nothing is about to change it."""
        return all(order.status in _RESTING for order in self.orders)

    @property
    def is_canceling(self) -> bool:
        """Whether it is already on its way out."""
        return any(order.status is OrderStatus.CANCELING for order in self.orders)


# --- where stop and targets lie ------------------------------------------------------------------------------


def stop_price(spec: Mapping[str, str], entry_price: Decimal, rules: SymbolRules) -> Decimal | None:
    """Price of the stop below an entry, on the tick below; None when the strategy said "none".

    `spec` is {"pct": "2"} (per cent of the entry), {"distance": "35.1"} (quote below it) or {"none": "yes"}.
    """
    if "none" in spec or not spec:
        return None
    return round_price(rules, entry_price - distance(spec, entry_price, None))


def distance(spec: Mapping[str, Any], entry_price: Decimal, stop: Decimal | None) -> Decimal:
    """A distance in quote: {"pct": …} of the entry price, {"distance": …} as it is, {"r": …} times entry − stop."""
    if "pct" in spec:
        return entry_price * Decimal(spec["pct"]) / _HUNDRED
    if "r" in spec:
        return (entry_price - stop) * Decimal(spec["r"]) if stop is not None else ZERO
    return Decimal(spec["distance"])


def first_stop(plan: PlanRecord, rules: SymbolRules) -> Decimal | None:
    """The stop as it was before any trailing: R is the distance from the entry to it."""
    return None if plan.entry_price is None else stop_price(plan.stop_spec, plan.entry_price, rules)


def ladder(
    protect: Mapping[str, Any], entry_price: Decimal, first_quantity: Decimal, stop: Decimal | None, rules: SymbolRules
) -> tuple[Step, ...]:
    """The targets as prices on the tick above and quantities of the first quantity, lowest price first."""
    steps = [
        Step(
            ceil_to_step(entry_price + distance(target, entry_price, stop), rules.tick_size),
            first_quantity * int(target["close_pct"]) / _HUNDRED,
        )
        for target in protect.get("targets", ())
    ]
    by_price = groupby(sorted(steps, key=lambda step: step.price), key=lambda step: step.price)
    return tuple(Step(price, sum((s.quantity for s in same), ZERO)) for price, same in by_price)


def is_sold_whole(protect: Mapping[str, Any]) -> bool:
    """Whether the targets together close all of the position: then the last of them takes what is left over."""
    return sum(int(target["close_pct"]) for target in protect.get("targets", ())) >= _HUNDRED


def still_open(steps: Sequence[Step], sells: Sequence[Order]) -> tuple[Step, ...]:
    """What each step has still to sell. Sales at a step's price count for it; all others for the lowest steps."""
    sold = {step.price: ZERO for step in steps}
    loose = ZERO
    for order in sells:
        if role_of(order) is not OrderRole.TARGET:
            continue
        if order.price in sold:
            sold[order.price] += order.filled
        else:
            loose += order.filled
    loose += sum((max(ZERO, sold[step.price] - step.quantity) for step in steps), ZERO)
    left = []
    for step in steps:
        rest = max(ZERO, step.quantity - sold[step.price])
        used = min(rest, loose)
        loose -= used
        left.append(Step(step.price, rest - used))
    return tuple(left)


# --- parts ---------------------------------------------------------------------------------------------------


def wanted_parts(
    quantity: Decimal,
    stop: Decimal | None,
    steps: Sequence[Step],
    rules: SymbolRules,
    *,
    whole: bool = False,
    plainly: Collection[Decimal] = (),
    at_once: Collection[Decimal] = (),
) -> tuple[Part, ...]:
    """How `quantity` coins are to rest, lowest target first, what no target sells last; () when nothing can rest.

    A step that is too small to be an order stays with the rest; a rest that is too small goes with the last target,
    and so does everything left over when the targets sell the `whole`. Steps at a price in `plainly` get their stop
    alone, those in `at_once` are sold at market: the exchange has refused their pair.
    """
    left = round_quantity(rules, quantity, is_market=True)
    parts: list[Part] = []
    for step in steps:
        part = Part(min(round_quantity(rules, step.quantity, is_market=True), left), stop, step.price)
        if part.quantity > 0 and part_failure(part, rules) is None:
            parts.append(part)
            left -= part.quantity
    rest = Part(left, stop)
    if left > 0 and parts and (whole or part_failure(rest, rules) is not None):
        parts[-1] = replace(parts[-1], quantity=parts[-1].quantity + left)
    elif left > 0 and stop is not None and part_failure(rest, rules) is None:
        parts.append(rest)
    shaped = (_as_refused(part, plainly, at_once) for part in parts)
    return tuple(piece for part in shaped if part is not None for piece in _pieces(part, rules))


def part_failure(part: Part, rules: SymbolRules) -> FilterFailure | None:
    """The first filter that one of the part's orders would break; a part too large for one order is sent in pieces."""
    quantity, failure = min(part.quantity, _most(rules) or part.quantity), None
    for at, is_market in ((part.stop_price, True), (part.target_price, False)):
        if at is not None and failure is None:
            failure = quantity_failure(rules, quantity, is_market=is_market)
            failure = failure or notional_failure(rules, quantity * at, is_market=is_market)
    return failure


def _most(rules: SymbolRules) -> Decimal:
    """The most coins that one stop may sell; 0 when there is no such bound."""
    bounds = [most for most in (rules.max_qty, rules.market_max_qty) if most]
    return round_quantity(rules, min(bounds), is_market=True) if bounds else ZERO


def _as_refused(part: Part, plainly: Collection[Decimal], at_once: Collection[Decimal]) -> Part | None:
    if part.target_price in at_once:
        return Part(part.quantity, None, at_once=True)
    if part.target_price in plainly:
        return replace(part, target_price=None) if part.stop_price is not None else None
    return part


def _pieces(part: Part, rules: SymbolRules) -> list[Part]:
    """The part, or several when it is more than one order may be."""
    most, left = _most(rules) or part.quantity, part.quantity
    pieces: list[Part] = []
    while left > 0:
        piece = replace(part, quantity=min(left, most))
        if pieces and part_failure(piece, rules) is not None:
            break  # a last piece too small to be an order: a person is told that it is not covered
        pieces.append(piece)
        left -= piece.quantity
    return pieces


def role_of(order: Order) -> OrderRole:
    """What a plan's order is for; one made without a role tells by its type."""
    if order.role is not None:
        return order.role
    if order.side == "BUY":
        return OrderRole.ENTRY
    if order.type is OrderType.MARKET:
        return OrderRole.EXIT
    return OrderRole.STOP if order.stop_price is not None else OrderRole.TARGET


def working_parts(sells: Sequence[Order]) -> tuple[Working, ...]:
    """The stops and targets among a plan's sales that are not final, pair by pair, oldest first."""
    found: dict[str, list[Order]] = {}
    for order in sells:
        if order.status not in FINAL and role_of(order) is not OrderRole.EXIT:
            found.setdefault(order.list_client_order_id or order.client_order_id, []).append(order)
    return tuple(Working(tuple(orders), _part_of(orders)) for orders in found.values())


def _part_of(orders: Sequence[Order]) -> Part:
    """The legs that still work. Of a pair whose target trades in part, the stop has ended: the rest has none."""
    stop = next((o.stop_price for o in orders if o.stop_price is not None), None)
    target = next((o.price for o in orders if o.price is not None), None)
    quantity = max((o.quantity or ZERO) - o.filled for o in orders)
    return Part(quantity, stop, target, at_once=orders[0].type is OrderType.MARKET)


@dataclass(frozen=True, slots=True)
class Difference:
    """How what works differs from what is wanted."""

    missing: tuple[Part, ...]
    extra: tuple[Working, ...]


def compare(wanted: Sequence[Part], working: Sequence[Working]) -> Difference:
    """The wanted parts that no order makes, and the orders that make no wanted part."""
    left = Counter(wanted)
    extra = []
    for one in working:
        if left[one.part] > 0:
            left[one.part] -= 1
        else:
            extra.append(one)
    missing = []
    for part in wanted:
        if left[part] > 0:
            left[part] -= 1
            missing.append(part)
    return Difference(tuple(missing), tuple(extra))


# --- before the entry ----------------------------------------------------------------------------------------


def entry_problem(
    stop_spec: Mapping[str, str],
    protect: Mapping[str, Any],
    *,
    quantity: Decimal,
    entry_price: Decimal,
    rules: SymbolRules,
) -> str | None:
    """Why the exchange would not take this position's protection, in words; None when it would.

    Checked before the entry is sent, for a little less than the entry may buy: sizes and values of all parts at
    their stop, prices on their filters, how many stops may rest at once.
    """
    stop = stop_price(stop_spec, entry_price, rules)
    steps = ladder(protect, entry_price, quantity, stop, rules)
    failure = None if stop is None else price_failure(rules, stop, field="stop_price")
    for step in steps:
        failure = failure or price_failure(rules, step.price, field="target price")
        failure = failure or percent_price_failure(rules, step.price, entry_price, is_buy=False)
    if failure is not None:
        return failure.message
    if stop is None and not steps:
        return None
    held = round_quantity(rules, quantity * LESS_THAN_EXPECTED, is_market=True)
    parts = wanted_parts(held, stop, steps, rules, whole=is_sold_whole(protect))
    if not parts:
        alone = Part(held, stop, None if stop is not None else steps[-1].price)
        failure = part_failure(alone, rules)
        return failure.message if failure else f"{plain(held)} {rules.base_asset} cannot be protected"
    stops = sum(part.stop_price is not None for part in parts)
    if rules.max_num_algo_orders and stops > rules.max_num_algo_orders:
        return f"its protection needs {stops} stops, and {rules.symbol} allows {rules.max_num_algo_orders} at once"
    return None


# --- the trail -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candle:
    """A closed candle as a trail looks at it."""

    open_time_ms: int
    high: Decimal
    close: Decimal


def trailed(plan: PlanRecord, candles: Sequence[Candle], rules: SymbolRules) -> PlanRecord:
    """The plan after these closed candles, oldest first, each looked at once.

    From the candle of the entry on: the stop lies the trail's distance below the highest price since the entry, once
    that price was `trail_after_r` R above it, on the tick below, and never moves down. What the close of a candle
    moves is in force from the next one on. A limit is met somewhere in its candle, so of that one only the close is
    certain to have come after. The same as the backtest's.
    """
    trail, entry = plan.protect.get("trail"), plan.entry_price
    new = [candle for candle in candles if plan.trailed_ms is None or candle.open_time_ms > plan.trailed_ms]
    if not trail or entry is None or not new:
        return plan
    certain = new[0].close if plan.highest is None and plan.protect.get("is_limit") else new[0].high
    highest = max(plan.highest or entry, certain, *(candle.high for candle in new[1:]))
    plan = replace(plan, highest=highest, trailed_ms=new[-1].open_time_ms)
    stop = first_stop(plan, rules)
    begins = entry + distance({"r": plan.protect.get("trail_after_r", "0")}, entry, stop)
    level = round_price(rules, highest - distance(trail, entry, stop))
    if highest >= begins and level > (plan.stop_price or ZERO) and level < highest:
        plan = replace(plan, stop_price=level)
    return plan
