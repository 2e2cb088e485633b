"""An exchange in memory with one account: the reference for what `protocol.py` asks.

It has Binance's rules where they matter to execution: client order ids are unique among open orders only, an
order is either open or final, a final one cannot be cancelled (-2011), an unknown one is not visible (-2013),
queries carry no fills, fees come out of the received asset, amounts are locked while an order rests. Time is
the clock's that is passed in; nothing happens by itself: a test moves the market with `set_price`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from app.domain.clock import Clock
from app.domain.orders import ExchangeReport, Fill
from app.domain.symbols import SymbolRules
from app.services.exchange import classification
from app.services.exchange.classification import Failure
from app.services.exchange.fake_engine import Engine, FakeOrder
from app.services.exchange.fake_faults import Fault
from app.services.exchange.protocol import (
    AskingFailed,
    AssetBalance,
    BalancesChanged,
    CancelOutcome,
    Confirmed,
    ExchangeTrade,
    Found,
    KlineEvent,
    ListConfirmed,
    ListOutcome,
    MarketData,
    MarketEvent,
    NoInformation,
    OcoRequest,
    OrderRequest,
    PlaceOutcome,
    QueryOutcome,
    StreamDown,
    StreamUp,
    TradingSession,
    UserEvent,
)

Call = Literal["place", "cancel", "query", "list"]
FUTURE_MS = 1_000


class FakeExchange(TradingSession, MarketData):
    """`TradingSession` and `MarketData` of one account.

    `requests` lists every call that was made to place, cancel or query, with what was asked, whether it
    arrived or not: what an observer of the wire would have seen.
    """

    def __init__(
        self,
        clock: Clock,
        rules: Iterable[SymbolRules],
        *,
        balances: Mapping[str, Decimal],
        fee_rate: Decimal = Decimal("0.001"),
    ) -> None:
        self.requests: list[tuple[Call, object]] = []
        self._clock = clock
        self._engine = Engine({r.symbol: r for r in rules}, dict(balances), fee_rate, self._tell)
        self._faults: dict[Call, deque[Fault]] = defaultdict(deque)
        self._under_way: list[tuple[int, OrderRequest | OcoRequest, int, int]] = []
        self._listeners: list[asyncio.Queue[UserEvent]] = []
        self._observers: list[Callable[[UserEvent], None]] = []
        self._stream_up = True
        self._stream_silent = False
        self.is_exhausted = False  # the request budget of this address is used up
        self._candles: dict[tuple[str, str], dict[int, KlineEvent]] = defaultdict(dict)
        self._watchers: list[tuple[frozenset[tuple[str, str]], asyncio.Queue[MarketEvent]]] = []

    # --- what a test does ------------------------------------------------------------------------------

    def fail_next(self, call: Call, *faults: Fault) -> None:
        """Disturb the next calls of this kind, one fault each."""
        self._faults[call].extend(faults)

    def set_price(self, symbol: str, price: Decimal, *, available: Decimal | None = None) -> None:
        """The market trades at `price`: stops trigger, crossed resting orders fill at their own price.

        `available` is the base quantity that may trade until the next `set_price`; None: no end.
        """
        self._arrivals()
        self._engine.move(symbol, price, available, self._now_ms())

    def deposit(self, asset: str, amount: Decimal) -> None:
        """Add to a balance behind the platform's back (negative: take away)."""
        self._engine.free[asset] += amount
        self._tell(BalancesChanged())

    def cancel_by_exchange(self, client_order_id: str, *, status: str = "EXPIRED") -> None:
        """The exchange itself ends an open order."""
        order = next(o for o in self._engine.open_orders() if o.client_order_id == client_order_id)
        self._engine.end(order, status, self._now_ms())

    def late_fill(self, client_order_id: str, quantity: Decimal, price: Decimal) -> bool:
        """A fill of an order that has ended cancelled or expired turns up; False if it cannot have one."""
        found = (o for o in self._engine.orders if o.client_order_id == client_order_id)
        return any(self._engine.fill_late(order, quantity, price, self._now_ms()) for order in found)

    def set_status(self, symbol: str, status: str) -> None:
        """Trading of a symbol is halted (`HALT`, `BREAK`) or open (`TRADING`)."""
        self._engine.rules[symbol] = replace(self._engine.rules[symbol], status=status)

    def rules(self) -> Mapping[str, SymbolRules]:
        """The rules in force, without asking and without faults."""
        return self._engine.rules

    def set_rules(self, rules: SymbolRules) -> None:
        """Other filters hold from now on; orders that rest stay as they are."""
        self._engine.rules[rules.symbol] = rules

    def pay_fees_in(self, asset: str | None) -> None:
        """Fees are taken from this asset where there is enough of it, a quarter cheaper (Binance does so with BNB)."""
        self._engine.fee_asset = asset

    def observe(self, observer: Callable[[UserEvent], None]) -> None:
        """Call `observer` with every event as it happens, whatever the stream does: for a stream of one's own."""
        self._observers.append(observer)

    def book(self) -> Sequence[FakeOrder]:
        """Every order it ever took, oldest first, visible or not: what only the exchange itself knows."""
        return self._engine.orders

    def totals(self) -> dict[str, Decimal]:
        """Free and locked together, by asset; without asking and without faults."""
        free, locked = self._engine.free, self._engine.locked
        return {asset: free[asset] + locked[asset] for asset in sorted({*free, *locked})}

    def drop_stream(self, reason: str = "dropped by the test") -> None:
        """The user stream goes down; what happens meanwhile is not told."""
        self._tell(StreamDown(reason))
        self._stream_up = False

    def silence_stream(self) -> None:
        """The user stream still stands, and tells nothing more, until it is replaced."""
        self._stream_silent = True

    def restore_stream(self) -> None:
        """The user stream is subscribed again."""
        self._stream_up = True
        self._tell(StreamUp())

    def push_candle(self, candle: KlineEvent) -> None:
        """A candle event; a closed one is history from now on."""
        key = (candle.symbol, candle.timeframe)
        if candle.closed:
            self._candles[key][candle.open_time_ms] = candle
        for keys, queue in self._watchers:
            if key in keys:
                queue.put_nowait(candle)

    # --- TradingSession --------------------------------------------------------------------------------

    def admits(self, *, is_exit: bool) -> bool:
        """As long as a test lets it."""
        return not self.is_exhausted

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        """Accept or refuse the order; see `TradingSession.place`."""
        fault = self._called("place", request)
        if fault.arrives and fault.arrives_after_ms:
            due_ms = self._now_ms() + fault.arrives_after_ms
            self._under_way.append((due_ms, request, signed_timestamp_ms, recv_window_ms))
        elif fault.arrives:
            accepted = self._accept(request, signed_timestamp_ms, recv_window_ms, self._now_ms())
            if isinstance(accepted, FakeOrder):
                accepted.visible_at_ms = self._now_ms() + fault.visible_after_ms
        match fault.instead:
            case Failure() as failure:
                return classification.of_placing(failure)
            case Exception() as error:
                return classification.of_exception(error)
        return classification.of_placing(accepted) if isinstance(accepted, Failure) else _confirmed(accepted)

    async def place_oco(self, request: OcoRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> ListOutcome:
        """Accept or refuse both orders; see `TradingSession.place_oco`. Faults are those of `place`."""
        fault = self._called("place", request)
        if fault.arrives and fault.arrives_after_ms:
            due_ms = self._now_ms() + fault.arrives_after_ms
            self._under_way.append((due_ms, request, signed_timestamp_ms, recv_window_ms))
        elif fault.arrives:
            accepted = self._accept_oco(request, signed_timestamp_ms, recv_window_ms, self._now_ms())
            for order in accepted if isinstance(accepted, list) else []:
                order.visible_at_ms = self._now_ms() + fault.visible_after_ms
        match fault.instead:
            case Failure() as failure:
                return classification.of_placing(failure)
            case Exception() as error:
                return classification.of_exception(error)
        if isinstance(accepted, Failure):
            return classification.of_placing(accepted)
        return ListConfirmed(tuple(_confirmed(order).report for order in accepted))

    async def cancel(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> CancelOutcome:
        """Cancel an open order; see `TradingSession.cancel`."""
        fault = self._called("cancel", client_order_id)
        order = self._find(symbol, client_order_id, exchange_order_id)
        is_open = order is not None and not order.is_final
        if fault.arrives and order is not None and is_open:
            self._engine.end(order, "CANCELED", self._now_ms())
        match fault.instead:
            case Failure() as failure:
                return classification.of_cancelling(failure)
            case Exception() as error:
                return classification.of_exception(error)
        if order is None or not is_open:
            return classification.of_cancelling(Failure(400, -2011, "Unknown order sent."))
        return Confirmed(order.report())

    async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
        """Show one order, without fills; see `TradingSession.query`."""
        fault = self._called("query", client_order_id)
        match fault.instead:
            case Failure() as failure:
                return classification.of_asking(failure)
            case Exception() as error:
                return NoInformation(str(error))
        order = self._find(symbol, client_order_id, exchange_order_id)
        if order is None or order.visible_at_ms > self._now_ms():
            return classification.of_asking(Failure(400, -2013, "Order does not exist."))
        return Found(order.report())

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeReport]:
        """Open, visible orders of one symbol or of all."""
        self._ask()
        visible = [o for o in self._engine.open_orders() if o.visible_at_ms <= self._now_ms()]
        return [o.report() for o in visible if symbol in (None, o.request.symbol)]

    async def orders_from(self, symbol: str, first_id: int) -> Sequence[ExchangeReport]:
        """Visible orders of a symbol from an id on; a page is as long as need be."""
        self._ask()
        return [o.report() for o in self._visible(symbol) if o.id >= first_id]

    async def orders_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeReport]:
        """All visible orders of a symbol created at or after `start_ms`."""
        self._ask()
        return [o.report() for o in self._visible(symbol) if o.created_ms >= start_ms]

    async def trades_of(self, symbol: str, exchange_order_id: int) -> Sequence[Fill]:
        """All trades of one visible order."""
        self._ask()
        return [fill for o in self._visible(symbol) if o.id == exchange_order_id for fill in o.fills]

    async def trades_from(self, symbol: str, first_id: int) -> Sequence[ExchangeTrade]:
        """All trades of visible orders from a trade id on, by trade id."""
        self._ask()
        return [trade for trade in self._trades(symbol) if trade.fill.trade_id >= first_id]

    async def trades_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeTrade]:
        """All trades of visible orders at or after `start_ms`, by trade id."""
        self._ask()
        return [trade for trade in self._trades(symbol) if trade.fill.traded_at_ms >= start_ms]

    async def balances(self) -> dict[str, AssetBalance]:
        """Non-zero balances."""
        self._ask()
        free, locked = self._engine.free, self._engine.locked
        both = {asset: AssetBalance(free[asset], locked[asset]) for asset in sorted({*free, *locked})}
        return {asset: balance for asset, balance in both.items() if balance.free or balance.locked}

    async def user_events(self) -> AsyncIterator[UserEvent]:
        """`StreamUp`, then what happens, until the reader leaves."""
        queue: asyncio.Queue[UserEvent] = asyncio.Queue()
        queue.put_nowait(StreamUp() if self._stream_up else StreamDown("dropped by the test"))
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    def suspect(self, *, happened_ms: int, reason: str) -> None:
        """A silent stream is replaced at once; one that tells all is right."""
        if self._stream_silent:
            self._stream_silent = False
            self._tell(StreamDown(reason, silent=True))
            self._tell(StreamUp())

    async def close(self) -> None:
        """Nothing to release."""

    # --- MarketData ------------------------------------------------------------------------------------

    async def server_time_ms(self) -> int:
        """The clock's exchange time."""
        self._ask()
        return self._now_ms()

    async def symbol_rules(self) -> dict[str, SymbolRules]:
        """The rules given at the start."""
        self._ask()
        return dict(self._engine.rules)

    async def prices(self) -> dict[str, Decimal]:
        """Last price of each symbol that has one."""
        self._ask()
        return dict(self._engine.prices)

    async def closed_candles(self, symbol: str, timeframe: str, *, start_ms: int, end_ms: int) -> Sequence[KlineEvent]:
        """Closed candles that were pushed, in that range."""
        self._ask()
        candles = self._candles[(symbol, timeframe)]
        return [candles[open_ms] for open_ms in sorted(candles) if start_ms <= open_ms < end_ms]

    async def market_events(self, streams: Sequence[tuple[str, str]]) -> AsyncIterator[MarketEvent]:
        """`StreamUp`, then pushed candles of these streams."""
        queue: asyncio.Queue[MarketEvent] = asyncio.Queue()
        queue.put_nowait(StreamUp())
        watcher = (frozenset(streams), queue)
        self._watchers.append(watcher)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(watcher)

    # --- inside ----------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return self._clock.exchange_now_ms()

    def _tell(self, event: UserEvent) -> None:
        for observer in self._observers:
            observer(event)
        if self._stream_up and not self._stream_silent:
            for queue in self._listeners:
                queue.put_nowait(event)

    def _called(self, call: Call, asked: object) -> Fault:
        self._arrivals()
        self.requests.append((call, asked))
        return self._faults[call].popleft() if self._faults[call] else Fault()

    def _ask(self) -> None:
        self._arrivals()
        fault = self._faults["list"].popleft() if self._faults["list"] else Fault()
        match fault.instead:
            case Failure() as failure:
                raise classification.of_listing(failure)
            case Exception() as error:
                raise AskingFailed(str(error))

    def _arrivals(self) -> None:
        due = sorted((w for w in self._under_way if w[0] <= self._now_ms()), key=lambda waiting: waiting[0])
        for waiting in due:
            self._under_way.remove(waiting)
            due_ms, request, timestamp_ms, window_ms = waiting
            if isinstance(request, OcoRequest):
                self._accept_oco(request, timestamp_ms, window_ms, due_ms)
            else:
                self._accept(request, timestamp_ms, window_ms, due_ms)

    def _accept(self, request: OrderRequest, timestamp_ms: int, window_ms: int, at_ms: int) -> FakeOrder | Failure:
        return _outside_window(timestamp_ms, window_ms, at_ms) or self._engine.accept(request, at_ms)

    def _accept_oco(
        self, request: OcoRequest, timestamp_ms: int, window_ms: int, at_ms: int
    ) -> list[FakeOrder] | Failure:
        return _outside_window(timestamp_ms, window_ms, at_ms) or self._engine.accept_oco(request.legs, at_ms)

    def _find(self, symbol: str, client_order_id: str, exchange_order_id: int | None) -> FakeOrder | None:
        for order in reversed(self._engine.orders):  # the newest of those that shared a client id
            if order.request.symbol != symbol:
                continue
            if exchange_order_id is None and order.client_order_id == client_order_id:
                return order
            if order.id == exchange_order_id:
                return order
        return None

    def _trades(self, symbol: str) -> list[ExchangeTrade]:
        orders = self._visible(symbol)
        trades = [ExchangeTrade(o.id, symbol, o.request.side, fill) for o in orders for fill in o.fills]
        return sorted(trades, key=lambda trade: trade.fill.trade_id)

    def _visible(self, symbol: str) -> list[FakeOrder]:
        now_ms = self._now_ms()
        return [o for o in self._engine.orders if o.request.symbol == symbol and o.visible_at_ms <= now_ms]


def _outside_window(timestamp_ms: int, window_ms: int, at_ms: int) -> Failure | None:
    if timestamp_ms >= at_ms + FUTURE_MS or at_ms - timestamp_ms > window_ms:
        return Failure(400, -1021, "Timestamp for this request is outside of the recvWindow.")
    return None


def _confirmed(order: FakeOrder) -> Confirmed:
    return Confirmed(replace(order.report(), fills=tuple(order.fills)))
