"""Orders through the API, on real PostgreSQL."""

from __future__ import annotations

import asyncio

from gateway_kit import Person, Sessions, funded_account, limit_order
from sqlalchemy import text


async def _count(sessions: Sessions, table: str) -> int:
    async with sessions.begin() as session:
        return int((await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def test_eight_requests_at_once_with_one_key_are_one_order(
    alice: Person, account: int, web_sessions: Sessions
) -> None:
    body = limit_order(account)
    answers = await asyncio.gather(*(alice.write("/api/v1/orders", body, key="once") for _ in range(8)))

    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.content for answer in answers}) == 1
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == [""] + ["true"] * 7
    assert await _count(web_sessions, "execution.orders") == 1
    assert await _count(web_sessions, "auth.audit_log") == 1


async def test_another_body_with_the_same_key_is_refused_naming_the_field(alice: Person, account: int) -> None:
    await alice.write("/api/v1/orders", limit_order(account), key="k")
    answer = await alice.write("/api/v1/orders", limit_order(account, quantity="0.002"), key="k")

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "idempotency_mismatch", "quantity")


async def test_the_same_key_for_another_route_is_refused(alice: Person, account: int) -> None:
    order = (await alice.write("/api/v1/orders", limit_order(account), key="k")).json()
    answer = await alice.write(f"/api/v1/orders/{order['id']}", key="k", method="DELETE")

    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "Idempotency-Key")


async def test_a_number_written_otherwise_is_the_same_request(alice: Person, account: int) -> None:
    first = await alice.write("/api/v1/orders", limit_order(account, quantity="0.001"), key="k")
    again = await alice.write("/api/v1/orders", limit_order(account, quantity="0.0010"), key="k")

    assert again.content == first.content


async def test_keys_of_different_users_are_independent(
    alice: Person, bob: Person, account: int, migrator_sessions: Sessions
) -> None:
    of_bob = await funded_account(migrator_sessions, bob)
    first = await alice.write("/api/v1/orders", limit_order(account), key="k")
    second = await bob.write("/api/v1/orders", limit_order(of_bob), key="k")

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_a_bad_order_is_not_stored_and_may_be_corrected_with_its_key(
    alice: Person, account: int, web_sessions: Sessions
) -> None:
    wrong = await alice.write("/api/v1/orders", limit_order(account, quantity="0.000001"), key="k")
    right = await alice.write("/api/v1/orders", limit_order(account), key="k")

    error = wrong.json()["error"]
    assert (wrong.status_code, error["field"]) == (422, "quantity")
    assert "lot" in error["message"]
    assert right.status_code == 201
    assert await _count(web_sessions, "execution.orders") == 1


async def test_a_refusal_by_a_limit_is_an_order_with_the_reason(alice: Person, account: int) -> None:
    answer = await alice.write("/api/v1/orders", limit_order(account, quantity="0.5", price="50000"))

    order = answer.json()
    assert (answer.status_code, order["status"]) == (201, "REJECTED")
    assert order["reject_code"].startswith("RISK_")
    assert order["reject_reason"]


async def test_a_write_without_a_key_is_refused(alice: Person, account: int) -> None:
    bare = await alice.client.post("/api/v1/orders", json=limit_order(account), headers=alice.headers)
    spaced = await alice.write("/api/v1/orders", limit_order(account), key="two words")

    for answer in (bare, spaced):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "idempotency_key_required")


async def test_an_order_is_cancelled_and_read_with_its_timeline(alice: Person, account: int) -> None:
    placed = (await alice.write("/api/v1/orders", limit_order(account))).json()
    cancelled = await alice.write(f"/api/v1/orders/{placed['id']}", method="DELETE", key="c")
    again = await alice.write(f"/api/v1/orders/{placed['id']}", method="DELETE", key="c")
    detail = (await alice.get(f"/api/v1/orders/{placed['id']}")).json()

    assert cancelled.status_code == 200
    assert again.content == cancelled.content
    assert detail["order"]["status"] in ("CANCELED", "CANCELING", "NEW")
    assert detail["events"][0]["kind"] == "created"
    assert all(event["words"] for event in detail["events"])


async def test_another_users_order_does_not_exist(alice: Person, bob: Person, account: int) -> None:
    placed = (await alice.write("/api/v1/orders", limit_order(account))).json()

    assert (await bob.get(f"/api/v1/orders/{placed['id']}")).status_code == 404
    assert (await bob.write(f"/api/v1/orders/{placed['id']}", method="DELETE")).status_code == 404
    assert (await bob.write("/api/v1/orders", limit_order(account))).status_code == 404
    assert (await bob.get("/api/v1/orders")).json()["orders"] == []


async def test_orders_come_in_pages(alice: Person, account: int) -> None:
    for _ in range(3):
        await alice.write("/api/v1/orders", limit_order(account))
    first = (await alice.get("/api/v1/orders", params={"limit": 2})).json()
    second = (await alice.get("/api/v1/orders", params={"limit": 2, "before_id": first["next_before_id"]})).json()

    ids = [order["id"] for page in (first, second) for order in page["orders"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 3
    assert second["next_before_id"] is None


async def test_no_order_is_taken_while_the_execution_service_is_not_healthy(
    alice: Person, account: int, migrator_sessions: Sessions
) -> None:
    async with migrator_sessions.begin() as session:
        await session.execute(text("UPDATE execution.worker_lease SET state = 'RECOVERING'"))
    answer = await alice.write("/api/v1/orders", limit_order(account))

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


async def test_a_number_that_is_not_text_is_refused(alice: Person, account: int) -> None:
    answer = await alice.write("/api/v1/orders", limit_order(account, quantity=0.001))

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "invalid_amount", "quantity")
