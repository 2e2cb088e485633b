"""The matching engine, one fact at a time."""

from __future__ import annotations

from decimal import Decimal

import pytest
from engine_kit import NOW_MS, SYMBOL, make_engine, move, order

from app.domain.intrabar import Preset
from app.paper_exchange.errors import ApiError
from app.paper_exchange.matching import Engine
from app.paper_exchange.model import Order


def balance(engine: Engine, asset: str, account_id: int = 1) -> tuple[Decimal, Decimal]:
    found = engine.ledger.balance(account_id, asset)
    return found.free, found.locked


def refusal(engine: Engine, *args: object, **kwargs: object) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        engine.place(1, order(*args, **kwargs), NOW_MS)  # type: ignore[arg-type]
    return caught.value.code, caught.value.msg


def test_a_large_market_order_walks_the_book_in_several_trades() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "MARKET", "2"), NOW_MS)
    trades = engine.drain(NOW_MS).trades
    assert placed.status == "FILLED"
    assert len(trades) > 2
    assert [t.price for t in trades] == sorted({t.price for t in trades})
    assert sum(t.quantity for t in trades) == placed.executed == 2
    assert all(t.commission == t.quantity / 1000 and t.commission_asset == "BTC" for t in trades)


def test_a_market_order_beyond_the_book_expires_with_what_it_got() -> None:
    engine = make_engine()
    engine.deposit(1, "USDT", Decimal(100_000_000), NOW_MS)
    placed = engine.place(1, order("BUY", "MARKET", "100"), NOW_MS)
    assert placed.status == "EXPIRED"
    assert placed.expiry_reason == "INSUFFICIENT_LIQUIDITY"
    assert Decimal(0) < placed.executed < 100
    kinds = [e["x"] for _, e in engine.drain(NOW_MS).events if e["e"] == "executionReport"]
    assert kinds[0] == "NEW"
    assert set(kinds[1:-1]) == {"TRADE"}
    assert kinds[-1] == "EXPIRED"


def test_what_a_taker_took_is_gone_until_the_market_moves() -> None:
    engine = make_engine()
    market = engine.markets[SYMBOL]
    first = engine.place(1, order("BUY", "MARKET", "1"), NOW_MS)
    second = engine.place(2, order("BUY", "MARKET", "1"), NOW_MS)
    assert second.executed_quote > first.executed_quote
    move(engine, "50000")
    assert engine.place(1, order("BUY", "MARKET", "1"), NOW_MS).executed_quote == first.executed_quote
    assert market.liquidity.price == 50000


def test_a_quote_sized_buy_spends_at_most_the_amount_in_whole_lots() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "MARKET", quote_quantity="100"), NOW_MS)
    assert placed.status == "FILLED"
    assert Decimal("99.4") < placed.executed_quote <= 100
    assert placed.quantity == placed.executed
    assert placed.executed % Decimal("0.00001") == 0


def test_a_resting_order_fills_at_its_own_price_when_traded_through() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "0.1", price="49900"), NOW_MS)
    assert balance(engine, "USDT") == (Decimal(995_010), Decimal(4_990))
    move(engine, "49950")
    assert placed.status == "NEW"
    move(engine, "49800")
    trade = engine.drain(NOW_MS).trades[0]
    assert placed.status == "FILLED"
    assert trade.price == 49900
    assert trade.is_maker
    assert balance(engine, "USDT") == (Decimal(995_010), Decimal(0))
    assert balance(engine, "BTC") == (Decimal("10.0999"), Decimal(0))


def test_resting_orders_share_the_volume_in_price_time_order() -> None:
    engine = make_engine()
    early = engine.place(1, order("BUY", "LIMIT", "0.2", price="49900"), NOW_MS)
    late = engine.place(2, order("BUY", "LIMIT", "0.2", price="49900"), NOW_MS)
    better = engine.place(2, order("BUY", "LIMIT", "0.1", price="49910"), NOW_MS)
    move(engine, "49800", volume="1")  # a quarter of it, 0.25, is for resting orders
    assert (better.executed, early.executed, late.executed) == (Decimal("0.1"), Decimal("0.15"), Decimal(0))
    move(engine, "49790", volume="1")
    assert (early.status, late.executed) == ("FILLED", Decimal("0.2"))


@pytest.mark.parametrize(
    ("preset", "executed"), [(Preset.OPTIMISTIC, "0.1"), (Preset.REALISTIC, "0"), (Preset.HARSH, "0")]
)
def test_a_mere_touch_fills_by_preset(preset: Preset, executed: str) -> None:
    engine = make_engine(preset)
    placed = engine.place(1, order("BUY", "LIMIT", "0.1", price="49900"), NOW_MS)
    move(engine, "49900", volume="0.4")
    assert placed.executed == Decimal(executed)


def test_at_a_touch_the_queue_is_served_first_and_then_the_order() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "0.1", price="49900"), NOW_MS)
    ahead = placed.queue_ahead
    assert ahead > 0
    move(engine, "49900", volume=str(ahead))
    assert placed.executed == 0
    move(engine, "49900", volume="1")
    assert placed.executed == Decimal("0.1")


def test_a_stop_is_triggered_at_its_own_price_on_the_way_and_at_the_open_in_a_gap() -> None:
    fills = []
    for jumped in (False, True):
        engine = make_engine()
        stop = engine.place(1, order("SELL", "STOP_LOSS", "0.01", stop_price="49900"), NOW_MS)
        assert stop.waits_for_trigger
        move(engine, "49000", jumped=jumped)
        assert stop.status == "FILLED"
        fills.append(stop.executed_quote / stop.executed)
    on_the_way, in_a_gap = fills
    assert 49890 < on_the_way < 49900
    assert 48990 < in_a_gap < 49000


def test_a_triggered_stop_limit_rests_at_its_limit_when_the_market_has_gapped_past_it() -> None:
    engine = make_engine()
    stop = engine.place(
        1, order("SELL", "STOP_LOSS_LIMIT", "0.1", stop_price="49900", price="49850", time_in_force="GTC"), NOW_MS
    )
    move(engine, "49000", jumped=True)
    assert (stop.status, stop.working_ms) == ("NEW", NOW_MS)
    move(engine, "49849")
    assert stop.status == "NEW"
    move(engine, "49851")
    assert (stop.status, stop.executed_quote) == ("FILLED", Decimal("4985"))


@pytest.mark.parametrize(
    ("side", "kind", "stop_price"),
    [
        ("SELL", "STOP_LOSS", "50000"),
        ("BUY", "STOP_LOSS", "50000"),
        ("SELL", "TAKE_PROFIT", "49999"),
        ("BUY", "TAKE_PROFIT", "50001"),
    ],
)
def test_a_stop_on_the_wrong_side_is_refused(side: str, kind: str, stop_price: str) -> None:
    assert refusal(make_engine(), side, kind, "0.01", stop_price=stop_price) == (
        -2010,
        "Order would trigger immediately.",
    )


def test_a_maker_only_order_that_would_take_is_refused_and_leaves_no_trace() -> None:
    engine = make_engine()
    found = refusal(engine, "BUY", "LIMIT_MAKER", "0.01", price="50100")
    assert found == (-2010, "Order would immediately match and take.")
    assert not engine.drain(NOW_MS)
    assert engine.place(1, order("BUY", "LIMIT_MAKER", "0.01", price="49900"), NOW_MS).status == "NEW"


@pytest.mark.parametrize(
    ("tif", "status", "reason"),
    [
        ("IOC", "EXPIRED", "UNFILLED_IOC_QUANTITY_EXPIRED"),
        ("FOK", "EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED"),
        ("GTC", "PARTIALLY_FILLED", ""),
    ],
)
def test_time_in_force_decides_about_the_rest(tif: str, status: str, reason: str) -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "5", price="50003.5", time_in_force=tif), NOW_MS)
    assert (placed.status, placed.expiry_reason) == (status, reason)
    assert (placed.executed > 0) == (tif != "FOK")
    if placed.is_final:
        assert balance(engine, "USDT")[1] == 0


def test_two_users_trade_with_each_other_under_one_trade_id() -> None:
    engine = make_engine()
    maker = engine.place(2, order("SELL", "LIMIT", "0.01", price="50001"), NOW_MS)
    taker = engine.place(1, order("BUY", "MARKET", "0.01"), NOW_MS)
    trades = engine.drain(NOW_MS).trades
    assert (maker.status, taker.status) == ("FILLED", "FILLED")
    assert {t.id for t in trades} == {trades[0].id}
    assert [(t.account_id, t.is_maker, t.is_buyer) for t in trades] == [(2, True, False), (1, False, True)]


def test_an_account_does_not_trade_with_itself() -> None:
    engine = make_engine()
    maker = engine.place(1, order("SELL", "LIMIT", "0.01", price="50001"), NOW_MS)
    taker = engine.place(1, order("BUY", "MARKET", "0.01"), NOW_MS)
    assert (maker.status, maker.executed) == ("EXPIRED_IN_MATCH", Decimal(0))
    assert taker.status == "FILLED"


def test_a_client_id_is_taken_only_while_its_order_is_open() -> None:
    engine = make_engine()
    first = engine.place(1, order("BUY", "LIMIT", "0.01", price="40000", client_id="mine"), NOW_MS)
    assert refusal(engine, "BUY", "MARKET", "0.01", client_id="mine") == (-2010, "Duplicate order sent.")
    assert engine.place(2, order("BUY", "MARKET", "0.01", client_id="mine"), NOW_MS).status == "FILLED"
    engine.cancel(first, NOW_MS)
    assert engine.place(1, order("BUY", "MARKET", "0.01", client_id="mine"), NOW_MS).status == "FILLED"
    assert engine.place(1, order("BUY", "MARKET", "0.01", client_id="mine"), NOW_MS).status == "FILLED"


@pytest.mark.parametrize(
    ("kind", "quantity", "more", "filter_name"),
    [
        ("LIMIT", "0.01", {"price": "50000.001"}, "PRICE_FILTER"),
        ("LIMIT", "0.01", {"price": "2000000"}, "PRICE_FILTER"),
        ("LIMIT", "0.01", {"price": "9000"}, "PERCENT_PRICE_BY_SIDE"),
        ("LIMIT", "0.01", {"price": "260000"}, "PERCENT_PRICE_BY_SIDE"),
        ("LIMIT", "0.000001", {"price": "50000"}, "LOT_SIZE"),
        ("LIMIT", "0.000015", {"price": "50000"}, "LOT_SIZE"),
        ("LIMIT", "9001", {"price": "50000"}, "LOT_SIZE"),
        ("LIMIT", "0.00009", {"price": "50000"}, "NOTIONAL"),
        ("MARKET", "181", {}, "MARKET_LOT_SIZE"),
        ("MARKET", "0.00009", {}, "NOTIONAL"),
        ("MARKET", "0", {"quote_quantity": "4.99"}, "NOTIONAL"),
        ("STOP_LOSS", "0.01", {"stop_price": "51000.005"}, "PRICE_FILTER"),
    ],
)
def test_filters_refuse_with_their_names(kind: str, quantity: str, more: dict[str, str], filter_name: str) -> None:
    assert refusal(make_engine(), "BUY", kind, quantity, **more) == (-1013, f"Filter failure: {filter_name}")


def test_the_number_of_open_stops_is_limited() -> None:
    engine = make_engine()
    for _ in range(5):
        engine.place(1, order("SELL", "STOP_LOSS", "0.01", stop_price="49000"), NOW_MS)
    found = refusal(engine, "SELL", "STOP_LOSS", "0.01", stop_price="49000")
    assert found == (-1013, "Filter failure: MAX_NUM_ALGO_ORDERS")


@pytest.mark.parametrize(("side", "kind"), [("BUY", "MARKET"), ("BUY", "LIMIT"), ("SELL", "MARKET"), ("SELL", "LIMIT")])
def test_an_order_beyond_the_balance_is_refused_and_leaves_no_trace(side: str, kind: str) -> None:
    engine = make_engine()
    engine.deposit(1, "BTC", Decimal(-10), NOW_MS)
    engine.deposit(1, "USDT", Decimal(-999_990), NOW_MS)
    before = engine.drain(NOW_MS)
    more = {"price": "50000"} if kind == "LIMIT" else {}
    found = refusal(engine, side, kind, "0.001", **more)
    assert before
    assert found == (-2010, "Account has insufficient balance for requested action.")
    assert not engine.drain(NOW_MS)


def test_a_closed_market_takes_no_orders_but_lets_them_be_cancelled() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "0.01", price="49000"), NOW_MS)
    engine.markets[SYMBOL].is_open = False
    assert refusal(engine, "BUY", "MARKET", "0.01") == (-1013, "Market is closed.")
    engine.cancel(placed, NOW_MS)
    assert placed.status == "CANCELED"


def test_when_the_market_changes_open_orders_expire_and_funds_return() -> None:
    engine = make_engine()
    placed: list[Order] = [
        engine.place(1, order("BUY", "LIMIT", "0.01", price="49000"), NOW_MS),
        engine.place(1, order("SELL", "STOP_LOSS", "0.01", stop_price="49000"), NOW_MS),
    ]
    engine.drain(NOW_MS)
    engine.expire_all(SYMBOL, NOW_MS)
    events = engine.drain(NOW_MS).events
    assert [(o.status, o.expiry_reason) for o in placed] == [("EXPIRED", "EXCHANGE_CANCELED")] * 2
    assert [e.get("eR") for _, e in events] == ["EXCHANGE_CANCELED", "EXCHANGE_CANCELED", None]
    assert balance(engine, "USDT") == (Decimal(1_000_000), Decimal(0))
    assert balance(engine, "BTC") == (Decimal(10), Decimal(0))


def test_the_events_of_an_order_end_with_one_account_position() -> None:
    engine = make_engine()
    engine.place(1, order("BUY", "MARKET", "1", client_id="m-1"), NOW_MS)
    events = [e for account_id, e in engine.drain(NOW_MS).events if account_id == 1]
    reports, position = events[:-1], events[-1]
    assert [e["x"] for e in reports] == ["NEW"] + ["TRADE"] * (len(reports) - 1)
    assert [e["X"] for e in reports] == ["NEW", *["PARTIALLY_FILLED"] * (len(reports) - 2), "FILLED"]
    assert [e["w"] for e in reports] == [True] + [False] * (len(reports) - 1)
    assert [e["M"] for e in reports] == [False] + [True] * (len(reports) - 1)
    assert [e["N"] for e in reports] == [None] + ["BTC"] * (len(reports) - 1)
    assert reports[0]["t"] == -1
    assert all(e["c"] == "m-1" and e["C"] == "" for e in reports)
    assert [e["I"] for e in reports] == sorted({e["I"] for e in reports})
    assert position["e"] == "outboundAccountPosition"
    assert {b["a"] for b in position["B"]} == {"BTC", "USDT"}


def test_a_cancel_report_carries_its_own_id_and_the_orders() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "0.01", price="49000", client_id="mine"), NOW_MS)
    engine.drain(NOW_MS)
    engine.cancel(placed, NOW_MS, "my-cancel")
    report = engine.drain(NOW_MS).events[0][1]
    assert (report["c"], report["C"], report["x"], report["w"]) == ("my-cancel", "mine", "CANCELED", False)


def test_the_book_shown_is_never_crossed_while_the_market_passes_through_a_resting_order() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "5", price="49990", time_in_force="GTC"), NOW_MS)
    bids, _ = engine.markets[SYMBOL].depth(100)
    assert (Decimal(49_990), Decimal(5)) in [(price, min(quantity, Decimal(5))) for price, quantity in bids]
    move(engine, "49900", "1")
    assert placed.status == "PARTIALLY_FILLED"
    bids, asks = engine.markets[SYMBOL].depth(100)
    assert bids[0][0] < asks[0][0]
    move(engine, "50000", "0")
    assert Decimal(49_990) in [price for price, _ in engine.markets[SYMBOL].depth(100)[0]]
