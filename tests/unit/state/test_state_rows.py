"""Rows of tables: what services answer, as text."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.domain.money import ZERO
from app.domain.orders import Order, OrderStatus, OrderType, Side, TimeInForce
from app.services.portfolio.views import PositionView
from app.services.strategy.runs import DecisionView
from app.state.decisions import decision_row, trace_rows
from app.state.rows import order_row, position_row

ORDER = Order(
    id=7,
    account_id=1,
    run_id=None,
    plan_id=None,
    client_order_id="pl-x",
    intent_key="user:1:k",
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.LIMIT,
    time_in_force=TimeInForce.GTC,
    quantity=Decimal("0.01"),
    quote_quantity=None,
    price=Decimal("90000"),
    stop_price=None,
    status=OrderStatus.OPEN,
    version=3,
    filled=ZERO,
    filled_quote=ZERO,
    exchange_order_id=4,
    created_at_ms=1_795_000_000_000,
    deadline_ms=0,
    signed_timestamp_ms=None,
    recv_window_ms=None,
    outcome_unknown_since_ms=None,
    cancel_requested_at_ms=None,
    last_report_ms=0,
    reserved_asset="USDT",
    reserved=Decimal("900"),
    reject_code="",
    reject_reason="",
)


def test_an_open_order_can_be_cancelled_and_has_no_average() -> None:
    row = order_row(ORDER, {1: ("Paper 1", "PAPER")})
    assert (row["status"], row["can_cancel"], row["average"], row["price"]) == ("Open", "yes", "—", "90,000.00")
    assert (row["account"], row["owner"], row["words"]) == ("Paper 1", "By hand", "buy 0.01 BTCUSDT")
    assert row["account_kind"] == "PAPER"


def test_a_final_order_cannot_be_cancelled() -> None:
    row = order_row(replace(ORDER, status=OrderStatus.FILLED, filled=Decimal("0.01"), filled_quote=Decimal("899.5")))
    assert (row["can_cancel"], row["average"], row["tone"]) == ("", "89,950.00", "ok")


def test_an_unknown_outcome_is_said_instead_of_the_state() -> None:
    row = order_row(replace(ORDER, status=OrderStatus.SUBMITTED, outcome_unknown_since_ms=1))
    assert (row["status"], row["tone"]) == ("Outcome unknown", "wait")


def test_a_refusal_carries_its_reason() -> None:
    row = order_row(replace(ORDER, status=OrderStatus.REJECTED, reject_reason="the kill switch is engaged"))
    assert (row["reason"], row["tone"]) == ("The kill switch is engaged.", "bad")


def test_an_order_sized_in_quote_says_so() -> None:
    assert order_row(replace(ORDER, quantity=None, quote_quantity=Decimal(1000)))["quantity"] == "1,000 in quote"


def position(**changes: Any) -> PositionView:
    values: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "run_id": 2,
        "run_name": "EMA cross",
        "quantity": Decimal("0.01"),
        "average_cost": Decimal("100000"),
        "price": Decimal("101000"),
        "priced_at": None,
        "value": Decimal("1010"),
        "unrealised": Decimal("10"),
        "realised": Decimal("-3"),
        "fees_quote": Decimal("1"),
    }
    return PositionView(**values | changes)


def test_a_position_names_its_run_and_its_gain_of_cost() -> None:
    row = position_row(position(), "USDT")
    assert (row["owner"], row["unrealised"], row["unrealised_pct"]) == ("EMA cross · run 2", "+10.00", "+1.00 %")


def test_a_position_without_a_price_has_dashes_not_zeros() -> None:
    row = position_row(position(price=None, value=None, unrealised=None), "USDT")
    assert (row["price"], row["value"], row["unrealised"], row["unrealised_pct"]) == ("—", "—", "—", "—")


def decision(trace: dict[str, Any]) -> DecisionView:
    return DecisionView(
        run_id=1, open_time_ms=1_795_000_000_000, action="refused", reason="the kill switch is engaged", entry=1,
        exit=0, close="106435.99", order_id=None, trace=trace, decided_at=None,
    )  # fmt: skip


def compare(text: str, truth: str, value: float | None) -> dict[str, Any]:
    return {"kind": ">", "text": text, "truth": truth, "operands": [{"text": "RSI 14", "value": value, "before": []}]}


def test_a_refused_decision_says_why() -> None:
    row = decision_row(decision({}))
    assert (row["action"], row["tone"], row["reason"]) == ("Refused", "bad", "The kill switch is engaged.")


def test_a_trace_shows_each_condition_with_truth_and_values() -> None:
    parts = [compare("RSI 14 is above 30", "true", 41.25), compare("RSI 14 is below 70", "unknown", None)]
    rows = trace_rows(decision({"entry": {"kind": "all", "text": "both", "truth": "unknown", "parts": parts}}))
    assert [(row["text"], row["truth"], row["values"]) for row in rows] == [
        ("Entry rule", "", ""),
        ("both", "Unknown", ""),
        ("RSI 14 is above 30", "True", "RSI 14 = 41.25"),
        ("RSI 14 is below 70", "Unknown", "RSI 14 = not known yet"),
    ]


def test_a_group_of_one_is_told_as_that_one() -> None:
    tree = {"kind": "all", "text": "x", "truth": "true", "parts": [compare("x", "true", 1.0)]}
    assert [row["text"] for row in trace_rows(decision({"entry": tree}))] == ["Entry rule", "x"]
