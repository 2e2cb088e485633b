"""Figures and times as a trader reads them. Everything leaves the server as text: the browser never computes money."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from app.domain.money import plain

#: Shown where a figure cannot be known (no price, no such thing yet). Never a zero that nobody measured.
UNKNOWN = "—"

#: The symbol that most people mean; menus begin with it.
USUAL_SYMBOL = "BTCUSDT"

#: A figure that nobody has typed: more than eight digits, or cents of thousands with a long tail.
_LONG_NUMBER = re.compile(r"(?<![\w.])(?:\d{3,}\.\d{3,}|\d+\.\d{7,})(?![\w.]*\d)")

#: Quote assets that are read in cents; all others keep their digits.
_CENTS = {"USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "DAI"}

_TONES = {
    "FILLED": "ok",
    "OPEN": "info",
    "PARTIALLY_FILLED": "info",
    "NEW": "wait",
    "SUBMITTED": "wait",
    "CANCELING": "wait",
    "CANCELED": "",
    "EXPIRED": "",
    "REJECTED": "bad",
    "STARTING": "wait",
    "RUNNING": "ok",
    "STOPPING": "wait",
    "STOPPED": "",
    "REQUESTED": "wait",
    "ACTIVE": "ok",
    "APPLIED": "ok",
    "FROZEN": "bad",
    "FAILED": "bad",
    "DISABLED": "",
    "REMOVED": "",
    "HEALTHY": "ok",
    "RECOVERING": "wait",
    "STALE": "bad",
    "PROTECTED": "ok",
    "PROTECTING": "wait",
    "ENTERING": "wait",
    "EXITING": "wait",
    "CLOSED": "",
}


def tone(status: str) -> str:
    """The badge tone of a status."""
    return _TONES.get(status, "")


def status_words(status: str) -> str:
    """`PARTIALLY_FILLED` as `Partially filled`."""
    return status.replace("_", " ").capitalize()


def sentence(message: str) -> str:
    """A service's message as a sentence: a capital at the start, a full stop at the end."""
    text = message.strip()
    return text if not text else text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def short_numbers(text: str) -> str:
    """A sentence whose computed figures are as long as one reads them: cents from 100 on, else five digits.

    Figures that were written short, and quantities on their step, stay as they are.
    """
    return _LONG_NUMBER.sub(lambda found: rate(Decimal(found[0])), text)


def quantity(value: Decimal | None) -> str:
    """A base amount, every digit kept, thousands grouped."""
    if value is None:
        return UNKNOWN
    whole, _, fraction = plain(value).partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    grouped = f"{int(digits):,}"
    return f"{sign}{grouped}.{fraction}" if fraction else f"{sign}{grouped}"


def money(value: Decimal | None, asset: str = "USDT") -> str:
    """An amount of `asset`: two places for dollars, else up to eight."""
    if value is None:
        return UNKNOWN
    if asset in _CENTS:
        return f"{value.quantize(Decimal('0.01'), ROUND_HALF_EVEN):,.2f}".replace("-0.00", "0.00")
    return quantity(Decimal(plain(value.quantize(Decimal("1e-8"), ROUND_HALF_EVEN))))


def price(value: Decimal | None) -> str:
    """A price with its own digits, at least two places."""
    if value is None:
        return UNKNOWN
    text = plain(value)
    places = max(2, len(text.partition(".")[2]))
    return f"{value:,.{min(places, 8)}f}"


def rate(value: Decimal | None) -> str:
    """A computed price, an average for instance: cents above 100, else five significant digits."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 100:
        return f"{value:,.2f}"
    return plain(Decimal(f"{value:.5g}"))


def signed(value: Decimal | None, asset: str = "USDT") -> str:
    """A profit or loss with its sign; an ASCII minus, so that the page can colour it."""
    if value is None:
        return UNKNOWN
    text = money(value, asset)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def percent(part: Decimal | None, whole: Decimal | None) -> str:
    """`part` of `whole` with its sign, in percent with two places."""
    if part is None or not whole:
        return UNKNOWN
    text = f"{part / whole * 100:+.2f} %"
    return "0.00 %" if text in ("+0.00 %", "-0.00 %") else text


def at_ms(moment_ms: int | None) -> datetime | None:
    """Milliseconds since the epoch as an aware UTC time."""
    return None if moment_ms is None else datetime.fromtimestamp(moment_ms / 1000, UTC)


def clock_time(moment: datetime | None) -> str:
    """`20:31:05` (UTC)."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%H:%M:%S}"


def exact_time(moment: datetime | None) -> str:
    """`20:31:05.123` (UTC)."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-3]


def day_time(moment: datetime | None) -> str:
    """`22 Nov 20:31:05` (UTC)."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%-d %b %H:%M:%S}"


def date_time(moment: datetime | None) -> str:
    """`2026-11-22 20:31` (UTC)."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def date(moment: datetime | None) -> str:
    """`2026-11-22` (UTC)."""
    return UNKNOWN if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d}"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago: `4 s ago`, `3 min ago`, `2 h ago`, `5 d ago`."""
    if moment is None:
        return "never"
    seconds = max(0, int((now - moment).total_seconds()))
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {word} ago"
    return f"{seconds} s ago"


def number(value: Any) -> str:
    """A count with its thousands grouped."""
    return f"{int(value):,}"


def in_menu_order(symbols: Iterable[str]) -> list[str]:
    """Symbols as a menu lists them: by name, but first the one that most people mean."""
    return sorted(symbols, key=lambda symbol: (symbol != USUAL_SYMBOL, symbol))
