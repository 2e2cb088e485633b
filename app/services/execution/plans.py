"""Plans: an entry, its protection and its exit as one thing, owned by execution until the position is closed.

`plan_moves.decide` says what is next, from the rows; here the rows are read and the act is carried out, each in one
transaction. A stopped or crashed strategy makes no new entries, but its plans go on: stop, targets, trail, time stop.

Crash points, all of them harmless because the next look decides again: between two acts of one rearrangement (the
plan is PROTECTING, some coins without their stop until the next look); after a cancel is decided and before it is
sent; after it is confirmed and before the part is placed again; after a pair is committed and before it is claimed.
Within a transaction nothing can be half done: both legs of a pair are one commit, and so are a move of the plan and
the order it makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from app.domain.clock import Clock, Ids
from app.domain.errors import Conflict, NotFound, PlumblineError
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, EventSource, Order, OrderRole, OrderType, Side
from app.models.execution import PlanState
from app.services.execution.intents import OrderDraft, Owner, check_draft, commit_intent, request_cancel
from app.services.execution.plan_moves import (
    CLOSED,
    UNPROTECTED_AFTER_MS,
    Act,
    Alarm,
    CancelOrders,
    PlacePart,
    PlanFacts,
    SellAll,
    decide,
    incident_key,
    reopened,
    watched,
)
from app.services.execution.protection import Part, Reason
from app.services.execution.store import PlanRecord, Transaction

#: One look goes at most so far; the next one, a moment later, goes on.
MOST_MOVES = 12


async def advance(
    tx: Transaction, plan_id: int, *, clock: Clock, ids: Ids, unprotected_after_ms: int = UNPROTECTED_AFTER_MS
) -> PlanRecord | None:
    """Take a plan as far as it goes now, acting in this transaction. Returns the plan, None if there is none.

    Coins that lie longer than `unprotected_after_ms` without the stop that was wanted open an incident UNPROTECTED,
    closed when they have it again, whatever the account's state.
    """
    plan = await tx.plan(plan_id)
    is_placing = False
    for _ in range(MOST_MOVES):
        if plan is None or plan.state == CLOSED:
            return plan
        read = await _facts(tx, plan, clock)
        if read is None:
            return plan
        facts, may_act = replace(read[0], is_placing=is_placing), read[1]
        if not may_act:  # nothing can be sent for this account: wait rather than spend tries
            return await _watch(tx, plan, plan, facts, unprotected_after_ms)
        move = decide(plan, facts)
        await _alarm(tx, plan, move.alarm)
        after, placed = move.plan, False
        if move.act is not None:
            newest = max((order.id for order in facts.sells), default=0)
            after, made = await _carry_out(tx, after, move.act, after_order=newest, clock=clock, ids=ids)
            placed = made and isinstance(move.act, PlacePart)
            is_placing = is_placing or placed
        after = await _watch(tx, plan, after, facts, unprotected_after_ms)
        if not placed and (after == plan or move.act is not None):
            return after
        plan = after  # all parts for which coins are free are made at once
    return plan


async def _watch(
    tx: Transaction, before: PlanRecord, after: PlanRecord, facts: PlanFacts, unprotected_after_ms: int
) -> PlanRecord:
    """Note since when the plan's coins lie unprotected, tell a person or take it back, and save what has changed."""
    seen = watched(after, facts, after_ms=unprotected_after_ms)
    await _alarm(tx, after, seen.alarm)
    if before.unprotected_since_ms is not None and seen.plan.unprotected_since_ms is None:
        await tx.close_incidents("UNPROTECTED", account_id=after.account_id, key=incident_key(after))
    if seen.plan != before:
        await tx.save_plan(seen.plan)
    if seen.plan.state == CLOSED:
        await tx.wake("runs")  # a run that was stopping for it is over now, not at the next tick
    return seen.plan


async def _alarm(tx: Transaction, plan: PlanRecord, alarm: Alarm | None) -> None:
    if alarm is not None:
        await tx.add_incident(alarm.kind, alarm.message, account_id=plan.account_id, key=alarm.key)


async def _facts(tx: Transaction, plan: PlanRecord, clock: Clock) -> tuple[PlanFacts, bool] | None:
    """What the plan is decided on, and whether anything may be sent for its account."""
    trading = await tx.trading_facts(plan.account_id, plan.symbol, plan.run_id, now_ms=clock.now_ms())
    if trading is None or trading.rules is None:
        return None
    orders = await tx.plan_orders(plan.id)
    facts = PlanFacts(
        entry=next((order for order in orders if order.id == plan.entry_order_id), None),
        sells=tuple(order for order in orders if order.side is Side.SELL),
        held=await tx.run_position(plan.account_id, plan.run_id, plan.symbol),
        free=trading.base_total - trading.base_reserved,
        price=trading.good_price,
        rules=trading.rules,
        now_ms=clock.exchange_now_ms(),
    )
    return facts, trading.account.state == "ACTIVE"


async def reopen_if_bought(tx: Transaction, order: Order) -> None:
    """After a fill of an entry whose plan was closed already (it had been given up): protect what it bought."""
    if order.plan_id is None or order.side is not Side.BUY:
        return
    # Not locked at first: `advance` holds the plan and waits for the orders, we hold the order. Whether the plan was
    # closed before this fill is certain all the same, because closing needs the order's lock too.
    plan = await tx.plan(order.plan_id, locked=False)
    if plan is None or plan.state != CLOSED or order.filled == 0 or plan.exit_reason == Reason.TAKEN_OVER:
        return
    plan = await tx.plan(order.plan_id)
    if plan is not None and plan.state == CLOSED:
        await tx.save_plan(reopened(plan))
        await tx.wake("plans")


async def take_over_plan(
    tx: Transaction, plan_id: int, *, cancels: bool, clock: Clock, user_id: int | None = None
) -> PlanRecord:
    """End a plan without selling: from now on a person sees to the position. Its entry is given up.

    With `cancels` the orders that protect it are cancelled, else they stay on the exchange as they are; nobody moves
    or replaces them any more. `user_id` None is for admins and for the worker. Raises NotFound, Conflict.
    """
    plan = await tx.plan(plan_id)
    account = None if plan is None else await tx.account(plan.account_id)
    if plan is None or account is None or (user_id is not None and account.user_id != user_id):
        raise NotFound("there is no such plan")
    if plan.state == PlanState.CLOSED.value:
        raise Conflict("this position's plan has ended already")
    for order in await tx.plan_orders(plan.id):
        if order.status not in FINAL and (cancels or order.side is Side.BUY):
            await request_cancel(tx, order.id, source=EventSource.PLAN, clock=clock, reason="taken over by a person")
    after = replace(plan, state=CLOSED, exit_reason=Reason.TAKEN_OVER, unprotected_since_ms=None)
    await tx.close_incidents("UNPROTECTED", account_id=plan.account_id, key=incident_key(plan))
    await tx.save_plan(after)
    await tx.wake("runs")
    return after


# --- carrying out --------------------------------------------------------------------------------------------


async def _carry_out(
    tx: Transaction, plan: PlanRecord, act: Act, *, after_order: int, clock: Clock, ids: Ids
) -> tuple[PlanRecord, bool]:
    """The plan after the act, and whether it could be carried out."""
    match act:
        case CancelOrders(order_ids=order_ids):
            for order_id in order_ids:
                await request_cancel(tx, order_id, source=EventSource.PLAN, clock=clock, reason=plan.exit_reason)
            return plan, True
        case PlacePart(part=part):
            drafts = _drafts(plan, part)
        case SellAll(quantity=quantity):
            drafts = {OrderRole.EXIT: _draft(plan, OrderType.MARKET, quantity=quantity)}
    key = f"plan:{plan.id}:{after_order}"  # one act after each sale that was made so far
    list_id = ids.client_order_id() if len(drafts) > 1 else None
    try:
        await _check(tx, plan, drafts.values(), clock)
    except PlumblineError as refusal:
        size = plain(next(iter(drafts.values())).quantity or ZERO)
        words = f"the {' and '.join(drafts)} for {size} {plan.symbol} could not be placed: {refusal.message}"
        await tx.add_incident("PROTECTION_REFUSED", words, account_id=plan.account_id)
        return plan, False
    for role, draft in drafts.items():
        owner = Owner(EventSource.PLAN, run_id=plan.run_id, plan_id=plan.id, role=role, list_client_order_id=list_id)
        order = await commit_intent(tx, draft, intent_key=f"{key}:{role}", owner=owner, clock=clock, ids=ids)
        if role is OrderRole.STOP:
            plan = replace(plan, stop_order_id=order.id)
        elif role is OrderRole.EXIT:
            plan = replace(plan, exit_order_id=order.id)
    return plan, True


async def _check(tx: Transaction, plan: PlanRecord, drafts: Iterable[OrderDraft], clock: Clock) -> None:
    """Before anything is written: of a pair there are both orders or none. Raises PlumblineError."""
    facts = await tx.trading_facts(plan.account_id, plan.symbol, plan.run_id, now_ms=clock.now_ms())
    if facts is None:
        raise NotFound("there is no such account")
    for draft in drafts:
        check_draft(draft, facts)


def _drafts(plan: PlanRecord, part: Part) -> dict[OrderRole, OrderDraft]:
    """The orders that make a part. The stop of a pair comes first: it reserves nothing, its target all."""
    if part.at_once:
        return {OrderRole.TARGET: _draft(plan, OrderType.MARKET, quantity=part.quantity)}
    drafts = {}
    if part.stop_price is not None:
        drafts[OrderRole.STOP] = _draft(plan, OrderType.STOP_LOSS, quantity=part.quantity, stop_price=part.stop_price)
    if part.target_price is not None:
        # Alone it may trade at once; in a pair the exchange takes nothing but a maker above the price.
        kind = OrderType.LIMIT_MAKER if drafts else OrderType.LIMIT
        drafts[OrderRole.TARGET] = _draft(plan, kind, quantity=part.quantity, price=part.target_price)
    return drafts


def _draft(
    plan: PlanRecord,
    kind: OrderType,
    *,
    quantity: Decimal,
    price: Decimal | None = None,
    stop_price: Decimal | None = None,
) -> OrderDraft:
    return OrderDraft(
        plan.account_id, plan.symbol, Side.SELL, kind, quantity=quantity, price=price, stop_price=stop_price
    )
