"""Statistics of rolling windows: the last 24 hours, or 1 hour, 4 hours, 1 day by whole minutes."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from app.paper_exchange.candles import MINUTE_MS, Candle
from app.paper_exchange.markets import LiveMarket

DAY_MS = 1440 * MINUTE_MS
#: Windows of the rolling tickers: name -> length.
WINDOWS_MS = {"1h": 60 * MINUTE_MS, "4h": 240 * MINUTE_MS, "1d": DAY_MS}


@dataclass(frozen=True, slots=True)
class Statistics:
    """A window as one candle, and the close before it."""

    candle: Candle
    close_before: int


def statistics(market: LiveMarket, from_ms: int) -> Statistics | None:
    """What happened since a time, by whole minutes and the forming one; None before the first candle."""
    minutes = market.candles.closed["1m"]
    first = bisect_left(minutes.open_ms, from_ms)
    forming = market.candles.forming("1m")
    if first < len(minutes):
        whole = Candle(
            minutes.open_ms[first], minutes.open[first], max(minutes.high[first:]), min(minutes.low[first:]),
            minutes.close[-1], sum(minutes.volume[first:]), sum(minutes.quote[first:]), sum(minutes.prints[first:]),
        )  # fmt: skip
        if forming is not None:
            whole.absorb(forming)
    elif forming is not None:
        whole = forming
    elif len(minutes):  # a market that has stood still all the while
        last = minutes.close[-1]
        whole = Candle(from_ms, last, last, last, last, 0, 0.0, 0)
    else:
        return None
    return Statistics(whole, minutes.close[first - 1] if first else whole.open)


def mini_ticker(market: LiveMarket, now_ms: int) -> dict[str, Any] | None:
    """`24hrMiniTicker`: the last 24 hours; None before the first candle."""
    found = statistics(market, now_ms - DAY_MS)
    if found is None:
        return None
    return {"e": "24hrMiniTicker", "E": now_ms, "s": market.rules.symbol, **_prices(market, found.candle)}


def day_ticker(market: LiveMarket, best: dict[str, Any], now_ms: int) -> dict[str, Any] | None:
    """`24hrTicker`, with the payload of a book ticker as `best`; None before the first candle."""
    found = statistics(market, now_ms - DAY_MS)
    if found is None:
        return None
    return {
        "e": "24hrTicker", "E": now_ms, "s": market.rules.symbol, **_change(market, found.candle),
        "x": market.units.price_text(found.close_before), "Q": market.units.quantity_text(market.last_volume),
        **{name: best[name] for name in "bBaA"}, **_prices(market, found.candle),
        "O": now_ms - DAY_MS, "C": now_ms, **_trades(found.candle),
    }  # fmt: skip


def window_ticker(market: LiveMarket, window: str, now_ms: int) -> dict[str, Any] | None:
    """`1hTicker`, `4hTicker`, `1dTicker`: from a whole minute until now; None before the first candle."""
    open_ms = (now_ms - WINDOWS_MS[window]) // MINUTE_MS * MINUTE_MS
    found = statistics(market, open_ms)
    if found is None:
        return None
    return {
        "e": f"{window}Ticker", "E": now_ms, "s": market.rules.symbol, **_change(market, found.candle),
        **_prices(market, found.candle), "O": open_ms, "C": now_ms, **_trades(found.candle),
    }  # fmt: skip


def _change(market: LiveMarket, candle: Candle) -> dict[str, str]:
    units = market.units
    change = units.price(candle.close - candle.open)
    weighted = candle.quote / float(units.quantity(candle.volume)) if candle.volume else 0.0
    percent = 100 * change / units.price(candle.open) if candle.open else change
    return {"p": f"{change:.8f}", "P": f"{percent:.3f}", "w": f"{weighted:.8f}"}


def _prices(market: LiveMarket, candle: Candle) -> dict[str, str]:
    units = market.units
    return {
        "c": units.price_text(candle.close), "o": units.price_text(candle.open), "h": units.price_text(candle.high),
        "l": units.price_text(candle.low), "v": units.quantity_text(candle.volume), "q": f"{candle.quote:.8f}",
    }  # fmt: skip


def _trades(candle: Candle) -> dict[str, int]:
    """Trades of history have no ids: only their number is known."""
    return {"F": -1, "L": -1, "n": candle.prints}
