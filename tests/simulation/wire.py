"""The network between our processes and the exchange: every request and answer travels, late, twice, or never.

A request that has left goes on although the process that sent it dies. The answers of a disturbed exchange pass
through the same classification as those of the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.orders import ExchangeReport, Fill
from app.domain.symbols import SymbolRules
from app.services.exchange import classification
from app.services.exchange.classification import Failure
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import visible_after
from app.services.exchange.protocol import (
    AskingFailed,
    AssetBalance,
    CancelOutcome,
    ExchangeTrade,
    ListOutcome,
    NoInformation,
    NotSent,
    OcoRequest,
    OrderRequest,
    OrderUpdate,
    PlaceOutcome,
    QueryOutcome,
    StreamDown,
    StreamUp,
    Unknown,
    UserEvent,
)
from app.services.exchange.supervision import LATE_MS
from tests.simulation.scheduler import SimLoop

NO_ANSWER_S = 12.0
LOST = "the connection was cut"


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one request. `instead`: an error answer of the exchange; `refuses`: and nothing is done."""

    travels_s: float = 0.05
    returns_s: float = 0.05
    request_lost: bool = False
    answer_lost: bool = False
    not_sent: bool = False
    instead: Failure | None = None
    refuses: bool = False
    visible_after_ms: int = 0

    @property
    def disturbs(self) -> bool:
        """Whether the caller learns less than the truth."""
        return self.request_lost or self.answer_lost or self.not_sent or self.instead is not None


@dataclass(frozen=True, slots=True)
class StreamFate:
    """What happens to one event of the stream: one delay a copy; none: lost."""

    delays_s: tuple[float, ...] = (0.03,)


@dataclass
class Line:
    """One account's way to its exchange. Outlives our processes; `sent` is what an observer of the wire has seen."""

    account_id: int
    exchange: FakeExchange
    loop: SimLoop
    fate: Callable[[int, str], Fate]
    stream_fate: Callable[[int], StreamFate]
    say: Callable[[str, str, str], None]
    sent: list[OrderRequest] = field(default_factory=list)
    disturbed_at_s: float = 0.0
    listeners: list[asyncio.Queue[UserEvent]] = field(default_factory=list)
    stream_down: bool = False

    last_sent: set[str] = field(default_factory=set)  # client ids of the newest order, or of both legs of a pair

    def __post_init__(self) -> None:
        self.exchange.observe(self._tell)

    def note_sent(self, requests: Sequence[OrderRequest]) -> None:
        """What goes on the wire now, be it carried out or not."""
        self.sent.extend(requests)
        self.last_sent = {request.client_order_id for request in requests}

    # --- requests --------------------------------------------------------------------------------------

    async def carry(self, call: str, what: str, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The exchange's own answer, a Failure, or an Unknown/NotSent of the network."""
        fate = self.fate(self.account_id, call)
        if fate.disturbs:
            self.disturbed_at_s = self.loop.time()
        if fate.not_sent:
            self.say("network", f"{call} {what}", "not sent")
            await asyncio.sleep(0)
            return NotSent("no connection")
        answer: asyncio.Future[Any] = self.loop.create_future()
        at = self.loop.time() + fate.travels_s
        if not fate.request_lost:
            self.loop.call_at(at, self._arrive, call, what, act, fate, answer, context=self.loop.outside)
        else:
            self.say("network", f"{call} {what}", "request lost")
        give_up_s = self.loop.time() + NO_ANSWER_S
        timer = self.loop.call_at(give_up_s, _settle, answer, Unknown("no answer"), context=self.loop.outside)
        result = await answer
        timer.cancel()
        return result

    def _arrive(
        self, call: str, what: str, act: Callable[[], Coroutine[Any, Any, Any]], fate: Fate, answer: asyncio.Future[Any]
    ) -> None:
        if fate.refuses:
            result: Any = fate.instead
        else:
            if fate.visible_after_ms:
                self.exchange.fail_next("place", visible_after(fate.visible_after_ms))
            result = _at_once(act())
            self.say("exchange", f"{call} {what}", _words(result))
            result = fate.instead or result
        if fate.answer_lost:
            self.say("network", f"{call} {what}", "answer lost")
            return
        if fate.instead is not None:
            self.say("exchange", f"{call} {what}", f"answers {fate.instead.words}")
        at = self.loop.time() + fate.returns_s
        self.loop.call_at(at, _settle, answer, result, context=self.loop.outside)

    # --- the user stream -------------------------------------------------------------------------------

    def _tell(self, event: UserEvent) -> None:
        if self.stream_down or not isinstance(event, OrderUpdate):
            return
        for delay_s in self.stream_fate(self.account_id).delays_s:
            for queue in self.listeners:
                self.loop.call_later(delay_s, queue.put_nowait, event, context=self.loop.outside)

    def hang_up(self) -> None:
        """The process at our end is gone."""
        self.listeners = []

    def replace_stream(self, happened_ms: int) -> None:
        """Our end has found out that the stream does not tell what happens, and connects anew."""
        if not self.stream_down and happened_ms < self.exchange._now_ms() - LATE_MS:
            self.say("worker", f"replaces the stream of account {self.account_id}", "silent")
            for queue in self.listeners:
                for event in (StreamDown("silent", silent=True), StreamUp()):
                    self.loop.call_later(0.02, queue.put_nowait, event, context=self.loop.outside)

    def set_stream(self, *, down: bool) -> None:
        """The connection breaks, or stands again."""
        if down != self.stream_down:
            self.stream_down = down
            for queue in self.listeners:
                event = StreamDown("cut") if down else StreamUp()
                self.loop.call_later(0.02, queue.put_nowait, event, context=self.loop.outside)


class SimSession:
    """`TradingSession` and the clock of one account, over its line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._exchange = line.exchange

    def admits(self, *, is_exit: bool) -> bool:
        return True

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        self._line.note_sent([request])
        words = f"{request.client_order_id} {request.side} {request.type}"
        answer = await self._line.carry(
            "place",
            words,
            lambda: self._exchange.place(
                request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms
            ),
        )
        return classification.of_placing(answer) if isinstance(answer, Failure) else answer

    async def place_oco(self, request: OcoRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> ListOutcome:
        self._line.note_sent(request.legs)
        words = f"{' + '.join(leg.client_order_id for leg in request.legs)} OCO"
        answer = await self._line.carry(
            "place",
            words,
            lambda: self._exchange.place_oco(
                request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms
            ),
        )
        return classification.of_placing(answer) if isinstance(answer, Failure) else answer

    async def cancel(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> CancelOutcome:
        answer = await self._line.carry(
            "cancel",
            client_order_id,
            lambda: self._exchange.cancel(
                symbol, client_order_id=client_order_id, exchange_order_id=exchange_order_id
            ),
        )
        return classification.of_cancelling(answer) if isinstance(answer, Failure) else answer

    async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
        answer = await self._line.carry(
            "query",
            client_order_id,
            lambda: self._exchange.query(symbol, client_order_id=client_order_id, exchange_order_id=exchange_order_id),
        )
        if isinstance(answer, Unknown | NotSent):
            return NoInformation(answer.reason)
        return classification.of_asking(answer) if isinstance(answer, Failure) else answer

    async def open_orders(self, symbol: str | None = None) -> Sequence[ExchangeReport]:
        return await self._list(f"open orders {symbol or ''}", lambda: self._exchange.open_orders(symbol))

    async def orders_from(self, symbol: str, first_id: int) -> Sequence[ExchangeReport]:
        return await self._list(f"orders {symbol} {first_id}", lambda: self._exchange.orders_from(symbol, first_id))

    async def orders_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeReport]:
        return await self._list(f"orders {symbol}", lambda: self._exchange.orders_since(symbol, start_ms))

    async def trades_of(self, symbol: str, exchange_order_id: int) -> Sequence[Fill]:
        return await self._list(
            f"trades of {exchange_order_id}", lambda: self._exchange.trades_of(symbol, exchange_order_id)
        )

    async def trades_from(self, symbol: str, first_id: int) -> Sequence[ExchangeTrade]:
        return await self._list(f"trades {symbol} {first_id}", lambda: self._exchange.trades_from(symbol, first_id))

    async def trades_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeTrade]:
        return await self._list(f"trades {symbol}", lambda: self._exchange.trades_since(symbol, start_ms))

    async def balances(self) -> dict[str, AssetBalance]:
        return await self._list("balances", self._exchange.balances)

    async def server_time_ms(self) -> int:
        return await self._list("time", self._exchange.server_time_ms)

    async def symbol_rules(self) -> dict[str, SymbolRules]:
        """As `MarketData`."""
        return await self._list("rules", self._exchange.symbol_rules)

    async def user_events(self) -> AsyncIterator[UserEvent]:
        queue: asyncio.Queue[UserEvent] = asyncio.Queue()
        queue.put_nowait(StreamDown("cut") if self._line.stream_down else StreamUp())
        listeners = self._line.listeners
        listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            if queue in listeners:
                listeners.remove(queue)

    def suspect(self, *, happened_ms: int, reason: str) -> None:
        """A stream that lately told nothing is replaced."""
        self._line.replace_stream(happened_ms)

    async def close(self) -> None:
        """Nothing to release."""

    async def _list(self, what: str, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        answer = await self._line.carry("list", what, act)
        if isinstance(answer, Unknown | NotSent):
            raise AskingFailed(answer.reason)
        if isinstance(answer, Failure):
            raise classification.of_listing(answer)
        return answer


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing, as all of the fake exchange's are."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the exchange waited")


def _words(result: Any) -> str:
    report = getattr(result, "report", None)
    if isinstance(report, ExchangeReport):
        return f"{type(result).__name__} #{report.exchange_order_id} {report.status} {report.executed}"
    if isinstance(result, list | tuple | dict):
        return f"{len(result)} rows"
    return f"{type(result).__name__} {getattr(result, 'message', '')}".rstrip()
