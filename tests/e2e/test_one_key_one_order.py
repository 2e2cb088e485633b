"""An Idempotency-Key stands for one intent, however often and however simultaneously it is sent."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from api_client import Api, error_of

AT_ONCE = 8


def limit_order(account_id: int, price: str = "60000") -> dict[str, Any]:
    """A buy far below the market: it rests."""
    return {
        "account_id": account_id,
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "time_in_force": "GTC",
        "quantity": "0.001",
        "price": price,
    }


def test_eight_requests_at_once_with_one_key_make_one_order(api: Api, account_id: int) -> None:
    key, body = uuid.uuid4().hex, limit_order(account_id)
    before = {order["id"] for order in api.get("/orders", account_id=account_id)["orders"]}
    together = threading.Barrier(AT_ONCE)

    def send(_: int) -> httpx.Response:
        together.wait(timeout=10)
        return api.send("POST", "/orders", key=key, json=body)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(send, range(AT_ONCE)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum(answer.headers.get("Idempotent-Replayed") == "true" for answer in answers) == AT_ONCE - 1
    order_id = answers[0].json()["id"]
    after = {order["id"] for order in api.get("/orders", account_id=account_id)["orders"]}
    assert after - before == {order_id}

    resting = api.wait_for_order(order_id, {"OPEN"})
    assert [event["kind"] for event in resting["events"]].count("attempt_sent") == 1
    created = resting["events"][0]
    assert created["kind"] == "created"
    assert created["occurred_at"] <= created["recorded_at"]
    api.delete(f"/orders/{order_id}")
    api.wait_for_order(order_id, {"CANCELED"})


def test_the_same_key_with_another_body_is_refused_and_the_difference_named(api: Api, account_id: int) -> None:
    key = uuid.uuid4().hex
    first = api.send("POST", "/orders", key=key, json=limit_order(account_id, "60000"))
    assert first.status_code == 201, first.text

    error = error_of(api.send("POST", "/orders", key=key, json=limit_order(account_id, "60001")), 422)

    assert error["field"] == "price"
    assert "used before with another price" in error["message"]
    order_id = first.json()["id"]
    api.wait_for_order(order_id, {"OPEN"})
    api.delete(f"/orders/{order_id}")
    api.wait_for_order(order_id, {"CANCELED"})


def test_a_write_without_a_key_is_refused(api: Api, account_id: int) -> None:
    answer = api.http.post(
        "/api/v1/orders", json=limit_order(account_id), headers={"Authorization": f"Bearer {api.token}"}
    )

    assert error_of(answer, 400)["field"] == "Idempotency-Key"
