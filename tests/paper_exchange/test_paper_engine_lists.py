"""Order lists, amendments and self-trade prevention in the matching engine, one fact at a time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from engine_kit import NOW_MS, SYMBOL, make_engine, move, order

from app.paper_exchange.amends import amend
from app.paper_exchange.errors import ApiError
from app.paper_exchange.matching import Engine
from app.paper_exchange.model import NewList, NewOrder, Order, OrderList

STOP = order("SELL", "STOP_LOSS", "1", stop_price="49000")
TARGET = order("SELL", "LIMIT_MAKER", "1", price="51000")
ENTRY = order("BUY", "LIMIT", "1", price="49500")


def place(engine: Engine, contingency: str, *orders: NewOrder, client_id: str = "") -> tuple[OrderList, list[Order]]:
    one, made = engine.lists.place(1, NewList(contingency, orders, client_id), NOW_MS)
    engine.lists.release(NOW_MS)
    return one, made


def balance(engine: Engine, asset: str) -> tuple[Decimal, Decimal]:
    found = engine.ledger.balance(1, asset)
    return found.free, found.locked


def told(engine: Engine) -> list[tuple[Any, ...]]:
    """The user stream in short: reports as (id, x, X, eR), list events as (l, L)."""
    short: list[tuple[Any, ...]] = []
    for _, event in engine.drain(NOW_MS).events:
        if event["e"] == "executionReport":
            short.append((event["i"], event["x"], event["X"], event.get("eR", "")))
        elif event["e"] == "listStatus":
            short.append((event["l"], event["L"]))
    return short


def test_an_oco_locks_once_for_the_leg_that_needs_more() -> None:
    engine = make_engine()
    place(engine, "OCO", STOP, TARGET)
    assert balance(engine, "BTC") == (Decimal(9), Decimal(1))
    buy_stop = order("BUY", "STOP_LOSS_LIMIT", "1", stop_price="51000", price="52000")
    place(engine, "OCO", buy_stop, order("BUY", "LIMIT_MAKER", "1", price="49000"))
    assert balance(engine, "USDT") == (Decimal(948_000), Decimal(52_000))


def test_the_stop_ends_the_limit_leg_before_it_trades() -> None:
    engine = make_engine()
    one, (stop, target) = place(engine, "OCO", STOP, TARGET)
    assert told(engine) == [(1, "NEW", "NEW", ""), (2, "NEW", "NEW", ""), ("EXEC_STARTED", "EXECUTING")]
    move(engine, "48900", volume="0")
    events = told(engine)
    assert events[:2] == [(2, "EXPIRED", "EXPIRED", "OCO_TRIGGER"), (1, "NEW", "NEW", "")]
    assert events[-2][:3] == (1, "TRADE", "FILLED")
    assert events[-1] == ("ALL_DONE", "ALL_DONE")
    assert (stop.status, target.status, one.is_done) == ("FILLED", "EXPIRED", True)
    assert balance(engine, "BTC") == (Decimal(9), Decimal(0))


def test_a_partial_fill_of_the_limit_leg_ends_the_stop_and_keeps_the_rest_locked() -> None:
    engine = make_engine()
    _, (stop, target) = place(engine, "OCO", STOP, TARGET)
    move(engine, "51100", volume="1")  # a quarter of it is for resting orders
    assert (stop.status, stop.expiry_reason) == ("EXPIRED", "OCO_TRIGGER")
    assert (target.status, target.executed, target.locked) == ("PARTIALLY_FILLED", Decimal("0.25"), Decimal("0.75"))
    assert len(engine.lists.open) == 1
    move(engine, "51200", volume="100")
    assert target.status == "FILLED"
    assert not engine.lists.open


def test_cancelling_one_order_cancels_its_list_under_one_id() -> None:
    engine = make_engine()
    _, (stop, target) = place(engine, "OCO", STOP, TARGET)
    engine.drain(NOW_MS)
    engine.cancel(target, NOW_MS, "bye")
    events = [e for _, e in engine.drain(NOW_MS).events if e["e"] == "executionReport"]
    assert [(e["x"], e["c"], e["C"]) for e in events] == [
        ("CANCELED", "bye", stop.client_id), ("CANCELED", "bye", target.client_id),
    ]  # fmt: skip
    assert balance(engine, "BTC") == (Decimal(10), Decimal(0))


def test_a_pending_order_starts_when_the_working_order_has_filled_entirely() -> None:
    engine = make_engine()
    _, (working, pending) = place(engine, "OTO", ENTRY, order("SELL", "LIMIT", "1", price="52000"))
    assert (working.status, pending.status, pending.working_ms) == ("NEW", "PENDING_NEW", 0)
    assert balance(engine, "BTC") == (Decimal(10), Decimal(0))
    assert told(engine)[:2] == [(1, "NEW", "NEW", ""), (2, "NEW", "PENDING_NEW", "")]
    move(engine, "49400", volume="2")
    assert (working.status, pending.status) == ("PARTIALLY_FILLED", "PENDING_NEW")
    move(engine, "49300", volume="100")
    assert (working.status, pending.status) == ("FILLED", "NEW")
    assert balance(engine, "BTC")[1] == 1
    assert told(engine)[-1] == (2, "NEW", "NEW", "")
    move(engine, "52100", volume="100")
    assert (pending.status, told(engine)[-1]) == ("FILLED", ("ALL_DONE", "ALL_DONE"))


def test_both_exits_of_an_otoco_start_together_and_one_ends_the_other() -> None:
    engine = make_engine()
    one, (working, stop, target) = place(engine, "OTO", ENTRY, STOP, TARGET)
    assert [o.status for o in (working, stop, target)] == ["NEW", "PENDING_NEW", "PENDING_NEW"]
    move(engine, "49400", volume="100")
    assert [o.status for o in (working, stop, target)] == ["FILLED", "NEW", "NEW"]
    move(engine, "51100", volume="100")
    assert [o.status for o in (stop, target)] == ["EXPIRED", "FILLED"]
    assert one.is_done


def test_pending_orders_the_engine_refuses_expire() -> None:
    engine = make_engine()
    _, (working, stop, target) = place(engine, "OTO", ENTRY, STOP, TARGET)
    move(engine, "48000", volume="100", jumped=True)  # through entry and stop at once
    assert working.status == "FILLED"
    assert (stop.status, stop.expiry_reason) == ("EXPIRED", "REJECTED")
    assert (target.status, target.expiry_reason) == ("EXPIRED", "OCO_TRIGGER")
    _, (working, pending) = place(
        engine, "OTO", order("BUY", "LIMIT", "0.1", price="48100"), order("SELL", "LIMIT", "100", price="60000")
    )
    assert (working.status, pending.status, pending.expiry_reason) == ("FILLED", "EXPIRED", "REJECTED")


def test_without_its_working_order_nothing_pending_is_left() -> None:
    engine = make_engine()
    ioc = order("BUY", "LIMIT", "1", price="49500", time_in_force="IOC")
    one, (working, pending) = place(engine, "OTO", ioc, order("SELL", "MARKET", "1"))
    assert (working.status, pending.status, pending.expiry_reason) == ("EXPIRED", "EXPIRED", "OTO_PHASE_ONE_EXPIRED")
    assert one.is_done
    place(engine, "OTO", ENTRY, STOP, TARGET)
    engine.expire_all(SYMBOL, NOW_MS)
    assert not engine.markets[SYMBOL].open_orders
    assert not engine.lists.open
    assert balance(engine, "USDT")[1] == 0


@pytest.mark.parametrize(
    ("contingency", "orders", "code", "words"),
    [
        ("OCO", (order("SELL", "STOP_LOSS", "1", stop_price="50500"), TARGET), -2010, "relationship of the prices"),
        ("OCO", (STOP, order("SELL", "LIMIT_MAKER", "1", price="49900")), -2010, "relationship of the prices"),
        ("OCO", (order("SELL", "STOP_LOSS", "11", stop_price="49000"),
                 order("SELL", "LIMIT_MAKER", "11", price="51000")),
         -2010, "insufficient balance"),
        ("OTO", (ENTRY, order("SELL", "LIMIT", "0.000001", price="52000")), -1013, "LOT_SIZE"),
        ("OTO", (order("BUY", "LIMIT", "1", price="49500", client_id="x"),
                 order("SELL", "MARKET", "1", client_id="x")), -2010, "Duplicate order sent."),
    ],
)  # fmt: skip
def test_bad_lists_leave_no_trace(contingency: str, orders: tuple[NewOrder, ...], code: int, words: str) -> None:
    engine = make_engine()
    with pytest.raises(ApiError, match=words) as caught:
        place(engine, contingency, *orders)
    assert caught.value.code == code
    assert not engine.drain(NOW_MS)
    assert not engine.lists.open


def test_lists_and_algo_orders_are_counted_together() -> None:
    engine = make_engine()
    small = [order("SELL", "STOP_LOSS", "0.1", stop_price="49000"), order("SELL", "LIMIT_MAKER", "0.1", price="51000")]
    for _ in range(5):
        place(engine, "OCO", *small)
    with pytest.raises(ApiError, match="MAX_NUM_ALGO_ORDERS"):
        place(engine, "OCO", *small)
    for _ in range(15):
        place(engine, "OTO", order("BUY", "LIMIT", "0.001", price="49000"), order("SELL", "MARKET", "0.001"))
    with pytest.raises(ApiError, match="MAX_NUM_ORDER_LISTS"):
        place(engine, "OTO", order("BUY", "LIMIT", "0.001", price="49000"), order("SELL", "MARKET", "0.001"))


def test_an_amended_order_keeps_its_place_and_frees_what_it_no_longer_needs() -> None:
    engine = make_engine()
    early = engine.place(1, order("BUY", "LIMIT", "0.2", price="49900", client_id="a"), NOW_MS)
    late = engine.place(2, order("BUY", "LIMIT", "0.2", price="49900"), NOW_MS)
    engine.drain(NOW_MS)
    amendment = amend(engine, early, Decimal("0.1"), "b", NOW_MS)
    assert balance(engine, "USDT")[1] == 4990
    (report,) = [e for _, e in engine.drain(NOW_MS).events if e["e"] == "executionReport"]
    assert [report[name] for name in "xXcCq"] == ["REPLACED", "NEW", "b", "a", "0.10000000"]
    assert report["I"] == amendment.execution_id
    move(engine, "49800", volume="0.6")
    assert (early.status, late.executed) == ("FILLED", Decimal("0.05"))


def test_amending_has_its_limits() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "1", price="49900", client_id="a"), NOW_MS)
    engine.place(1, order("BUY", "LIMIT", "1", price="49800", client_id="taken"), NOW_MS)

    def refusal(quantity: str, client_id: str = "") -> tuple[int, str]:
        with pytest.raises(ApiError) as caught:
            amend(engine, placed, Decimal(quantity), client_id, NOW_MS)
        return caught.value.code, caught.value.msg

    assert refusal("2") == (-2038, "Order amend (quantity increase) is not supported.")
    assert refusal("1") == (-2038, "The requested action would change no state; rejecting.")
    assert refusal("0.000001") == (-1013, "Filter failure: LOT_SIZE")
    assert refusal("0.00001") == (-1013, "Filter failure: NOTIONAL")
    assert refusal("0.5", "taken") == (-2038, "Duplicate order sent.")
    for n in range(10):
        amend(engine, placed, Decimal("0.9") - n * Decimal("0.01"), placed.client_id, NOW_MS)
    assert placed.client_id == "a"
    assert refusal("0.1") == (-2038, "Filter failure: MAX_NUM_ORDER_AMENDS")


def test_amending_one_leg_of_an_oco_amends_both() -> None:
    engine = make_engine()
    _, (stop, target) = place(engine, "OCO", STOP, TARGET)
    engine.drain(NOW_MS)
    amend(engine, stop, Decimal("0.4"), "", NOW_MS)
    assert stop.quantity == target.quantity == Decimal("0.4")
    assert balance(engine, "BTC") == (Decimal("9.6"), Decimal("0.4"))
    assert told(engine)[-1] == ("UPDATED", "EXECUTING")


def test_an_order_amended_to_what_it_has_filled_ends() -> None:
    engine = make_engine()
    placed = engine.place(1, order("BUY", "LIMIT", "1", price="49900"), NOW_MS)
    move(engine, "49800", volume="1")
    assert placed.executed == Decimal("0.25")
    amend(engine, placed, Decimal("0.2"), "", NOW_MS)
    assert (placed.status, placed.quantity) == ("EXPIRED", Decimal("0.25"))
    assert balance(engine, "USDT")[1] == 0


def test_prevented_matches_are_recorded_with_both_sides() -> None:
    for mode, taker, maker in (
        ("EXPIRE_MAKER", "0", "0.3"), ("EXPIRE_TAKER", "0.2", "0"), ("EXPIRE_BOTH", "0.2", "0.3"),
    ):  # fmt: skip
        engine = make_engine()
        resting = engine.place(1, order("SELL", "LIMIT", "0.3", price="50001"), NOW_MS)
        taking = engine.place(1, order("BUY", "LIMIT", "0.2", price="50001", stp_mode=mode), NOW_MS)
        changes = engine.drain(NOW_MS)
        (match,) = changes.prevented
        assert (match.taker_order_id, match.maker_order_id, match.price) == (taking.id, resting.id, 50001)
        assert (match.taker_quantity, match.maker_quantity) == (Decimal(taker), Decimal(maker))
        reports = [e for _, e in changes.events if e.get("x") == "TRADE_PREVENTION"]
        assert {(e["i"], e["U"]) for e in reports} == {
            pair for pair, q in (((taking.id, resting.id), taker), ((resting.id, taking.id), maker)) if q != "0"
        }
        assert all(e["v"] == match.id and Decimal(e["A"]) == Decimal(e["B"]) > 0 for e in reports)


def test_without_prevention_an_account_trades_with_itself() -> None:
    engine = make_engine()
    resting = engine.place(1, order("SELL", "LIMIT", "0.3", price="50001"), NOW_MS)
    taking = engine.place(1, order("BUY", "LIMIT", "0.3", price="50001", stp_mode="NONE"), NOW_MS)
    assert resting.status == taking.status == "FILLED"
    trades = engine.drain(NOW_MS).trades
    assert [t.order_id for t in trades] == [resting.id, taking.id]
    assert trades[0].id == trades[1].id
