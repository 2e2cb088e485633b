"""The kernel sizes entries as the live sizing does: the same amounts from the same equity, balance and stop."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from backtest_kit import ENTER, LEAVE, QUIET, flat, market, traded
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.backtest import Rounding, Settings
from app.services.strategy import size_entry
from app.services.strategy.rules import EquityPct, FixedQuote, RiskPct, Sizing


def decimals(least: str, most: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(least), Decimal(most), places=places)


SIZINGS = st.one_of(
    st.builds(FixedQuote, decimals("0.01", "20000")),
    st.builds(EquityPct, decimals("0.01", "100")),
    st.builds(RiskPct, decimals("0.01", "100"), decimals("1", "100")),
)


def as_document(sizing: Sizing) -> dict[str, Any]:
    match sizing:
        case FixedQuote(quote=quote):
            return {"mode": "fixed_quote", "quote": str(quote)}
        case EquityPct(pct=pct):
            return {"mode": "equity_pct", "pct": str(pct)}
        case RiskPct(pct=pct, max_equity_pct=most):
            return {"mode": "risk_pct", "pct": str(pct), "max_equity_pct": str(most)}


@settings(max_examples=150, deadline=None)
@given(
    sizing=SIZINGS,
    balance=decimals("1", "1000000"),
    fee_pct=decimals("0", "1", 3),
    stop_pct=decimals("0.1", "50"),
    price=decimals("0.01", "90000"),
    in_quote=st.booleans(),
)
def test_a_backtest_spends_what_a_live_run_would(
    sizing: Sizing, balance: Decimal, fee_pct: Decimal, stop_pct: Decimal, price: Decimal, in_quote: bool
) -> None:
    live = size_entry(
        sizing,
        equity=balance,
        free_quote=balance,
        entry_price=price,
        stop_price=price * (1 - stop_pct / 100),
        quote_fee_rate=fee_pct / 100 if in_quote else Decimal(0),
    )
    result = traded(
        market(flat(float(price), ENTER), flat(float(price)), flat(float(price))),
        Settings(balance=balance, fee_pct=fee_pct, fee_in="quote" if in_quote else "received"),
        sizing=as_document(sizing),
        protect={"stop": {"pct": str(stop_pct)}},
    )
    spent = result.fills[0].price * result.fills[0].quantity if result.fills else 0.0
    assert spent == pytest.approx(float(live.quote), rel=1e-12, abs=2e-8)


def test_with_rounding_the_amount_is_cut_to_1e_8_as_live() -> None:
    rounding = Rounding(lot=Decimal("1e-8"))
    result = traded(market(flat(3.0, ENTER), flat(3.0)), Settings(balance=Decimal(100), rounding=rounding))
    assert result.fills[0].quantity == 33.33333333


def test_equity_counts_what_was_won_and_risk_counts_the_stop() -> None:
    rows = [flat(signal=ENTER), flat(), flat(signal=LEAVE), flat(120, ENTER), flat(120), flat(120, QUIET)]
    free = Settings(fee_pct=Decimal(0))
    half = traded(market(*rows), free, sizing={"mode": "equity_pct", "pct": "50"}, protect={"stop": {"pct": "10"}})
    assert half.trades[1].cost == pytest.approx(0.5 * (10_000 + 5_000 * 0.2))
    risked = traded(
        market(*rows),
        free,
        sizing={"mode": "risk_pct", "pct": "1", "max_equity_pct": "100"},
        protect={"stop": {"pct": "10"}},
    )
    assert risked.trades[0].cost == pytest.approx(1_000)  # 1 % of 10,000 lost over 10 %
    assert risked.trades[0].r == pytest.approx(2)
