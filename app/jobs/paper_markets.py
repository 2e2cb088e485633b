"""What the markets of the paper exchange show, and what users want them to show."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import Clock, to_datetime
from app.domain.errors import PlumblineError
from app.jobs.market_work import MarketWork
from app.models.analytics import Dataset
from app.models.execution import PaperMarket, PaperMarketRequest
from app.services.market.candles import read_candles
from app.services.strategy import CandleColumns


class PaperControl(Protocol):
    """The paper exchange's control endpoints, as the worker uses them."""

    async def status(self) -> dict[str, Any]:
        """`GET /paper/status`."""
        ...

    async def set_market(self, symbol: str, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /paper/markets/{symbol}`; raises PlumblineError with the exchange's words."""
        ...


class PaperMarkets:
    """Keeps rows about paper markets, and the venues their candles go to, in step with the paper exchange."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], market_work: MarketWork, control: PaperControl, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._market_work = market_work
        self._control = control
        self._clock = clock

    async def refresh(self) -> None:
        """Store what the paper exchange says its markets show; a new market is a new venue of candles."""
        status = await self._control.status()
        now = to_datetime(self._clock.now_ms())
        async with self._sessions.begin() as session:
            for market in status["symbols"]:
                symbol, venue = market["symbol"], f"paper:{market['market_id']}"
                values = {"venue": venue, "status": {**market, "preset": status["preset"]}, "seen_at": now}
                statement = upsert(PaperMarket).values(symbol=symbol, **values)
                await session.execute(statement.on_conflict_do_update(index_elements=["symbol"], set_=values))
                if self._market_work.shown.get(symbol) != venue:
                    self._market_work.shown[symbol] = venue
                    self._market_work.changed.set()
                    await tell_browsers(session, "market", symbol, user_id=None)

    async def apply_requests(self) -> None:
        """Carry out what users asked the paper market to show, oldest first."""
        async with self._sessions.begin() as session:
            waiting = select(PaperMarketRequest).where(col(PaperMarketRequest.state) == "REQUESTED")
            requests = list((await session.execute(waiting.order_by(col(PaperMarketRequest.id)))).scalars())
        for request in requests:
            state, message = await self._apply(request)
            if state == "APPLIED":
                await self._market_work.refresh_rules()
                await self.refresh()
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
