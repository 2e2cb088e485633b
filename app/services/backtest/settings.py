"""What a backtest is run with besides strategy and candles: frozen before the first candle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.domain.errors import InvalidInput
from app.domain.intrabar import RULES, Preset
from app.domain.money import ZERO, parse_amount, plain

#: Binance's standard Spot fee, in per cent of each side.
DEFAULT_FEE_PCT = Decimal("0.1")
#: More is a mistake of units (10 means 10 %), not a fee or a slippage.
MOST_FEE_PCT = Decimal(10)
MOST_SLIPPAGE_BPS = Decimal(1_000)
FEE_IN = ("received", "quote")


@dataclass(frozen=True, slots=True)
class Rounding:
    """Steps of the exchange; 0 switches a rule off. All 0 (the default): nothing is rounded or refused as too small.

    Quantities are rounded down to `lot`, quote amounts down to 1e-8 as live; a buy price up and a sell price down to
    `tick` where slippage moved it, stops and limits down, targets up.
    """

    lot: Decimal = ZERO
    tick: Decimal = ZERO
    min_quantity: Decimal = ZERO
    min_notional: Decimal = ZERO

    def __post_init__(self) -> None:
        for name in self.__slots__:
            parse_amount(getattr(self, name), field=name)


@dataclass(frozen=True, slots=True)
class Settings:
    """Balance in quote, fee, slippage and rounding of a run, and the first candle it may decide on.

    `fee_in`: "received" as Binance takes it (a buy in base, a sell in quote) or "quote" for both sides.
    `preset`: how hard the market is (`app.domain.intrabar`): half its spread is the slippage of a market order unless
    `slippage_bps` says otherwise, and a resting order fills at a mere touch only in `optimistic`.
    `open_beyond_fills_at_open`: a resting target or limit fills at a better open, as some engines assume; on an
    exchange it fills at its own price. `start_ms`: candles that open before it only warm up.
    Raises InvalidInput with `field`.
    """

    balance: Decimal = Decimal(10_000)
    fee_pct: Decimal = DEFAULT_FEE_PCT
    fee_in: str = "received"
    preset: Preset = Preset.OPTIMISTIC
    slippage_bps: Decimal | None = None
    rounding: Rounding = Rounding()
    open_beyond_fills_at_open: bool = False
    start_ms: int | None = None

    def __post_init__(self) -> None:
        parse_amount(self.balance, field="balance", positive=True)
        if parse_amount(self.fee_pct, field="fee_pct") > MOST_FEE_PCT:
            raise InvalidInput(f"fee_pct is in per cent of a trade; {MOST_FEE_PCT} is the most", field="fee_pct")
        if self.fee_in not in FEE_IN:
            raise InvalidInput(f"fee_in must be {' or '.join(FEE_IN)}, not {self.fee_in!r}", field="fee_in")
        if parse_amount(self.slippage, field="slippage_bps") > MOST_SLIPPAGE_BPS:
            message = f"slippage_bps is in 1/10,000 of the price; {MOST_SLIPPAGE_BPS} is the most"
            raise InvalidInput(message, field="slippage_bps")

    @property
    def slippage(self) -> Decimal:
        """Slippage of a market order or a stop in 1/10,000 of the price."""
        return RULES[self.preset].half_spread_bps if self.slippage_bps is None else self.slippage_bps

    @property
    def touch_fills(self) -> bool:
        """Whether a resting order fills when its price is touched but not passed: never behind a queue."""
        rules = RULES[self.preset]
        return rules.fills_on_touch and not rules.waits_in_queue

    def document(self) -> dict[str, Any]:
        """Plain JSON, numbers as text: what is stored with a run and compared before it is run again."""
        return {
            "balance": plain(self.balance),
            "fee_pct": plain(self.fee_pct),
            "fee_in": self.fee_in,
            "preset": self.preset.value,
            "slippage_bps": plain(self.slippage),
            "rounding": {name: plain(getattr(self.rounding, name)) for name in Rounding.__slots__},
            "open_beyond_fills_at_open": self.open_beyond_fills_at_open,
            "start_ms": self.start_ms,
        }


def settings_from(document: Mapping[str, Any]) -> Settings:
    """The settings a `Settings.document()` tells of. Raises InvalidInput when it is none."""
    try:
        rounding = Rounding(**{name: Decimal(value) for name, value in document["rounding"].items()})
        return Settings(
            balance=Decimal(document["balance"]),
            fee_pct=Decimal(document["fee_pct"]),
            fee_in=document["fee_in"],
            preset=Preset(document["preset"]),
            slippage_bps=Decimal(document["slippage_bps"]),
            rounding=rounding,
            open_beyond_fills_at_open=bool(document["open_beyond_fills_at_open"]),
            start_ms=document["start_ms"],
        )
    except (KeyError, TypeError, AttributeError, ArithmeticError, ValueError):
        raise InvalidInput("these are not the settings of a backtest", field="settings") from None
