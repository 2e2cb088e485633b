"""Figures and times as a trader reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.domain.orders import OrderStatus
from app.state import words

NOW = datetime(2026, 11, 22, 20, 31, 5, 123000, UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("10000"), "10,000.00"),
        (Decimal("9988.865"), "9,988.86"),  # half to even
        (Decimal("-0.004"), "0.00"),
        (Decimal("-1234.5"), "-1,234.50"),
        (None, "—"),
    ],
)
def test_dollars_have_two_places(value: Decimal | None, shown: str) -> None:
    assert words.money(value, "USDT") == shown


def test_other_assets_keep_their_digits() -> None:
    assert words.money(Decimal("0.009373190"), "BTC") == "0.00937319"
    assert words.quantity(Decimal("130708.5")) == "130,708.5"
    assert words.quantity(Decimal("-0.5")) == "−0.5"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1.5"), "+1.50"),
        (Decimal("-1.5"), "-1.50"),
        (Decimal("0"), "0.00"),
        (Decimal("0.001"), "0.00"),
        (Decimal("-0.001"), "0.00"),
    ],
)
def test_gains_carry_a_plus_losses_a_minus_and_nothing_neither(value: Decimal, shown: str) -> None:
    assert words.signed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(Decimal("101314.01"), "101,314.01"), (Decimal("0.6"), "0.60"), (Decimal("0.00001234"), "0.00001234")],
)
def test_prices_keep_their_digits(value: Decimal, shown: str) -> None:
    assert words.price(value) == shown


def test_computed_prices_are_cut_to_what_can_be_read() -> None:
    assert words.rate(Decimal(100000) / Decimal(3)) == "33,333.33"
    assert words.rate(Decimal(1) / Decimal(3)) == "0.33333"


def test_a_share_of_nothing_is_not_known() -> None:
    assert words.percent(Decimal(5), Decimal(0)) == "—"
    assert words.percent(Decimal("0.5"), Decimal(100)) == "+0.50 %"
    assert words.percent(Decimal("-0.001"), Decimal(100)) == "0.00 %"


def test_times_are_utc() -> None:
    berlin = NOW.astimezone()
    assert words.clock_time(berlin) == "20:31:05"
    assert words.exact_time(berlin) == "20:31:05.123"
    assert words.day_time(berlin) == "22 Nov 20:31:05"
    assert words.clock_time(None) == "—"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_ages_have_one_unit(seconds: int, shown: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == shown


def test_a_message_becomes_a_sentence() -> None:
    assert words.sentence("there is no order 7") == "There is no order 7."
    assert words.sentence("Done!") == "Done!"


def test_every_order_status_has_a_tone_of_its_own_choice() -> None:
    assert all(status.value in words._TONES for status in OrderStatus)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("2 % of equity 10003.48291928", "2 % of equity 10,003.48"),
        ("9876.5 at risk over 35.129834712 to the stop", "9876.5 at risk over 35.13 to the stop"),
        ("sold 0.00198 at 100030.86", "sold 0.00198 at 100030.86"),
        ("capped at the free balance of 0.123456789123", "capped at the free balance of 0.12346"),
        ("the exit rule is true", "the exit rule is true"),
    ],
)
def test_figures_nobody_typed_are_shortened_in_sentences(text: str, short: str) -> None:
    assert words.short_numbers(text) == short
