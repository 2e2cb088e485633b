"""A made-up market: seeded, with regimes, clusters of volatility, volume that fits, and one tide for all symbols.

Everything is a function of the seed, the symbol and a number (of a minute, or of a second played), so the same seed
gives the same candles on any run and any machine, however often it is interrupted. The years before the start are
not kept in the file: they are made again when the exchange starts.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from app.paper_exchange.archive import Archive, Seconds
from app.paper_exchange.candles import History
from app.paper_exchange.intervals import MINUTE_MS, SECOND_MS
from app.paper_exchange.noise import Floats, Ints, bits, exp2, key_of, normals, span, wave
from app.paper_exchange.units import Units

HISTORY_DAYS = 1095
RECENT_MINUTES = 3 * 1440  # kept as plain minutes, so that the last days need no folding
HISTORY_SECONDS = 3600
_SUBSTEPS = 4
#: Waves of volatility: length in minutes (a power of two), weight in powers of two.
_WAVES = ((16, 0.25), (64, 0.3), (512, 0.45), (4096, 0.45), (32768, 0.4))
_REGIME_MINUTES = 4096
_REGIMES = np.array([-0.9, -0.3, 0.0, 0.0, 0.0, 0.3, 0.9, 1.4])  # calm, normal, wild: powers of two
_EVEN_OUT = 0.6  # so that the mean square of the volatility stays near one
_TREND_SHARE = 0.01  # of a minute's volatility: how strongly a regime drifts
_PULL_PER_SECOND = 2e-7  # towards the first price, so that weeks later it is still a price
_STEPS_ROOT = math.sqrt(60 * _SUBSTEPS)
_CHUNK = 1 << 15  # minutes made at once: what a processor's cache holds
_FIXED = 1 << 32  # powers of two as whole numbers: sums of them are exact
_TO_POWERS = 1.4426950408889634  # 1 / ln 2
_DAY_MINUTES_ROOT = math.sqrt(1440)
_MOST = 2**31 - 1
DEFAULT_PRICES = {
    "BTCUSDT": Decimal(100_000),
    "ETHUSDT": Decimal(3_500),
    "SOLUSDT": Decimal(180),
    "XRPUSDT": Decimal("2.4"),
    "BNBUSDT": Decimal(680),
}


@dataclass(frozen=True, slots=True)
class Character:
    """How a symbol moves: volatility of a day, share of the common tide, quote volume of a second."""

    day_pct: float
    tide: float
    quote_per_second: float


_CHARACTERS = {
    "BTCUSDT": Character(2.4, 0.92, 50_000.0),
    "ETHUSDT": Character(3.2, 0.85, 50_000.0),
    "SOLUSDT": Character(4.2, 0.78, 20_000.0),
    "XRPUSDT": Character(4.0, 0.70, 20_000.0),
    "BNBUSDT": Character(2.7, 0.75, 10_000.0),
}
_ORDINARY = Character(3.5, 0.7, 50_000.0)


@dataclass(slots=True)
class State:
    """All that the next candle depends on, beside the seed."""

    base: int  # the price in smallest units where the market went live
    level: float = 0.0  # the price over `base`, as a power of two
    number: int = 0  # seconds played


class Synthetic:
    """The source. Prices and volumes come out in the symbol's smallest units.

    Markets made with one seed move together as far as they play the same seconds.
    """

    kind = "synthetic"

    def __init__(
        self, symbol: str, seed: int, units: Units, first_price: float, state: State | None = None,
        *, days: int = HISTORY_DAYS, live_ms: int | None = None,
    ) -> None:  # fmt: skip
        self.symbol = symbol
        self.seed = seed
        self.units = units
        self.first_price = first_price
        self.days = days
        self.live_ms = live_ms  # when it went live, once it did
        self.state = state or State(units.price_units(first_price))
        self._character = character = _CHARACTERS.get(symbol, _ORDINARY)
        self._usual = character.day_pct / 100 / _DAY_MINUTES_ROOT  # volatility of a minute
        self._alone = math.sqrt(1 - character.tide * character.tide)
        self._volume = character.quote_per_second / first_price * 10.0**units.quantity_decimals  # of a second
        self._pace_of: tuple[int, float, float] = (-1, 0.0, 0.0)  # minute, its volatility and its drift
        self._made: Archive | None = None

    @property
    def progress(self) -> tuple[int, int] | None:
        """A synthetic market has no end."""
        return None

    def describe(self) -> dict[str, Any]:
        """What is needed to make this source again (`state` apart)."""
        return {
            "source": "synthetic", "seed": self.seed, "first_price": self.first_price, "days": self.days,
            "live_ms": self.live_ms,
        }  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """The changing part, as JSON."""
        return asdict(self.state)

    # -- live --------------------------------------------------------------------------------------------

    def next(self) -> tuple[int, int, int, int, int]:
        """Open, high, low, close, volume of the next second."""
        state = self.state
        sigma, drift = self._pace(self.days * 1440 + state.number // 60)
        step_sigma = sigma * _TO_POWERS / _STEPS_ROOT
        moves = self._moves("second", span(state.number * _SUBSTEPS, _SUBSTEPS)) * step_sigma
        path = [state.level]
        for move in moves.tolist():
            path.append(path[-1] + move + (drift / 60 - _PULL_PER_SECOND * path[-1]) / _SUBSTEPS)
        prices = self._prices(state.base, np.array(path)).tolist()
        surprise = abs(path[-1] - path[0]) / (2.0 * step_sigma)
        volume = float(self._volumes(span(state.number, 1), "second", sigma, surprise)[0])
        state.level, state.number = path[-1], state.number + 1
        return prices[0], max(prices), min(prices), prices[-1], max(1, round(volume)) * self.units.step

    def _pace(self, minute: int) -> tuple[float, float]:
        if self._pace_of[0] != minute:
            sigma, drift = self._climate(span(minute, 1))
            self._pace_of = minute, float(sigma[0]), float(drift[0])
        return self._pace_of[1], self._pace_of[2]

    # -- history -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the years in advance: it takes a few tenths of a second, and may be done on another thread."""
        self._made = self._minutes()

    def history(self, live_ms: int) -> History:
        """Years of minutes and at least an hour of seconds that end where the market goes live."""
        self.live_ms = live_ms
        whole = self._whole(live_ms)
        cut = self._cut(whole, live_ms)
        kept = max(0, cut - RECENT_MINUTES)
        seconds = whole.seconds(cut, len(whole)).before(live_ms)
        self.state = State(seconds.close[-1])
        return History(whole.minutes(kept, cut), seconds, whole.until(kept, cut))

    def archive(self) -> Archive | None:
        """The years before the minutes that `history` gave, made again."""
        if self.live_ms is None:
            return None
        whole = self._whole(self.live_ms)
        cut = self._cut(whole, self.live_ms)
        return whole.until(max(0, cut - RECENT_MINUTES), cut)

    def _whole(self, live_ms: int) -> Archive:
        """All minutes, the one that is running last."""
        made, self._made = self._made or self._minutes(), None
        return replace(made, start_ms=live_ms - live_ms % MINUTE_MS - (len(made) - 1) * MINUTE_MS)

    def _cut(self, whole: Archive, live_ms: int) -> int:
        """Number of the minute in which the hour of seconds begins."""
        seconds_from = (live_ms - HISTORY_SECONDS * SECOND_MS) // MINUTE_MS * MINUTE_MS
        return (seconds_from - whole.start_ms) // MINUTE_MS

    def _minutes(self) -> Archive:
        """The path of all minutes, ending at the first price; its times are not yet known."""
        count = self.days * 1440
        chunks = [span(first, min(_CHUNK, count - first)) for first in range(0, count, _CHUNK)]
        path, sigmas = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.float64)
        for numbers in chunks:
            part = slice(numbers[0], numbers[-1] + 1)
            sigma, drift = self._climate(numbers)
            sigmas[part] = sigma
            path[part] = np.rint((self._moves("minute", numbers) * sigma * _TO_POWERS + drift) * _FIXED)
        np.cumsum(path, out=path)
        begins = round((-1.0 + 0.5 * self._draw("begin")) * _FIXED)
        missing = begins - int(path[0] - path[-1])
        path += (count - 1 - span(0, count)) * missing // max(1, count - 1) - path[-1]
        high, low, close, volume = (np.empty(count, dtype=np.int32) for _ in range(4))
        base = self.units.price_units(self.first_price)
        opened = first_open = int(self._prices(base, path[:1] / _FIXED)[0])
        for numbers in chunks:
            part = slice(numbers[0], numbers[-1] + 1)
            closes = self._prices(base, path[part] / _FIXED)
            opens = np.concatenate(([opened], closes[:-1]))
            opened = int(closes[-1])
            close[part] = closes
            high[part], low[part] = self._extremes(numbers, opens, closes, sigmas[part])
            surprise = np.abs(closes - opens) / opens / sigmas[part]
            lots = np.rint(60.0 * self._volumes(numbers, "minute", sigmas[part], surprise))
            volume[part] = np.clip(lots, 1, _MOST // self.units.step) * self.units.step
        scale = 10.0 ** (self.units.price_decimals + self.units.quantity_decimals)
        return Archive(0, first_open, high, low, close, volume, scale, self._split, count)

    def _extremes(self, numbers: Ints, opens: Ints, closes: Ints, sigma: Floats) -> tuple[Ints, Ints]:
        drawn = bits(self._key("extremes"), numbers)
        up, down = ((drawn >> np.uint64(shift)).astype(np.uint16) / 65_536.0 for shift in (0, 32))
        tick = self.units.tick
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        high = np.rint(top * (1.0 + 0.9 * up * up * sigma) / tick).astype(np.int64) * tick
        low = np.rint(bottom / (1.0 + 0.9 * down * down * sigma) / tick).astype(np.int64) * tick
        return high, np.maximum(low, tick)

    def _split(self, first: int, opens: Ints, highs: Ints, lows: Ints, closes: Ints, volumes: Ints) -> Seconds:
        """The sixty seconds of each minute: they fold to exactly that minute."""
        count = len(opens)
        shape = (count, 60)
        numbers = span(first * 60, count * 60)
        walk = np.cumsum(normals(self._key("split"), numbers).reshape(shape), axis=1)
        share = np.arange(1, 61) / 60.0
        bridge = walk - walk[:, -1:] * share
        straight = opens[:, None] + (closes - opens)[:, None] * share
        tick = self.units.tick
        wandered = straight + bridge * ((highs - lows)[:, None] * 0.15)
        close = np.rint(wandered / tick).astype(np.int64) * tick
        close = np.clip(close, lows[:, None], highs[:, None])
        close[:, -1] = closes
        open_ = np.concatenate((opens[:, None], close[:, :-1]), axis=1)
        high, low = np.maximum(open_, close), np.minimum(open_, close)
        rows = np.arange(count)
        high[rows, high.argmax(axis=1)] = highs
        low[rows, low.argmin(axis=1)] = lows
        step = self.units.step
        weight = (bits(self._key("split volume"), numbers) >> np.uint64(60)).astype(np.int64).reshape(shape) + 1
        lots = volumes[:, None] // step * weight // weight.sum(axis=1)[:, None]
        lots[:, -1] += volumes // step - lots.sum(axis=1)
        return open_.ravel(), high.ravel(), low.ravel(), close.ravel(), lots.ravel() * step

    # -- what both draw on -------------------------------------------------------------------------------

    def _climate(self, minutes: Ints) -> tuple[Floats, Floats]:
        """(volatility of each minute, its drift as a power of two)."""
        regime = minutes // _REGIME_MINUTES
        blocks = span(int(regime[0]), int(regime[-1] - regime[0]) + 1)
        drawn = bits(self._key("regime", tide=True), blocks)
        power = (_REGIMES[(drawn & np.uint64(7)).astype(np.int64)] - _EVEN_OUT)[regime - regime[0]]
        for length, weight in _WAVES:
            power += 0.8 * weight * wave(self._key("wave", length, tide=True), minutes, length)
            power += 0.5 * weight * wave(self._key("wave", length), minutes, length)
        sigma = exp2(power) * self._usual
        trend = normals(self._key("trend", tide=True), blocks)[regime - regime[0]]
        return sigma, trend * sigma * (_TREND_SHARE * _TO_POWERS)

    def _moves(self, kind: str, numbers: Ints) -> Floats:
        """Moves of deviation 1: the tide that lifts all symbols, and this one's own."""
        tide = normals(self._key(kind, tide=True), numbers)
        return tide * self._character.tide + normals(self._key(kind), numbers) * self._alone

    def _volumes(self, numbers: Ints, kind: str, sigma: Floats | float, surprise: Floats | float) -> Floats:
        """Lots a second: more when the market is wild and when it has moved."""
        wobble = exp2(normals(self._key("volume", kind), numbers))
        return wobble * (0.35 + 0.5 * surprise) * (sigma / self._usual) * (self._volume / self.units.step)

    def _prices(self, base: int, powers: Floats) -> Ints:
        tick = self.units.tick
        return np.maximum(1, np.rint(exp2(powers) * (base / tick))).astype(np.int64) * tick

    def _draw(self, *name: object) -> float:
        return float(normals(self._key(*name), span(0, 1))[0])

    def _key(self, *name: object, tide: bool = False) -> int:
        return key_of(self.seed, "tide" if tide else self.symbol, *name)
