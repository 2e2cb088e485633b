"""A made-up market: seeded, geometric, with regimes and clusters of volatility.

Candle number k is a function of the seed and of the candle before it, so the same seed gives the same
sequence of candles on any run, however often it is interrupted.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from decimal import Decimal
from random import Random
from typing import Any

from app.paper_exchange.candles import MINUTE_MS, PATH_POINTS, SECOND_MS, Candle, Columns, History
from app.paper_exchange.units import Units

HISTORY_MINUTES = 3 * 1440
HISTORY_SECONDS = 3600
#: Volatility of one second, as a fraction: about 3 % a day in the normal regime.
_SIGMA_PER_SECOND = 0.0001
_REGIMES = (0.5, 1.0, 2.2)  # calm, normal, wild
_REGIME_CHANGES_PER_SECOND = 1 / 900
_DRIFT_SHARE = 0.03  # of the volatility, up to
_PULL_PER_SECOND = 2e-7  # towards the first price, so that weeks later it is still a price
_SUBSTEPS = 5
DEFAULT_PRICES = {"BTCUSDT": Decimal(100_000), "ETHUSDT": Decimal(3_500)}


@dataclass(slots=True)
class State:
    """All that the next candle depends on, beside the seed."""

    log_price: float
    regime: float = 1.0
    drift: float = 0.0
    cluster: float = 0.0
    number: int = 0


class Synthetic:
    """The source. Prices and volumes come out in the symbol's smallest units."""

    kind = "synthetic"

    def __init__(self, symbol: str, seed: int, units: Units, first_price: float, state: State | None = None) -> None:
        self.symbol = symbol
        self.seed = seed
        self.units = units
        self.first_price = first_price
        self.state = state or State(math.log(first_price))
        self._typical_volume = 50_000.0 / first_price  # base per second: about 50,000 quote a second

    @property
    def progress(self) -> tuple[int, int] | None:
        """A synthetic market has no end."""
        return None

    def next(self) -> tuple[int, int, int, int, int]:
        """Open, high, low, close, volume of the next second."""
        return self._candle(SECOND_MS // 1000, "s")

    def history(self, live_ms: int) -> History:
        """Three days of minutes and at least an hour of seconds that end where the market goes live."""
        history = History()
        seconds_from = (live_ms - HISTORY_SECONDS * SECOND_MS) // MINUTE_MS * MINUTE_MS
        minutes_from = seconds_from - HISTORY_MINUTES * MINUTE_MS
        self._fill(history.minutes, minutes_from, seconds_from, MINUTE_MS, "m")
        self._fill(history.seconds, seconds_from, live_ms, SECOND_MS, "s")
        return history

    def describe(self) -> dict[str, Any]:
        """What is needed to make this source again (`state` apart)."""
        return {"source": "synthetic", "seed": self.seed, "first_price": self.first_price}

    def snapshot(self) -> dict[str, Any]:
        """The changing part, as JSON."""
        return asdict(self.state)

    def _fill(self, columns: Columns, from_ms: int, to_ms: int, length_ms: int, stream: str) -> None:
        for open_ms in range(from_ms, to_ms, length_ms):
            o, h, low, c, v = self._candle(length_ms // 1000, stream)
            columns.append(Candle(open_ms, o, h, low, c, v, self.units.quote((o + h + low + c) // 4, v), PATH_POINTS))

    def _candle(self, seconds: int, stream: str) -> tuple[int, int, int, int, int]:
        state = self.state
        digest = hashlib.blake2b(f"{self.seed}|{self.symbol}|{stream}|{state.number}".encode(), digest_size=8)
        random = Random(int.from_bytes(digest.digest(), "big"))  # noqa: S311 - a market, not a secret
        state.number += 1
        if random.random() < _REGIME_CHANGES_PER_SECOND * seconds:
            state.regime = random.choice(_REGIMES)
            state.drift = random.uniform(-_DRIFT_SHARE, _DRIFT_SHARE)
        state.cluster = 0.97 * state.cluster + 0.12 * random.gauss(0.0, 1.0)
        sigma = _SIGMA_PER_SECOND * state.regime * math.exp(state.cluster) * math.sqrt(seconds)
        pull = _PULL_PER_SECOND * seconds * (math.log(self.first_price) - state.log_price)
        opens = self.units.price_units(math.exp(state.log_price))
        high = low = opens
        close = opens
        for _ in range(_SUBSTEPS):
            state.log_price += (state.drift * sigma + pull) / _SUBSTEPS + random.gauss(
                0.0, sigma / math.sqrt(_SUBSTEPS)
            )
            close = self.units.price_units(math.exp(state.log_price))
            high, low = max(high, close), min(low, close)
        surprise = abs(math.log(close / opens)) / sigma
        volume = (
            self._typical_volume * seconds * (0.4 + 0.6 * surprise) * math.exp(random.gauss(-0.3, 0.7)) * state.regime
        )
        return opens, high, low, close, max(self.units.step, self.units.quantity_units(volume))
