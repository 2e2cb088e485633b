"""What execution asks of an exchange, and the outcomes it can get.

A request to place or cancel has three outcomes, not two: confirmed, refused, **unknown**. An error while
asking about an order is not an answer. So the trading calls below never raise for what the exchange or the
network did: they return one of these values, and execution decides.

Source: Binance Spot API docs (rest-api.md "General API Information", errors.md); the classification is a
table in `classification.py` with a test for every row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from app.domain.orders import ExchangeReport, Fill, OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules

# --- what is asked -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as it goes on the wire. Exactly one of `quantity` and `quote_quantity` is set."""

    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce | None = None
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    is_exit: bool = False  # it protects or leaves a position: it may use the share of the budget kept for that


@dataclass(frozen=True, slots=True)
class OcoRequest:
    """Two sales of the same coins, one cancels the other: a STOP_LOSS below the price, a LIMIT_MAKER above it.

    One request, one outcome for both. Each leg has its own client order id and can be asked about by it.
    """

    list_client_order_id: str
    stop: OrderRequest
    target: OrderRequest

    @property
    def legs(self) -> tuple[OrderRequest, OrderRequest]:
        """Both orders, the stop first."""
        return self.stop, self.target


# --- outcomes of placing and cancelling ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The exchange answered 200 with an order. `report.fills` holds the fills the answer listed."""

    report: ExchangeReport
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListConfirmed:
    """The exchange answered 200 with an order list; `reports` holds one report a leg, the stop first."""

    reports: tuple[ExchangeReport, ...]
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The request certainly never reached the book. `code` is the exchange's (e.g. "-2010"), `message` its words.

    `freezes_account`: key, permission or IP refused (-2014, -2015): no further call with this key.
    `resyncs_clock`: -1021. `retry_after_s`: 429/418, for the whole IP.
    """

    code: str
    message: str
    freezes_account: bool = False
    resyncs_clock: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may or may not have reached the book: time-out, 5xx, -1006, -1007, cut connection, odd body."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte left this machine (connect refused, DNS, local pause after 418)."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelRejected:
    """-2011: the order is already final or not visible. Ask, do not conclude."""

    message: str


PlaceOutcome = Confirmed | Refused | Unknown | NotSent
ListOutcome = ListConfirmed | Refused | Unknown | NotSent
CancelOutcome = Confirmed | CancelRejected | Refused | Unknown | NotSent


# --- outcomes of asking -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """The exchange knows the order."""

    report: ExchangeReport
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotVisible:
    """-2013: not visible now. Before the death bound that means "not yet"."""


@dataclass(frozen=True, slots=True)
class NoInformation:
    """Asking failed. Nothing may be concluded, nothing counted."""

    reason: str
    freezes_account: bool = False
    resyncs_clock: bool = False


QueryOutcome = Found | NotVisible | NoInformation


class AskingFailed(Exception):
    """A list could not be fetched: no information. Raised by the list calls below."""

    def __init__(
        self, reason: str, *, code: int = 0, freezes_account: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code  # the exchange's, 0 when it gave none
        self.freezes_account = freezes_account
        self.retry_after_s = retry_after_s


# --- facts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExchangeTrade:
    """A trade from myTrades with the exchange's order id it belongs to."""

    exchange_order_id: int
    symbol: str
    side: Side
    fill: Fill


@dataclass(frozen=True, slots=True)
class AssetBalance:
    """Free and locked amount of one asset."""

    free: Decimal
    locked: Decimal


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """What the exchange says of an account: whose it is (`uid`), whether it may trade and what, and what it holds."""

    uid: str
    can_trade: bool
    permissions: tuple[str, ...]
    balances: dict[str, AssetBalance]


@dataclass(frozen=True, slots=True)
class KlineEvent:
    """A candle from a stream; `closed` says it is final. Prices as floats: candles are analytics."""

    symbol: str
    timeframe: str
    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool


@dataclass(frozen=True, slots=True)
class StreamUp:
    """The stream is (again) subscribed: whatever happened meanwhile has to be asked for."""


@dataclass(frozen=True, slots=True)
class StreamDown:
    """The stream is not delivering. `silent`: its connection stands, but it did not tell what REST shows."""

    reason: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """An executionReport, as a report about one order."""

    report: ExchangeReport


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """outboundAccountPosition or balanceUpdate: a hint that balances moved."""


UserEvent = StreamUp | StreamDown | OrderUpdate | BalancesChanged
MarketEvent = StreamUp | StreamDown | KlineEvent


class TradingSession(Protocol):
    """One account on one exchange. Calls never retry and never follow a redirect."""

    def admits(self, *, is_exit: bool) -> bool:
        """Whether the exchange's clock and the request budget of this address let one order out now. Its weight is then
        taken, for the next one that is placed: an order that is claimed is not held back.
        """
        ...

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        """Send the order once, signed with exactly that timestamp."""
        ...

    async def place_oco(self, request: OcoRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> ListOutcome:
        """Send both orders in one request, once, signed with exactly that timestamp."""
        ...

    async def cancel(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> CancelOutcome:
        """Send one cancel. Cancelling either leg of an OCO ends both; the answer is about the one named."""
        ...

    async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
        """Ask about one order, by exchange id where known, else by client id."""
        ...

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeReport]:
        """Open orders, of one symbol or of all. Raises AskingFailed."""
        ...

    async def orders_from(self, symbol: str, first_id: int) -> Sequence[ExchangeReport]:
        """One page of a symbol's orders from an exchange id on, oldest first. Raises AskingFailed."""
        ...

    async def orders_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeReport]:
        """All orders of a symbol created at or after `start_ms` (paged in windows of 24 h). Raises AskingFailed."""
        ...

    async def trades_of(self, symbol: str, exchange_order_id: int) -> Sequence[Fill]:
        """All trades of one order. Raises AskingFailed."""
        ...

    async def trades_from(self, symbol: str, first_id: int) -> Sequence[ExchangeTrade]:
        """All trades of a symbol from a trade id on, paged by id. Raises AskingFailed."""
        ...

    async def trades_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeTrade]:
        """All trades of a symbol at or after `start_ms`, paged by trade id. Raises AskingFailed."""
        ...

    async def balances(self) -> dict[str, AssetBalance]:
        """Non-zero balances by asset. Raises AskingFailed."""
        ...

    def user_events(self) -> AsyncIterator[UserEvent]:
        """Endless: supervises its connection, resubscribes, says StreamUp/StreamDown."""
        ...

    def suspect(self, *, happened_ms: int, reason: str) -> None:
        """REST shows something of `happened_ms` (exchange time) that the user stream has not told.

        If the stream should have told it by now, StreamDown(silent) says so and the stream is replaced.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class KeyProbe(Protocol):
    """What is asked with a key before it is trusted."""

    async def key_rights(self) -> dict[str, Any]:
        """What the key may do (`/sapi/v1/account/apiRestrictions`; the testnet has none). Raises AskingFailed."""
        ...

    async def account_status(self) -> AccountStatus:
        """The account behind the key. Raises AskingFailed."""
        ...


class MarketData(Protocol):
    """Public data of one exchange."""

    async def server_time_ms(self) -> int:
        """The exchange's clock. Raises AskingFailed."""
        ...

    async def symbol_rules(self) -> dict[str, SymbolRules]:
        """Rules of every symbol it trades. Raises AskingFailed."""
        ...

    async def prices(self) -> dict[str, Decimal]:
        """Last price by symbol. Raises AskingFailed."""
        ...

    async def closed_candles(self, symbol: str, timeframe: str, *, start_ms: int, end_ms: int) -> Sequence[KlineEvent]:
        """Closed candles with start_ms ≤ open time < end_ms, oldest first, paged. Raises AskingFailed."""
        ...

    def market_events(self, streams: Sequence[tuple[str, str]]) -> AsyncIterator[MarketEvent]:
        """Endless candles of (symbol, timeframe) pairs; supervises its connection like `user_events`."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
