"""What the public endpoints answer: rules, candles, books, tickers and trades."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from app.domain.money import ZERO
from app.paper_exchange import errors, feeds, views
from app.paper_exchange.candles import INTERVALS_MS, MINUTE_MS, Candle
from app.paper_exchange.endpoints import DAY_MS, Call, known
from app.paper_exchange.errors import ApiError
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.model import Print
from app.paper_exchange.params import Params
from app.paper_exchange.reports import fixed
from app.paper_exchange.tickers import Statistics, statistics

HOUR_MS = 60 * MINUTE_MS
PERMISSIONS = frozenset({"SPOT", "MARGIN", "LEVERAGED", *(f"TRD_GRP_{n:03}" for n in range(2, 26))})
STATUSES = ("TRADING", "HALT", "BREAK")
MAX_TICKER_SYMBOLS = 100
_ZONE = re.compile(r"^([+-]?)(\d{1,2})(?::(\d{2}))?$")
_WINDOW = re.compile(r"^(\d{1,2})([mhd])$")
_WINDOW_UNITS = {"m": (MINUTE_MS, 59), "h": (HOUR_MS, 23), "d": (DAY_MS, 7)}


# -- general ---------------------------------------------------------------------------------------------


async def ping(call: Call) -> Any:
    """{}"""
    call.params.finish()
    return {}


async def server_time(call: Call) -> Any:
    """True time."""
    call.params.finish()
    return {"serverTime": call.exchange.clock.exchange_now_ms()}


async def exchange_info(call: Call) -> Any:
    """Rules of the symbols; a halted one has status BREAK."""
    params = call.params
    status, permissions = read_status(params), _permissions(params)
    with_sets = params.boolean("showPermissionSets", default=True)
    markets, _ = selected(call)
    params.finish()
    if (status or permissions) and (params.has("symbol") or params.has("symbols")):
        raise errors.bad_combination()
    infos = [views.symbol_info(m.wire_rules) for m in markets]
    if not with_sets:
        infos = [{**info, "permissionSets": []} for info in infos]
    is_shown = permissions is None or "SPOT" in permissions
    return {
        "timezone": "UTC",
        "serverTime": call.exchange.clock.exchange_now_ms(),
        "rateLimits": call.exchange.limits.described(),
        "exchangeFilters": [],
        "symbols": [i for i in infos if is_shown and status in (None, i["status"])],
    }


async def execution_rules(call: Call) -> Any:
    """No symbol has a price range rule."""
    read_status(call.params)
    selected(call)
    call.params.finish()
    return {"symbolRules": []}


async def reference_price(call: Call) -> Any:
    """No symbol has a reference price: filters use the average."""
    call.market()
    call.params.text("symbolStatus")
    call.params.finish()
    raise ApiError(-2043, "This symbol doesn't have a reference price.")


# -- candles and books -----------------------------------------------------------------------------------


async def klines(call: Call) -> Any:
    """At most 1000 rows, the forming candle last. `startTime` and `endTime` are UTC in any time zone."""
    market = call.market()
    interval = call.params.required("interval")
    start, end = call.params.time_ms("startTime"), call.params.time_ms("endTime")
    limit = call.params.limit(500, 1000)
    zone_ms = read_zone(call.params)
    call.params.finish()
    if interval not in INTERVALS_MS:
        raise ApiError(-1120, "Invalid interval.")
    found = market.candles.read(interval, start, end, limit, zone_ms=zone_ms)
    return [feeds.kline_row(market, interval, candle, zone_ms) for candle in found]


async def depth(call: Call) -> Any:
    """The book with the resting orders in it."""
    market = call.market()
    limit = call.params.limit(100, 5000)
    status = read_status(call.params)
    call.params.finish()
    _check_status(market, status)
    return feeds.look(call.exchange, market.rules.symbol).partial(limit)


async def average_price(call: Call) -> Any:
    """Volume-weighted price of the last minutes: what the filters refer to."""
    market = call.market()
    call.params.finish()
    average = call.exchange.engine.markets[market.rules.symbol].average_price
    return {
        "mins": market.rules.average_price_mins,
        "price": fixed(average),
        "closeTime": market.last_traded_ms or call.exchange.clock.exchange_now_ms(),
    }


# -- tickers ---------------------------------------------------------------------------------------------


async def ticker_price(call: Call) -> Any:
    """Last price of one or more symbols."""

    def row(market: LiveMarket) -> dict[str, Any] | None:
        last = market.candles.last_price
        return None if last is None else {"symbol": market.rules.symbol, "price": market.units.price_text(last)}

    return _rows(call, row)


async def book_ticker(call: Call) -> Any:
    """Best bid and ask of one or more symbols."""

    def row(market: LiveMarket) -> dict[str, Any] | None:
        best = feeds.book_ticker(call.exchange, market.rules.symbol)
        names = {"symbol": "s", "bidPrice": "b", "bidQty": "B", "askPrice": "a", "askQty": "A"}
        return None if best is None else {name: best[short] for name, short in names.items()}

    return _rows(call, row)


async def ticker_24h(call: Call) -> Any:
    """The last 24 hours of one or more symbols."""
    is_full = _is_full(call.params)
    now_ms = call.exchange.clock.exchange_now_ms()

    def row(market: LiveMarket) -> dict[str, Any] | None:
        found = statistics(market, now_ms - DAY_MS)
        best = feeds.book_ticker(call.exchange, market.rules.symbol)
        if found is None or best is None:
            return None
        answer = _ticker(market, found, now_ms - DAY_MS, now_ms, is_full=is_full)
        if is_full:
            answer["prevClosePrice"] = market.units.price_text(found.close_before)
            answer["lastQty"] = market.units.quantity_text(market.last_volume)
            answer |= {"bidPrice": best["b"], "bidQty": best["B"], "askPrice": best["a"], "askQty": best["A"]}
        return answer

    return _rows(call, row)


async def ticker_trading_day(call: Call) -> Any:
    """The running day of a time zone."""
    is_full, zone_ms = _is_full(call.params), read_zone(call.params)
    open_ms = (call.exchange.clock.exchange_now_ms() + zone_ms) // DAY_MS * DAY_MS - zone_ms
    return _window(call, open_ms, open_ms + DAY_MS - 1, is_full=is_full)


async def ticker_window(call: Call) -> Any:
    """A rolling window that begins on a whole minute."""
    is_full = _is_full(call.params)
    size = _WINDOW.match(call.params.text("windowSize") or "1d")
    unit_ms, most = _WINDOW_UNITS[size[2]] if size else (0, 0)
    if size is None or not 1 <= int(size[1]) <= most:
        raise errors.not_valid("windowSize")
    now_ms = call.exchange.clock.exchange_now_ms()
    open_ms = (now_ms - int(size[1]) * unit_ms) // MINUTE_MS * MINUTE_MS
    return _window(call, open_ms, now_ms, is_full=is_full)


def _window(call: Call, open_ms: int, close_ms: int, *, is_full: bool) -> Any:
    if not call.params.has("symbol") and not call.params.has("symbols"):
        raise errors.one_of("symbol", "symbols")
    if len(call.params.symbols() or ()) > MAX_TICKER_SYMBOLS:
        raise ApiError(-1101, "Too many values sent for parameter 'symbols', maximum allowed up to 100.")

    def row(market: LiveMarket) -> dict[str, Any] | None:
        found = statistics(market, open_ms)
        return None if found is None else _ticker(market, found, open_ms, close_ms, is_full=is_full)

    return _rows(call, row)


def _ticker(market: LiveMarket, found: Statistics, open_ms: int, close_ms: int, *, is_full: bool) -> dict[str, Any]:
    """Trades of history have no ids: only their number is known."""
    units, day = market.units, found.candle
    change = {}
    if is_full:
        moved = units.price(day.close - day.open)
        weighted = day.quote / float(units.quantity(day.volume)) if day.volume else 0.0
        change = {
            "priceChange": fixed(moved),
            "priceChangePercent": f"{100 * moved / units.price(day.open):.3f}",
            "weightedAvgPrice": f"{weighted:.8f}",
        }
    return {"symbol": market.rules.symbol, **change, **_prices(market, day), "openTime": open_ms, "closeTime": close_ms,
            "firstId": -1, "lastId": -1, "count": day.prints}  # fmt: skip


def _prices(market: LiveMarket, day: Candle) -> dict[str, str]:
    units = market.units
    return {
        "openPrice": units.price_text(day.open),
        "highPrice": units.price_text(day.high),
        "lowPrice": units.price_text(day.low),
        "lastPrice": units.price_text(day.close),
        "volume": units.quantity_text(day.volume),
        "quoteVolume": f"{day.quote:.8f}",
    }


# -- trades ----------------------------------------------------------------------------------------------


async def trades(call: Call) -> Any:
    """The newest trades."""
    market = call.market()
    limit = call.params.limit(500, 1000)
    call.params.finish()
    return [_trade(p) for p in call.exchange.public_trades.read(market.rules.symbol, limit)]


async def historical_trades(call: Call) -> Any:
    """Trades from an id on, or the newest."""
    market = call.market()
    limit, from_id = call.params.limit(500, 1000), call.params.long("fromId")
    call.params.finish()
    return [_trade(p) for p in call.exchange.public_trades.read(market.rules.symbol, limit, from_id=from_id)]


async def aggregate_trades(call: Call) -> Any:
    """Trades of one taker at one price together. The id is that of the first of them."""
    market = call.market()
    limit, from_id = call.params.limit(500, 1000), call.params.long("fromId")
    start, end = call.params.time_ms("startTime"), call.params.time_ms("endTime")
    call.params.finish()
    if from_id is not None and (start is not None or end is not None):
        raise errors.bad_combination()
    kept = call.exchange.public_trades.read(market.rules.symbol, None, from_id=from_id, start_ms=start, end_ms=end)
    rows = [
        {
            "a": first.id, "p": fixed(first.price), "q": fixed(sum((p.quantity for p in together), ZERO)),
            "f": first.id, "l": together[-1].id, "T": first.traded_ms, "m": first.buyer_is_maker, "M": True,
        }
        for first, together in feeds.aggregated(kept)
    ]  # fmt: skip
    return rows[-limit:] if from_id is None and start is None else rows[:limit]


async def block_trades(call: Call) -> Any:
    """There are no block trades here."""
    call.market()
    call.params.required("fromId")
    call.params.limit(500, 1000)
    call.params.finish()
    return []


def _trade(p: Print) -> dict[str, Any]:
    return {
        "id": p.id, "price": fixed(p.price), "qty": fixed(p.quantity), "quoteQty": fixed(p.price * p.quantity),
        "time": p.traded_ms, "isBuyerMaker": p.buyer_is_maker, "isBestMatch": True,
    }  # fmt: skip


# -- parameters ------------------------------------------------------------------------------------------


def selected(call: Call) -> tuple[list[LiveMarket], bool]:
    """(markets asked for, whether the answer is a list)."""
    raw = call.params.symbols()
    is_list = raw is None or call.params.has("symbols")
    names = list(call.exchange.live) if raw is None else raw
    return [known(call.exchange, name) for name in names], is_list


def _rows(call: Call, row: Callable[[LiveMarket], dict[str, Any] | None]) -> Any:
    """A row of each symbol asked for that has a price and the status asked for; of a single one without a list."""
    status = read_status(call.params)
    markets, is_list = selected(call)
    call.params.finish()
    if not is_list:
        _check_status(markets[0], status)
    rows = [row(market) for market in markets if status in (None, market.wire_rules.status)]
    found = [one for one in rows if one is not None]
    return found if is_list else found[0]


def _check_status(market: LiveMarket, status: str | None) -> None:
    if status not in (None, market.wire_rules.status):
        raise ApiError(-1220, "The symbol's status does not match the requested symbolStatus.")


def read_status(params: Params) -> str | None:
    """`symbolStatus`. Raises -1122."""
    status = params.text("symbolStatus")
    if status not in (None, *STATUSES):
        raise ApiError(-1122, "Invalid symbolStatus.")
    return status


def read_zone(params: Params) -> int:
    """`timeZone` in milliseconds east of UTC: hours, or hours and minutes, from -12:00 to +14:00. Raises -1130."""
    text = params.text("timeZone")
    found = _ZONE.match(text or "0")
    if found is None or int(found[3] or 0) > 59:
        raise errors.not_valid("timeZone")
    zone_ms = (int(found[2]) * 60 + int(found[3] or 0)) * MINUTE_MS * (-1 if found[1] == "-" else 1)
    if not -12 * HOUR_MS <= zone_ms <= 14 * HOUR_MS:
        raise errors.not_valid("timeZone")
    return zone_ms


def _permissions(params: Params) -> list[str] | None:
    text = params.text("permissions")
    if text is None:
        return None
    try:
        names = json.loads(text) if text.startswith("[") else [text]
    except ValueError:
        names = None
    if not isinstance(names, list) or not names or not all(name in PERMISSIONS for name in names):
        raise errors.not_valid("permissions")
    return names


def _is_full(params: Params) -> bool:
    kind = params.text("type") or "FULL"
    if kind not in ("FULL", "MINI"):
        raise ApiError(-1139, "Invalid ticker type.")
    return kind == "FULL"
