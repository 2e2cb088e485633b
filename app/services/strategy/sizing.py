"""How much an entry spends, and whether the strategy's own brakes let it: the same functions in backtest and live."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from app.domain.errors import InvalidInput
from app.domain.money import ZERO, floor_to_step, plain
from app.services.strategy.rules import EquityPct, FixedQuote, Limits, RiskPct, Sizing

#: Binance keeps quote amounts to 8 places.
QUOTE_STEP = Decimal("1e-8")
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Sized:
    """What to spend, in the quote asset, rounded down to 1e-8. `wanted` is before any cap.

    `capped_by` is "", "max_equity_pct" or "free balance"; `reason` tells how the amount came about.
    """

    quote: Decimal
    wanted: Decimal
    capped_by: str
    reason: str


def size_entry(
    sizing: Sizing,
    *,
    equity: Decimal,
    free_quote: Decimal,
    entry_price: Decimal,
    stop_price: Decimal | None,
    quote_fee_rate: Decimal = ZERO,
) -> Sized:
    """The quote amount for one entry.

    `equity` and `free_quote` in the quote asset; `entry_price` is what is expected (the close of the decision).
    `quote_fee_rate` (0.001 = 0.1 %) only where the fee is taken in quote on top of the amount: amount and fee together
    never exceed the free balance. Never negative. Raises InvalidInput when risk_pct has no stop below the entry price.
    """
    wanted, reason = _wanted(sizing, equity, entry_price, stop_price)
    amount, capped_by = max(wanted, ZERO), ""
    if isinstance(sizing, RiskPct):
        most = max(equity, ZERO) * sizing.max_equity_pct / _HUNDRED
        if amount > most:
            amount, capped_by = most, "max_equity_pct"
            reason += f", capped at {plain(sizing.max_equity_pct)} % of equity"
    spendable = max(free_quote, ZERO) / (1 + quote_fee_rate)
    if amount > spendable:
        amount, capped_by = spendable, "free balance"
        reason += f", capped at the free balance of {plain(free_quote)}"
    return Sized(floor_to_step(amount, QUOTE_STEP), wanted, capped_by, reason)


def _wanted(sizing: Sizing, equity: Decimal, entry: Decimal, stop: Decimal | None) -> tuple[Decimal, str]:
    match sizing:
        case FixedQuote(quote=quote):
            return quote, f"{plain(quote)} fixed"
        case EquityPct(pct=pct):
            return equity * pct / _HUNDRED, f"{plain(pct)} % of equity {plain(equity)}"
        case _:
            if stop is None or not ZERO < stop < entry:
                raise InvalidInput("risk_pct needs a stop between zero and the entry price", field="sizing")
            risk = equity * sizing.pct / _HUNDRED
            reason = f"{plain(sizing.pct)} % of equity {plain(equity)} at risk over {plain(entry - stop)} to the stop"
            return risk * entry / (entry - stop), reason


def entry_refusal(
    limits: Limits, *, open_positions: int, entries_today: int, bars_since_exit: int | None
) -> str | None:
    """Why the strategy's own limits forbid an entry now, in words, or None.

    `entries_today`: entries filled in the UTC day of the decision candle's close. `bars_since_exit`: index of the
    decision candle minus that of the candle in which the last exit filled (None: no exit yet); a cooldown of n bars
    refuses while that is below n.
    """
    if open_positions >= limits.max_open:
        return f"a position is open already (at most {limits.max_open})"
    if limits.max_entries_per_day is not None and entries_today >= limits.max_entries_per_day:
        return f"{entries_today} entries today (UTC); the limit is {limits.max_entries_per_day}"
    if bars_since_exit is not None and bars_since_exit < limits.cooldown_bars:
        return f"{bars_since_exit} of {limits.cooldown_bars} candles of cooldown have passed since the last exit"
    return None
