"""An entry and its protection are one plan, owned by execution until the position is closed.

`decide` is pure: from a plan, its orders and what is held, to the next state and at most one act. The driver
carries the act out in the same transaction. A crash in between changes nothing: the next look decides again.
A stopped or crashed strategy makes no new entries, but its plans go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.clock import Clock, Ids
from app.domain.errors import PlumblineError
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, EventSource, Order, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules, market_part, round_price
from app.models.execution import PlanState
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.store import PlanRecord, Transaction

#: Waits between tries to place a stop or to sell; the last one for ever. Nobody stops trying.
RETRY_AFTER_MS = (1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
#: After this many refused tries in a row a person is called (and the tries go on).
CALL_AFTER_TRIES = 4
#: The engine itself refused a stop: most often the price is already below it, and then a stop means "sell now".
ENGINE_REFUSAL = "-2010"
ENTERING, PROTECTING, PROTECTED, EXITING, CLOSED = (s.value for s in PlanState)
_RESTING = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED})


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan is decided on.

    `held` is the run's position in base, net of fees paid in base; `free` is what the account has of it that no
    working order reserves. `stray` is a working sell order of the plan that is neither its stop nor its exit.
    """

    entry: Order | None
    stop: Order | None
    exit: Order | None
    held: Decimal
    free: Decimal
    price: Decimal | None
    rules: SymbolRules
    now_ms: int
    stray: Order | None = None


@dataclass(frozen=True, slots=True)
class PlaceStop:
    """Rest a stop for this quantity at this price on the exchange."""

    quantity: Decimal
    stop_price: Decimal


@dataclass(frozen=True, slots=True)
class CancelSell:
    """Take a working sell order away, because the position is to be sold otherwise or is gone."""

    order_id: int


@dataclass(frozen=True, slots=True)
class SellAll:
    """Sell this quantity at market."""

    quantity: Decimal


Act = PlaceStop | CancelSell | SellAll


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person has to know; the plan goes on."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Move:
    """A plan's next state, the one act it needs now, and what a person is to be told."""

    plan: PlanRecord
    act: Act | None = None
    alarm: Alarm | None = None


def decide(plan: PlanRecord, facts: PlanFacts) -> Move:
    """What a plan does next; the same plan and no act when it has to wait."""
    if facts.stray is not None and facts.stray.status is not OrderStatus.CANCELING:
        return Move(plan, CancelSell(facts.stray.id))
    match plan.state:
        case PlanState.ENTERING.value:
            return _entering(plan, facts)
        case PlanState.PROTECTING.value:
            return _protecting(plan, facts)
        case PlanState.PROTECTED.value:
            return _protected(plan, facts)
        case PlanState.EXITING.value:
            return _exiting(plan, facts)
    return Move(plan)


def stop_price(spec: dict[str, str], entry_price: Decimal, rules: SymbolRules) -> Decimal | None:
    """Price of the stop below an entry, on the tick; None when the strategy said "none".

    `spec` is {"pct": "2"} (per cent below the entry), {"distance": "35.1"} (quote below it) or {"none": "yes"}.
    """
    if "pct" in spec:
        return round_price(rules, entry_price * (1 - Decimal(spec["pct"]) / 100))
    if "distance" in spec:
        return round_price(rules, entry_price - Decimal(spec["distance"]))
    return None


def reopened(plan: PlanRecord) -> PlanRecord:
    """A closed plan whose entry turned out to have bought after all: its coins need their stop."""
    return replace(plan, state=PROTECTING, exit_reason="", tries=0, next_try_ms=None)


def sellable(facts: PlanFacts, quantity: Decimal) -> Decimal:
    """The part of `quantity` that one market order can sell; 0 when it is dust."""
    return market_part(facts.rules, quantity, facts.price)


def _entering(plan: PlanRecord, facts: PlanFacts) -> Move:
    entry = facts.entry
    if entry is None or entry.status not in FINAL:
        return Move(plan)
    if entry.filled == 0:
        return Move(_closed(plan, f"the entry was {entry.status.lower()}"))
    return Move(replace(plan, state=PROTECTING))


def _protecting(plan: PlanRecord, facts: PlanFacts) -> Move:
    stop, entry = facts.stop, facts.entry
    if stop is not None and stop.status not in FINAL:
        if stop.status not in _RESTING:
            return Move(plan)
        return Move(replace(plan, state=PROTECTED, tries=0, next_try_ms=None))
    if sellable(facts, facts.held) == 0:
        return Move(_closed(plan, "stop" if stop is not None and stop.filled > 0 else "too little left to sell"))
    if plan.exit_reason:
        return Move(replace(plan, state=EXITING, next_try_ms=None))
    if plan.stop_price is None and entry is not None and entry.filled > 0:
        price = stop_price(plan.stop_spec, entry.filled_quote / entry.filled, facts.rules)
        if price is None:
            return Move(replace(plan, state=PROTECTED))
        return Move(replace(plan, stop_price=price))
    if stop is not None and stop.status is OrderStatus.REJECTED and stop.reject_code == ENGINE_REFUSAL:
        return Move(replace(plan, state=EXITING, exit_reason="stop", next_try_ms=None))
    if plan.stop_price is None:
        return Move(replace(plan, state=PROTECTED))
    at = round_price(facts.rules, plan.stop_price)  # the tick may have changed since the price was set
    return _try(plan, facts, lambda quantity: PlaceStop(quantity, at), "no stop could be placed for")


def _protected(plan: PlanRecord, facts: PlanFacts) -> Move:
    if facts.stop is not None and facts.stop.status in FINAL:
        return Move(replace(plan, state=PROTECTING))  # filled: closes there; ended otherwise: placed again
    if plan.exit_reason:
        return Move(replace(plan, state=EXITING))
    if plan.time_stop_ms is not None and facts.now_ms >= plan.time_stop_ms:
        return Move(replace(plan, state=EXITING, exit_reason="time"))
    if facts.held <= 0:
        return Move(replace(plan, state=EXITING, exit_reason="the position is gone"))
    return Move(plan)


def _exiting(plan: PlanRecord, facts: PlanFacts) -> Move:
    stop, leaving = facts.stop, facts.exit
    if stop is not None and stop.status not in FINAL:
        # Never two orders selling the same coins: the exit waits until the stop is confirmed gone.
        return Move(plan, None if stop.status is OrderStatus.CANCELING else CancelSell(stop.id))
    if leaving is not None and leaving.status not in FINAL:
        return Move(plan)
    if sellable(facts, facts.held) == 0:
        return Move(_closed(plan, plan.exit_reason))
    return _try(plan, facts, SellAll, "the exit was refused for")


def _try(plan: PlanRecord, facts: PlanFacts, act: Callable[[Decimal], Act], trouble: str) -> Move:
    """One more try to sell or protect what is held, as far as the account has it free; never too often."""
    if plan.next_try_ms is not None and facts.now_ms < plan.next_try_ms:
        return Move(plan)
    wait_ms = RETRY_AFTER_MS[min(plan.tries, len(RETRY_AFTER_MS) - 1)]
    after = replace(plan, tries=plan.tries + 1, next_try_ms=facts.now_ms + wait_ms)
    quantity = sellable(facts, min(facts.held, max(facts.free, ZERO)))
    alarm = None
    if facts.held - quantity >= max(facts.rules.step_size, facts.rules.market_step_size, _LEAST):
        words = f"a run holds more {plan.symbol} than the account has free to sell or the exchange takes in one order"
        alarm = Alarm("POSITION_NOT_COVERED", words)
    elif after.tries >= CALL_AFTER_TRIES:
        alarm = Alarm("PROTECTION_REFUSED", f"{trouble} a {plan.symbol} position (plan {plan.id}); trying again")
    return Move(after, act(quantity) if quantity else None, alarm)


_LEAST = Decimal("1e-18")


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
        move = decide(plan, facts)
        if move.alarm is not None:
            await tx.add_incident(move.alarm.kind, move.alarm.message, account_id=plan.account_id)
        after = move.plan
        if move.act is not None:
            after = await _carry_out(tx, after, move.act, clock=clock, ids=ids)
        if after != plan:
            await tx.save_plan(after)
        if after.state == CLOSED:
            await tx.wake("runs")  # a run that was stopping for it is over now, not at the next tick
        if after == plan or move.act is not None:
            return after
        plan = after
    return plan


async def _facts(tx: Transaction, plan: PlanRecord, clock: Clock) -> PlanFacts | None:
    trading = await tx.trading_facts(plan.account_id, plan.symbol, plan.run_id, now_ms=clock.now_ms())
    if trading is None or trading.rules is None or trading.account.state != "ACTIVE":
        return None  # nothing can be sent for this account: wait rather than spend tries
    orders: Sequence[Order] = await tx.plan_orders(plan.id)
    by_id = {order.id: order for order in orders}
    current = {plan.stop_order_id, plan.exit_order_id}
    strays = [o for o in orders if o.side is Side.SELL and o.status not in FINAL and o.id not in current]
    return PlanFacts(
        entry=by_id.get(plan.entry_order_id or 0),
        stop=by_id.get(plan.stop_order_id or 0),
        exit=by_id.get(plan.exit_order_id or 0),
        held=await tx.run_position(plan.account_id, plan.run_id, plan.symbol),
        free=trading.base_total - trading.base_reserved,
        price=trading.good_price,
        rules=trading.rules,
        now_ms=clock.exchange_now_ms(),
        stray=strays[0] if strays else None,
    )


async def reopen_if_bought(tx: Transaction, order: Order) -> None:
    """After a fill of an entry whose plan was closed already (it had been given up): protect what it bought."""
    if order.plan_id is None or order.side is not Side.BUY:
        return
    # Not locked at first: `advance` holds the plan and waits for the orders, we hold the order. Whether the plan was
    # closed before this fill is certain all the same, because closing needs the order's lock too.
    plan = await tx.plan(order.plan_id, locked=False)
    if plan is None or plan.state != CLOSED or order.filled == 0:
        return
    plan = await tx.plan(order.plan_id)
    if plan is not None and plan.state == CLOSED:
        await tx.save_plan(reopened(plan))
        await tx.wake("plans")


async def _carry_out(tx: Transaction, plan: PlanRecord, act: Act, *, clock: Clock, ids: Ids) -> PlanRecord:
    owner = Owner(EventSource.PLAN, run_id=plan.run_id, plan_id=plan.id)
    match act:
        case CancelSell(order_id=order_id):
            await request_cancel(tx, order_id, source=EventSource.PLAN, clock=clock, reason=plan.exit_reason)
            return plan
        case PlaceStop(quantity=quantity, stop_price=price):
            name = "stop"
            draft = OrderDraft(
                plan.account_id, plan.symbol, Side.SELL, OrderType.STOP_LOSS, quantity=quantity, stop_price=price
            )
        case SellAll(quantity=quantity):
            name = "exit"
            draft = OrderDraft(plan.account_id, plan.symbol, Side.SELL, OrderType.MARKET, quantity=quantity)
    # One key a try: the clock's reading makes it new even after `tries` was reset.
    key = f"plan:{plan.id}:{name}:{plan.tries}:{clock.exchange_now_ms()}"
    try:
        order = await commit_intent(tx, draft, intent_key=key, owner=owner, clock=clock, ids=ids)
    except PlumblineError as refusal:
        words = f"the {name} for {plain(quantity)} {plan.symbol} could not be placed: {refusal.message}"
        await tx.add_incident("PROTECTION_REFUSED", words, account_id=plan.account_id)
        return plan
    return replace(plan, stop_order_id=order.id) if name == "stop" else replace(plan, exit_order_id=order.id)
