"""Payloads of the market streams (web-socket-streams.md), made only for streams somebody listens to."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from app.paper_exchange.candles import INTERVALS_MS, Candle
from app.paper_exchange.hub import StreamHub
from app.paper_exchange.intervals import end_ms
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.model import Print
from app.paper_exchange.reports import fixed

if TYPE_CHECKING:
    from app.paper_exchange.exchange import Exchange

DAY_MS = 86_400_000


def kline_row(market: LiveMarket, interval: str, candle: Candle) -> list[Any]:
    """One REST kline: twelve elements. The taker-buy columns are half the volume: the market has no takers."""
    units = market.units
    return [
        candle.open_ms,
        units.price_text(candle.open),
        units.price_text(candle.high),
        units.price_text(candle.low),
        units.price_text(candle.close),
        units.quantity_text(candle.volume),
        end_ms(interval, candle.open_ms) - 1,
        f"{candle.quote:.8f}",
        candle.prints,
        units.quantity_text(candle.volume // 2),
        f"{candle.quote / 2:.8f}",
        "0",
    ]


def kline_event(market: LiveMarket, interval: str, candle: Candle, now_ms: int, *, is_closed: bool) -> dict[str, Any]:
    """One `kline` stream event."""
    row = kline_row(market, interval, candle)
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


def mini_ticker(market: LiveMarket, now_ms: int) -> dict[str, Any] | None:
    """The last 24 hours of a symbol; None before its first candle."""
    day = day_candle(market, now_ms)
    if day is None:
        return None
    units = market.units
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": market.rules.symbol,
        "c": units.price_text(day.close),
        "o": units.price_text(day.open),
        "h": units.price_text(day.high),
        "l": units.price_text(day.low),
        "v": units.quantity_text(day.volume),
        "q": f"{day.quote:.8f}",
    }


def day_candle(market: LiveMarket, now_ms: int) -> Candle | None:
    """The rolling 24 hours as one candle, from whole minutes and the forming one."""
    minutes = market.candles.closed["1m"]
    first = bisect_left(minutes.open_ms, now_ms - DAY_MS)
    forming = market.candles.forming("1m")
    if first == len(minutes):
        return forming
    day = Candle(
        minutes.open_ms[first], minutes.open[first], max(minutes.high[first:]), min(minutes.low[first:]),
        minutes.close[-1], sum(minutes.volume[first:]), sum(minutes.quote[first:]), sum(minutes.prints[first:]),
    )  # fmt: skip
    if forming is not None:
        day.absorb(forming)
    return day


def book_ticker(exchange: Exchange, symbol: str) -> dict[str, Any] | None:
    """Best bid and ask of a symbol; None before its first price."""
    market = exchange.engine.markets[symbol]
    if market.liquidity.price is None:
        return None
    bids, asks = market.depth(1)
    return {
        "u": market.next_trade_id,
        "s": symbol,
        "b": fixed(bids[0][0]) if bids else "0.00000000",
        "B": fixed(bids[0][1]) if bids else "0.00000000",
        "a": fixed(asks[0][0]) if asks else "0.00000000",
        "A": fixed(asks[0][1]) if asks else "0.00000000",
    }


def publish_prints(streams: StreamHub, prints: list[Print], now_ms: int) -> None:
    """`<symbol>@trade`."""
    for p in prints:
        stream = f"{p.symbol.lower()}@trade"
        if streams.has(stream):
            payload = {
                "e": "trade", "E": now_ms, "s": p.symbol, "t": p.id, "p": fixed(p.price), "q": fixed(p.quantity),
                "T": p.traded_ms, "m": p.buyer_is_maker, "M": True,
            }  # fmt: skip
            streams.publish(stream, payload)


def publish_forming(exchange: Exchange, now_ms: int) -> None:
    """What moves within the second: best prices and the forming one-second candle."""
    for symbol, market in exchange.live.items():
        if market.halted:
            continue
        name = symbol.lower()
        if exchange.streams.has(f"{name}@bookTicker"):
            exchange.streams.publish(f"{name}@bookTicker", book_ticker(exchange, symbol))
        forming = market.candles.forming("1s")
        if forming is not None and exchange.streams.has(f"{name}@kline_1s"):
            exchange.streams.publish(f"{name}@kline_1s", kline_event(market, "1s", forming, now_ms, is_closed=False))


def publish_second(exchange: Exchange, closed_by_symbol: list[tuple[LiveMarket, list[tuple[str, Candle]]]]) -> None:
    """What a second's end brings: closed candles, the forming ones of longer intervals, mini tickers."""
    streams, now_ms = exchange.streams, exchange.clock.now_ms()
    tickers = []
    for market, closed in closed_by_symbol:
        name = market.rules.symbol.lower()
        closed_names = set()
        for interval, candle in closed:
            closed_names.add(interval)
            if streams.has(f"{name}@kline_{interval}"):
                event = kline_event(market, interval, candle, now_ms, is_closed=True)
                streams.publish(f"{name}@kline_{interval}", event)
        for interval in INTERVALS_MS:
            if interval == "1s" or interval in closed_names or not streams.has(f"{name}@kline_{interval}"):
                continue
            forming = market.candles.forming(interval)
            if forming is not None:
                event = kline_event(market, interval, forming, now_ms, is_closed=False)
                streams.publish(f"{name}@kline_{interval}", event)
        if streams.has(f"{name}@miniTicker") or streams.has("!miniTicker@arr"):
            ticker = mini_ticker(market, now_ms)
            if ticker is not None:
                streams.publish(f"{name}@miniTicker", ticker)
                tickers.append(ticker)
    if tickers and streams.has("!miniTicker@arr"):
        streams.publish("!miniTicker@arr", tickers)
