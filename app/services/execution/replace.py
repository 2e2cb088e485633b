"""Another order in the place of one that works: cancel, wait until it is confirmed gone, place what is left of it.

The wish is a row, so that a crash anywhere in between changes nothing, and the new order's intent key is the wish's:
it is made once. Two orders never work for the same coins. Binance's cancel-replace is not used: its two outcomes may
both be unknown at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.clock import Clock, Ids
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.domain.money import plain
from app.domain.orders import FINAL, EventSource, Order, OrderStatus, OrderType
from app.domain.symbols import SymbolRules, quantity_failure
from app.models.execution import ReplacementState
from app.services.execution import bookkeeping
from app.services.execution.intents import OrderDraft, check_draft, commit_intent, describe, request_cancel
from app.services.execution.store import Store, Transaction
from app.services.execution.store_switches import ReplacementRecord

#: A replacement that could not be placed within this time is given up: the market has moved on.
REPLACE_WITHIN_MS = 300_000
_GOES_ON = frozenset({OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED})


@dataclass(frozen=True, slots=True)
class Waits:
    """The old order is not confirmed gone yet."""


@dataclass(frozen=True, slots=True)
class Place:
    """It is gone: place this much."""

    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Drop:
    """No new order is made, for this reason."""

    reason: str


def next_step(wanted: ReplacementRecord, order: Order, rules: SymbolRules, now_ms: int) -> Waits | Place | Drop:
    """What a replacement needs now. Pure; only a confirmed end of the old order lets the new one be placed."""
    name = f"order {order.id}"
    if order.status in _GOES_ON:
        return Drop(f"the cancel of {name} was refused, and it goes on as it was")
    if order.status not in FINAL:
        return Waits()
    if order.status is OrderStatus.FILLED:
        return Drop(f"{name} had filled whole before it could be cancelled")
    if order.status is OrderStatus.REJECTED:
        return Drop(f"{name} had been refused: {order.reject_reason}")
    left = wanted.quantity - order.filled
    if left <= 0:
        return Drop(f"{name} had filled {plain(order.filled)} before it ended, all that was wanted")
    if now_ms - wanted.requested_ms > REPLACE_WITHIN_MS:
        return Drop(f"{name} took too long to end, and the market has moved on")
    if quantity_failure(rules, left) is not None:
        return Drop(f"{name} had filled {plain(order.filled)}, and {plain(left)} is too little for an order")
    return Place(left)


async def request_replacement(
    tx: Transaction,
    order_id: int,
    *,
    user_id: int,
    intent_key: str,
    price: Decimal | None = None,
    stop_price: Decimal | None = None,
    quantity: Decimal | None = None,
    clock: Clock,
) -> ReplacementRecord:
    """Decide to replace a working order of the user's. What is not given stays as it is.

    `quantity` is what both orders together shall fill: the new one gets what the old one leaves of it. The same
    `intent_key` gives the same replacement. Raises NotFound, InvalidInput naming the field, Conflict when the order
    cannot be replaced.
    """
    order = await tx.order(order_id)
    account = await tx.account(order.account_id) if order else None
    if order is None or account is None or account.user_id != user_id:
        raise NotFound("there is no such order")
    existing = await tx.replacement_for(order.account_id, intent_key)
    if existing is not None:
        return existing
    total = _replaceable(order)
    if price is None and stop_price is None and quantity is None:
        raise InvalidInput("say what is to change: the price, the stop price or the quantity", field="price")
    wanted = ReplacementRecord(
        id=0,
        account_id=order.account_id,
        order_id=order.id,
        intent_key=intent_key,
        quantity=total if quantity is None else quantity,
        price=order.price if price is None else price,
        stop_price=order.stop_price if stop_price is None else stop_price,
        state=ReplacementState.WAITING.value,
        requested_ms=clock.exchange_now_ms(),
    )
    if wanted.quantity <= order.filled:
        words = f"{plain(order.filled)} has filled already: ask for more than that in all, or cancel the order"
        raise InvalidInput(words, field="quantity")
    facts = await tx.trading_facts(order.account_id, order.symbol, None, now_ms=clock.now_ms())
    if facts is None:
        raise NotFound("there is no such account")
    draft = _draft(wanted, order, wanted.quantity - order.filled)
    check_draft(draft, facts)
    wanted = replace(wanted, id=await tx.add_replacement(wanted))
    reason = f"to be replaced: {plain(wanted.quantity)} in all{_at(wanted)}"
    await request_cancel(tx, order.id, source=EventSource.USER, clock=clock, reason=reason)
    return wanted


async def settle_replacements(store: Store, *, clock: Clock, ids: Ids) -> int:
    """Take every waiting replacement as far as it goes, one a transaction. Returns how many came to their end."""
    async with store.transaction() as tx:
        waiting = await tx.replacements_waiting()
    settled = 0
    for wanted in waiting:
        async with store.transaction() as tx:
            settled += await _settle(tx, wanted.id, clock=clock, ids=ids)
    return settled


async def _settle(tx: Transaction, replacement_id: int, *, clock: Clock, ids: Ids) -> bool:
    wanted = await tx.replacement(replacement_id)
    order = await tx.order(wanted.order_id) if wanted else None
    if wanted is None or order is None or wanted.state != ReplacementState.WAITING:
        return False
    facts = await tx.trading_facts(order.account_id, order.symbol, None, now_ms=clock.now_ms())
    if facts is None or facts.rules is None:
        return False
    now_ms = clock.exchange_now_ms()
    step = next_step(wanted, order, facts.rules, now_ms)
    if isinstance(step, Waits):
        return False
    if isinstance(step, Place):
        try:
            draft = _draft(wanted, order, step.quantity)
            check_draft(draft, facts)
            if facts.account.state != "ACTIVE":
                return False  # until it is put in order, or too much time has passed
            new = await commit_intent(tx, draft, intent_key=f"replace:{wanted.id}", clock=clock, ids=ids)
        except InvalidInput as wrong:
            step = Drop(f"what is left could not be ordered: {wrong.message}")
        else:
            await tx.save_replacement(replace(wanted, state=ReplacementState.PLACED.value, new_order_id=new.id))
            await _note(tx, order, f"Replaced by order {new.id}: {describe(new)}", wanted, now_ms)
            filled = f", of which {plain(order.filled)} had filled" if order.filled else ""
            await _note(tx, new, f"Takes the place of order {order.id}{filled}", wanted, now_ms)
            return True
    await tx.save_replacement(replace(wanted, state=ReplacementState.NOT_MADE.value, reason=step.reason))
    await _note(tx, order, f"Not replaced: {step.reason}", wanted, now_ms)
    return True


async def _note(tx: Transaction, order: Order, words: str, wanted: ReplacementRecord, now_ms: int) -> None:
    current = await tx.order(order.id)
    if current is not None:
        step = bookkeeping.noted(
            current, words=words, key=f"replacement:{wanted.id}", source=EventSource.EXECUTOR, at_ms=now_ms
        )
        await tx.write([step])


def _replaceable(order: Order) -> Decimal:
    """The order's quantity. Raises Conflict when it cannot be replaced."""
    if order.status in FINAL:
        raise Conflict(f"the order is already {order.status.lower().replace('_', ' ')}", status=order.status)
    if order.status is OrderStatus.CANCELING:
        raise Conflict("the order is being cancelled already", status=order.status)
    if order.plan_id is not None:
        raise Conflict("the order belongs to a run, which looks after its orders itself")
    if order.type is OrderType.MARKET or order.quantity is None:
        raise Conflict("an order at market does not rest, so there is nothing to replace")
    return order.quantity


def _draft(wanted: ReplacementRecord, order: Order, quantity: Decimal) -> OrderDraft:
    return OrderDraft(
        account_id=order.account_id,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=quantity,
        price=wanted.price,
        stop_price=wanted.stop_price,
        time_in_force=order.time_in_force,
    )


def _at(wanted: ReplacementRecord) -> str:
    price = f" at {plain(wanted.price)}" if wanted.price is not None else ""
    return price + (f", stop {plain(wanted.stop_price)}" if wanted.stop_price is not None else "")
