"""The pre-trade check: a pure function from facts to a refusal, or None.

Buys are checked against the kill switch, the free balance and the limits. On a spot account a sale of coins
that are held and free can only reduce what is at risk, so such a sale, an exit, is never refused by the kill
switch or a limit; a sale of more than is free is refused, for the exchange would refuse it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from app.domain.money import ZERO, plain, quantise_quote
from app.domain.orders import Side


class RefusalCode(StrEnum):
    """Why an order was refused by us; stands in `Order.reject_code`."""

    BALANCE = "RISK_BALANCE"
    ORDER_NOTIONAL = "RISK_ORDER_NOTIONAL"
    EXPOSURE = "RISK_EXPOSURE"
    KILL_SWITCH = "RISK_KILL_SWITCH"
    STALE_PRICE = "RISK_STALE_PRICE"


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that one order may be worth, and most that may be at risk in one symbol; in the quote asset."""

    max_order_notional: Decimal
    max_symbol_exposure: Decimal


#: Nothing is bought at the market on a price that is older; prices come every 5 s.
STALE_PRICE_MS = 15_000

#: What holds for an account whose owner has set nothing.
DEFAULT_LIMITS = Limits(max_order_notional=Decimal(100_000), max_symbol_exposure=Decimal(250_000))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A stable code for programs and a sentence, with the numbers, for people."""

    code: RefusalCode
    message: str


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """An order that is about to be made and what the books say at that moment, under the account's lock.

    `quantity` (base) and `notional` (quote) are both given where they can be known: one is what was asked for,
    the other follows from the limit price, else from the newest price. None means there is no price.
    """

    symbol: str
    side: Side
    base_asset: str
    quote_asset: str
    quantity: Decimal | None
    notional: Decimal | None
    price: Decimal | None  # newest price, at which the position is valued; the limit price where there is none
    base_total: Decimal
    base_reserved: Decimal  # held back by open sell orders
    quote_total: Decimal
    quote_reserved: Decimal  # held back by open buy orders, of every symbol
    position: Decimal  # base of this symbol held over all runs
    open_buy_notional: Decimal  # quote that working buy orders of this symbol may still spend
    kill_switch: str | None  # its reason, when one is engaged for this order's account, run or everything
    limits: Limits = DEFAULT_LIMITS
    relied_price_age_ms: int | None = None  # age of the price that a market order or an entry relies on; None: on none
    stale_price_ms: int = STALE_PRICE_MS


def is_exit(facts: OrderFacts) -> bool:
    """Whether the order only reduces what is held: a sale of no more than the free coins.

    A sale sized in quote without a price to convert by counts as one while any coins are free: spot cannot
    sell more than those.
    """
    if facts.side is not Side.SELL:
        return False
    free = facts.base_total - facts.base_reserved
    return free > 0 and (facts.quantity is None or facts.quantity <= free)


def check(facts: OrderFacts) -> Refusal | None:
    """The first reason why this order must not be made, or None. An exit always passes."""
    if is_exit(facts):
        return None
    if facts.side is Side.SELL:
        return _sale_beyond_balance(facts)
    for rule in (_kill_switch, _unpriced, _stale_price, _balance, _order_notional, _exposure):
        if refusal := rule(facts):
            return refusal
    return None


def _kill_switch(facts: OrderFacts) -> Refusal | None:
    if facts.kill_switch is None:
        return None
    because = f" ({facts.kill_switch})" if facts.kill_switch else ""
    return Refusal(
        RefusalCode.KILL_SWITCH, f"The kill switch is engaged{because}: nothing is bought until it is released."
    )


def _unpriced(facts: OrderFacts) -> Refusal | None:
    if facts.notional is not None:
        return None
    return Refusal(
        RefusalCode.ORDER_NOTIONAL,
        f"No price of {facts.symbol} is known at the moment, so what this order would cost cannot be checked.",
    )


def _stale_price(facts: OrderFacts) -> Refusal | None:
    age_ms = facts.relied_price_age_ms
    if age_ms is None or age_ms <= facts.stale_price_ms:
        return None
    return Refusal(
        RefusalCode.STALE_PRICE,
        f"The newest price of {facts.symbol} is {age_ms // 1000} s old; "
        f"nothing is bought at the market on a price older than {facts.stale_price_ms / 1000:g} s.",
    )


def _balance(facts: OrderFacts) -> Refusal | None:
    needed, free = _known(facts.notional), facts.quote_total - facts.quote_reserved
    if needed <= free:
        return None
    return Refusal(
        RefusalCode.BALANCE,
        f"This order needs {_say(needed)} {facts.quote_asset}, but only {_say(max(free, ZERO))} is free "
        f"({_say(facts.quote_total)} held, {_say(facts.quote_reserved)} reserved by open orders).",
    )


def _sale_beyond_balance(facts: OrderFacts) -> Refusal:
    free = max(facts.base_total - facts.base_reserved, ZERO)
    asked = f"sells {_say(facts.quantity)} {facts.base_asset}" if facts.quantity else f"sells {facts.base_asset}"
    return Refusal(
        RefusalCode.BALANCE,
        f"This order {asked}, but only {_say(free)} is free "
        f"({_say(facts.base_total)} held, {_say(facts.base_reserved)} reserved by open orders).",
    )


def _order_notional(facts: OrderFacts) -> Refusal | None:
    worth, most = _known(facts.notional), facts.limits.max_order_notional
    if worth <= most:
        return None
    return Refusal(
        RefusalCode.ORDER_NOTIONAL,
        f"This order is worth {_say(worth)} {facts.quote_asset}; the limit for one order is {_say(most)}.",
    )


def _exposure(facts: OrderFacts) -> Refusal | None:
    held = max(facts.position, ZERO) * (facts.price or ZERO)
    worth, most = _known(facts.notional), facts.limits.max_symbol_exposure
    exposure = held + facts.open_buy_notional + worth
    if exposure <= most:
        return None
    return Refusal(
        RefusalCode.EXPOSURE,
        f"With this order {_say(exposure)} {facts.quote_asset} would be at risk in {facts.symbol} "
        f"({_say(held)} held, {_say(facts.open_buy_notional)} in open buy orders, {_say(worth)} new); "
        f"the limit for one symbol is {_say(most)}.",
    )


def _known(notional: Decimal | None) -> Decimal:
    return ZERO if notional is None else notional


def _say(value: Decimal) -> str:
    return plain(quantise_quote(value))
