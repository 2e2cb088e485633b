"""Amounts are cut to what an exchange takes, downwards, and go out as plain numbers; what is no amount is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidAmount
from app.domain.money import floor_to_step, is_multiple, parse_amount, plain
from app.domain.symbols import SymbolRules, quantity_failure, round_price, round_quantity

D = Decimal
STEPS = st.sampled_from([D(10) ** -n for n in range(9)] + [D("0.05"), D("2.5"), D(25)])
AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=18, allow_nan=False, allow_infinity=False)


def rules(step: Decimal) -> SymbolRules:
    return SymbolRules("BTCUSDT", "BTC", "USDT", tick_size=step, step_size=step, min_qty=step)


@given(AMOUNTS, STEPS)
def test_a_rounded_amount_is_the_largest_multiple_not_above_it(amount: Decimal, step: Decimal) -> None:
    """F36: a multiple, not more than wanted, less than a step from it."""
    for rounded in (floor_to_step(amount, step), round_quantity(rules(step), amount), round_price(rules(step), amount)):
        assert is_multiple(rounded, step)
        assert 0 <= amount - rounded < step


@given(AMOUNTS, STEPS)
def test_what_was_rounded_passes_the_filters_unless_nothing_is_left(amount: Decimal, step: Decimal) -> None:
    rounded = round_quantity(rules(step), amount)

    assert (quantity_failure(rules(step), rounded) is None) == (rounded > 0)


@given(AMOUNTS, st.integers(min_value=0, max_value=18))
def test_a_number_goes_out_plain_and_comes_back_the_same(amount: Decimal, places: int) -> None:
    """F36: never "1E-7"."""
    scaled = amount.scaleb(-places)
    text = plain(scaled)

    assert "E" not in text.upper()
    assert Decimal(text) == scaled


@pytest.mark.parametrize(
    "text",
    ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "inf", "-1", "-0.1", "1." + "0" * 18 + "1", "1e19", "", "ten",
     "0x10", "1,5", 1.5, True, None, b"1", [1]],
)  # fmt: skip
def test_what_is_no_finite_amount_of_at_most_18_places_is_refused_by_name(text: object) -> None:
    """F38, before the constraint of the database."""
    with pytest.raises(InvalidAmount) as caught:
        parse_amount(text, field="price")

    assert caught.value.field == "price"


@given(AMOUNTS)
def test_every_amount_in_range_is_read_exactly(amount: Decimal) -> None:
    assert parse_amount(format(amount, "f")) == amount
