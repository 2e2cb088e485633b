"""`plumbline candles download`: the exchange adapter, a file and a line of progress."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from app.config import load_settings
from app.domain.clock import to_datetime
from app.domain.errors import InvalidInput
from app.logs import configure_logging
from app.models.execution import AccountKind
from app.services.exchange.binance import BinanceMarketData
from app.services.exchange.endpoints import Endpoints, endpoints_of
from app.services.exchange.weight import WeightBudget
from app.services.market.downloads import Progress, download_candles, utc_ms
from app.services.runtime import SystemClock
from app.services.strategy.candles import timeframe_ms


def download_to_file(
    *, exchange: str, symbol: str, timeframe: str, start: str, end: str, path: Path, say: Callable[[str], None]
) -> int:
    """See `download_candles`; `exchange` is live, testnet or paper, by the settings' addresses. Returns the rows."""
    kinds = {kind.value.lower(): kind for kind in AccountKind}
    if exchange.lower() not in kinds:
        raise InvalidInput(f"{exchange!r} is no exchange; use {', '.join(kinds)}.", field="exchange")
    timeframe_ms(timeframe)
    settings = load_settings()
    configure_logging("candles", level="ERROR")
    clock = SystemClock()
    start_ms = utc_ms(start, "from")
    end_ms = min(utc_ms(end, "to"), clock.now_ms()) if end else clock.now_ms()
    run = _download(
        endpoints_of(kinds[exchange.lower()], settings), clock, symbol.upper(), timeframe, start_ms, end_ms, path, say
    )
    try:
        return asyncio.run(run)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.", field="out") from None


async def _download(
    endpoints: Endpoints,
    clock: SystemClock,
    symbol: str,
    timeframe: str,
    start_ms: int,
    end_ms: int,
    path: Path,
    say: Callable[[str], None],
) -> int:
    def tell(progress: Progress) -> None:
        done = (progress.reached_ms - start_ms) / (progress.end_ms - start_ms)
        say(f"{done:6.1%}  {progress.rows:,} candles, up to {to_datetime(progress.reached_ms):%Y-%m-%d %H:%M} UTC")

    jitter = random.Random(0).random  # noqa: S311 — spreads reconnects of streams; none is opened here
    source = BinanceMarketData(endpoints, clock=clock, budget=WeightBudget(clock=clock), jitter=jitter)
    try:
        return await download_candles(
            source,
            path,
            symbol=symbol,
            timeframe=timeframe,
            start_ms=start_ms,
            end_ms=end_ms,
            clock=clock,
            tell=tell,
        )
    finally:
        await source.close()
