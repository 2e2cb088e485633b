"""Amend keep priority: an open order gets smaller and keeps its place."""

from __future__ import annotations

from decimal import Decimal

from app.domain.symbols import notional_failure, quantity_failure
from app.paper_exchange import errors
from app.paper_exchange.checks import MAX_NUM_ORDER_AMENDS
from app.paper_exchange.matching import Engine
from app.paper_exchange.model import Amendment, Order


def amend(engine: Engine, order: Order, quantity: Decimal, client_id: str, now_ms: int) -> Amendment:
    """Reduce an open order to `quantity`, and the other leg of an OCO with it. The order gets a new client id unless
    one is given. One that has filled more already ends EXPIRED. Raises -2038 or -1013; then nothing changed.
    """
    _check(engine, order, quantity, client_id)
    one = engine.lists.open.get(order.list_id)
    pair = () if one is None else one.pair_of(order.id)
    amendment = _reduce(engine, order, quantity, client_id or engine.make_id(), now_ms)
    for other in engine.lists.open_orders(order):
        if other is not order and other.id in pair:
            _reduce(engine, other, quantity, other.client_id, now_ms)
    if one is not None and amendment.old_client_id != amendment.new_client_id:
        engine.lists.tell(one, now_ms, status_type="UPDATED")
    if order.remaining == 0:
        engine.end(order, "EXPIRED", now_ms)
    return amendment


def _check(engine: Engine, order: Order, quantity: Decimal, client_id: str) -> None:
    market = engine.markets[order.symbol]
    if quantity > order.quantity:
        raise errors.amend_rejected("Order amend (quantity increase) is not supported.")
    if quantity == order.quantity:
        raise errors.amend_rejected("The requested action would change no state; rejecting.")
    if order.amends >= MAX_NUM_ORDER_AMENDS:
        raise errors.amend_rejected("Filter failure: MAX_NUM_ORDER_AMENDS")
    price = order.price or order.stop_price or market.average_price
    for failure in (quantity_failure(market.rules, quantity), notional_failure(market.rules, price * quantity)):
        if failure is not None:
            raise errors.filter_failure(failure.filter_name)
    if client_id and client_id != order.client_id:
        mine = market.orders_of(order.account_id)
        if any(o.client_id == client_id for o in mine):
            raise errors.amend_rejected("Duplicate order sent.")


def _reduce(engine: Engine, order: Order, quantity: Decimal, client_id: str, now_ms: int) -> Amendment:
    quantity = max(quantity, order.executed)
    old_id, old_quantity, old_remaining = order.client_id, order.quantity, order.remaining
    order.quantity = quantity
    order.amends, order.updated_ms = order.amends + 1, now_ms
    if order.locked:
        freed = order.locked - order.locked * order.remaining / old_remaining
        engine.ledger.release(order.account_id, order.lock_asset, freed)
        order.locked -= freed
    engine.report(order, "REPLACED", now_ms, cancel_id=client_id)
    order.client_id = client_id
    amendment = Amendment(
        order.symbol, order.id, engine.execution_id, order.account_id, old_id, client_id, old_quantity, quantity, now_ms
    )
    engine.ledger.changes.amendments.append(amendment)
    return amendment
