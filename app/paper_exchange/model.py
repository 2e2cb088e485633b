"""What the matching engine keeps: orders, trades, balances, and the changes of one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.domain.money import ZERO
from app.domain.orders import OrderType, Side, TimeInForce

ASSET_QUANTUM = Decimal("1e-8")
FINAL_STATUSES = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
STOP_TYPES = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)
#: Types that trade as a market order once they work.
MARKET_TYPES = frozenset({OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT})
STP_MODES = ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A request for an order whose parameters are well formed; filters and funds are not yet checked."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: Decimal = ZERO  # 0 with `quote_quantity`
    quote_quantity: Decimal = ZERO  # MARKET by quoteOrderQty
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    client_id: str = ""  # "" means: make one
    stp_mode: str = "EXPIRE_MAKER"
    strategy_id: int | None = None
    strategy_type: int | None = None


@dataclass(slots=True)
class Order:
    """An accepted order. Once `status` is final nothing changes any more."""

    id: int
    account_id: int
    symbol: str
    client_id: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    stop_price: Decimal
    stp_mode: str
    strategy_id: int | None
    strategy_type: int | None
    status: str
    executed: Decimal
    executed_quote: Decimal
    locked: Decimal  # of `lock_asset`, still held for this order
    lock_asset: str
    created_ms: int
    updated_ms: int
    working_ms: int  # 0 until it works (a stop that waits)
    expiry_reason: str = ""
    queue_ahead: Decimal = ZERO  # quantity served before this order when its price is touched
    sequence: int = 0  # time priority; grows with every order that starts to work

    @property
    def remaining(self) -> Decimal:
        """Base quantity that is not filled."""
        return self.quantity - self.executed

    @property
    def is_final(self) -> bool:
        """Whether the order has ended."""
        return self.status in FINAL_STATUSES

    @property
    def is_buy(self) -> bool:
        """Whether it buys."""
        return self.side is Side.BUY

    @property
    def waits_for_trigger(self) -> bool:
        """Whether it is a stop or target that has not been triggered."""
        return self.working_ms == 0 and self.type in STOP_TYPES


@dataclass(frozen=True, slots=True)
class Trade:
    """One account's side of a trade. Identity: (symbol, id, account)."""

    symbol: str
    id: int
    order_id: int
    account_id: int
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_buyer: bool
    is_maker: bool
    traded_ms: int


@dataclass(slots=True)
class Balance:
    """What an account has of one asset."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Print:
    """A trade as the public sees it."""

    symbol: str
    id: int
    price: Decimal
    quantity: Decimal
    traded_ms: int
    buyer_is_maker: bool


@dataclass(slots=True)
class Changes:
    """Everything one step of the engine changed, in order: what must be stored before it is told."""

    orders: dict[tuple[str, int], Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    balances: set[tuple[int, str]] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)  # symbols whose id counters moved
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # (account, user stream event)
    prints: list[Print] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.orders or self.trades or self.balances or self.events)
