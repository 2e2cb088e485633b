"""A running market: a source of candles, the path inside each of them, and the history it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from app.domain.intrabar import RULES, Preset, path
from app.domain.symbols import SymbolRules
from app.paper_exchange.candles import SECOND_MS, Candle, Candles
from app.paper_exchange.mirror import Mirror
from app.paper_exchange.replay import Replay
from app.paper_exchange.synthetic import Synthetic
from app.paper_exchange.units import Units

Source = Synthetic | Replay | Mirror


@dataclass(frozen=True, slots=True)
class Step:
    """The path reaches a price."""

    price: Decimal
    volume: Decimal
    typical_volume: Decimal
    jumped: bool  # not reached by moving there: an open that differs from the close before


@dataclass(slots=True)
class LiveMarket:
    """One symbol: what feeds it and how far it has come."""

    rules: SymbolRules
    market_id: int
    source: Source
    candles: Candles
    preset: Preset
    halted: bool = False
    suspended: bool = False  # for a while, by a fault; not stored
    told_forming_ms: int = 0  # the second whose forming candle has been streamed
    last_traded_ms: int = 0
    last_volume: int = 0  # of the last step
    units: Units = field(init=False)
    _points: list[tuple[int, int, int]] = field(default_factory=list)  # (offset ms, price, volume) still to come
    _open_ms: int = 0
    _volume: int = 0  # of the running second's candle

    def __post_init__(self) -> None:
        self.units = Units.of(self.rules)

    def suspend(self, *, wanted: bool) -> None:
        """Stand still for a while, or no longer. What is left of the running second's path is not played."""
        self.suspended = wanted
        self._points.clear()

    @property
    def is_still(self) -> bool:
        """Whether nothing is traded, for good or for a while."""
        return self.halted or self.suspended

    @property
    def can_go_on(self) -> bool:
        """Whether a halted market has a second to play again."""
        return isinstance(self.source, Mirror) and self.source.has_more

    @property
    def wire_rules(self) -> SymbolRules:
        """The rules as exchangeInfo shows them: a halted symbol is in BREAK."""
        return replace(self.rules, status="BREAK") if self.is_still else self.rules

    def begin_second(self, open_ms: int) -> bool:
        """Draw the candle of the second that opens now. False where there is none: at the end of the source, or in
        a second in which a mirrored exchange was silent; the market is halted at the end, or after a long silence.
        """
        candle = self.source.next()
        if candle is None:
            self.halted = not isinstance(self.source, Mirror) or self.source.is_silent
            return False
        self.halted = False
        o, h, low, c, volume = candle
        offsets = RULES[self.preset].point_offsets_permille
        prices = path(self.preset, o, h, low, c)
        part = volume // 4 // self.units.step * self.units.step
        volumes = (part, part, part, volume - 3 * part)
        self._open_ms, self._volume = open_ms, volume
        self._points = [(off * SECOND_MS // 1000, p, v) for off, p, v in zip(offsets, prices, volumes, strict=True)]
        return True

    def due(self, now_ms: int) -> list[Step]:
        """The steps of the running second whose time has come, recorded in its candle."""
        steps = []
        while self._points and self._open_ms + self._points[0][0] <= now_ms:
            _, price, volume = self._points.pop(0)
            jumped = self.candles.second is None
            self.candles.print(self._open_ms, price, volume, self.units.quote(price, volume))
            self.last_traded_ms, self.last_volume = now_ms, volume
            typical = self.typical_volume()
            steps.append(Step(self.units.price(price), self.units.quantity(volume), typical, jumped))
        return steps

    def end_second(self) -> tuple[list[Step], list[tuple[str, Candle]]]:
        """Finish the running second: its remaining steps, and the candles that close with it."""
        steps = self.due(self._open_ms + SECOND_MS)
        return steps, self.candles.close_second()

    def typical_volume(self) -> Decimal:
        """Base volume of a usual second: what the depth of the book is measured by."""
        return self.units.quantity(self.candles.typical_volume(otherwise=self._volume))

    def average_price(self, now_ms: int) -> Decimal | None:
        """Volume-weighted price of the filters' minutes."""
        units = self.candles.average_price(now_ms, self.rules.average_price_mins)
        return None if units is None else self.units.price(units)

    def status(self) -> dict[str, Any]:
        """The market in one JSON object, for the control endpoint and the page that shows it."""
        progress = self.source.progress
        last = self.candles.last_price
        facts = self.source.describe()
        minutes, archive = self.candles.closed["1m"], self.candles.archive
        return {
            "symbol": self.rules.symbol,
            "market_id": self.market_id,
            "source": facts["source"],
            "label": facts.get("label") or f"synthetic, seed {facts.get('seed')}",
            "seed": facts.get("seed"),
            "start": facts.get("start"),
            "progress": None if progress is None else {"played": progress[0], "of": progress[1]},
            "loop": facts.get("loop", False),
            "gaps_closed": facts.get("gaps", 0),
            "candles_missing": facts.get("missing", 0),
            "halted": self.is_still,
            "trouble": self.source.words if isinstance(self.source, Mirror) else "",
            "price": None if last is None else format(self.units.price(last), "f"),
            "history_seconds": len(self.candles.closed["1s"]),
            "history_from_ms": archive.start_ms if archive else minutes.open_ms[0] if len(minutes) else None,
        }


def bucket_ms(now_ms: int) -> int:
    """Start of the second that holds `now_ms`."""
    return now_ms - now_ms % SECOND_MS
