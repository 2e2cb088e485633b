"""Market work on one exchange: its trading rules, prices and candles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import Clock, to_datetime
from app.logs import get_logger
from app.models.analytics import Candle
from app.models.execution import SymbolRow
from app.services.exchange.protocol import KlineEvent, MarketData, StreamDown, StreamUp
from app.services.execution.rows import rules_document
from app.services.market.candles import store_candles
from app.services.market.prices import store_prices
from app.services.market.venues import VENUES
from app.services.strategy import timeframe_ms

log = get_logger(__name__)

#: Candles fetched when a stream of candles begins without any run needing more.
BASE_HISTORY = 1_500
BASE_TIMEFRAME = "1s"
#: A hole in what the exchange tells of this last while may be a candle it does not show yet; an older one is a gap.
SETTLED_MS = 120_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Candles of a symbol that somebody needs, with how many closed ones of history."""

    symbol: str
    timeframe: str
    history: int


class MarketWork:
    """Keeps rules, prices and candles in step with the exchange of one kind of account.

    `shown`: symbols whose candles are followed though no run needs them, each with the venue they go to. Elsewhere
    candles are fetched only for runs: a real exchange has thousands of symbols.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        kind: str,
        market: MarketData,
        clock: Clock,
        *,
        wanted_by_runs: Callable[[str], Awaitable[list[tuple[str, str, int]]]],
        on_close: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._kind = kind
        self._market = market
        self._clock = clock
        self._wanted_by_runs = wanted_by_runs
        self._on_close = on_close
        self.shown: dict[str, str] = {}
        #: What the exchange itself has told without a hole: (venue, symbol, timeframe) → (history asked for, end).
        self._whole: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.changed = asyncio.Event()  # the set of wanted candles may be another one now

    def _venue(self, symbol: str) -> str | None:
        """Where a symbol's candles are kept; None for a paper symbol that has no market."""
        return VENUES.get(self._kind) or self.shown.get(symbol)

    async def refresh_rules(self) -> None:
        """Store the trading rules of every symbol the exchange trades."""
        rules = await self._market.symbol_rules()
        now = to_datetime(self._clock.now_ms())
        rows = [
            {"kind": self._kind, "symbol": symbol, "rules": rules_document(rules[symbol]), "refreshed_at": now}
            for symbol in sorted(rules)
        ]
        statement = upsert(SymbolRow)
        values = {"rules": statement.excluded.rules, "refreshed_at": statement.excluded.refreshed_at}
        if rows:
            async with self._sessions.begin() as session:
                await session.execute(
                    statement.on_conflict_do_update(index_elements=["kind", "symbol"], set_=values), rows
                )

    async def refresh_prices(self) -> None:
        """Store the last price of every symbol, and tell the browsers."""
        prices = await self._market.prices()
        async with self._sessions.begin() as session:
            # By the exchange's time, which nobody sets: a price that seems to come from the future would stay.
            await store_prices(session, kind=self._kind, prices=prices, now=to_datetime(self._clock.exchange_now_ms()))
            await tell_browsers(session, "price", user_id=None)

    # --- candles ---------------------------------------------------------------------------------------

    async def wanted(self) -> list[Wanted]:
        """Candles to follow: the base candles of what is shown, and what active runs need."""
        needs = {(symbol, BASE_TIMEFRAME): BASE_HISTORY for symbol in self.shown}
        for symbol, timeframe, history in await self._wanted_by_runs(self._kind):
            if self._venue(symbol) is not None:
                needs[symbol, timeframe] = max(history, needs.get((symbol, timeframe), 0))
        return [Wanted(symbol, timeframe, history) for (symbol, timeframe), history in sorted(needs.items())]

    async def ingest(self) -> None:
        """Fetch closed candles from the first that is missing on: first load and repair alike."""
        for want in await self.wanted():
            await self._backfill(want)
        self._on_close()

    async def _backfill(self, want: Wanted) -> None:
        venue, length_ms = self._venue(want.symbol) or "", timeframe_ms(want.timeframe)
        now_ms = self._clock.exchange_now_ms()
        end_ms = now_ms - now_ms % length_ms
        key = (venue, want.symbol, want.timeframe)
        history, start_ms = self._whole.get(key, (0, 0))
        if history < want.history:
            start_ms = end_ms - want.history * length_ms
        start_ms = first_missing_ms(await self._open_times(key, start_ms), start_ms, length_ms)
        if start_ms >= end_ms:
            return
        candles = await self._market.closed_candles(want.symbol, want.timeframe, start_ms=start_ms, end_ms=end_ms)
        if candles:
            await self._store(venue, candles)
            told_ms = min(candles[-1].open_time_ms + length_ms, end_ms - SETTLED_MS)
            self._whole[key] = max(history, want.history), told_ms

    async def _open_times(self, key: tuple[str, str, str], from_ms: int) -> list[int]:
        """Open times of the candles stored from then on, oldest first."""
        venue, symbol, timeframe = key
        of = (col(Candle.venue) == venue, col(Candle.symbol) == symbol, col(Candle.timeframe) == timeframe)
        stored = select(col(Candle.open_time_ms)).where(*of, col(Candle.open_time_ms) >= from_ms)
        async with self._sessions.begin() as session:
            return list((await session.execute(stored.order_by(col(Candle.open_time_ms)))).scalars())

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
                case KlineEvent(closed=True) if venue := self._venue(event.symbol):
                    await self._store(venue, [event])
                    self._on_close()
                case _:
                    pass


def first_missing_ms(open_times_ms: Sequence[int], start_ms: int, length_ms: int) -> int:
    """From when on candles have to be asked for: from the first hole since `start_ms`, else after the last one stored.

    A close that the stream lost is such a hole, however many came after it.
    """
    if not open_times_ms or open_times_ms[0] >= start_ms + length_ms:
        return start_ms
    hole = next((a for a, b in pairwise(open_times_ms) if b - a > length_ms), open_times_ms[-1])
    return hole + length_ms
