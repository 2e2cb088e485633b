"""An entry and its protection are one plan, owned by execution until the position is closed.

`decide` is pure: from a plan, its orders and what is held, to the next state and at most one act. The driver
carries the act out in the same transaction. A crash in between changes nothing: the next look decides again.
A stopped or crashed strategy makes no new entries, but its plans go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.clock import Clock, Ids
from app.domain.errors import PlumblineError
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, EventSource, Order, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules, notional_failure, quantity_failure, round_price, round_quantity
from app.models.execution import PlanState
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.store import PlanRecord, Transaction

#: How often a stop or an exit may be refused before a person is called.
MOST_TRIES = 5
ENTERING, PROTECTING, PROTECTED, EXITING, CLOSED = (s.value for s in PlanState)


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan is decided on. `held` is the run's position in base, net of fees paid in base."""

    entry: Order | None
    stop: Order | None
    exit: Order | None
    held: Decimal
    price: Decimal | None
    rules: SymbolRules
    now_ms: int


@dataclass(frozen=True, slots=True)
class PlaceStop:
    """Rest a stop for this quantity at this price on the exchange."""

    quantity: Decimal
    stop_price: Decimal


@dataclass(frozen=True, slots=True)
class CancelStop:
    """Take the resting stop away, because the position is to be sold or is gone."""

    order_id: int


@dataclass(frozen=True, slots=True)
class SellAll:
    """Sell this quantity at market."""

    quantity: Decimal


@dataclass(frozen=True, slots=True)
class CallAPerson:
    """Open an incident."""

    kind: str
    message: str


Act = PlaceStop | CancelStop | SellAll | CallAPerson


def decide(plan: PlanRecord, facts: PlanFacts) -> tuple[PlanRecord, Act | None]:
    """The plan's next state and the one act it needs now; the same plan and None when it has to wait."""
    match plan.state:
        case PlanState.ENTERING.value:
            return _entering(plan, facts)
        case PlanState.PROTECTING.value:
            return _protecting(plan, facts)
        case PlanState.PROTECTED.value:
            return _protected(plan, facts)
        case PlanState.EXITING.value:
            return _exiting(plan, facts)
    return plan, None


def stop_price(spec: dict[str, str], entry_price: Decimal, rules: SymbolRules) -> Decimal | None:
    """Price of the stop below an entry, on the tick; None when the strategy said "none".

    `spec` is {"pct": "2"} (per cent below the entry), {"distance": "35.1"} (quote below it) or {"none": "yes"}.
    """
    if "pct" in spec:
        return round_price(rules, entry_price * (1 - Decimal(spec["pct"]) / 100))
    if "distance" in spec:
        return round_price(rules, entry_price - Decimal(spec["distance"]))
    return None


def sellable(facts: PlanFacts) -> Decimal:
    """The part of the position that can be sold in one order; 0 when what is left is dust."""
    quantity = round_quantity(facts.rules, max(facts.held, ZERO), is_market=True)
    if quantity == 0 or quantity_failure(facts.rules, quantity, is_market=True) is not None:
        return ZERO
    if facts.price is not None and notional_failure(facts.rules, quantity * facts.price, is_market=True) is not None:
        return ZERO
    return quantity


def _entering(plan: PlanRecord, facts: PlanFacts) -> tuple[PlanRecord, Act | None]:
    entry = facts.entry
    if entry is None or entry.status not in FINAL:
        return plan, None
    if entry.filled == 0:
        return _closed(plan, f"the entry was {entry.status.lower()}"), None
    price = stop_price(plan.stop_spec, entry.filled_quote / entry.filled, facts.rules)
    return replace(plan, state=PROTECTING, stop_price=price), None


def _protecting(plan: PlanRecord, facts: PlanFacts) -> tuple[PlanRecord, Act | None]:
    stop = facts.stop
    if stop is not None and stop.status not in FINAL:
        return (replace(plan, state=PROTECTED), None) if stop.status in _RESTING else (plan, None)
    quantity = sellable(facts)
    if quantity == 0:
        return _closed(plan, "stop" if stop is not None and stop.filled > 0 else "nothing left to protect"), None
    if plan.exit_reason or plan.stop_price is None:
        return replace(plan, state=EXITING if plan.exit_reason else PROTECTED), None
    if stop is not None and stop.status is OrderStatus.REJECTED:
        # Most often the price is already below the stop: what a stop is for is to sell now.
        return replace(plan, state=EXITING, exit_reason="stop"), None
    if plan.tries >= MOST_TRIES:
        words = f"the stop of a {plan.symbol} position ended {plan.tries} times; the position is sold"
        return replace(plan, state=EXITING, exit_reason="stop"), CallAPerson("STOP_LOST", words)
    return replace(plan, tries=plan.tries + 1), PlaceStop(quantity, plan.stop_price)


_RESTING = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED})


def _protected(plan: PlanRecord, facts: PlanFacts) -> tuple[PlanRecord, Act | None]:
    if facts.stop is not None and facts.stop.status in FINAL:
        return replace(plan, state=PROTECTING), None  # filled: closes there; ended otherwise: placed again
    if plan.exit_reason:
        return replace(plan, state=EXITING), None
    if plan.time_stop_ms is not None and facts.now_ms >= plan.time_stop_ms:
        return replace(plan, state=EXITING, exit_reason="time"), None
    if facts.held <= 0:
        return replace(plan, state=EXITING, exit_reason="the position is gone"), None
    return plan, None


def _exiting(plan: PlanRecord, facts: PlanFacts) -> tuple[PlanRecord, Act | None]:
    stop, leaving = facts.stop, facts.exit
    if stop is not None and stop.status not in FINAL:
        # Never two orders selling the same coins: the exit waits until the stop is confirmed gone.
        return plan, None if stop.status is OrderStatus.CANCELING else CancelStop(stop.id)
    if leaving is not None and leaving.status not in FINAL:
        return plan, None
    quantity = sellable(facts)
    if quantity == 0:
        return _closed(plan, plan.exit_reason), None
    if plan.tries >= 2 * MOST_TRIES:
        return plan, CallAPerson("EXIT_REFUSED", f"the exit of a {plan.symbol} position was refused repeatedly")
    return replace(plan, tries=plan.tries + 1), SellAll(quantity)


def _closed(plan: PlanRecord, reason: str) -> PlanRecord:
    return replace(plan, state=CLOSED, exit_reason=plan.exit_reason or reason)


# --- driver ------------------------------------------------------------------------------------------------


async def advance(tx: Transaction, plan_id: int, *, clock: Clock, ids: Ids) -> PlanRecord | None:
    """Take a plan as far as it goes now, acting in this transaction. Returns the plan, None if there is none."""
    plan = await tx.plan(plan_id)
    while plan is not None and plan.state != CLOSED:
        facts = await _facts(tx, plan, clock)
        if facts is None:
            return plan
        after, act = decide(plan, facts)
        if act is not None:
            after = await _carry_out(tx, after, act, clock=clock, ids=ids)
        if after != plan:
            await tx.save_plan(after)
        if after == plan or act is not None:
            return after
        plan = after
    return plan


async def _facts(tx: Transaction, plan: PlanRecord, clock: Clock) -> PlanFacts | None:
    trading = await tx.trading_facts(plan.account_id, plan.symbol, plan.run_id, now_ms=clock.now_ms())
    if trading is None or trading.rules is None:
        return None
    orders: Sequence[Order] = await tx.plan_orders(plan.id)
    by_id = {order.id: order for order in orders}
    return PlanFacts(
        entry=by_id.get(plan.entry_order_id or 0),
        stop=by_id.get(plan.stop_order_id or 0),
        exit=by_id.get(plan.exit_order_id or 0),
        held=await tx.run_position(plan.account_id, plan.run_id, plan.symbol),
        price=trading.price,
        rules=trading.rules,
        now_ms=clock.exchange_now_ms(),
    )


async def _carry_out(tx: Transaction, plan: PlanRecord, act: Act, *, clock: Clock, ids: Ids) -> PlanRecord:
    owner = Owner(EventSource.PLAN, run_id=plan.run_id, plan_id=plan.id)
    match act:
        case CancelStop(order_id=order_id):
            await request_cancel(tx, order_id, source=EventSource.PLAN, clock=clock, reason=plan.exit_reason)
            return plan
        case CallAPerson(kind=kind, message=message):
            await tx.add_incident(kind, message, account_id=plan.account_id)
            return plan
        case PlaceStop(quantity=quantity, stop_price=price):
            name = "stop"
            draft = OrderDraft(
                plan.account_id, plan.symbol, Side.SELL, OrderType.STOP_LOSS, quantity=quantity, stop_price=price
            )
        case SellAll(quantity=quantity):
            name = "exit"
            draft = OrderDraft(plan.account_id, plan.symbol, Side.SELL, OrderType.MARKET, quantity=quantity)
    try:
        order = await commit_intent(
            tx, draft, intent_key=f"plan:{plan.id}:{name}:{plan.tries}", owner=owner, clock=clock, ids=ids
        )
    except PlumblineError as refusal:
        words = f"the {name} for {plain(quantity)} {plan.symbol} could not be placed: {refusal.message}"
        await tx.add_incident("PROTECTION_REFUSED", words, account_id=plan.account_id)
        return plan
    return replace(plan, stop_order_id=order.id) if name == "stop" else replace(plan, exit_order_id=order.id)
