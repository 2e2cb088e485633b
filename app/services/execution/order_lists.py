"""A pair of orders that is sent as one: what happens to one leg before the answer happens to the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.errors import InvariantViolated
from app.domain.orders import EventKind, EventSource, Order, OrderRole, OrderStatus
from app.services.exchange.protocol import OcoRequest, OrderRequest
from app.services.execution import bookkeeping
from app.services.execution.bookkeeping import Step


def all_new(legs: Iterable[Order]) -> bool:
    """Whether the legs can still be sent together."""
    return all(leg.status is OrderStatus.NEW for leg in legs)


def alike(leg: Order, step: Step) -> Step:
    """The step of one leg, done to the other: both attempted with one timestamp, refused or expired for one reason."""
    if leg.id == step.order.id:
        return step
    event, after = step.event, step.order
    match event.kind:
        case EventKind.ATTEMPT_SENT:
            return bookkeeping.attempt(
                leg,
                signed_timestamp_ms=after.signed_timestamp_ms or 0,
                recv_window_ms=after.recv_window_ms or 0,
                at_ms=event.occurred_at_ms,
            )
        case EventKind.REJECTED:
            ends = bookkeeping.refused
        case EventKind.EXPIRED:
            ends = bookkeeping.expired
        case _:
            return without_its_pair(leg, event.occurred_at_ms)
    return ends(
        leg, code=after.reject_code, reason=after.reject_reason, source=event.source, at_ms=event.occurred_at_ms
    )


def without_its_pair(leg: Order, at_ms: int) -> Step:
    """A leg whose other one was taken back before anything was sent is not sent alone."""
    why = "the other order of its pair was taken back"
    step = bookkeeping.cancel_requested(leg, source=EventSource.EXECUTOR, at_ms=at_ms, reason=why)
    if step is None:
        raise InvariantViolated("only a leg that is not sent yet is taken back", order_id=leg.id)
    return step


def order_request(order: Order) -> OrderRequest:
    """The order as it goes on the wire."""
    return OrderRequest(
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        quantity=order.quantity if order.quote_quantity is None else None,
        quote_quantity=order.quote_quantity,
        price=order.price,
        stop_price=order.stop_price,
        is_exit=order.is_exit,
    )


def oco_request(legs: Sequence[Order]) -> OcoRequest:
    """Both legs as the one request that places them."""
    stop, target = sorted(legs, key=lambda leg: leg.role is OrderRole.TARGET)
    return OcoRequest(stop.list_client_order_id or "", order_request(stop), order_request(target))
