"""What the pre-trade check refuses, and what it must never refuse."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.orders import Side
from app.services.risk.checks import DEFAULT_LIMITS, Limits, OrderFacts, check, is_exit

D = Decimal
#: A buy of 0.1 BTC at 50,000 with 10,000 USDT free: passes.
BUY = OrderFacts(
    symbol="BTCUSDT",
    side=Side.BUY,
    base_asset="BTC",
    quote_asset="USDT",
    quantity=D("0.1"),
    notional=D(5000),
    price=D(50_000),
    base_total=D(0),
    base_reserved=D(0),
    quote_total=D(12_000),
    quote_reserved=D(2_000),
    position=D(0),
    open_buy_notional=D(0),
    kill_switch=None,
)
SELL = replace(BUY, side=Side.SELL, base_total=D("0.3"), base_reserved=D("0.2"))


def refused(facts: OrderFacts, **changes: Any) -> tuple[str, str]:
    refusal = check(replace(facts, **changes))
    assert refusal is not None
    return refusal.code, refusal.message


def test_a_buy_within_balance_and_limits_passes() -> None:
    assert check(BUY) is None
    assert check(replace(BUY, notional=D(10_000))) is None


def test_a_buy_beyond_the_free_balance_is_refused_with_the_numbers() -> None:
    code, message = refused(BUY, notional=D("10000.01"))
    assert code == "RISK_BALANCE"
    assert message == (
        "This order needs 10000.01 USDT, but only 10000 is free (12000 held, 2000 reserved by open orders)."
    )


def test_an_order_above_the_limit_for_one_order_is_refused() -> None:
    code, message = refused(BUY, quote_total=D(1_000_000), notional=D(100_001))
    assert code == "RISK_ORDER_NOTIONAL"
    assert message == "This order is worth 100001 USDT; the limit for one order is 100000."


def test_exposure_counts_what_is_held_what_is_ordered_and_this_order() -> None:
    limits = Limits(D(10_000), D(12_000))
    assert check(replace(BUY, limits=limits, position=D("0.1"), open_buy_notional=D(2_000))) is None
    code, message = refused(BUY, limits=limits, position=D("0.1"), open_buy_notional=D("2000.5"))
    assert code == "RISK_EXPOSURE"
    assert "12000.5 USDT would be at risk in BTCUSDT (5000 held, 2000.5 in open buy orders, 5000 new)" in message
    assert "limit for one symbol is 12000" in message


def test_a_position_below_zero_does_not_widen_the_limit() -> None:
    assert refused(BUY, limits=Limits(D(9_000), D(4_999)), position=D(-1))[0] == "RISK_EXPOSURE"


def test_the_kill_switch_refuses_a_buy_and_says_why() -> None:
    code, message = refused(BUY, kill_switch="drawdown of 12 %")
    assert code == "RISK_KILL_SWITCH"
    assert "(drawdown of 12 %)" in message
    assert refused(BUY, kill_switch="")[0] == "RISK_KILL_SWITCH"


def test_a_buy_that_cannot_be_valued_is_refused() -> None:
    assert refused(BUY, notional=None, price=None)[0] == "RISK_ORDER_NOTIONAL"


@pytest.mark.parametrize("quantity", [D("0.1"), D("0.00000001"), None])
def test_an_exit_is_never_refused_by_a_limit_or_the_kill_switch(quantity: Decimal | None) -> None:
    facts = replace(
        SELL,
        quantity=quantity,
        notional=D(10) ** 9,
        kill_switch="everything stops",
        limits=Limits(D(1), D(1)),
        position=D(10_000),
        open_buy_notional=D(10) ** 9,
    )
    assert is_exit(facts)
    assert check(facts) is None
    assert check(replace(facts, notional=None, price=None)) is None


def test_a_sale_of_more_than_is_free_is_refused() -> None:
    code, message = refused(SELL, quantity=D("0.10000001"))
    assert code == "RISK_BALANCE"
    assert message == ("This order sells 0.10000001 BTC, but only 0.1 is free (0.3 held, 0.2 reserved by open orders).")
    assert refused(SELL, base_total=D("0.2"), quantity=None)[0] == "RISK_BALANCE"


def test_the_defaults_are_those_that_are_documented() -> None:
    assert Limits(D(100_000), D(250_000)) == DEFAULT_LIMITS


def test_nothing_is_bought_at_the_market_on_an_old_price_and_the_refusal_says_how_old() -> None:
    """F55."""
    assert check(replace(BUY, relied_price_age_ms=15_000)) is None
    code, message = refused(BUY, relied_price_age_ms=61_500)
    assert code == "RISK_STALE_PRICE"
    assert message == (
        "The newest price of BTCUSDT is 61 s old; nothing is bought at the market on a price older than 15 s."
    )
    assert refused(BUY, relied_price_age_ms=2_001, stale_price_ms=2_000)[0] == "RISK_STALE_PRICE"


def test_an_order_that_relies_on_no_price_and_an_exit_care_for_no_age() -> None:
    assert check(replace(BUY, relied_price_age_ms=None)) is None
    assert check(replace(SELL, relied_price_age_ms=86_400_000)) is None
