"""From the wire to our values, the odd cases included."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.domain.orders import Fill, Side
from app.services.exchange import parsing
from app.services.exchange.parsing import BadAnswer
from app.services.exchange.protocol import AssetBalance
from app.services.exchange.symbol_info import all_symbol_rules, symbol_rules

PLACED: dict[str, Any] = {
    "symbol": "BTCUSDT", "orderId": 28, "orderListId": -1, "clientOrderId": "pl-a", "transactTime": 1_507_725_176_595,
    "price": "0.00000000", "origQty": "10.00000000", "executedQty": "10.00000000", "origQuoteOrderQty": "0.000000",
    "cummulativeQuoteQty": "39990.00000000", "status": "FILLED", "timeInForce": "GTC", "type": "MARKET",
    "side": "SELL", "workingTime": 1_507_725_176_595, "selfTradePreventionMode": "NONE",
    "fills": [
        {"price": "4000.00000000", "qty": "9.00000000", "commission": "36.0", "commissionAsset": "USDT", "tradeId": 56},
        {"price": "3990.00000000", "qty": "1.00000000", "commission": "0.002", "commissionAsset": "BNB", "tradeId": 57},
    ],
}  # fmt: skip
REPORT: dict[str, Any] = {
    "e": "executionReport", "E": 2, "s": "ETHBTC", "c": "pl-a", "S": "BUY", "o": "LIMIT", "f": "GTC",
    "q": "1.00000000", "p": "0.10264410", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "NEW",
    "X": "NEW", "r": "NONE", "i": 4293153, "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0",
    "N": None, "T": 1_499_405_658_657, "t": -1, "I": 8641984, "w": True, "m": False, "M": False,
    "O": 1_499_405_658_657, "Z": "0.00000000", "Y": "0.00000000", "Q": "0.00000000", "V": "NONE",
}  # fmt: skip
TRADE = {
    "x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.4", "z": "0.4", "L": "0.1", "n": "0.0004", "N": "ETH", "t": 77,
    "m": True, "Z": "0.04", "Y": "0.04",
}  # fmt: skip


def test_the_fills_of_a_market_order_carry_the_price_that_the_order_does_not() -> None:
    report = parsing.order_answer(PLACED)
    assert (report.price, report.executed, report.executed_quote) == (0, 10, 39_990)
    assert [(f.trade_id, f.price, f.quote_quantity, f.commission_asset) for f in report.fills] == [
        (56, 4_000, 36_000, "USDT"),
        (57, 3_990, 3_990, "BNB"),
    ]
    assert sum(f.quote_quantity for f in report.fills) == report.executed_quote
    assert {f.is_maker for f in report.fills} == {False}


def test_the_answer_to_a_cancel_is_about_the_order_not_the_cancel() -> None:
    body = {**PLACED, "origClientOrderId": "pl-a", "clientOrderId": "the-cancel", "status": "CANCELED"}
    assert parsing.order_answer(body).client_order_id == "pl-a"


def test_a_queried_order_has_the_time_of_its_last_change() -> None:
    body = {k: v for k, v in PLACED.items() if k not in ("transactTime", "fills")} | {"time": 1, "updateTime": 9}
    report = parsing.order_answer(body)
    assert (report.updated_at_ms, report.fills) == (9, ())


@pytest.mark.parametrize("quote", ["-1", "-1.00000000", None])
def test_a_quote_amount_that_is_not_available_is_nought(quote: str | None) -> None:
    body = {k: v for k, v in PLACED.items() if k != "cummulativeQuoteQty"}
    report = parsing.order_answer(body if quote is None else {**body, "cummulativeQuoteQty": quote})
    assert (report.executed, report.executed_quote) == (10, 0)


@pytest.mark.parametrize("word", ["PENDING_NEW", "EXPIRED_IN_MATCH", "A_STATUS_OF_TOMORROW"])
def test_a_status_passes_as_the_exchange_says_it(word: str) -> None:
    assert parsing.order_answer({**PLACED, "status": word, "type": "NEW_TYPE", "side": "?"}).status == word
    assert parsing.execution_report({**REPORT, "X": word, "x": "NEW_KIND", "o": "NEW_TYPE"}).status == word


@pytest.mark.parametrize(
    "change",
    [{"orderId": None}, {"orderId": "x"}, {"executedQty": "NaN"}, {"executedQty": "-1"}, {"executedQty": 1.5},
     {"executedQty": None}, {"fills": [{"price": "1"}]}, {"fills": 7}, {"transactTime": "soon"}],
)  # fmt: skip
def test_an_answer_with_a_damaged_value_is_a_bad_answer(change: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parsing.order_answer({**PLACED, **change})


@pytest.mark.parametrize("body", [None, [], {}, "text", 3, {"orderId": 1}])
def test_an_answer_of_another_shape_is_a_bad_answer(body: Any) -> None:
    for parse in (parsing.order_answer, parsing.execution_report, parsing.trade_row, parsing.account_balances,
                  parsing.server_time, parsing.kline_event):  # fmt: skip
        with pytest.raises(BadAnswer):
            parse(body)


@pytest.mark.parametrize("own", ["", None, "null"])
def test_the_id_of_an_event_is_its_small_c(own: str | None) -> None:
    assert parsing.execution_report({**REPORT, "C": own}).client_order_id == "pl-a"


def test_the_id_of_a_canceled_event_is_its_big_c() -> None:
    event = {**REPORT, "c": "the-cancel", "C": "pl-a", "x": "CANCELED", "X": "CANCELED"}
    assert parsing.execution_report(event).client_order_id == "pl-a"


def test_a_trade_event_carries_one_fill() -> None:
    report = parsing.execution_report({**REPORT, **TRADE})
    assert report.fills == (
        Fill(77, Decimal("0.4"), Decimal("0.1"), Decimal("0.04"), Decimal("0.0004"), "ETH", True, 1_499_405_658_657),
    )
    assert (report.executed, report.executed_quote) == (Decimal("0.4"), Decimal("0.04"))
    assert report.status == "PARTIALLY_FILLED"


def test_an_event_of_another_kind_carries_no_fill_whatever_its_numbers_say() -> None:
    assert parsing.execution_report({**REPORT, **TRADE, "x": "CANCELED"}).fills == ()
    assert parsing.execution_report({**REPORT, **TRADE, "t": -1}).fills == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({}, ""), ({"r": "INSUFFICIENT_BALANCES"}, "INSUFFICIENT_BALANCES"), ({"eR": "EXHAUSTED"}, "EXHAUSTED")],
)
def test_the_reason_of_an_end_is_kept(change: dict[str, str], reason: str) -> None:
    assert parsing.execution_report({**REPORT, **change}).reject_reason == reason


def test_a_trade_row_knows_its_order_and_side() -> None:
    row = {
        "symbol": "BNBBTC", "id": 28457, "orderId": 100234, "price": "4.00000100", "qty": "12.00000000",
        "quoteQty": "48.000012", "commission": "10.1", "commissionAsset": "BNB", "time": 1499865549590,
        "isBuyer": False, "isMaker": True, "isBestMatch": True,
    }  # fmt: skip
    trade = parsing.trade_row(row)
    assert (trade.exchange_order_id, trade.side, trade.fill.is_maker) == (100_234, Side.SELL, True)
    assert trade.fill.quote_quantity == Decimal("48.000012")


def test_balances_of_nothing_are_left_out() -> None:
    rows = [("BTC", "0.5", "0.1"), ("ETH", "0.0", "0.00"), ("USDT", "0", "7")]
    body = {"balances": [{"asset": a, "free": f, "locked": locked} for a, f, locked in rows]}
    assert parsing.account_balances(body) == {
        "BTC": AssetBalance(Decimal("0.5"), Decimal("0.1")),
        "USDT": AssetBalance(Decimal(0), Decimal(7)),
    }


def test_the_forming_candle_is_dropped_by_the_exchanges_time() -> None:
    rows = [[t, "1", "3", "0.5", "2", "10", t + 59_999, "20", 5, "5", "10", "0"] for t in (0, 60_000, 120_000)]
    times = [c.open_time_ms for c in parsing.candles(rows, "BTCUSDT", "1m", now_ms=120_000)]
    assert times == [0, 60_000]
    assert [c.open_time_ms for c in parsing.candles(rows, "BTCUSDT", "1m", now_ms=119_999)] == [0]


def test_the_weight_limit_is_found_among_others() -> None:
    limits = [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        {"rateLimitType": "OF_TOMORROW"},
    ]
    assert parsing.weight_limit({"rateLimits": limits}) == 1200
    assert parsing.weight_limit({"rateLimits": []}) is None


# --- exchangeInfo --------------------------------------------------------------------------------------

INFO: dict[str, Any] = {
    "symbol": "ETHBTC", "status": "TRADING", "baseAsset": "ETH", "baseAssetPrecision": 8, "quoteAsset": "BTC",
    "quotePrecision": 8, "quoteAssetPrecision": 8,
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.00000100", "maxPrice": "100000.0", "tickSize": "0.00000100"},
        {"filterType": "LOT_SIZE", "minQty": "0.00100000", "maxQty": "100000.0", "stepSize": "0.00100000"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.0", "maxQty": "2000.0", "stepSize": "0.0"},
        {"filterType": "NOTIONAL", "minNotional": "10.0", "applyMinToMarket": False, "maxNotional": "10000.0",
         "applyMaxToMarket": True, "avgPriceMins": 3},
        {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "1.2", "bidMultiplierDown": "0.2",
         "askMultiplierUp": "5", "askMultiplierDown": "0.8", "avgPriceMins": 1},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 25},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_POSITION", "maxPosition": "10.0"},
        {"filterType": "A_FILTER_OF_TOMORROW", "x": []},
    ],
}  # fmt: skip


def test_every_filter_we_check_is_read() -> None:
    rules = symbol_rules(INFO)
    assert (rules.base_asset, rules.quote_asset, rules.status) == ("ETH", "BTC", "TRADING")
    assert (rules.tick_size, rules.min_price, rules.max_price) == (Decimal("0.000001"), Decimal("0.000001"), 100_000)
    assert (rules.step_size, rules.min_qty, rules.max_qty) == (Decimal("0.001"), Decimal("0.001"), 100_000)
    assert (rules.market_step_size, rules.market_min_qty, rules.market_max_qty) == (0, 0, 2_000)
    assert (rules.min_notional, rules.min_notional_applies_to_market) == (10, False)
    assert (rules.max_notional, rules.max_notional_applies_to_market) == (10_000, True)
    assert (rules.bid_multiplier_up, rules.bid_multiplier_down) == (Decimal("1.2"), Decimal("0.2"))
    assert (rules.ask_multiplier_up, rules.ask_multiplier_down) == (5, Decimal("0.8"))
    assert (rules.max_num_orders, rules.max_num_algo_orders, rules.max_position) == (25, 5, 10)


def test_the_older_filters_are_read_as_well() -> None:
    filters = [
        {"filterType": "MIN_NOTIONAL", "minNotional": "0.001", "applyToMarket": True, "avgPriceMins": 5},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.3", "multiplierDown": "0.7", "avgPriceMins": 5},
    ]
    rules = symbol_rules({**INFO, "filters": filters})
    assert (rules.min_notional, rules.min_notional_applies_to_market) == (Decimal("0.001"), True)
    assert (rules.bid_multiplier_up, rules.ask_multiplier_down) == (Decimal("1.3"), Decimal("0.7"))


def test_a_symbol_that_cannot_be_read_does_not_hide_the_others() -> None:
    broken = {**INFO, "symbol": "BROKEN", "filters": [{"filterType": "LOT_SIZE", "stepSize": "a lot"}]}
    halted = {**INFO, "symbol": "HALTED", "status": "A_STATUS_OF_TOMORROW"}
    assert set(all_symbol_rules({"symbols": [broken, 7, INFO, halted]})) == {"ETHBTC", "HALTED"}
