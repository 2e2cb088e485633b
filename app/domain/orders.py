"""The life of an order: its states, the legal edges, and the values that travel with it.

The edges stand here once and once in SQL (`execution.order_transition_rules`); a test compares them.
"Sent, outcome unknown" is not a state but a flag with a time (`Order.outcome_unknown_since_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import IllegalTransition
from app.domain.money import ZERO


class OrderStatus(StrEnum):
    """States of an order in our books."""

    NEW = "NEW"  # intent committed, nothing sent
    SUBMITTED = "SUBMITTED"  # an attempt is on record; the exchange may or may not have it
    OPEN = "OPEN"  # resting on the exchange, nothing filled
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELING = "CANCELING"  # a cancel has been decided; the order may still fill
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"  # refused by us or by the exchange; never carries a fill
    EXPIRED = "EXPIRED"  # ended by the exchange, by its deadline, or never arrived


S = OrderStatus
#: Legal edges. EXPIRED and CANCELED have more, by the event `resurrected` only: see `RESURRECTION_EDGES`.
EDGES: dict[OrderStatus, frozenset[OrderStatus]] = {
    S.NEW: frozenset({S.SUBMITTED, S.REJECTED, S.CANCELED, S.EXPIRED}),
    S.SUBMITTED: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.FILLED, S.CANCELING, S.CANCELED, S.REJECTED, S.EXPIRED}),
    S.OPEN: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.CANCELING, S.CANCELED, S.EXPIRED}),
    S.PARTIALLY_FILLED: frozenset({S.FILLED, S.CANCELING, S.CANCELED, S.EXPIRED}),
    S.CANCELING: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED}),
    S.FILLED: frozenset(),
    S.CANCELED: frozenset(),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
}
#: Edges that only the event `resurrected` may take: an order that was given up as never arrived turned out to exist, or
#: one cancelled unsent, after the books were put back to before it was sent (F61).
RESURRECTION_EDGES: dict[OrderStatus, frozenset[OrderStatus]] = {
    S.EXPIRED: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.FILLED, S.CANCELED}),
    S.CANCELED: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.FILLED, S.EXPIRED}),
}
FINAL = frozenset({S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED})
#: Intent keys of what a kill switch sells begin with this.
KILL_SALE = "kill:"
#: Non-final states in which the exchange may know the order: what reconciliation asks about.
IN_FLIGHT = frozenset({S.SUBMITTED, S.OPEN, S.PARTIALLY_FILLED, S.CANCELING})


class Side(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """Order types we send; names as on Binance Spot."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    LIMIT_MAKER = "LIMIT_MAKER"
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"


class OrderRole(StrEnum):
    """What an order of a plan is for."""

    ENTRY = "entry"
    STOP = "stop"  # ends the loss
    TARGET = "target"  # takes the profit of one part
    EXIT = "exit"  # leaves what is still held


class TimeInForce(StrEnum):
    """How long an order works; names as on Binance Spot."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class EventKind(StrEnum):
    """Kinds of order events. Those that change the status carry both ends of the edge."""

    CREATED = "created"
    ATTEMPT_SENT = "attempt_sent"  # NEW -> SUBMITTED, committed before the wire
    ACKNOWLEDGED = "acknowledged"  # the exchange confirmed the order
    REJECTED = "rejected"
    OUTCOME_UNKNOWN = "outcome_unknown"  # sent, no usable answer
    FILL_APPLIED = "fill_applied"
    LATE_FILL = "late_fill"  # a fill of an order already CANCELED or EXPIRED
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_REFUSED = "cancel_refused"
    CANCELED = "canceled"
    EXPIRED = "expired"
    RESURRECTED = "resurrected"
    RECONCILED = "reconciled"  # the exchange's state was adopted
    NOTE = "note"


class EventSource(StrEnum):
    """Who or what brought the knowledge in an event."""

    USER = "user"
    STRATEGY = "strategy"
    PLAN = "plan"  # protection and exits owned by execution
    EXECUTOR = "executor"
    EXCHANGE = "exchange"
    RECONCILER = "reconciler"
    OPERATOR = "operator"


def is_legal(from_status: OrderStatus, to_status: OrderStatus, *, resurrecting: bool = False) -> bool:
    """Whether the lifecycle has this edge (`resurrecting` opens the extra edges out of EXPIRED and CANCELED)."""
    if to_status in EDGES[from_status]:
        return True
    return resurrecting and to_status in RESURRECTION_EDGES.get(from_status, frozenset())


def check_edge(from_status: OrderStatus, to_status: OrderStatus, *, resurrecting: bool = False) -> None:
    """Raise IllegalTransition unless the edge exists. Staying in a state is not an edge and is allowed."""
    if from_status is not to_status and not is_legal(from_status, to_status, resurrecting=resurrecting):
        raise IllegalTransition(
            f"an order cannot go from {from_status} to {to_status}", from_status=from_status, to_status=to_status
        )


@dataclass(frozen=True, slots=True)
class Order:
    """One order as our books have it: the projection of its events."""

    id: int
    account_id: int
    run_id: int | None  # the live run that owns it; None for a person's own order
    plan_id: int | None
    client_order_id: str
    intent_key: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce | None
    quantity: Decimal | None  # base; None when the order is sized in quote
    quote_quantity: Decimal | None  # quote (MARKET by quoteOrderQty)
    price: Decimal | None
    stop_price: Decimal | None
    status: OrderStatus
    version: int  # sequence number of the newest event
    filled: Decimal
    filled_quote: Decimal
    exchange_order_id: int | None
    created_at_ms: int
    deadline_ms: int  # never sent after this (exchange time)
    signed_timestamp_ms: int | None  # of the one attempt
    recv_window_ms: int | None
    outcome_unknown_since_ms: int | None
    cancel_requested_at_ms: int | None
    last_report_ms: int  # exchange's updateTime of the newest report applied
    reserved_asset: str
    reserved: Decimal
    reject_code: str
    reject_reason: str
    role: OrderRole | None = None  # of a plan's order; None for all others
    list_client_order_id: str | None = None  # of the order list it was sent in: its other leg has the same

    @property
    def is_final(self) -> bool:
        """Whether no further edge exists (late fills and resurrection apart)."""
        return self.status in FINAL

    @property
    def is_exit(self) -> bool:
        """Whether a plan or a kill switch leaves or protects a position with it: such an order goes first."""
        return self.side is Side.SELL and (self.plan_id is not None or self.intent_key.startswith(KILL_SALE))


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of an order. Identity: (account, symbol, trade id)."""

    trade_id: int
    quantity: Decimal
    price: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_maker: bool
    traded_at_ms: int


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """All that one answer, stream event or query says about one order.

    `fills` may be empty although `executed` is above zero (ACK/RESULT answers, plain queries): then the
    fills are still to be fetched. `executed` and `executed_quote` are cumulative.
    """

    client_order_id: str
    exchange_order_id: int
    symbol: str
    status: str  # the exchange's own word: NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED_IN_MATCH, ...
    executed: Decimal
    executed_quote: Decimal
    updated_at_ms: int
    fills: tuple[Fill, ...] = ()
    original_quantity: Decimal = ZERO
    reject_reason: str = ""
    side: str = ""
    type: str = ""
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    time_in_force: str = ""
    created_at_ms: int = 0  # 0: not said
