"""Average cost by hand-made numbers; the general law is in tests/property/test_position_identity.py."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.errors import InvariantViolated
from app.domain.orders import Fill, Side
from app.domain.positions import (
    FLAT,
    Position,
    SidedFill,
    apply_fill,
    average_cost,
    balance_changes,
    fold,
    unrealised,
)

D = Decimal


def fill(quantity: str, price: str, fee: str = "0", asset: str = "USDT", *, trade_id: int = 1, at_ms: int = 1) -> Fill:
    return Fill(trade_id, D(quantity), D(price), D(quantity) * D(price), D(fee), asset, False, at_ms)


def after(position: Position, side: Side, one: Fill, commission_price: str | None = None) -> Position:
    return apply_fill(
        position,
        side=side,
        fill=one,
        base_asset="BTC",
        quote_asset="USDT",
        commission_price=D(commission_price) if commission_price else None,
    )


def test_a_buy_with_a_fee_in_quote_costs_the_fee_too() -> None:
    position = after(FLAT, Side.BUY, fill("2", "100", "0.2"))
    assert position == Position(D(2), D("200.2"), D(0), D("0.2"))
    assert average_cost(position) == D("100.1")


def test_a_buy_with_a_fee_in_base_brings_fewer_coins_for_the_same_money() -> None:
    assert after(FLAT, Side.BUY, fill("2", "100", "0.002", "BTC")) == Position(D("1.998"), D(200), D(0), D("0.2"))


def test_a_fee_in_a_third_asset_is_an_expense_at_its_price() -> None:
    position = after(FLAT, Side.BUY, fill("2", "100", "0.001", "BNB"), "600")
    assert position == Position(D(2), D(200), D("-0.6"), D("0.6"))


def test_a_third_asset_without_a_price_leaves_the_worth_of_the_fee_out() -> None:
    assert after(FLAT, Side.BUY, fill("2", "100", "0.001", "BNB")) == Position(D(2), D(200), D(0), D(0))


def test_selling_a_part_takes_its_share_of_the_cost() -> None:
    position = after(Position(D(3), D(300), D(0), D(0)), Side.SELL, fill("1", "150", "0.15"))
    assert position == Position(D(2), D(200), D("49.85"), D("0.15"))


def test_selling_all_after_thirds_leaves_no_residue_of_cost() -> None:
    position = Position(D(3), D(100), D(0), D(0))
    for _ in range(3):
        position = after(position, Side.SELL, fill("1", "40"))
    assert position == Position(D(0), D(0), D(20), D(0))
    assert average_cost(position) is None


def test_selling_more_than_held_stands_below_zero_and_a_buy_brings_it_back() -> None:
    short = after(Position(D(1), D(100), D(0), D(0)), Side.SELL, fill("3", "120"))
    assert short == Position(D(-2), D(-240), D(20), D(0))
    assert average_cost(short) == D(120)
    assert unrealised(short, D(110)) == D(20)
    assert after(short, Side.BUY, fill("2", "110")) == Position(D(0), D(0), D(40), D(0))


def test_balance_changes_name_every_asset_that_moves() -> None:
    assert balance_changes(Side.BUY, fill("2", "100", "0.01", "BNB"), "BTC", "USDT") == {
        "BTC": D(2),
        "USDT": D(-200),
        "BNB": D("-0.01"),
    }
    assert balance_changes(Side.SELL, fill("2", "100", "0.2"), "BTC", "USDT") == {"BTC": D(-2), "USDT": D("199.8")}


def test_a_fee_in_the_base_asset_of_a_sale_is_taken_from_the_coins() -> None:
    held = Position(D("2.002"), D(200), D(0), D(0))
    assert after(held, Side.SELL, fill("2", "100", "0.002", "BTC")) == Position(D(0), D(0), D(0), D("0.2"))


def test_fold_takes_fills_in_exchange_order_by_time_then_trade_id() -> None:
    buy = SidedFill(Side.BUY, fill("1", "100", trade_id=5, at_ms=10))
    sell = SidedFill(Side.SELL, fill("1", "130", trade_id=6, at_ms=10))
    again = SidedFill(Side.BUY, fill("1", "90", trade_id=4, at_ms=11))
    assert fold([again, sell, buy], base_asset="BTC", quote_asset="USDT") == Position(D(1), D(90), D(30), D(0))


def test_fold_refuses_the_same_trade_twice() -> None:
    one = SidedFill(Side.BUY, fill("1", "100"))
    with pytest.raises(InvariantViolated):
        fold([one, one], base_asset="BTC", quote_asset="USDT")
