"""How much an entry spends, to the last digit, and the strategy's own brakes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.errors import InvalidInput
from app.services.strategy import entry_refusal, size_entry
from app.services.strategy.rules import EquityPct, FixedQuote, Limits, RiskPct, Sizing
from app.services.strategy.sizing import Sized

D = Decimal


def size(
    sizing: Sizing, *, equity: str = "10000", free: str = "10000", stop: str | None = "95", fee: str = "0"
) -> Sized:
    return size_entry(
        sizing,
        equity=D(equity),
        free_quote=D(free),
        entry_price=D("100"),
        stop_price=None if stop is None else D(stop),
        quote_fee_rate=D(fee),
    )


def test_a_fixed_amount_is_spent_as_it_is() -> None:
    sized = size(FixedQuote(D("150.5")), stop=None)
    assert (sized.quote, sized.capped_by, sized.reason) == (D("150.5"), "", "150.5 fixed")


def test_a_share_of_equity_counts_what_is_not_free_too() -> None:
    assert size(EquityPct(D("10")), equity="12000", free="5000").quote == D("1200")


def test_risk_is_lost_exactly_when_the_stop_is_hit() -> None:
    sized = size(RiskPct(D("1"), D("100")))
    assert sized.quote == D("2000")
    quantity = sized.quote / D("100")
    assert quantity * (D("100") - D("95")) == D("10000") * D("0.01")


def test_a_near_stop_is_capped_by_the_share_of_equity() -> None:
    sized = size(RiskPct(D("1"), D("25")), stop="99.9")
    assert (sized.quote, sized.wanted, sized.capped_by) == (D("2500"), D("100000"), "max_equity_pct")


def test_nothing_ever_spends_more_than_is_free() -> None:
    for sizing in (FixedQuote(D("500")), EquityPct(D("50")), RiskPct(D("5"), D("100"))):
        sized = size(sizing, free="123.45")
        assert (sized.quote, sized.capped_by) == (D("123.45"), "free balance")
        assert "capped at the free balance of 123.45" in sized.reason


def test_all_in_spends_the_whole_balance_fee_included() -> None:
    sized = size(EquityPct(D("100")), fee="0.001")
    assert sized.quote == D("9990.00999000")
    left = D("10000") - sized.quote * D("1.001")
    assert 0 <= left < D("1e-7")


def test_amounts_are_rounded_down_to_eight_places() -> None:
    assert size(EquityPct(D("33.33333333")), equity="1").quote == D("0.33333333")


def test_nothing_left_or_less_spends_nothing() -> None:
    assert size(EquityPct(D("10")), equity="-5").quote == 0
    assert size(FixedQuote(D("10")), free="0").quote == 0
    assert size(FixedQuote(D("10")), free="-3").quote == 0


@pytest.mark.parametrize("stop", [None, "100", "101", "0"])
def test_risk_without_a_stop_below_the_price_is_refused(stop: str | None) -> None:
    with pytest.raises(InvalidInput, match="needs a stop between zero and the entry price"):
        size(RiskPct(D("1"), D("25")), stop=stop)


@pytest.mark.parametrize(
    ("limits", "open_positions", "today", "since", "words"),
    [
        (Limits(), 0, 50, 0, None),
        (Limits(), 1, 0, None, "a position is open already (at most 1)"),
        (Limits(max_open=2), 1, 0, None, None),
        (Limits(max_entries_per_day=3), 0, 2, None, None),
        (Limits(max_entries_per_day=3), 0, 3, None, "3 entries today (UTC); the limit is 3"),
        (Limits(cooldown_bars=3), 0, 0, None, None),
        (Limits(cooldown_bars=3), 0, 0, 2, "2 of 3 candles of cooldown have passed since the last exit"),
        (Limits(cooldown_bars=3), 0, 0, 3, None),
    ],
)
def test_the_brakes_refuse_in_words(
    limits: Limits, open_positions: int, today: int, since: int | None, words: str | None
) -> None:
    refusal = entry_refusal(limits, open_positions=open_positions, entries_today=today, bars_since_exit=since)
    assert refusal == words
