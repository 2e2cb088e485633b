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
STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
PENDING = "PENDING_NEW"  # of an order that waits for the working order of its list
NO_LIST = -1


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
    list_id: int = NO_LIST
    amends: int = 0
    prevented: Decimal = ZERO  # quantity that ended by self-trade prevention
    prevented_match_id: int = -1

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
        return self.working_ms == 0 and self.type in STOP_TYPES and self.status != PENDING


@dataclass(frozen=True, slots=True)
class NewList:
    """A request for an order list. OCO: the stop, then the limit or target; OTO: the working order, then one
    pending order or the two of an OCO.
    """

    contingency: str  # "OCO" or "OTO"
    orders: tuple[NewOrder, ...]
    client_id: str = ""


@dataclass(slots=True)
class OrderList:
    """An accepted order list; `order_ids` in the order of `NewList.orders`."""

    id: int
    account_id: int
    symbol: str
    client_id: str
    contingency: str
    order_ids: tuple[int, ...]
    is_done: bool
    created_ms: int

    def pair_of(self, order_id: int) -> tuple[int, ...]:
        """The two orders of which one cancels the other, when `order_id` is one of them; else nothing."""
        pair = self.order_ids if self.contingency == "OCO" else self.order_ids[1:]
        return pair if len(pair) == 2 and order_id in pair else ()

    def pending_of(self, order_id: int) -> tuple[int, ...]:
        """The orders that wait until `order_id` has filled."""
        return self.order_ids[1:] if self.contingency == "OTO" and order_id == self.order_ids[0] else ()


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


@dataclass(frozen=True, slots=True)
class Amendment:
    """One reduction of an open order's quantity."""

    symbol: str
    order_id: int
    execution_id: int
    account_id: int
    old_client_id: str
    new_client_id: str
    old_quantity: Decimal
    new_quantity: Decimal
    amended_ms: int


@dataclass(frozen=True, slots=True)
class PreventedMatch:
    """A trade of an account with itself that did not happen. A quantity is 0 when its order did not end by it."""

    symbol: str
    id: int
    account_id: int
    taker_order_id: int
    maker_order_id: int
    stp_mode: str
    price: Decimal
    taker_quantity: Decimal
    maker_quantity: Decimal
    prevented_ms: int


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
    lists: dict[int, OrderList] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)
    prevented: list[PreventedMatch] = field(default_factory=list)
    balances: set[tuple[int, str]] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)  # symbols whose id counters moved
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # (account, user stream event)
    prints: list[Print] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.orders or self.trades or self.balances or self.events)
