"""Market work: trading rules, prices, candles, and what the paper exchange's market shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import Clock, to_datetime
from app.domain.errors import PlumblineError
from app.logs import get_logger
from app.models.analytics import Candle, Dataset
from app.models.execution import AccountKind, PaperMarket, PaperMarketRequest, SymbolRow
from app.services.exchange.protocol import KlineEvent, MarketData, StreamDown, StreamUp
from app.services.execution.rows import rules_document
from app.services.market.candles import read_candles, store_candles
from app.services.market.prices import store_prices
from app.services.strategy import CandleColumns, timeframe_ms

log = get_logger(__name__)

KIND = AccountKind.PAPER.value
#: Candles fetched when a stream of candles begins without any run needing more.
BASE_HISTORY = 1_500
BASE_TIMEFRAME = "1s"


class PaperControl(Protocol):
    """The paper exchange's control endpoints, as the worker uses them."""

    async def status(self) -> dict[str, Any]:
        """`GET /paper/status`."""
        ...

    async def set_market(self, symbol: str, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /paper/markets/{symbol}`; raises PlumblineError with the exchange's words."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Candles of a symbol that somebody needs, with how many closed ones of history."""

    symbol: str
    timeframe: str
    history: int


class MarketWork:
    """Keeps rules, prices, candles and paper markets in step with one exchange."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        market: MarketData,
        control: PaperControl,
        clock: Clock,
        *,
        wanted_by_runs: Callable[[], Awaitable[list[tuple[str, str, int]]]],
        on_close: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._market = market
        self._control = control
        self._clock = clock
        self._wanted_by_runs = wanted_by_runs
        self._on_close = on_close
        self._venues: dict[str, str] = {}
        self.changed = asyncio.Event()  # the set of wanted candles may be another one now

    async def refresh_rules(self) -> None:
        """Store the trading rules of every symbol the exchange trades."""
        rules = await self._market.symbol_rules()
        now = to_datetime(self._clock.now_ms())
        async with self._sessions.begin() as session:
            for symbol in sorted(rules):
                values = {"rules": rules_document(rules[symbol]), "refreshed_at": now}
                statement = upsert(SymbolRow).values(kind=KIND, symbol=symbol, **values)
                await session.execute(statement.on_conflict_do_update(index_elements=["kind", "symbol"], set_=values))

    async def refresh_prices(self) -> None:
        """Store the last price of every symbol, and tell the browsers."""
        prices = await self._market.prices()
        async with self._sessions.begin() as session:
            await store_prices(session, kind=KIND, prices=prices, now=to_datetime(self._clock.now_ms()))
            await tell_browsers(session, "price", user_id=None)

    # --- the paper market ------------------------------------------------------------------------------

    async def refresh_paper_markets(self) -> None:
        """Store what the paper exchange says its markets show; a new market is a new venue of candles."""
        status = await self._control.status()
        now = to_datetime(self._clock.now_ms())
        async with self._sessions.begin() as session:
            for market in status["symbols"]:
                symbol, venue = market["symbol"], f"paper:{market['market_id']}"
                values = {"venue": venue, "status": {**market, "preset": status["preset"]}, "seen_at": now}
                statement = upsert(PaperMarket).values(symbol=symbol, **values)
                await session.execute(statement.on_conflict_do_update(index_elements=["symbol"], set_=values))
                if self._venues.get(symbol) != venue:
                    self._venues[symbol] = venue
                    self.changed.set()
                    await tell_browsers(session, "market", symbol, user_id=None)

    async def apply_paper_requests(self) -> None:
        """Carry out what users asked the paper market to show, oldest first."""
        async with self._sessions.begin() as session:
            waiting = select(PaperMarketRequest).where(col(PaperMarketRequest.state) == "REQUESTED")
            requests = list((await session.execute(waiting.order_by(col(PaperMarketRequest.id)))).scalars())
        for request in requests:
            state, message = await self._apply(request)
            if state == "APPLIED":
                await self.refresh_rules()
                await self.refresh_paper_markets()
            async with self._sessions.begin() as session:
                values = {"state": state, "message": message, "applied_at": func.now()}
                mine = update(PaperMarketRequest).where(col(PaperMarketRequest.id) == request.id)
                await session.execute(mine.values(values))
                await tell_browsers(session, "market", request.symbol, user_id=None)

    async def _apply(self, request: PaperMarketRequest) -> tuple[str, str]:
        body: dict[str, Any] = {"source": request.source, **(request.options or {})}
        if request.source == "replay":
            async with self._sessions.begin() as session:
                dataset = await session.get(Dataset, request.dataset_id or 0)
                if dataset is None:
                    return "FAILED", "the data set is gone"
                candles = await read_candles(
                    session, venue=dataset.venue, symbol=dataset.symbol, timeframe=dataset.timeframe
                )
            body["label"] = dataset.name
            body["candles"] = await asyncio.to_thread(_rows, candles)
        try:
            status = await self._control.set_market(request.symbol, body)
        except PlumblineError as error:
            return "FAILED", error.message
        closed = status.get("gaps_closed") or 0
        return "APPLIED", f"{closed} gaps of the source are closed" if closed else ""

    # --- candles ---------------------------------------------------------------------------------------

    async def wanted(self) -> list[Wanted]:
        """Candles to follow: every paper symbol's base candles, and what active runs need."""
        needs = {(symbol, BASE_TIMEFRAME): BASE_HISTORY for symbol in self._venues}
        for symbol, timeframe, history in await self._wanted_by_runs():
            if symbol in self._venues:
                needs[symbol, timeframe] = max(history, needs.get((symbol, timeframe), 0))
        return [Wanted(symbol, timeframe, history) for (symbol, timeframe), history in sorted(needs.items())]

    async def ingest(self) -> None:
        """Fetch closed candles that are missing at the end of what is stored: first load and repair alike."""
        for want in await self.wanted():
            await self._backfill(want)
        self._on_close()

    async def _backfill(self, want: Wanted) -> None:
        venue, length_ms = self._venues[want.symbol], timeframe_ms(want.timeframe)
        now_ms = self._clock.exchange_now_ms()
        async with self._sessions.begin() as session:
            key = (
                col(Candle.venue) == venue,
                col(Candle.symbol) == want.symbol,
                col(Candle.timeframe) == want.timeframe,
            )
            span = select(func.min(col(Candle.open_time_ms)), func.max(col(Candle.open_time_ms)), func.count())
            first, last, count = (await session.execute(span.where(*key))).one()
        start_ms = now_ms - now_ms % length_ms - want.history * length_ms
        if last is not None and (first <= start_ms or count >= want.history):
            start_ms = last + length_ms
        candles = await self._market.closed_candles(
            want.symbol, want.timeframe, start_ms=start_ms, end_ms=now_ms - now_ms % length_ms
        )
        if candles:
            await self._store(venue, candles)

    async def _store(self, venue: str, candles: Sequence[KlineEvent]) -> None:
        async with self._sessions.begin() as session:
            first = candles[0]
            await store_candles(session, venue=venue, symbol=first.symbol, timeframe=first.timeframe, rows=candles)
            await tell_browsers(session, "market", first.symbol, user_id=None)

    async def follow(self) -> None:
        """Store candles as they close, until the set of wanted candles changes."""
        self.changed.clear()
        wanted = await self.wanted()
        if not wanted:
            await asyncio.wait_for(self.changed.wait(), 5)
            return
        await self.ingest()
        reader = asyncio.create_task(self._read([(want.symbol, want.timeframe) for want in wanted]))
        changed = asyncio.create_task(self.changed.wait())
        try:
            done, _ = await asyncio.wait({reader, changed}, return_when=asyncio.FIRST_COMPLETED)
            if reader in done:
                await reader
        finally:
            for task in (reader, changed):
                task.cancel()
            await asyncio.gather(reader, changed, return_exceptions=True)

    async def _read(self, streams: list[tuple[str, str]]) -> None:
        async for event in self._market.market_events(streams):
            match event:
                case StreamUp():
                    await self.ingest()  # whatever closed while nobody listened
                case StreamDown(reason=reason):
                    log.warning("candle stream is down", reason=reason)
                case KlineEvent(closed=True) if event.symbol in self._venues:
                    await self._store(self._venues[event.symbol], [event])
                    self._on_close()
                case _:
                    pass


def _rows(candles: CandleColumns) -> list[list[Any]]:
    """Candles as the paper exchange takes them: [open time in ms, "open", "high", "low", "close", "volume"]."""
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    return [
        [int(t), *(_number(value) for value in row)] for t, *row in zip(candles.open_time_ms, *columns, strict=True)
    ]


def _number(value: Any) -> str:
    """A candle's float as plain decimal text; repr gives back the digits the file had."""
    text = repr(float(value))
    return format(float(value), ".8f") if "e" in text else text
