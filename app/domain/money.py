"""Decimal arithmetic for money: parsing, rounding to a step, printing.

Amounts are `decimal.Decimal` everywhere an order, fill, fee, balance or position is concerned, strings
on the wire, and `numeric` (domain `amount`) in PostgreSQL. Floats never enter: `Decimal(float)` raises
once `use_money_context()` has run.
"""

from __future__ import annotations

import decimal
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from app.domain.errors import InvalidAmount

ZERO = Decimal(0)
MAX_SCALE = 18
MAX_AMOUNT = Decimal(10) ** 18
#: One stated place to which computed quote values (costs, PnL) are quantised, half to even.
QUOTE_QUANTUM = Decimal("1e-12")

# Products of two 18-place amounts need more than Python's default 28 digits.
_CONTEXT = decimal.Context(prec=60, rounding=ROUND_HALF_EVEN)
for _signal in (decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow, decimal.FloatOperation):
    _CONTEXT.traps[_signal] = True


def use_money_context() -> None:
    """Make the money context the default of this thread and of every later one."""
    decimal.DefaultContext.prec = _CONTEXT.prec
    for signal, trapped in _CONTEXT.traps.items():
        decimal.DefaultContext.traps[signal] = trapped
    decimal.setcontext(_CONTEXT.copy())


def parse_amount(text: object, *, field: str = "amount", positive: bool = False) -> Decimal:
    """Read a user's or an exchange's number as a `Decimal` in [0, 1e18] with at most 18 places.

    Accepts `str`, `int` and `Decimal`; a float is refused because it has already lost digits.
    Raises InvalidAmount naming `field`.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | Decimal):
        raise InvalidAmount(f"{field} must be a number written as text", field=field)
    try:
        value = Decimal(text.strip()) if isinstance(text, str) else Decimal(text)
    except decimal.InvalidOperation:
        raise InvalidAmount(f"{field} is not a number: {str(text)[:40]!r}", field=field) from None
    if not value.is_finite():
        raise InvalidAmount(f"{field} must be a finite number", field=field)
    if value < 0 or (positive and value == 0):
        raise InvalidAmount(f"{field} must be {'above' if positive else 'at least'} zero", field=field)
    if value > MAX_AMOUNT:
        raise InvalidAmount(f"{field} is too large", field=field)
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MAX_SCALE:
        raise InvalidAmount(f"{field} has more than {MAX_SCALE} decimal places", field=field)
    return value


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Largest multiple of `step` that is not above `value` (a step of 0 means no rounding)."""
    return value if step == 0 else (value / step).to_integral_value(ROUND_DOWN) * step


def ceil_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Smallest multiple of `step` that is not below `value` (a step of 0 means no rounding)."""
    return value if step == 0 else (value / step).to_integral_value(ROUND_CEILING) * step


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether `value` is a whole number of `step`s (a step of 0 allows everything)."""
    return step == 0 or value % step == 0


def quantise_quote(value: Decimal) -> Decimal:
    """Round a computed quote value to `QUOTE_QUANTUM`, half to even: our one rule for costs and PnL."""
    return value.quantize(QUOTE_QUANTUM, ROUND_HALF_EVEN)


def plain(value: Decimal) -> str:
    """Print without exponent and without trailing zeros: the only form that goes on a wire."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


use_money_context()
