"""Payloads of the market streams (web-socket-streams.md), made only for streams somebody listens to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from app.paper_exchange.candles import Candle
from app.paper_exchange.depth import SPEEDS, DepthFeed
from app.paper_exchange.hub import StreamHub
from app.paper_exchange.intervals import HOUR_MS, INTERVALS_MS, end_ms, open_ms
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.model import Print
from app.paper_exchange.reports import fixed
from app.paper_exchange.tickers import WINDOWS_MS, day_ticker, mini_ticker, window_ticker

if TYPE_CHECKING:
    from app.paper_exchange.exchange import Exchange

PARTIAL_LEVELS = (5, 10, 20)
MAX_LEVELS = 5000
#: The one other time zone whose candles are streamed.
ZONE_MS, ZONE_SUFFIX = 8 * HOUR_MS, "@+08:00"
OLD_MINI_ARRAY = "!miniTicker@arr@1000ms"  # no longer documented, but what python-binance asks for


def kline_row(market: LiveMarket, interval: str, candle: Candle, zone_ms: int = 0) -> list[Any]:
    """One REST kline: twelve elements, of a zone so far ahead of UTC.

    The taker-buy columns are half the volume: the market has no takers.
    """
    units = market.units
    return [
        candle.open_ms,
        units.price_text(candle.open),
        units.price_text(candle.high),
        units.price_text(candle.low),
        units.price_text(candle.close),
        units.quantity_text(candle.volume),
        end_ms(interval, candle.open_ms + zone_ms) - zone_ms - 1,
        f"{candle.quote:.8f}",
        candle.prints,
        units.quantity_text(candle.volume // 2),
        f"{candle.quote / 2:.8f}",
        "0",
    ]


def kline_event(
    market: LiveMarket, interval: str, candle: Candle, now_ms: int, *, is_closed: bool, zone_ms: int = 0
) -> dict[str, Any]:
    """One `kline` stream event."""
    row = kline_row(market, interval, candle, zone_ms)
    symbol = market.rules.symbol
    return {
        "e": "kline",
        "E": now_ms,
        "s": symbol,
        "k": {
            "t": row[0], "T": row[6], "s": symbol, "i": interval, "f": -1, "L": -1, "o": row[1], "c": row[4],
            "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": is_closed, "q": row[7], "V": row[9],
            "Q": row[10], "B": "0",
        },
    }  # fmt: skip


def zone_event(market: LiveMarket, interval: str, last_ms: int, now_ms: int) -> dict[str, Any] | None:
    """The `kline` event of the other time zone, after the second that opened at `last_ms`; None without candles."""
    opens_ms = open_ms(interval, last_ms + ZONE_MS) - ZONE_MS
    ends_ms = end_ms(interval, opens_ms + ZONE_MS) - ZONE_MS
    part = "1h" if INTERVALS_MS[interval] >= HOUR_MS else interval
    parts = market.candles.read(part, opens_ms, ends_ms - 1, (ends_ms - opens_ms) // INTERVALS_MS[part] + 1)
    if not parts:
        return None
    whole = replace(parts[0], open_ms=opens_ms)
    for candle in parts[1:]:
        whole.absorb(candle)
    return kline_event(market, interval, whole, now_ms, is_closed=last_ms + 1000 == ends_ms, zone_ms=ZONE_MS)


def look(exchange: Exchange, symbol: str) -> DepthFeed:
    """The book of a symbol as it stands now, with its update id."""
    market = exchange.engine.markets[symbol]
    feed = exchange.depths.get(symbol)
    if feed is None:
        feed = exchange.depths[symbol] = DepthFeed(exchange.started_ms // 10)
    if market.liquidity.price is not None:
        feed.look(*market.depth(MAX_LEVELS))
    return feed


def book_ticker(exchange: Exchange, symbol: str) -> dict[str, Any] | None:
    """Best bid and ask of a symbol; None before its first price."""
    if exchange.engine.markets[symbol].liquidity.price is None:
        return None
    return look(exchange, symbol).best(symbol)


# -- trades ----------------------------------------------------------------------------------------------


def aggregated(prints: list[Print]) -> Iterator[tuple[Print, list[Print]]]:
    """Trades of one taker at one price together: (the first of them, all of them)."""
    for _, group in groupby(prints, key=lambda p: (p.symbol, p.price, p.buyer_is_maker, p.traded_ms)):
        together = list(group)
        yield together[0], together


def publish_prints(streams: StreamHub, prints: list[Print], now_ms: int) -> None:
    """`<symbol>@trade` and `<symbol>@aggTrade`."""
    for p in prints:
        stream = f"{p.symbol.lower()}@trade"
        if streams.has(stream):
            payload = {
                "e": "trade", "E": now_ms, "s": p.symbol, "t": p.id, "p": fixed(p.price), "q": fixed(p.quantity),
                "T": p.traded_ms, "m": p.buyer_is_maker, "M": True,
            }  # fmt: skip
            streams.publish(stream, payload)
    for first, together in aggregated(prints):
        stream = f"{first.symbol.lower()}@aggTrade"
        if streams.has(stream):
            payload = {
                "e": "aggTrade", "E": now_ms, "s": first.symbol, "a": first.id, "p": fixed(first.price),
                "q": fixed(sum((p.quantity for p in together[1:]), first.quantity)), "f": first.id,
                "l": together[-1].id, "T": first.traded_ms, "m": first.buyer_is_maker, "M": True,
            }  # fmt: skip
            streams.publish(stream, payload)


# -- within the second -----------------------------------------------------------------------------------


def publish_forming(exchange: Exchange, now_ms: int) -> None:
    """What moves within the second: the book, ten times; the forming one-second candle, once."""
    for symbol, market in exchange.live.items():
        if market.is_still:
            continue
        name = symbol.lower()
        _publish_book(exchange, symbol, name, "100ms", now_ms)
        forming = market.candles.forming("1s")
        if forming is not None and now_ms % 1000 >= 500 and market.told_forming_ms != forming.open_ms:
            market.told_forming_ms = forming.open_ms
            _publish_kline(exchange.streams, market, "1s", forming, now_ms, is_closed=False)


def _publish_book(exchange: Exchange, symbol: str, name: str, speed: str, now_ms: int) -> None:
    """Book ticker (at the faster speed), partial books and differences."""
    streams = exchange.streams
    suffixes = ("", "@1000ms") if speed == "1000ms" else ("@100ms",)
    partial = {f"{name}@depth{levels}{suffix}": levels for levels in PARTIAL_LEVELS for suffix in suffixes}
    wanted = {each: streams.wants(*_diff_names(name, each)) for each in SPEEDS}
    feed = exchange.depths.get(symbol)
    if feed is not None:
        for each in SPEEDS:
            feed.watch(each, wanted=wanted[each])
    if not (wanted[speed] or streams.wants(f"{name}@bookTicker", *partial)):
        return
    if feed is None:
        feed = look(exchange, symbol)
        for each in SPEEDS:
            feed.watch(each, wanted=wanted[each])
    look(exchange, symbol)
    for stream, levels in partial.items():
        if streams.has(stream):
            streams.publish(stream, feed.partial(levels))
    update = feed.take(speed)
    if update is not None:
        for stream in _diff_names(name, speed):
            streams.publish(stream, {"e": "depthUpdate", "E": now_ms, "s": symbol, **update})
    if speed == "100ms" and streams.has(f"{name}@bookTicker") and feed.best_has_changed():
        streams.publish(f"{name}@bookTicker", feed.best(symbol))


def _diff_names(name: str, speed: str) -> tuple[str, ...]:
    return (f"{name}@depth@100ms",) if speed == "100ms" else (f"{name}@depth", f"{name}@depth@1000ms")


# -- at a second's end -----------------------------------------------------------------------------------


def publish_second(
    exchange: Exchange, closed_by_symbol: list[tuple[LiveMarket, list[tuple[str, Candle]]]], ended_ms: int
) -> None:
    """What a second's end brings: closed candles, the forming ones of longer intervals, tickers, average prices."""
    streams, now_ms = exchange.streams, exchange.clock.exchange_now_ms()
    arrays: dict[str, list[dict[str, Any]]] = {}
    for market, closed in closed_by_symbol:
        symbol, name = market.rules.symbol, market.rules.symbol.lower()
        if symbol not in exchange.live:
            continue  # delisted while this was on its way to the file
        _publish_klines(exchange, market, dict(closed), ended_ms, now_ms)
        _publish_book(exchange, symbol, name, "1000ms", now_ms)
        for stream, array, payload in _tickers(exchange, market, name, now_ms):
            streams.publish(stream, payload)
            arrays.setdefault(array, []).append(payload)
        average = exchange.engine.markets[symbol].average_price
        if average and streams.has(f"{name}@avgPrice"):
            event = {
                "e": "avgPrice", "E": now_ms, "s": symbol, "i": f"{market.rules.average_price_mins}m",
                "w": fixed(average), "T": market.last_traded_ms,
            }  # fmt: skip
            streams.publish(f"{name}@avgPrice", event)
    for array, payloads in arrays.items():
        streams.publish(array, payloads)
    if "!miniTicker@arr" in arrays:
        streams.publish(OLD_MINI_ARRAY, arrays["!miniTicker@arr"])


def _publish_klines(
    exchange: Exchange, market: LiveMarket, closed: dict[str, Candle], ended_ms: int, now_ms: int
) -> None:
    """Candles that closed at once; those that form every two seconds."""
    streams = exchange.streams
    for interval, candle in closed.items():
        _publish_kline(streams, market, interval, candle, now_ms, is_closed=True)
    is_due = ended_ms // 1000 % 2 == 0 and not market.is_still
    for interval in INTERVALS_MS:
        name = kline_stream(market, interval)
        if is_due and interval not in closed and streams.has(name) and interval != "1s":
            forming = market.candles.forming(interval)
            if forming is not None:
                _publish_kline(streams, market, interval, forming, now_ms, is_closed=False)
        if streams.has(name + ZONE_SUFFIX):
            event = zone_event(market, interval, ended_ms - 1000, now_ms)
            if event is not None and (event["k"]["x"] or is_due):
                streams.publish(name + ZONE_SUFFIX, event)


def kline_stream(market: LiveMarket, interval: str) -> str:
    """The stream's name."""
    return f"{market.rules.symbol.lower()}@kline_{interval}"


def _publish_kline(
    streams: StreamHub, market: LiveMarket, interval: str, candle: Candle, now_ms: int, *, is_closed: bool
) -> None:
    stream = kline_stream(market, interval)
    if streams.has(stream):
        streams.publish(stream, kline_event(market, interval, candle, now_ms, is_closed=is_closed))


def _tickers(
    exchange: Exchange, market: LiveMarket, name: str, now_ms: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(stream, stream of all symbols, payload) of the tickers somebody listens to."""
    streams = exchange.streams
    stream, array = f"{name}@miniTicker", "!miniTicker@arr"
    if streams.wants(stream, array, OLD_MINI_ARRAY):
        mini = mini_ticker(market, now_ms)
        if mini is not None:
            yield stream, array, mini
    if streams.has(f"{name}@ticker"):
        best = book_ticker(exchange, market.rules.symbol)
        full = None if best is None else day_ticker(market, best, now_ms)
        if full is not None:
            yield f"{name}@ticker", "", full
    for window in WINDOWS_MS:
        stream, array = f"{name}@ticker_{window}", f"!ticker_{window}@arr"
        if streams.wants(stream, array):
            rolling = window_ticker(market, window, now_ms)
            if rolling is not None:
                yield stream, array, rolling
