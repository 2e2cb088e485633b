"""T1: an intent becomes an order in our books, in one transaction, before anything is sent.

Under the account's lock: filters, pre-trade risk check, order NEW with event 1 and its reservation. A wrong
order is InvalidInput and leaves no trace; a refused one is an order with status REJECTED and the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.clock import Clock, Ids
from app.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, EventSource, Order, OrderRole, OrderStatus, OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules, notional_failure, price_failure, quantity_failure
from app.services.execution import bookkeeping
from app.services.execution.store import TradingFacts, Transaction
from app.services.risk.checks import STALE_PRICE_MS, OrderFacts, check

#: A person's or a strategy's order that could not be sent within this time is stale and never sent.
INTENT_LIFE_MS = 30_000
#: The exchange's word for a symbol whose orders it matches.
TRADING = "TRADING"
#: A market buy by base quantity reserves this much above the last price.
MARKET_BUY_MARGIN = Decimal("1.05")

_NEEDS_PRICE = {OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT}
_NEEDS_STOP = {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
_NEEDS_TIME_IN_FORCE = {OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT}


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """What somebody wants to trade. Base `quantity`, or `quote_quantity` for a market order."""

    account_id: int
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """On whose behalf an order is made: a person, a run's entry, or a plan's protection or exit."""

    source: EventSource
    run_id: int | None = None
    plan_id: int | None = None
    role: OrderRole | None = None  # of a plan's order
    list_client_order_id: str | None = None  # it is sent with another order, as one list


BY_HAND = Owner(EventSource.USER)


async def commit_intent(
    tx: Transaction,
    draft: OrderDraft,
    *,
    intent_key: str,
    owner: Owner = BY_HAND,
    user_id: int | None = None,
    clock: Clock,
    ids: Ids,
    stale_price_ms: int = STALE_PRICE_MS,
) -> Order:
    """Write the order for `intent_key`, or return the one that is there: one intent, one order.

    A purchase at the market, or a run's entry, on a price older than `stale_price_ms` is refused by the risk check.

    Raises InvalidInput (naming the field), NotFound (account not this user's), Unavailable (no price yet: a
    buy must be worth something known; a sale at market needs no price).
    """
    draft = _shaped(draft)
    now_ms = clock.exchange_now_ms()
    facts = await tx.trading_facts(draft.account_id, draft.symbol, owner.run_id, now_ms=now_ms)
    if facts is None or (user_id is not None and facts.account.user_id != user_id):
        raise NotFound("there is no such account")
    existing = await tx.order_by_intent(draft.account_id, intent_key)
    if existing is not None:
        return existing
    if facts.account.state != "ACTIVE":
        raise Conflict(f"account {facts.account.label!r} is not active ({facts.account.state.lower()})")
    if facts.rules is None:
        raise InvalidInput(f"{draft.symbol} is not traded on this account", field="symbol")
    if draft.side is Side.BUY and facts.rules.status != TRADING:  # a sale is sent: what we know may be old by then
        raise InvalidInput(f"{draft.symbol} is not traded at the moment ({facts.rules.status})", field="symbol")
    reference = _reference(draft, facts)
    if reference is None and draft.side is Side.BUY:
        raise Unavailable(f"there is no price of {draft.symbol} yet; try again in a few seconds")
    notional = _check_filters(draft, facts.rules, reference)
    order = _order(draft, facts.rules, owner, intent_key, notional, now_ms, ids)
    step = bookkeeping.created(order, owner.source, now_ms)
    risk = replace(_risk_facts(order, facts, facts.rules, notional), stale_price_ms=stale_price_ms)
    refusal = check(risk)
    if refusal is None:
        order = await tx.add_order(step)
        await tx.wake("orders")
        return order
    order = await tx.add_order(replace(step, order=replace(order, reserved=ZERO)))
    rejected = bookkeeping.refused(order, code=refusal.code, reason=refusal.message, source=owner.source, at_ms=now_ms)
    await tx.write([rejected])
    return rejected.order


async def request_cancel(
    tx: Transaction, order_id: int, *, source: EventSource, clock: Clock, user_id: int | None = None, reason: str = ""
) -> Order:
    """Decide to cancel an order. Asking twice is the same as once; a final order is a Conflict."""
    order = await tx.order(order_id)
    account = await tx.account(order.account_id) if order else None
    if order is None or account is None or (user_id is not None and account.user_id != user_id):
        raise NotFound("there is no such order")
    if order.status in FINAL:
        raise Conflict(f"the order is already {order.status.lower().replace('_', ' ')}", status=order.status)
    step = bookkeeping.cancel_requested(order, source=source, at_ms=clock.exchange_now_ms(), reason=reason)
    if step is None:
        return order
    await tx.write([step])
    await tx.wake("cancels")
    return step.order


def _shaped(draft: OrderDraft) -> OrderDraft:
    """Refuse what no exchange would understand, before anything is read."""
    kind = draft.type
    if kind in _NEEDS_PRICE and draft.price is None:
        raise InvalidInput(f"a {_words(kind)} order needs a price", field="price")
    if kind not in _NEEDS_PRICE and draft.price is not None:
        raise InvalidInput(f"a {_words(kind)} order takes no price", field="price")
    if kind in _NEEDS_STOP and draft.stop_price is None:
        raise InvalidInput(f"a {_words(kind)} order needs a stop price", field="stop_price")
    if kind not in _NEEDS_STOP and draft.stop_price is not None:
        raise InvalidInput(f"a {_words(kind)} order takes no stop price", field="stop_price")
    if draft.quote_quantity is not None and kind is not OrderType.MARKET:
        raise InvalidInput("only a market order can be sized in quote", field="quote_quantity")
    if (draft.quantity is None) == (draft.quote_quantity is None):
        raise InvalidInput("give either a quantity or, for a market order, an amount to spend", field="quantity")
    if kind in _NEEDS_TIME_IN_FORCE:
        return replace(draft, time_in_force=draft.time_in_force or TimeInForce.GTC)
    if draft.time_in_force is not None:
        raise InvalidInput(f"a {_words(kind)} order takes no time in force", field="time_in_force")
    return draft


def check_draft(draft: OrderDraft, facts: TradingFacts) -> None:
    """Refuse what could not become an order: its shape, its symbol, its filters. Raises InvalidInput with the field."""
    if facts.rules is None:
        raise InvalidInput(f"{draft.symbol} is not traded on this account", field="symbol")
    _check_filters(_shaped(draft), facts.rules, _reference(draft, facts))


def _reference(draft: OrderDraft, facts: TradingFacts) -> Decimal | None:
    """The price an order is judged by. A sale at market leaves a position: an old price must not keep it back."""
    asked = draft.price or draft.stop_price
    return asked or (facts.price if draft.side is Side.BUY else facts.good_price)


def _check_filters(draft: OrderDraft, rules: SymbolRules, reference: Decimal | None) -> Decimal | None:
    """The order's value in quote, None when nobody knows; raises InvalidInput for the first filter it breaks."""
    is_market = draft.type in (OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT)
    for value, field in ((draft.price, "price"), (draft.stop_price, "stop_price")):
        failure = None if value is None else price_failure(rules, value, field=field)
        if failure:
            raise InvalidInput(failure.message, field=failure.field, filter=failure.filter_name)
    if draft.quantity is not None:
        failure = quantity_failure(rules, draft.quantity, is_market=is_market)
        if failure:
            raise InvalidInput(failure.message, field=failure.field, filter=failure.filter_name)
    if draft.quote_quantity is None and reference is None:
        return None
    notional = draft.quote_quantity or (draft.quantity or ZERO) * (reference or ZERO)
    failure = notional_failure(rules, notional, is_market=is_market)
    if failure:
        field = "quote_quantity" if draft.quote_quantity is not None else failure.field
        raise InvalidInput(failure.message, field=field, filter=failure.filter_name)
    return notional


def _order(
    draft: OrderDraft,
    rules: SymbolRules,
    owner: Owner,
    intent_key: str,
    notional: Decimal | None,
    now_ms: int,
    ids: Ids,
) -> Order:
    is_buy = draft.side is Side.BUY
    if not is_buy and draft.quantity is None:
        raise InvalidInput("a sell order is sized by its quantity", field="quote_quantity")
    order = Order(
        id=0,
        account_id=draft.account_id,
        run_id=owner.run_id,
        plan_id=owner.plan_id,
        client_order_id=ids.client_order_id(),
        intent_key=intent_key,
        symbol=draft.symbol,
        side=draft.side,
        type=draft.type,
        time_in_force=draft.time_in_force,
        quantity=draft.quantity,
        quote_quantity=draft.quote_quantity,
        price=draft.price,
        stop_price=draft.stop_price,
        status=OrderStatus.NEW,
        version=1,
        filled=ZERO,
        filled_quote=ZERO,
        exchange_order_id=None,
        created_at_ms=now_ms,
        deadline_ms=now_ms + INTENT_LIFE_MS,
        signed_timestamp_ms=None,
        recv_window_ms=None,
        outcome_unknown_since_ms=None,
        cancel_requested_at_ms=None,
        last_report_ms=0,
        reserved_asset=rules.quote_asset if is_buy else rules.base_asset,
        reserved=ZERO,
        reject_code="",
        reject_reason="",
        role=owner.role,
        list_client_order_id=owner.list_client_order_id,
    )
    by_estimate = is_buy and draft.price is None and draft.quote_quantity is None
    if by_estimate and notional is not None:
        return replace(order, reserved=_ceil_quote(notional * MARKET_BUY_MARGIN))
    return replace(order, reserved=bookkeeping.reserved_after(order))


def _ceil_quote(value: Decimal) -> Decimal:
    return value.quantize(Decimal("1e-8"), rounding="ROUND_CEILING")


def _risk_facts(order: Order, facts: TradingFacts, rules: SymbolRules, notional: Decimal | None) -> OrderFacts:
    return OrderFacts(
        symbol=order.symbol,
        side=order.side,
        base_asset=rules.base_asset,
        quote_asset=rules.quote_asset,
        quantity=order.quantity,
        notional=max(notional or ZERO, order.reserved) if order.side is Side.BUY else notional,
        price=facts.price or order.price,
        base_total=facts.base_total,
        base_reserved=facts.base_reserved,
        quote_total=facts.quote_total,
        quote_reserved=facts.quote_reserved,
        position=facts.position,
        open_buy_notional=facts.open_buy_notional,
        kill_switch=facts.kill_switch,
        limits=facts.limits,
        relied_price_age_ms=facts.price_age_ms if order.type is OrderType.MARKET or order.run_id is not None else None,
    )


def _words(kind: OrderType) -> str:
    return kind.value.lower().replace("_", " ")


def describe(order: Order | OrderDraft) -> str:
    """`buy 0.01 BTCUSDT limit at 60000`: an order in words, for logs and timelines."""
    size = f"{plain(order.quantity)}" if order.quote_quantity is None and order.quantity is not None else ""
    if order.quote_quantity is not None:
        size = f"for {plain(order.quote_quantity)} quote"
    price = f" at {plain(order.price)}" if order.price is not None else ""
    stop = f" stop {plain(order.stop_price)}" if order.stop_price is not None else ""
    return f"{order.side.lower()} {size} {order.symbol} {_words(order.type)}{price}{stop}"
