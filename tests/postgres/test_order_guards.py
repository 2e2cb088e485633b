"""What the database refuses to have written about an order, whoever asks."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from app.database.refusals import Refusal
from app.domain.orders import EDGES, RESURRECTION_EDGES, OrderStatus
from tests.postgres.books import Books, insert, refused

# --- the lifecycle ----------------------------------------------------------------------------------------


def test_the_edges_are_those_of_the_domain(books: Books) -> None:
    rows = books.owner.execute("SELECT from_status, to_status, resurrecting FROM execution.order_transition_rules")

    ours = {(a.value, b.value, False) for a, targets in EDGES.items() for b in targets}
    ours |= {(a.value, b.value, True) for a, targets in RESURRECTION_EDGES.items() for b in targets}
    assert set(rows.fetchall()) == ours


def test_an_order_lives_from_new_to_filled(books: Books) -> None:
    order_id = books.open_order()
    books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id))
    books.step(order_id, "fill_applied", "FILLED", fill=books.fill_row(order_id))

    order = books.order(order_id)
    assert (order["status"], order["version"], order["filled"]) == ("FILLED", 5, 2)


@pytest.mark.parametrize("to", sorted(set(OrderStatus) - EDGES[OrderStatus.OPEN] - {OrderStatus.OPEN}))
def test_an_edge_that_does_not_exist_is_refused(books: Books, to: OrderStatus) -> None:
    order_id = books.open_order()

    with refused(Refusal.EDGE, f"cannot go from OPEN to {to}"):
        books.step(order_id, "reconciled", to.value)


def test_only_the_event_resurrected_brings_an_expired_order_back(books: Books) -> None:
    order_id = books.new_order()
    books.step(order_id, "attempt_sent", "SUBMITTED")
    books.step(order_id, "expired", "EXPIRED")

    with refused(Refusal.EDGE, "cannot go from EXPIRED to OPEN"):
        books.step(order_id, "acknowledged", "OPEN")
    books.step(order_id, "resurrected", "OPEN")

    assert books.order(order_id)["status"] == "OPEN"


def test_only_the_event_resurrected_brings_back_what_was_cancelled_unsent(books: Books) -> None:
    order_id = books.new_order()
    books.step(order_id, "canceled", "CANCELED")

    with refused(Refusal.EDGE, "cannot go from CANCELED to OPEN"):
        books.step(order_id, "acknowledged", "OPEN")
    books.step(order_id, "resurrected", "OPEN")

    assert books.order(order_id)["status"] == "OPEN"


def test_the_event_resurrected_takes_no_ordinary_edge(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.EDGE, "cannot go from OPEN to CANCELING"):
        books.step(order_id, "resurrected", "CANCELING")


# --- orders and their events ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"status": "OPEN"}, {"version": 2}, {"filled": 1}, {"exchange_order_id": 9}])
def test_an_order_begins_as_new(books: Books, wrong: dict[str, object]) -> None:
    with refused(Refusal.UNTOLD, "is refused"):
        books.new_order(**wrong)


def test_an_order_needs_its_first_event_at_commit(books: Books) -> None:
    with refused(Refusal.UNTOLD, "its newest event says nothing"):
        insert(books.web, "execution.orders", books.order_row())


def test_the_first_event_is_created(books: Books) -> None:
    with refused(Refusal.UNTOLD, "the first event, and no other, is `created`"), books.worker.transaction():
        order_id = insert(books.worker, "execution.orders", books.order_row(), "id")
        books.event(books.worker, order_id, 1, "note", to_status="NEW")


def test_an_order_does_not_change_without_an_event(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "no event says so"):
        books.update(books.worker, order_id, status="CANCELED", version=4)
    with refused(Refusal.UNTOLD, "no event says so"):
        books.update(books.worker, order_id, last_report_ms=5)


def test_an_order_follows_what_its_event_says(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "no event says so"), books.worker.transaction():
        books.event(books.worker, order_id, 4, "canceled", from_status="OPEN", to_status="CANCELED")
        books.update(books.worker, order_id, status="EXPIRED", version=4)


def test_an_event_alone_is_refused_at_commit(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "is OPEN with version 3, its newest event says CANCELED with seq 4"):
        books.event(books.worker, order_id, 4, "canceled", from_status="OPEN", to_status="CANCELED")


def test_also_an_event_without_an_edge_is_refused_alone(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "with version 3, its newest event says OPEN with seq 4"):
        books.event(books.worker, order_id, 4, "note", from_status="OPEN", to_status="OPEN")


def test_an_order_takes_its_events_one_by_one(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "no event says so"), books.worker.transaction():
        books.event(books.worker, order_id, 4, "note", from_status="OPEN", to_status="OPEN")
        books.event(books.worker, order_id, 5, "note", from_status="OPEN", to_status="OPEN")
        books.update(books.worker, order_id, status="OPEN", version=5)


@pytest.mark.parametrize("seq", [3, 5])
def test_events_are_numbered_without_gaps(books: Books, seq: int) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "the next event of this order has seq 4"):
        books.event(books.worker, order_id, seq, "note", from_status="OPEN", to_status="OPEN")


def test_an_event_starts_where_the_last_one_ended(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "it starts from SUBMITTED, the order is OPEN"):
        books.event(books.worker, order_id, 4, "canceled", from_status="SUBMITTED", to_status="CANCELED")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("account_id", 999), ("run_id", 1), ("plan_id", 1), ("client_order_id", "other"), ("intent_key", "other"),
        ("symbol", "ETHUSDT"), ("side", "SELL"), ("type", "MARKET"), ("time_in_force", "IOC"), ("quantity", 3),
        ("quote_quantity", 5), ("price", 1), ("stop_price", 1), ("created_at_ms", 5), ("deadline_ms", 5),
        ("exchange_order_id", 1), ("signed_timestamp_ms", 1), ("recv_window_ms", 1),
    ],
)  # fmt: skip
def test_what_was_asked_for_or_learned_never_changes(books: Books, column: str, value: object) -> None:
    order_id = books.open_order()

    with refused(Refusal.FIXED, f"is refused another {column}"), books.owner.transaction():
        books.event(books.owner, order_id, 4, "note", from_status="OPEN", to_status="OPEN")
        books.update(books.owner, order_id, version=4, status="OPEN", **{column: value})


def test_an_order_sized_in_quote_learns_its_quantity_once(books: Books) -> None:
    order_id = books.open_order(type="MARKET", quantity=None, quote_quantity=200, price=None)
    books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id, 2))

    with pytest.raises(psycopg.errors.CheckViolation, match="filled_is_complete"):
        books.step(order_id, "reconciled", "FILLED")
    books.step(order_id, "reconciled", "FILLED", quantity=2)

    assert books.order(order_id)["quantity"] == 2
    with refused(Refusal.FIXED, "another quantity"):
        books.step(order_id, "note", "FILLED", quantity=3)


# --- fills ------------------------------------------------------------------------------------------------


def test_a_fill_booked_twice_is_booked_once(books: Books) -> None:
    order_id = books.open_order()
    fill = books.fill_row(order_id, 2)
    books.step(order_id, "fill_applied", "FILLED", fill=fill)

    again = books.worker.execute(
        "INSERT INTO execution.fills SELECT * FROM execution.fills WHERE trade_id = %s ON CONFLICT DO NOTHING",
        [fill["trade_id"]],
    )

    assert again.rowcount == 0


def test_no_order_fills_beyond_its_quantity(books: Books) -> None:
    order_id = books.open_order()
    books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id))

    with refused(Refusal.FILLS, "3 filled of 2 ordered"):
        books.step(order_id, "fill_applied", "FILLED", fill=books.fill_row(order_id, 2), filled=2)


@pytest.mark.parametrize(("status", "filled"), [("FILLED", 1), ("PARTIALLY_FILLED", 2)])
def test_filled_is_when_all_is_filled(books: Books, status: str, filled: int) -> None:
    order_id = books.open_order()

    with pytest.raises(psycopg.errors.CheckViolation, match=r"filled_is_complete|complete_is_filled"):
        books.step(order_id, "fill_applied", status, fill=books.fill_row(order_id, filled))


def test_a_late_fill_leaves_a_canceled_order_canceled(books: Books) -> None:
    order_id = books.open_order()
    books.step(order_id, "canceled", "CANCELED")

    books.step(order_id, "late_fill", "CANCELED", fill=books.fill_row(order_id, 2))

    assert (books.order(order_id)["status"], books.order(order_id)["filled"]) == ("CANCELED", 2)


def test_a_rejected_order_takes_no_fill(books: Books) -> None:
    order_id = books.new_order()
    books.step(order_id, "rejected", "REJECTED")

    with refused(Refusal.FILLS, "the order is REJECTED"):
        books.step(order_id, "late_fill", "REJECTED", fill=books.fill_row(order_id))


@pytest.mark.parametrize("wrong", [{"side": "SELL"}, {"symbol": "ETHUSDT"}, {"run_id": 3}])
def test_a_fill_is_its_orders(books: Books, wrong: dict[str, object]) -> None:
    order_id = books.open_order()

    with refused(Refusal.FILLS, "must be its order's"):
        books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id, **wrong))


def test_a_fill_of_another_account_is_refused(books: Books) -> None:
    order_id = books.open_order()
    fill = books.fill_row(order_id, account_id=books.new_account())

    with refused(Refusal.FILLS, "must be its order's"):
        books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=fill)


def test_a_fill_needs_its_event(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.UNTOLD, "no event of this transaction brought it"):
        insert(books.worker, "execution.fills", books.fill_row(order_id))


def test_a_fill_comes_in_its_events_own_transaction(books: Books) -> None:
    order_id = books.open_order()
    fill = books.fill_row(order_id)
    with books.worker.transaction():
        told = {"from_status": "OPEN", "to_status": "OPEN", "dedup_key": f"fill:{fill['trade_id']}"}
        books.event(books.worker, order_id, 4, "note", **told)
        books.update(books.worker, order_id, version=4, status="OPEN")

    with refused(Refusal.UNTOLD, "no event of this transaction brought it"):
        insert(books.worker, "execution.fills", fill)


@pytest.mark.parametrize("claim", [{"filled": Decimal("0.5")}, {"filled_quote": 5}])
def test_filled_is_the_sum_of_the_fills(books: Books, claim: dict[str, object]) -> None:
    order_id = books.open_order()

    with refused(Refusal.FILLS, "its fills add up to"):
        books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id), **claim)
    with refused(Refusal.FILLS, "its fills add up to 0 for 0"):
        books.step(order_id, "reconciled", "OPEN", **claim)


def test_filled_never_shrinks(books: Books) -> None:
    order_id = books.open_order()
    books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=books.fill_row(order_id))

    with refused(Refusal.FILLS, "may not lose fills"):
        books.step(order_id, "reconciled", "PARTIALLY_FILLED", filled=0, filled_quote=0)


# --- once only --------------------------------------------------------------------------------------------


def test_a_client_order_id_is_used_once_an_account(books: Books) -> None:
    order_id = books.new_order(client_order_id="same")

    with pytest.raises(psycopg.errors.UniqueViolation, match="client_order_id"):
        books.new_order(client_order_id="same")
    with pytest.raises(psycopg.errors.UniqueViolation, match="intent_key"):
        books.new_order(intent_key=books.order(order_id)["intent_key"])


def test_an_order_has_one_attempt(books: Books) -> None:
    order_id = books.new_order()
    attempt = {"order_id": order_id, "epoch": books.EPOCH, "signed_timestamp_ms": 2_000, "recv_window_ms": 5_000}
    insert(books.worker, "execution.order_attempts", attempt)

    with pytest.raises(psycopg.errors.UniqueViolation, match="order_attempts_pkey"):
        insert(books.worker, "execution.order_attempts", attempt)


# --- money ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "0.1234567890123456789"])
def test_an_amount_is_finite_not_negative_and_has_at_most_18_decimals(books: Books, value: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="amount_"):
        books.new_order(price=value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "0.1234567890123456789"])
def test_a_signed_amount_is_finite_and_has_at_most_18_decimals(books: Books, value: str) -> None:
    balance = {"account_id": books.account_id, "asset": "BTC", "total": value}
    with pytest.raises(psycopg.errors.CheckViolation, match="signed_amount_"):
        insert(books.worker, "portfolio.balances", balance)


def test_eighteen_decimals_are_kept(books: Books) -> None:
    order_id = books.new_order(price="0.123456789012345678")

    assert books.order(order_id)["price"] == Decimal("0.123456789012345678")
