"""What a plan does next: pure, from the plan, its orders and what is held, to its next state and at most one act.

States: ENTERING until the entry has bought something; PROTECTING while some part of the protection is missing, on
its way or out of place; PROTECTED while every part rests on the exchange; EXITING while all is cancelled and sold;
CLOSED. Nothing here remembers an act: the next look decides again from what the rows say, so a crash between any two
transactions changes nothing. Never two orders sell the same coins: what is to be placed waits until coins are free
of what is to be cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.money import ZERO, quantise_quote
from app.domain.orders import FINAL, Order, OrderRole, OrderStatus, OrderType
from app.domain.symbols import SymbolRules, market_part, round_price
from app.models.execution import PlanState
from app.services.execution import protection
from app.services.execution.protection import Part, Reason, Working, role_of, working_parts
from app.services.execution.store import PlanRecord

#: Waits between tries to place a stop or to sell; the last one for ever. Nobody stops trying.
RETRY_AFTER_MS = (1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
#: After this many refused tries in a row a person is called (and the tries go on).
CALL_AFTER_TRIES = 4
#: Coins held for longer than this without the stop that was wanted open an incident, whatever the cause.
UNPROTECTED_AFTER_MS = 30_000
#: The engine itself refused a stop: most often the price is already below it, and then a stop means "sell now".
ENGINE_REFUSAL = "-2010"
#: A pair that the engine refused is not sent again for so long; meanwhile its coins have a stop alone.
PAIR_AGAIN_MS = 60_000
ENTERING, PROTECTING, PROTECTED, EXITING, CLOSED = (s.value for s in PlanState)
_PLACED = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED, OrderStatus.CANCELED})
_LEAST = Decimal("1e-18")


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan is decided on.

    `sells` are its sales, oldest first. `held` is the run's position in base, net of fees paid in base; `free` is
    what the account has of it that no working order reserves. `is_placing`: a part was placed in this same look.
    """

    entry: Order | None
    sells: tuple[Order, ...]
    held: Decimal
    free: Decimal
    price: Decimal | None
    rules: SymbolRules
    now_ms: int
    is_placing: bool = False


@dataclass(frozen=True, slots=True)
class PlacePart:
    """Rest this part on the exchange (or, `at_once`, sell it at market)."""

    part: Part


@dataclass(frozen=True, slots=True)
class CancelOrders:
    """Take these orders away: they no longer fit, or the position is to be sold otherwise or is gone."""

    order_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SellAll:
    """Sell this quantity at market."""

    quantity: Decimal


Act = PlacePart | CancelOrders | SellAll


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person has to know; the plan goes on. With a key the incident is closed when it is over."""

    kind: str
    message: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A plan's next state, the one act it needs now, and what a person is to be told."""

    plan: PlanRecord
    act: Act | None = None
    alarm: Alarm | None = None


def decide(plan: PlanRecord, facts: PlanFacts) -> Move:
    """What a plan does next; the same plan and no act when it has to wait."""
    match plan.state:
        case PlanState.ENTERING.value:
            return _entering(plan, facts)
        case PlanState.PROTECTING.value | PlanState.PROTECTED.value:
            return _holding(plan, facts)
        case PlanState.EXITING.value:
            return _exiting(plan, facts)
    return Move(plan)


def reopened(plan: PlanRecord) -> PlanRecord:
    """A closed plan whose entry turned out to have bought after all: its coins need their stop."""
    return replace(plan, state=PROTECTING, exit_reason="", tries=0, next_try_ms=None)


def sellable(facts: PlanFacts, quantity: Decimal) -> Decimal:
    """The part of `quantity` that one market order can sell; 0 when it is dust."""
    return market_part(facts.rules, quantity, facts.price)


# --- is it protected? ----------------------------------------------------------------------------------------


def watched(plan: PlanRecord, facts: PlanFacts, *, after_ms: int = UNPROTECTED_AFTER_MS) -> Move:
    """Since when coins lie without the stop that was wanted for them; an alarm once that lasts too long.

    By time alone, whatever the cause: a part that was refused, an outcome that nobody knows, a frozen account, an
    exit that nobody buys.
    """
    if plan.state == CLOSED or not is_exposed(plan, facts):
        return Move(replace(plan, unprotected_since_ms=None))
    since_ms = plan.unprotected_since_ms if plan.unprotected_since_ms is not None else facts.now_ms
    plan = replace(plan, unprotected_since_ms=since_ms)
    if facts.now_ms - since_ms < after_ms:
        return Move(plan)
    words = f"plan {plan.id} has held {plan.symbol} for more than {after_ms // 1000} s without its stop on the exchange"
    return Move(plan, alarm=Alarm("UNPROTECTED", words, key=incident_key(plan)))


def incident_key(plan: PlanRecord) -> str:
    """By which the plan's incident is found again when it is over."""
    return f"plan:{plan.id}"


def is_exposed(plan: PlanRecord, facts: PlanFacts) -> bool:
    """Whether coins are held that could be sold and that no stop on the exchange covers, although one was wanted."""
    if plan.stop_price is None and "none" in plan.stop_spec:
        return False
    resting = (one for one in working_parts(facts.sells) if one.rests and one.part.stop_price is not None)
    covered = sum((one.part.quantity for one in resting), ZERO)
    return sellable(facts, facts.held - covered) > 0


# --- states --------------------------------------------------------------------------------------------------


def _entering(plan: PlanRecord, facts: PlanFacts) -> Move:
    entry = facts.entry
    if entry is None:
        return Move(plan)
    if entry.status in FINAL and entry.filled == 0:
        return Move(_closed(plan, f"the entry was {entry.status.lower()}"))
    if entry.status in FINAL or (entry.filled > 0 and entry.type is not OrderType.MARKET):
        return Move(replace(plan, state=PROTECTING))  # what a resting entry has bought so far is protected as well
    return Move(plan, _give_up_entry(plan, facts))


def _give_up_entry(plan: PlanRecord, facts: PlanFacts) -> Act | None:
    """Cancel an entry that still rests although its time is over or the position is to be left."""
    entry = facts.entry
    if entry is None or entry.status in FINAL or entry.status is OrderStatus.CANCELING:
        return None
    is_over = plan.entry_until_ms is not None and facts.now_ms >= plan.entry_until_ms
    leaves = bool(plan.exit_reason) or plan.state == EXITING
    if entry.type is OrderType.MARKET or not (is_over or leaves):
        return None
    return CancelOrders((entry.id,))


def _holding(plan: PlanRecord, facts: PlanFacts) -> Move:
    priced = _priced(plan, facts)
    if priced != plan:
        return Move(priced)
    if (given_up := _give_up_entry(plan, facts)) is not None:
        return Move(plan, given_up)
    if facts.sells and facts.sells[-1].status in _PLACED and plan.tries:
        plan = replace(plan, tries=0, next_try_ms=None)
    stray = [o for o in facts.sells if role_of(o) is OrderRole.EXIT and o.status not in FINAL]
    if stray:  # an exit that was given up has come back
        return Move(_unprotected(plan), _cancel(tuple(stray)))
    working = working_parts(facts.sells)
    if any(_is_selling(order) for one in working for order in one.orders):
        return Move(plan)  # a stop has been triggered and sells
    if (reason := _why_leave(plan, facts)) is not None:
        return Move(replace(plan, state=EXITING, exit_reason=plan.exit_reason or reason, next_try_ms=None))
    if sellable(facts, facts.held) == 0:
        return _nothing_left(plan, facts, working)
    return _arrange(plan, facts, working)


def _priced(plan: PlanRecord, facts: PlanFacts) -> PlanRecord:
    """The plan with its stop from the price really paid; with its ladder's size, once the entry has ended."""
    entry = facts.entry
    if entry is None or entry.filled == 0 or plan.entry_price is not None:
        return plan
    paid = quantise_quote(entry.filled_quote / entry.filled)
    if entry.status not in FINAL:
        return plan if plan.stop_price is not None else replace(plan, stop_price=_first_stop(plan, paid, facts))
    if plan.protect.get("is_limit"):  # the candle it was met in is the first to be trailed on
        length_ms = int(plan.protect["timeframe_ms"])
        plan = replace(plan, trailed_ms=facts.now_ms // length_ms * length_ms - length_ms)
    stop = _first_stop(plan, paid, facts)
    return replace(plan, entry_price=paid, first_quantity=max(facts.held, ZERO), stop_price=stop)


def _first_stop(plan: PlanRecord, paid: Decimal, facts: PlanFacts) -> Decimal | None:
    return protection.stop_price(plan.stop_spec, paid, facts.rules)


def _is_selling(order: Order) -> bool:
    return role_of(order) is OrderRole.STOP and order.filled > 0


def _why_leave(plan: PlanRecord, facts: PlanFacts) -> str | None:
    """Why the position is to be sold now, if it is."""
    stops = [o for o in facts.sells if role_of(o) is OrderRole.STOP]
    hit = Reason.TRAIL if _is_trailed(plan, facts) else Reason.STOP
    if any(order.filled > 0 and order.status in FINAL for order in stops):
        return hit  # where one stop has sold, no other one may be waited for
    if plan.exit_reason:
        return plan.exit_reason
    if plan.state == PROTECTING and any(_is_refused(o) and o.stop_price == _stop_of(plan, facts) for o in stops):
        return hit  # a pair's prices have two sides; a stop alone is refused because the price is below it
    if plan.time_stop_ms is not None and facts.now_ms >= plan.time_stop_ms:
        return Reason.TIME
    return "the position is gone" if facts.held <= 0 and working_parts(facts.sells) else None


def _is_refused(order: Order, *, in_pair: bool = False) -> bool:
    """Whether the engine itself refused this order, sent alone or as one of a pair."""
    paired = order.list_client_order_id is not None
    return order.status is OrderStatus.REJECTED and order.reject_code == ENGINE_REFUSAL and paired is in_pair


def _is_trailed(plan: PlanRecord, facts: PlanFacts) -> bool:
    first = protection.first_stop(plan, facts.rules)
    return plan.stop_price is not None and plan.stop_price > (first or ZERO)


def _nothing_left(plan: PlanRecord, facts: PlanFacts, working: tuple[Working, ...]) -> Move:
    entry = facts.entry
    if entry is not None and entry.status not in FINAL:
        return Move(plan)  # it may buy more
    waiting = [one for one in working if not one.is_canceling]
    if waiting:
        return Move(_unprotected(plan), _cancel(waiting[0].orders))
    if working:
        return Move(plan)
    by_target = any(role_of(o) is OrderRole.TARGET and o.filled > 0 for o in facts.sells)
    return Move(_closed(plan, Reason.TARGET if by_target else "too little left to sell"))


def _arrange(plan: PlanRecord, facts: PlanFacts, working: tuple[Working, ...]) -> Move:
    """Move what works one step towards what is wanted: place what fits, else cancel what is in its way."""
    covered = sum((one.part.quantity for one in working), ZERO)
    uncovered = max(min(facts.held - covered, facts.free), ZERO)
    entry_works = facts.entry is not None and facts.entry.status not in FINAL
    if entry_works and working and sellable(facts, uncovered) == 0:
        return Move(_settled(plan, working))  # a few coins more do not move the stop of the others
    reach = min(facts.held, covered + uncovered)
    wanted = _wanted(plan, facts, reach)
    difference = protection.compare(wanted, working)
    if not difference.missing and not difference.extra:
        alarm = _why_not_covered(plan, facts, reach, wanted)
        return Move(_settled(plan, working)) if alarm is None else Move(_unprotected(plan), alarm=alarm)
    plan = _unprotected(plan)
    fitting = next((part for part in difference.missing if part.quantity <= uncovered), None)
    if fitting is not None:
        act, left = PlacePart(fitting), facts.held - covered - uncovered
        return _try(plan, facts, act, "no stop could be placed for", _not_covered(plan, facts, left))
    if difference.extra and all(one.rests for one in working) and not _has_to_wait(plan, facts):
        return Move(plan, _cancel(difference.extra[0].orders))
    return Move(plan)


def _wanted(plan: PlanRecord, facts: PlanFacts, quantity: Decimal) -> tuple[Part, ...]:
    rules, stop = facts.rules, _stop_of(plan, facts)
    if plan.entry_price is None or plan.first_quantity is None:
        return protection.wanted_parts(quantity, stop, (), rules)  # the entry still buys: one stop for all of it
    first = protection.first_stop(plan, rules)
    steps = protection.ladder(plan.protect, plan.entry_price, plan.first_quantity, first, rules)
    refused = {
        order.price
        for order in facts.sells
        if _is_refused(order, in_pair=True)
        and order.price is not None
        and facts.now_ms - order.created_at_ms < PAIR_AGAIN_MS
    }
    reached = {price for price in refused if facts.price is not None and facts.price >= price}
    return protection.wanted_parts(
        quantity,
        stop,
        protection.still_open(steps, facts.sells),
        rules,
        whole=protection.is_sold_whole(plan.protect),
        plainly=refused - reached,
        at_once=reached,
    )


def _stop_of(plan: PlanRecord, facts: PlanFacts) -> Decimal | None:
    """Where the stop lies now: on the tick of the day."""
    return None if plan.stop_price is None else round_price(facts.rules, plan.stop_price)


def _settled(plan: PlanRecord, working: tuple[Working, ...]) -> PlanRecord:
    return replace(plan, state=PROTECTED, tries=0, next_try_ms=None) if all(one.rests for one in working) else plan


def _unprotected(plan: PlanRecord) -> PlanRecord:
    return replace(plan, state=PROTECTING)


def _cancel(orders: tuple[Order, ...]) -> CancelOrders | None:
    ids = tuple(order.id for order in orders if order.status is not OrderStatus.CANCELING)
    return CancelOrders(ids) if ids else None


def _exiting(plan: PlanRecord, facts: PlanFacts) -> Move:
    if (given_up := _give_up_entry(plan, facts)) is not None:
        return Move(plan, given_up)
    if facts.sells and facts.sells[-1].status in _PLACED and plan.tries and role_of(facts.sells[-1]) is OrderRole.EXIT:
        plan = replace(plan, tries=0, next_try_ms=None)
    # Never two orders selling the same coins: the exit waits until all protection is confirmed gone.
    if working := working_parts(facts.sells):
        return Move(plan, _cancel(tuple(order for one in working for order in one.orders)))
    if any(o.status not in FINAL for o in facts.sells) or (facts.entry and facts.entry.status not in FINAL):
        return Move(plan)
    if sellable(facts, facts.held) == 0:
        return Move(_closed(plan, plan.exit_reason))
    quantity = sellable(facts, min(facts.held, max(facts.free, ZERO)))
    alarm = _not_covered(plan, facts, facts.held - quantity)
    return _try(plan, facts, SellAll(quantity) if quantity else None, "the exit was refused for", alarm)


def _has_to_wait(plan: PlanRecord, facts: PlanFacts) -> bool:
    failed = _newest_failure(facts)
    if facts.is_placing or (failed is None and facts.sells):
        return False
    if failed is not None and _is_refused(failed, in_pair=True):
        return False  # what takes the place of a refused pair is something else than it
    return plan.next_try_ms is not None and facts.now_ms < plan.next_try_ms


def _newest_failure(facts: PlanFacts) -> Order | None:
    """The newest sale that came to nothing, unless a newer one has reached the book. One on its way says nothing."""
    for order in reversed(facts.sells):
        if order.status in _PLACED:
            return None
        if order.status in FINAL:
            return order
    return None


def _try(plan: PlanRecord, facts: PlanFacts, act: Act | None, trouble: str, alarm: Alarm | None) -> Move:
    """One more try to sell or protect; never too often. `alarm`: of coins that it does not reach."""
    if _has_to_wait(plan, facts):
        return Move(plan)
    if facts.is_placing:
        return Move(plan, act, alarm)  # another part of the same try
    tries = plan.tries if _newest_failure(facts) is not None or not facts.sells else 0
    wait_ms = RETRY_AFTER_MS[min(tries, len(RETRY_AFTER_MS) - 1)]
    after = replace(plan, tries=tries + 1, next_try_ms=facts.now_ms + wait_ms)
    if after.tries >= CALL_AFTER_TRIES and act is not None:
        alarm = Alarm("PROTECTION_REFUSED", f"{trouble} a {plan.symbol} position (plan {plan.id}); trying again")
    return Move(after, act, alarm)


def _why_not_covered(plan: PlanRecord, facts: PlanFacts, reach: Decimal, wanted: tuple[Part, ...]) -> Alarm | None:
    """What is wanted may cover less than what is held: coins are not free, or too few to be an order."""
    left = facts.held - sum((part.quantity for part in wanted), ZERO)
    if plan.stop_price is None or sellable(facts, left) == 0:
        return None
    failure = protection.part_failure(Part(reach, plan.stop_price), facts.rules) if reach > 0 else None
    if failure is None:
        return _not_covered(plan, facts, left)
    words = f"the stop of a {plan.symbol} position (plan {plan.id}) cannot be placed: {failure.message}"
    return Alarm("PROTECTION_REFUSED", words)


def _not_covered(plan: PlanRecord, facts: PlanFacts, left: Decimal) -> Alarm | None:
    if left < max(facts.rules.step_size, facts.rules.market_step_size, _LEAST):
        return None
    words = f"a run holds more {plan.symbol} than the account has free to sell or the exchange takes in one order"
    return Alarm("POSITION_NOT_COVERED", words)


def _closed(plan: PlanRecord, reason: str) -> PlanRecord:
    return replace(plan, state=CLOSED, exit_reason=plan.exit_reason or reason)
