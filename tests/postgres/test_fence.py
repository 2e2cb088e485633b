"""Only the worker in office writes what only it can know; the web says what people decided."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from app.database.refusals import Refusal
from tests.postgres.books import Books, insert, refused


def take_over(books: Books) -> None:
    books.worker.execute("UPDATE execution.worker_lease SET epoch = epoch + 1")


def test_a_replaced_worker_writes_no_event(own_books: Books) -> None:
    order_id = own_books.open_order()
    take_over(own_books)

    with refused(Refusal.FENCED, "it carries epoch 7, the worker in office has epoch 8"):
        own_books.step(order_id, "canceled", "CANCELED")


def test_a_replaced_worker_records_no_attempt(own_books: Books) -> None:
    order_id = own_books.new_order()
    take_over(own_books)

    with refused(Refusal.FENCED, "an attempt to send order"):
        insert(
            own_books.worker,
            "execution.order_attempts",
            {"order_id": order_id, "epoch": own_books.EPOCH, "signed_timestamp_ms": 1, "recv_window_ms": 1},
        )


def test_a_replaced_worker_books_no_fill(own_books: Books) -> None:
    order_id = own_books.open_order()
    take_over(own_books)

    with refused(Refusal.FENCED, "fill_applied"):
        own_books.step(order_id, "fill_applied", "PARTIALLY_FILLED", fill=own_books.fill_row(order_id))
    with refused(Refusal.UNTOLD, "no event of this transaction brought it"):
        insert(own_books.worker, "execution.fills", own_books.fill_row(order_id))


def test_the_epoch_never_goes_back(own_books: Books) -> None:
    with refused(Refusal.FENCED, "6 after 7 is refused"):
        own_books.worker.execute("UPDATE execution.worker_lease SET epoch = 6")


def test_nobody_takes_over_while_a_fenced_transaction_is_open(own_books: Books) -> None:
    order_id = own_books.open_order()
    events: list[str] = []

    def successor() -> None:
        with psycopg.connect(own_books.owner.info.dsn, password=own_books.owner.info.password) as other:
            other.execute("UPDATE execution.worker_lease SET epoch = epoch + 1")
            events.append("taken over")

    thread = threading.Thread(target=successor)
    with own_books.worker.transaction():
        own_books.event(own_books.worker, order_id, 4, "note", from_status="OPEN", to_status="OPEN")
        thread.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while own_books.owner.execute(waiting).fetchone() != (1,):
            assert thread.is_alive()
            time.sleep(0.02)
        own_books.update(own_books.worker, order_id, version=4, status="OPEN")
        events.append("written")
    thread.join()

    assert events == ["written", "taken over"]


@pytest.mark.parametrize("role", ["worker", "owner"])
@pytest.mark.parametrize("kind", ["acknowledged", "fill_applied", "reconciled"])
def test_knowledge_needs_an_epoch(books: Books, role: str, kind: str) -> None:
    order_id = books.open_order()
    connection = getattr(books, role)

    with refused(Refusal.FENCED, "only the worker in office may write it"):
        books.event(connection, order_id, 4, kind, from_status="OPEN", to_status="OPEN", epoch=None, source="user")


def test_what_the_fence_cannot_judge_is_refused(books: Books) -> None:
    with refused(Refusal.FENCED, "only the worker in office may write it"), books.web.transaction():
        order_id = insert(books.web, "execution.orders", books.order_row(), "id")
        books.event(books.web, order_id, 1, "rejected", to_status="REJECTED", epoch=None, source="user")


def test_the_worker_says_nothing_without_an_epoch(books: Books) -> None:
    order_id = books.open_order()
    without: dict[str, Any] = {"epoch": None, "source": "user"}

    with refused(Refusal.FENCED, "only the worker in office may write it"):
        books.event(books.worker, order_id, 4, "note", from_status="OPEN", to_status="OPEN", **without)


# --- the web ----------------------------------------------------------------------------------------------


def test_the_web_refuses_an_order_before_it_is_sent(books: Books) -> None:
    order_id = books.new_order(reserved_asset="USDT", reserved=200)

    books.step(order_id, "rejected", "REJECTED", connection=books.web, reserved=0, reject_code="RISK_BALANCE")

    assert books.order(order_id)["status"] == "REJECTED"


def test_the_web_cancels_an_unsent_order_and_asks_for_the_cancel_of_a_sent_one(books: Books) -> None:
    unsent, sent = books.new_order(), books.open_order()

    books.step(unsent, "canceled", "CANCELED", connection=books.web)
    books.step(sent, "cancel_requested", "CANCELING", connection=books.web, cancel_requested_at_ms=9)

    assert [books.order(i)["status"] for i in (unsent, sent)] == ["CANCELED", "CANCELING"]


@pytest.mark.parametrize(("kind", "to"), [("canceled", "CANCELED"), ("expired", "EXPIRED"), ("reconciled", "OPEN")])
def test_the_web_decides_nothing_about_a_sent_order(books: Books, kind: str, to: str) -> None:
    order_id = books.open_order()

    with refused(Refusal.FENCED, "only the worker in office may write it"):
        books.step(order_id, kind, to, connection=books.web)


def test_the_web_cannot_pass_for_the_worker(books: Books) -> None:
    order_id = books.open_order()

    with refused(Refusal.FENCED, "the web process is not the worker"):
        books.event(books.web, order_id, 4, "canceled", from_status="OPEN", to_status="CANCELED")


@pytest.mark.parametrize(
    "claim", [{"filled": 1, "filled_quote": 100}, {"exchange_order_id": 5}, {"signed_timestamp_ms": 5}]
)
def test_the_web_claims_nothing_that_only_the_exchange_can_say(books: Books, claim: dict[str, int]) -> None:
    order_id = books.new_order()

    with refused(Refusal.FENCED, "by an event without an epoch"):
        books.step(order_id, "note", "NEW", connection=books.web, **claim)


@pytest.mark.parametrize("table", ["execution.fills", "execution.order_attempts"])
def test_the_web_books_nothing(books: Books, table: str) -> None:
    order_id = books.open_order()
    row = books.fill_row(order_id) if table.endswith("fills") else {"order_id": order_id, "epoch": books.EPOCH}

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        insert(books.web, table, row)
