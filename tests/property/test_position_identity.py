"""Over random histories: realised + unrealised = change of cash + value, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.money import ZERO, quantise_quote
from app.domain.orders import Fill, Side
from app.domain.positions import FLAT, SidedFill, apply_fill, balance_changes, fold, unrealised, value_at

BASE, QUOTE, THIRD = "BTC", "USDT", "BNB"

quantities = st.integers(1, 10**13).map(lambda n: Decimal(n).scaleb(-8))
prices = st.integers(1, 10**13).map(lambda n: Decimal(n).scaleb(-8))
fee_shares = st.sampled_from([ZERO, Decimal("0.001"), Decimal("0.00075"), Decimal("0.013")])


@st.composite
def histories(draw: st.DrawFn) -> list[SidedFill]:
    history = []
    for trade_id in range(draw(st.integers(1, 12))):
        quantity, price = draw(quantities), draw(prices)
        asset, share = draw(st.sampled_from([BASE, QUOTE, THIRD])), draw(fee_shares)
        of = {BASE: quantity, QUOTE: quantity * price, THIRD: Decimal("0.37")}[asset]
        commission = (of * share).quantize(Decimal("1e-8"))
        at_ms = draw(st.integers(0, 4))
        fill = Fill(trade_id, quantity, price, quantity * price, commission, asset, False, at_ms)
        history.append(SidedFill(draw(st.sampled_from(Side)), fill, draw(prices)))
    return history


def _sell(quantity: Decimal, price: Decimal, trade_id: int = 99) -> SidedFill:
    return SidedFill(Side.SELL, Fill(trade_id, quantity, price, quantity * price, ZERO, QUOTE, False, 99))


@given(histories(), prices)
@example([SidedFill(Side.BUY, Fill(1, Decimal(3), Decimal(1), Decimal(10), ZERO, QUOTE, False, 1)),
          _sell(Decimal(1), Decimal(1))], Decimal("0.00000001"))  # fmt: skip
def test_realised_plus_unrealised_is_change_of_cash_plus_value(history: list[SidedFill], price: Decimal) -> None:
    position, cash = FLAT, ZERO
    for item in history:
        position = apply_fill(
            position, side=item.side, fill=item.fill, base_asset=BASE, quote_asset=QUOTE,
            commission_price=item.commission_price,
        )  # fmt: skip
        changes = balance_changes(item.side, item.fill, BASE, QUOTE)
        cash += changes.get(QUOTE, ZERO)
        cash += quantise_quote(changes.get(THIRD, ZERO) * (item.commission_price or ZERO))
    assert position.realised + unrealised(position, price) == cash + value_at(position.quantity, price)


@given(histories())
def test_the_quantity_is_the_change_of_the_base_balance(history: list[SidedFill]) -> None:
    held = sum((balance_changes(item.side, item.fill, BASE, QUOTE).get(BASE, ZERO) for item in history), ZERO)
    assert fold(history, base_asset=BASE, quote_asset=QUOTE).quantity == held


@given(histories(), st.randoms())
def test_folding_does_not_depend_on_the_order_of_arrival(history: list[SidedFill], random: Random) -> None:
    shuffled = list(history)
    random.shuffle(shuffled)
    first = fold(history, base_asset=BASE, quote_asset=QUOTE)
    second = fold(shuffled, base_asset=BASE, quote_asset=QUOTE)
    assert [str(getattr(first, name)) for name in first.__slots__] == [
        str(getattr(second, name)) for name in second.__slots__
    ]


@given(histories(), st.integers(0, 12))
def test_folding_from_a_middle_point_gives_the_same(history: list[SidedFill], cut: int) -> None:
    ordered = sorted(history, key=lambda item: item.place)
    half_way = fold(ordered[:cut], base_asset=BASE, quote_asset=QUOTE)
    assert fold(ordered[cut:], base_asset=BASE, quote_asset=QUOTE, start=half_way) == fold(
        history, base_asset=BASE, quote_asset=QUOTE
    )


@given(histories(), prices)
def test_leaving_whole_leaves_no_cost(history: list[SidedFill], price: Decimal) -> None:
    position = fold(history, base_asset=BASE, quote_asset=QUOTE)
    if position.quantity == 0:
        return
    side = Side.SELL if position.quantity > 0 else Side.BUY
    quantity = abs(position.quantity)
    out = Fill(99, quantity, price, quantity * price, ZERO, QUOTE, False, 99)
    left = apply_fill(position, side=side, fill=out, base_asset=BASE, quote_asset=QUOTE, commission_price=None)
    assert (left.quantity, left.cost) == (0, 0)


@given(histories())
def test_every_figure_fits_the_database(history: list[SidedFill]) -> None:
    position = fold(history, base_asset=BASE, quote_asset=QUOTE)
    for name in position.__slots__:
        exponent = getattr(position, name).as_tuple().exponent
        assert -exponent <= 18, name
