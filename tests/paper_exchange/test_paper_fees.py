"""Commission: from the asset received, or in BNB at a discount while there is any."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from pathlib import Path

from engine_kit import NOW_MS, SYMBOL, make_engine, order
from paper_kit import flat_candles, running

from app.domain.symbols import SymbolRules
from app.paper_exchange.matching import Engine
from app.paper_exchange.model import Trade
from app.paper_exchange.rules import rules_for

BNB_PRICE = Decimal(500)


def with_bnb(amount: str) -> Engine:
    engine = make_engine()
    rules: SymbolRules = rules_for("BNBUSDT", BNB_PRICE)
    engine.add_market(rules)
    engine.step("BNBUSDT", BNB_PRICE, Decimal(0), Decimal(1), NOW_MS, jumped=True)
    engine.deposit(1, "BNB", Decimal(amount), NOW_MS)
    engine.commissions.bnb_payers.add(1)
    engine.drain(NOW_MS)
    return engine


def sell(engine: Engine, quantity: str, account_id: int = 1) -> list[Trade]:
    engine.place(account_id, order("SELL", "MARKET", quantity), NOW_MS)
    return engine.drain(NOW_MS).trades


def test_a_sale_pays_three_quarters_of_the_standard_fee_in_bnb() -> None:
    engine = with_bnb("10")
    (trade,) = sell(engine, "0.1")
    expected = (trade.quote_quantity * Decimal("0.001") * Decimal("0.75") / BNB_PRICE).quantize(
        Decimal("1e-8"), ROUND_DOWN
    )
    assert (trade.commission_asset, trade.commission) == ("BNB", expected)
    assert engine.ledger.free(1, "BNB") == 10 - expected
    assert engine.ledger.free(1, "USDT") == 1_000_000 + trade.quote_quantity


def test_a_purchase_pays_in_bnb_by_way_of_the_quote_asset() -> None:
    engine = with_bnb("10")
    engine.place(1, order("BUY", "MARKET", "0.1"), NOW_MS)
    (trade,) = engine.drain(NOW_MS).trades
    price = engine.markets[SYMBOL].liquidity.price
    assert price is not None
    expected = Decimal("0.1") * Decimal("0.00075") * price / BNB_PRICE
    assert (trade.commission_asset, trade.commission) == ("BNB", expected)
    assert engine.ledger.free(1, "BTC") == Decimal("10.1")


def test_where_bnb_runs_out_within_an_order_the_received_asset_pays_the_full_fee() -> None:
    engine = with_bnb("0.03")
    trades = sell(engine, "2")
    paid_in = [t.commission_asset for t in trades]
    assert set(paid_in) == {"BNB", "USDT"}
    for trade in trades:
        if trade.commission_asset == "USDT":
            assert trade.commission == (trade.quote_quantity / 1000).quantize(Decimal("1e-8"))
    assert engine.ledger.free(1, "BNB") == Decimal("0.03") - sum(
        t.commission for t in trades if t.commission_asset == "BNB"
    )


def test_only_accounts_that_asked_pay_in_bnb() -> None:
    engine = with_bnb("10")
    engine.deposit(2, "BNB", Decimal(10), NOW_MS)
    assert {t.commission_asset for t in sell(engine, "0.1", account_id=2)} == {"USDT"}


def test_without_a_market_for_bnb_the_received_asset_pays() -> None:
    engine = make_engine()
    engine.deposit(1, "BNB", Decimal(10), NOW_MS)
    engine.commissions.bnb_payers.add(1)
    assert {t.commission_asset for t in sell(engine, "0.1")} == {"USDT"}


def test_the_user_stream_tells_the_balance_of_bnb() -> None:
    engine = with_bnb("10")
    engine.place(1, order("SELL", "MARKET", "0.1"), NOW_MS)
    events = [event for _, event in engine.drain(NOW_MS).events]
    fill = next(e for e in events if e["e"] == "executionReport" and e["x"] == "TRADE")
    position = next(e for e in events if e["e"] == "outboundAccountPosition")
    assert fill["N"] == "BNB"
    assert {b["a"] for b in position["B"]} == {"BTC", "USDT", "BNB"}


async def test_the_switch_is_told_by_the_commission_endpoint_and_survives_a_restart(tmp_path: Path) -> None:
    file, symbols = tmp_path / "paper.db", ("BTCUSDT", "BNBUSDT")
    async with running(file, symbols=symbols) as paper:
        keys = await paper.open_account({"BTC": "1", "BNB": "1"}, ed25519=False)
        await paper.replay("BTCUSDT", flat_candles(5000, "50000"), start=100)
        _, before = await paper.signed("GET", "/api/v3/account/commission", keys, symbol="BTCUSDT")
        assert before["discount"] == {
            "enabledForAccount": False, "enabledForSymbol": True, "discountAsset": "BNB", "discount": "0.75000000",
        }  # fmt: skip
        path = f"/paper/accounts/{keys.account_id}/fees"
        assert await paper.control("POST", path, {"use_bnb_for_fees": True}) == (200, {"use_bnb_for_fees": True})
        assert (await paper.control("POST", path, {"use_bnb_for_fees": "yes"}))[0] == 400
        assert (await paper.control("POST", "/paper/accounts/99/fees", {"use_bnb_for_fees": True}))[0] == 404
    async with running(file, symbols=symbols) as paper:
        _, after = await paper.signed("GET", "/api/v3/account/commission", keys, symbol="BTCUSDT")
        assert after["discount"]["enabledForAccount"]
        sale = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01"}
        _, answer = await paper.signed("POST", "/api/v3/order", keys, **sale)
        assert {fill["commissionAsset"] for fill in answer["fills"]} == {"BNB"}
        await paper.control("POST", path, {"use_bnb_for_fees": False})
        _, answer = await paper.signed("POST", "/api/v3/order", keys, **sale)
        assert {fill["commissionAsset"] for fill in answer["fills"]} == {"USDT"}
