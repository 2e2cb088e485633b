"""The one place where knowledge about an order enters the books.

Pure functions from (order, what became known, time) to steps. A step is one event, the fill it brings (if
any) and the order after it; the store writes each step's event, fill and projection together. Every function
here is idempotent in the sense that matters: told the same thing twice, it has nothing more to say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from app.domain.errors import IllegalTransition, require
from app.domain.money import ZERO, plain
from app.domain.orders import (
    FINAL,
    EventKind,
    EventSource,
    ExchangeReport,
    Fill,
    Order,
    OrderRole,
    OrderStatus,
    Side,
    check_edge,
)

S = OrderStatus
#: Reason of an EXPIRED order that, after the death bound, the exchange had never heard of.
NEVER_ARRIVED = "NEVER_ARRIVED"
STALE_INTENT = "STALE_INTENT"

#: The exchange's words for states in which an order still works, and for final ones.
WORKING_WORDS = frozenset({"NEW", "PENDING_NEW", "PARTIALLY_FILLED", "PENDING_CANCEL"})
FINAL_WORDS: Mapping[str, OrderStatus] = {
    "FILLED": S.FILLED,
    "CANCELED": S.CANCELED,
    "REJECTED": S.REJECTED,
    "EXPIRED": S.EXPIRED,
    "EXPIRED_IN_MATCH": S.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One fact to append. `dedup_key` is unique per order: the same fact cannot be written twice."""

    kind: EventKind
    from_status: OrderStatus | None
    to_status: OrderStatus
    source: EventSource
    dedup_key: str
    occurred_at_ms: int
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """An event, the fill it carries, and the order as it is afterwards."""

    event: Event
    order: Order
    fill: Fill | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a report changes. `needs_trades`: fills are missing, fetch them and apply again."""

    order: Order
    steps: tuple[Step, ...] = ()
    needs_trades: bool = False
    incident: tuple[str, str] | None = None  # (kind, message)


def reserved_after(order: Order, spent: Decimal = ZERO) -> Decimal:
    """What a working order still holds back of its reserved asset; 0 once it is final.

    `spent`: quote by which it has filled since `order.reserved` was set.
    """
    if order.status in FINAL:
        return ZERO
    if order.role is OrderRole.STOP and order.list_client_order_id is not None:
        return ZERO  # an OCO sells its coins once; the target holds them, for it may go on working in part
    if order.side is Side.SELL:
        return (order.quantity or ZERO) - order.filled
    if order.price is not None and order.quantity is not None:
        return order.price * (order.quantity - order.filled)
    # Market buys hold back the quote they may spend, less what is spent; sized in base, that is an estimate.
    if order.quote_quantity is not None:
        return max(ZERO, order.quote_quantity - order.filled_quote)
    return max(ZERO, order.reserved - spent)


def _step(
    order: Order,
    kind: EventKind,
    source: EventSource,
    at_ms: int,
    dedup_key: str,
    *,
    to: OrderStatus | None = None,
    payload: dict[str, Any] | None = None,
    fill: Fill | None = None,
    **changes: Any,
) -> Step:
    """Build a step: check the edge, advance the version, keep the reservation in line."""
    status = to or order.status
    check_edge(order.status, status, resurrecting=kind is EventKind.RESURRECTED)
    after = replace(order, status=status, version=order.version + 1, **changes)
    spent = after.filled_quote - order.filled_quote
    if "reserved" not in changes and (reserved := reserved_after(after, spent)) != after.reserved:
        after = replace(after, reserved=reserved)
    event = Event(kind, order.status, status, source, dedup_key, at_ms, payload or {})
    return Step(event, after, fill)


def _must_be_working(order: Order, to: OrderStatus) -> None:
    if order.status in FINAL:
        raise IllegalTransition(f"an order that is {order.status} cannot become {to}", order_id=order.id)


# --- our own acts -----------------------------------------------------------------------------------------


def created(order: Order, source: EventSource, at_ms: int) -> Step:
    """The first event of an order: its intent is committed, nothing is sent."""
    require(order.status is S.NEW and order.version == 1, "a new order starts at version 1", status=order.status)
    payload = {
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "quantity": _text(order.quantity),
        "quote_quantity": _text(order.quote_quantity),
        "price": _text(order.price),
        "stop_price": _text(order.stop_price),
    }
    return Step(Event(EventKind.CREATED, None, S.NEW, source, "created", at_ms, payload), order)


def attempt(order: Order, *, signed_timestamp_ms: int, recv_window_ms: int, at_ms: int) -> Step:
    """NEW → SUBMITTED, committed before the wire: from here on the exchange may have the order."""
    return _step(
        order,
        EventKind.ATTEMPT_SENT,
        EventSource.EXECUTOR,
        at_ms,
        "attempt",
        to=S.SUBMITTED,
        payload={"signed_timestamp_ms": signed_timestamp_ms, "recv_window_ms": recv_window_ms},
        signed_timestamp_ms=signed_timestamp_ms,
        recv_window_ms=recv_window_ms,
    )


def refused(order: Order, *, code: str, reason: str, source: EventSource, at_ms: int) -> Step:
    """REJECTED: refused by us before sending, or definitely refused by the exchange. Raises IllegalTransition."""
    _must_be_working(order, S.REJECTED)
    return _step(
        order,
        EventKind.REJECTED,
        source,
        at_ms,
        "rejected",
        to=S.REJECTED,
        payload={"code": code, "reason": reason},
        reject_code=code,
        reject_reason=reason,
        outcome_unknown_since_ms=None,
    )


def expired(order: Order, *, code: str, reason: str, source: EventSource, at_ms: int) -> Step:
    """EXPIRED by our own decision: a stale intent, or an order that never arrived. Raises IllegalTransition."""
    _must_be_working(order, S.EXPIRED)
    return _step(
        order,
        EventKind.EXPIRED,
        source,
        at_ms,
        f"expired:{code}",
        to=S.EXPIRED,
        payload={"code": code, "reason": reason},
        reject_code=code,
        reject_reason=reason,
        outcome_unknown_since_ms=None,
    )


def outcome_unknown(order: Order, *, reason: str, at_ms: int) -> Step | None:
    """Flag a sent order of which no usable answer came. None when it is flagged or settled already."""
    if order.status not in (S.SUBMITTED, S.CANCELING) or order.outcome_unknown_since_ms is not None:
        return None
    if order.exchange_order_id is not None:
        return None
    return _step(
        order,
        EventKind.OUTCOME_UNKNOWN,
        EventSource.EXECUTOR,
        at_ms,
        "outcome_unknown",
        payload={"reason": reason},
        outcome_unknown_since_ms=at_ms,
    )


def cancel_requested(order: Order, *, source: EventSource, at_ms: int, reason: str = "") -> Step | None:
    """Decide to cancel. NEW ends at once (nothing was sent); a final or canceling order: None."""
    payload = {"reason": reason} if reason else {}
    if order.status is S.NEW:
        return _step(order, EventKind.CANCELED, source, at_ms, "canceled", to=S.CANCELED, payload=payload)
    if order.status in FINAL or order.status is S.CANCELING:
        return None
    return _step(
        order,
        EventKind.CANCEL_REQUESTED,
        source,
        at_ms,
        f"cancel_requested:{order.version}",
        to=S.CANCELING,
        payload=payload,
        cancel_requested_at_ms=at_ms,
    )


def cancel_refused(order: Order, *, code: str, reason: str, at_ms: int) -> Step | None:
    """The exchange refused the cancel and the order lives on."""
    if order.status is not S.CANCELING:
        return None
    return _step(
        order,
        EventKind.CANCEL_REFUSED,
        EventSource.EXECUTOR,
        at_ms,
        f"cancel_refused:{order.version}",
        to=S.PARTIALLY_FILLED if order.filled > 0 else S.OPEN,
        payload={"code": code, "reason": reason},
        cancel_requested_at_ms=None,
    )


def noted(order: Order, *, words: str, key: str, source: EventSource, at_ms: int) -> Step:
    """A sentence in the order's timeline; nothing else changes."""
    return _step(order, EventKind.NOTE, source, at_ms, f"note:{key}", payload={"words": words}, reserved=order.reserved)


# --- what the exchange says --------------------------------------------------------------------------------


def apply_report(
    order: Order,
    known_trade_ids: Collection[int],
    report: ExchangeReport,
    *,
    source: EventSource,
    at_ms: int,
) -> Applied:
    """Compare an exchange report with the book and say what is missing in the book.

    The same for a REST answer, an executionReport, reconciliation and recovery. Fills are facts and are
    applied whatever the order's state; the status word is believed only once every fill it implies is here.
    """
    if order.status is S.REJECTED:
        words = f"the exchange knows order {order.client_order_id}, which our books have as REJECTED"
        return Applied(order, incident=("REJECTED_BUT_EXISTS", words))
    steps: list[Step] = []
    incident = _arrive(order, report, source, at_ms, steps)
    _book_fills(steps[-1].order if steps else order, known_trade_ids, report.fills, source, at_ms, steps)
    incident = incident or _late_fill(order, steps)
    current = steps[-1].order if steps else order
    if current.filled < report.executed:
        return Applied(current, tuple(steps), needs_trades=True, incident=incident)
    if report.status in FINAL_WORDS:
        _conclude(current, report, source, at_ms, steps)
    elif report.status not in WORKING_WORDS:
        incident = ("UNKNOWN_STATUS", f"the exchange calls order {order.client_order_id} {report.status!r}")
    current = steps[-1].order if steps else order
    return Applied(current, tuple(steps), incident=incident)


def is_old_news(order: Order, report: ExchangeReport) -> bool:
    """Whether a report only says what the book says already; then the order need not be locked."""
    if order.exchange_order_id != report.exchange_order_id or order.filled != report.executed:
        return False
    if order.status in FINAL:
        return FINAL_WORDS.get(report.status) is order.status
    return order.status in (S.OPEN, S.PARTIALLY_FILLED, S.CANCELING) and report.status in WORKING_WORDS


def apply_trades(
    order: Order, known_trade_ids: Collection[int], fills: Iterable[Fill], *, source: EventSource, at_ms: int
) -> Applied:
    """Book fills that were fetched on their own (late fills, backfill)."""
    steps: list[Step] = []
    _book_fills(order, known_trade_ids, fills, source, at_ms, steps)
    return Applied(steps[-1].order if steps else order, tuple(steps), incident=_late_fill(order, steps))


def _late_fill(order: Order, steps: Iterable[Step]) -> tuple[str, str] | None:
    """A plan that counted on the end of its order may be closed, or its stop too small: a person has to know."""
    if order.plan_id is None or all(step.event.kind is not EventKind.LATE_FILL for step in steps):
        return None
    words = f"order {order.client_order_id} filled further after it had ended; no stop may cover what it traded"
    return "LATE_FILL", words


def _arrive(
    order: Order, report: ExchangeReport, source: EventSource, at_ms: int, steps: list[Step]
) -> tuple[str, str] | None:
    """First news of an order: take over its exchange id and leave SUBMITTED."""
    if order.exchange_order_id is not None:
        require(
            order.exchange_order_id == report.exchange_order_id,
            "one client order id, two exchange orders",
            client_order_id=order.client_order_id,
            ours=order.exchange_order_id,
            theirs=report.exchange_order_id,
        )
        return None
    incident = None
    payload = {"exchange_order_id": report.exchange_order_id, "status": report.status}
    news: dict[str, Any] = {"exchange_order_id": report.exchange_order_id, "outcome_unknown_since_ms": None}
    if order.status in (S.EXPIRED, S.CANCELED):  # without an exchange id: ended as one that was never there
        ended = "given up as never arrived" if order.status is S.EXPIRED else "cancelled as not sent yet"
        words = f"order {order.client_order_id} surfaced after it was {ended}"
        incident = ("RESURRECTED", words)
        steps.append(
            _step(order, EventKind.RESURRECTED, source, at_ms, "resurrected", to=S.OPEN, payload=payload, **news)
        )
        return incident
    if order.status is S.NEW:
        # Our books were restored from before the attempt (F61): the order is out, so an attempt was made.
        steps.append(_step(order, EventKind.RECONCILED, source, at_ms, "recovered", to=S.SUBMITTED))
        order = steps[-1].order
    to: OrderStatus = S.OPEN if order.status is S.SUBMITTED else order.status
    if report.status == "REJECTED" and report.executed == 0:
        to = order.status  # `_conclude` takes it from SUBMITTED straight to REJECTED
    steps.append(_step(order, EventKind.ACKNOWLEDGED, source, at_ms, "acknowledged", to=to, payload=payload, **news))
    return incident


def _book_fills(
    order: Order,
    known_trade_ids: Collection[int],
    fills: Iterable[Fill],
    source: EventSource,
    at_ms: int,
    steps: list[Step],
) -> None:
    """One step a fill we do not have yet, in the exchange's order."""
    seen = set(known_trade_ids)
    for fill in sorted(fills, key=lambda f: (f.traded_at_ms, f.trade_id)):
        if fill.trade_id in seen:
            continue
        seen.add(fill.trade_id)
        filled = order.filled + fill.quantity
        require(
            order.quantity is None or filled <= order.quantity,
            "more filled than ordered",
            client_order_id=order.client_order_id,
            filled=filled,
            quantity=order.quantity,
        )
        late = order.status in FINAL
        steps.append(
            _step(
                order,
                EventKind.LATE_FILL if late else EventKind.FILL_APPLIED,
                source,
                at_ms,
                f"fill:{fill.trade_id}",
                to=_status_after_fill(order, filled),
                payload=_fill_payload(fill),
                fill=fill,
                filled=filled,
                filled_quote=order.filled_quote + fill.quote_quantity,
            )
        )
        order = steps[-1].order


def _status_after_fill(order: Order, filled: Decimal) -> OrderStatus:
    if order.status in FINAL:
        return order.status
    if order.quantity is not None and filled == order.quantity:
        return S.FILLED
    return order.status if order.status is S.CANCELING else S.PARTIALLY_FILLED


def _conclude(order: Order, report: ExchangeReport, source: EventSource, at_ms: int, steps: list[Step]) -> None:
    """Take over the exchange's final word; every fill it implies is already booked."""
    if order.status in FINAL:
        return
    to = FINAL_WORDS[report.status]
    if to is S.REJECTED and order.filled > 0:
        to = S.EXPIRED  # REJECTED never carries a fill
    kinds = {
        S.CANCELED: EventKind.CANCELED,
        S.EXPIRED: EventKind.EXPIRED,
        S.REJECTED: EventKind.REJECTED,
        S.FILLED: EventKind.RECONCILED,
    }
    changes: dict[str, Any] = {"last_report_ms": max(order.last_report_ms, report.updated_at_ms)}
    if to is S.FILLED:
        # Sized in quote: what was bought is only known now.
        require(order.quantity is None, "FILLED without all fills", client_order_id=order.client_order_id)
        changes["quantity"] = order.filled
    if to in (S.REJECTED, S.EXPIRED):
        changes |= {"reject_code": report.status, "reject_reason": report.reject_reason}
    payload = {"status": report.status, "executed": plain(report.executed)}
    steps.append(_step(order, kinds[to], source, at_ms, f"final:{to}", to=to, payload=payload, **changes))


def _fill_payload(fill: Fill) -> dict[str, Any]:
    return {
        "trade_id": fill.trade_id,
        "quantity": plain(fill.quantity),
        "price": plain(fill.price),
        "commission": plain(fill.commission),
        "commission_asset": fill.commission_asset,
        "traded_at_ms": fill.traded_at_ms,
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def death_bound_ms(order: Order, *, engine_timeout_ms: int, visibility_margin_ms: int) -> int:
    """Exchange time after which an attempt that nobody can find does not exist.

    signed timestamp + recvWindow (Binance checks it again before the engine) + the gateway's own time-out
    + a margin for late visibility. Source: Binance rest-api.md "Timing security"; reliability notes §3.
    """
    adopted = order.exchange_order_id is not None
    require(order.signed_timestamp_ms is not None or adopted, "only a sent order has a bound", order_id=order.id)
    sent_ms = order.signed_timestamp_ms or order.created_at_ms
    return sent_ms + (order.recv_window_ms or 0) + engine_timeout_ms + visibility_margin_ms
