"""A market that follows another exchange's public data: Binance's, or any server that speaks like it.

A second of the upstream is played when it has closed there, so one to two seconds late, with the upstream's own
spread around it. When the upstream falls silent the symbol halts, and it goes on when the upstream does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from app.domain.clock import Clock
from app.domain.errors import InvalidInput
from app.domain.symbols import SymbolRules
from app.paper_exchange.archive import Archive
from app.paper_exchange.candles import PATH_POINTS, Candle, Columns, History
from app.paper_exchange.intervals import MINUTE_MS, SECOND_MS
from app.paper_exchange.units import Units

log = structlog.get_logger(__name__)

Row = tuple[int, int, int, int, int, int]  # open time, open, high, low, close, volume
HISTORY_MINUTES = 3 * 1440
HISTORY_SECONDS = 900
PAGE = 1000
#: So many seconds without a candle and the symbol halts; twice as many without any message and we connect anew.
SILENCE_S = 10
_WAITS_S = (1, 2, 5, 10, 30)
_TROUBLES = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError, InvalidOperation)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Base addresses without the path: REST (`/api/v3/…`) and streams (`/stream?streams=…`)."""

    rest: str
    stream: str

    @property
    def name(self) -> str:
        """How people know it."""
        return urlsplit(self.rest).netloc


BINANCE = Upstream("https://data-api.binance.vision", "wss://data-stream.binance.vision")


@dataclass(slots=True)
class Mirror:
    """The source: gives the upstream's seconds as they come in."""

    symbol: str
    units: Units
    upstream: Upstream
    past: History = field(default_factory=History)
    half_spread: Decimal | None = None  # of the upstream's best prices
    trouble: str = "not connected yet"  # with the connection; "" for none
    newest_ms: int = 0  # open time of the newest second taken in
    _waiting: deque[Row] = field(default_factory=deque)
    _silent_s: int = 0

    kind = "mirror"

    @property
    def progress(self) -> tuple[int, int] | None:
        """A mirror has no end."""
        return None

    @property
    def is_silent(self) -> bool:
        """Whether the upstream has been silent for so long that trading on its last price would be wrong."""
        return self._silent_s >= SILENCE_S

    @property
    def words(self) -> str:
        """What is wrong with the upstream; "" for nothing."""
        return self.trouble or (f"{self.upstream.name} is silent" if self.is_silent else "")

    @property
    def has_more(self) -> bool:
        """Whether there is a second to play."""
        return bool(self._waiting)

    def take_in(self, row: Row) -> None:
        """A closed second of the upstream; one that is not newer than the last is none."""
        if row[0] > self.newest_ms:
            self.newest_ms = row[0]
            self._waiting.append(row)

    def next(self) -> tuple[int, int, int, int, int] | None:
        """Open, high, low, close, volume of everything that came since the last call; None for nothing."""
        if not self._waiting:
            self._silent_s += 1
            return None
        self._silent_s = 0
        _, o, h, low, c, volume = self._waiting.popleft()
        while self._waiting:  # a burst after an interruption becomes one second
            _, _, high, lowest, c, more = self._waiting.popleft()
            h, low, volume = max(h, high), min(low, lowest), volume + more
        return o, h, low, c, volume

    def history(self, live_ms: int) -> History:
        """What was fetched before the market went live."""
        history = History(self.past.minutes, self.past.seconds.before(live_ms))
        self.past = History()
        return history

    def archive(self) -> Archive | None:
        """Nothing but what `history` gave."""
        return None

    def describe(self) -> dict[str, Any]:
        """What is needed to make this source again."""
        return {
            "source": "mirror", "label": f"mirror of {self.upstream.name}", "rest": self.upstream.rest,
            "stream": self.upstream.stream,
        }  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """The changing part, as JSON."""
        return {}


class Mirrors:
    """The connections to the upstream: one task for each mirrored symbol."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(self, symbol: str, known: SymbolRules | None) -> tuple[SymbolRules, Mirror]:
        """A mirror of a symbol with its history, and the rules it trades by: those `known`, or the upstream's.

        Raises InvalidInput when the upstream cannot be reached or has no such symbol.
        """
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                rules = known or await _rules(session, self._upstream, symbol)
                units = Units.of(rules)
                past = await _past(session, self._upstream, symbol, units, self._clock.now_ms())
        except _TROUBLES as error:
            raise InvalidInput(
                f"{self._upstream.name} cannot be mirrored for {symbol[:20]}: {_words(error)}", field="source"
            ) from error
        mirror = Mirror(symbol, units, self._upstream, past)
        mirror.newest_ms = past.seconds.open_ms[-1] if len(past.seconds) else 0
        return rules, mirror

    def follow(self, mirror: Mirror) -> None:
        """Keep a mirror fed until `leave`."""
        self.leave(mirror.symbol)
        self._tasks[mirror.symbol] = asyncio.create_task(_follow(mirror, self._clock))

    def leave(self, symbol: str) -> None:
        """Follow the symbol no more."""
        task = self._tasks.pop(symbol, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all connections."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(mirror: Mirror, clock: Clock) -> None:
    failures = 0
    while True:
        connected = False
        try:
            async with aiohttp.ClientSession() as session:
                name = mirror.symbol.lower()
                url = f"{mirror.upstream.stream}/stream?streams={name}@kline_1s/{name}@bookTicker"
                async with session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=2.0)) as socket:
                    connected, failures, mirror.trouble = True, 0, ""
                    while True:
                        message = await socket.receive(timeout=2 * SILENCE_S)
                        if message.type is not aiohttp.WSMsgType.TEXT:
                            raise aiohttp.ClientConnectionError("the stream ended")
                        _read(mirror, json.loads(message.data))
        except _TROUBLES as error:
            mirror.trouble = f"{mirror.upstream.name}: {_words(error)}"
            log.warning("mirror interrupted", symbol=mirror.symbol, reason=mirror.trouble, connected=connected)
        await clock.sleep(_WAITS_S[min(failures, len(_WAITS_S) - 1)])
        failures += 1


def _read(mirror: Mirror, frame: dict[str, Any]) -> None:
    """Take in one message of the combined stream."""
    data = frame.get("data", {})
    if data.get("e") == "kline":
        k = data["k"]
        if k["x"]:
            mirror.take_in(_row(mirror.units, [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"]]))
    elif "a" in data and "b" in data:
        ask, bid = Decimal(data["a"]), Decimal(data["b"])
        if ask > bid > 0:
            mirror.half_spread = (ask - bid) / 2


def _row(units: Units, values: list[Any]) -> Row:
    o, h, low, c = (units.price_units(Decimal(text)) for text in values[1:5])
    volume = units.quantity_units(Decimal(values[5])) // units.step * units.step
    return int(values[0]), o, max(o, h, c), min(o, low, c), c, volume


# -- what the upstream's REST tells before the start --------------------------------------------------------


async def _get(session: aiohttp.ClientSession, upstream: Upstream, path: str, **params: Any) -> Any:
    async with session.get(f"{upstream.rest}/api/v3/{path}", params=params) as response:
        body = await response.json(content_type=None)
        if response.status != 200:
            raise ValueError(body.get("msg", response.status) if isinstance(body, dict) else response.status)
        return body


async def _past(session: aiohttp.ClientSession, upstream: Upstream, symbol: str, units: Units, now_ms: int) -> History:
    """Some days of minutes, then the newest seconds from a whole minute on."""
    seconds_from = (now_ms - HISTORY_SECONDS * SECOND_MS) // MINUTE_MS * MINUTE_MS
    start_ms, history = seconds_from - HISTORY_MINUTES * MINUTE_MS, History()
    while start_ms < seconds_from:
        page = await _get(session, upstream, "klines", symbol=symbol, interval="1m", startTime=start_ms, limit=PAGE)
        _add(history.minutes, units, page, PATH_POINTS * 60, lambda row: row[0] < seconds_from)
        if len(page) < PAGE:
            break
        start_ms = page[-1][0] + MINUTE_MS
    page = await _get(session, upstream, "klines", symbol=symbol, interval="1s", startTime=seconds_from, limit=PAGE)
    _add(history.seconds, units, page, PATH_POINTS, lambda row: row[6] < now_ms)
    if not len(history.seconds):
        raise ValueError("it has no candles of the last minutes")
    return history


def _add(
    columns: Columns, units: Units, page: list[list[Any]], prints: int, wanted: Callable[[list[Any]], bool]
) -> None:
    for values in page:
        if wanted(values):
            opened, o, h, low, c, volume = _row(units, values)
            columns.append(Candle(opened, o, h, low, c, volume, float(values[7]), prints))


async def _rules(session: aiohttp.ClientSession, upstream: Upstream, symbol: str) -> SymbolRules:
    info = (await _get(session, upstream, "exchangeInfo", symbol=symbol))["symbols"][0]
    filters = {f["filterType"]: f for f in info["filters"]}

    def amount(kind: str, name: str) -> Decimal:
        return Decimal(filters.get(kind, {}).get(name, 0))

    return SymbolRules(
        symbol=info["symbol"],
        base_asset=info["baseAsset"],
        quote_asset=info["quoteAsset"],
        tick_size=amount("PRICE_FILTER", "tickSize"),
        min_price=amount("PRICE_FILTER", "minPrice"),
        max_price=amount("PRICE_FILTER", "maxPrice"),
        step_size=amount("LOT_SIZE", "stepSize"),
        min_qty=amount("LOT_SIZE", "minQty"),
        max_qty=amount("LOT_SIZE", "maxQty"),
        market_max_qty=amount("MARKET_LOT_SIZE", "maxQty"),
        min_notional=amount("NOTIONAL", "minNotional"),
        max_notional=amount("NOTIONAL", "maxNotional"),
        bid_multiplier_up=amount("PERCENT_PRICE_BY_SIDE", "bidMultiplierUp"),
        bid_multiplier_down=amount("PERCENT_PRICE_BY_SIDE", "bidMultiplierDown"),
        ask_multiplier_up=amount("PERCENT_PRICE_BY_SIDE", "askMultiplierUp"),
        ask_multiplier_down=amount("PERCENT_PRICE_BY_SIDE", "askMultiplierDown"),
        max_num_orders=int(filters.get("MAX_NUM_ORDERS", {}).get("maxNumOrders", 200)),
        max_num_algo_orders=int(filters.get("MAX_NUM_ALGO_ORDERS", {}).get("maxNumAlgoOrders", 5)),
    )


def _words(error: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    with contextlib.suppress(AttributeError):
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"it cannot be reached ({error.os_error.strerror or error.os_error})"
    return str(error) or type(error).__name__
