"""Kill switches, cancel-all, replace, incidents and unfreezing through the API, on real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from gateway_kit import Person, Sessions, limit_order
from sqlalchemy import text

SWITCHES = "/api/v1/kill-switches"


async def _placed(who: Person, account: int, **changes: Any) -> int:
    answer = await who.write("/api/v1/orders", limit_order(account, **changes))
    assert answer.json()["status"] == "NEW", answer.text
    return int(answer.json()["id"])


async def _status(who: Person, order_id: int) -> str:
    return str((await who.get(f"/api/v1/orders/{order_id}")).json()["order"]["status"])


def _switch(account: int, **changes: Any) -> dict[str, Any]:
    return {"scope": "account", "scope_id": account, "reason": "I want to look first", **changes}


async def _audited(sessions: Sessions) -> list[tuple[str, str, str]]:
    async with sessions.begin() as session:
        rows = await session.execute(text("SELECT action, object, ip FROM auth.audit_log ORDER BY seq"))
        return [(action, what, ip) for action, what, ip in rows.all()]


async def test_a_drill_tells_everything_and_does_nothing(alice: Person, account: int) -> None:
    order_id = await _placed(alice, account)
    answer = (await alice.get(f"{SWITCHES}/drill", params={"scope": "account", "scope_id": account})).json()

    assert set(answer["actions"]) == {"halt", "cancel_all", "flatten"}
    for deeds in answer["actions"].values():
        assert [(deed["kind"], deed["order_id"]) for deed in deeds] == [("cancel", order_id)]
        assert "taken back before it is sent" in deeds[0]["words"]
    assert await _status(alice, order_id) == "NEW"
    assert (await alice.get(SWITCHES)).json() == {"kill_switches": []}


async def test_engaging_ends_what_is_not_sent_in_the_same_moment(
    alice: Person, account: int, web_sessions: Sessions
) -> None:
    order_id = await _placed(alice, account)
    engaged = await alice.write(SWITCHES, _switch(account, action="cancel_all"), key="once")
    again = await alice.write(SWITCHES, _switch(account, action="cancel_all"), key="once")

    shown = engaged.json()
    assert (engaged.status_code, again.content) == (201, engaged.content)
    assert (shown["action"], shown["covers"], shown["engaged_by"]) == (
        "cancel_all",
        "account “Paper”",
        "alice@example.com",
    )
    assert (shown["progress"]["is_done"], shown["progress"]["words"]) == (True, "1 of 1 order ended")
    assert await _status(alice, order_id) == "CANCELED"
    told = await _audited(web_sessions)
    assert told[-1] == ("kill_switch.engaged", f"account:{account}", "192.0.2.1")


async def test_it_gets_stronger_and_never_weaker_and_both_stand_in_the_audit_log(
    alice: Person, account: int, web_sessions: Sessions
) -> None:
    actions = ("cancel_all", "halt", "flatten")
    answers = [(await alice.write(SWITCHES, _switch(account, action=action))).json()["action"] for action in actions]

    assert answers == ["cancel_all", "cancel_all", "flatten"]
    assert [action for action, _, _ in await _audited(web_sessions)] == ["kill_switch.engaged"] * 2
    assert (await alice.write(f"{SWITCHES}/release", _switch(account))).status_code == 200
    assert (await alice.write(f"{SWITCHES}/release", _switch(account))).status_code == 409


async def test_others_see_neither_a_switch_nor_its_reason(alice: Person, bob: Person, account: int) -> None:
    await alice.write(SWITCHES, _switch(account))

    assert (await bob.get(SWITCHES)).json() == {"kill_switches": []}
    drill = await bob.get(f"{SWITCHES}/drill", params={"scope": "account", "scope_id": account})
    assert drill.status_code == 404
    assert (await bob.get(f"{SWITCHES}/drill", params={"scope": "global"})).status_code == 403


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"action": "panic"}, "action"), ({"scope": "planet"}, "scope"), ({"reason": "x"}, "reason")],
)
async def test_bad_input_names_its_field(alice: Person, account: int, changes: dict[str, Any], field: str) -> None:
    error = (await alice.write(SWITCHES, _switch(account, **changes))).json()["error"]

    assert error["field"] == field
    assert error["message"].endswith(".") or field != "reason"


async def test_cancel_all_cancels_ones_own_orders_of_a_symbol_once(alice: Person, bob: Person, account: int) -> None:
    orders = [await _placed(alice, account) for _ in range(2)]
    other = {"account_id": account, "symbol": "ETHUSDT"}
    none = (await alice.write("/api/v1/orders/cancel-all", other)).json()
    done = await alice.write("/api/v1/orders/cancel-all", {"account_id": account}, key="k")
    again = await alice.write("/api/v1/orders/cancel-all", {"account_id": account}, key="k")

    assert none == {"cancelled": [], "kept": []}
    assert (done.json(), again.content) == ({"cancelled": orders, "kept": []}, done.content)
    assert [await _status(alice, order_id) for order_id in orders] == ["CANCELED"] * 2
    assert (await bob.write("/api/v1/orders/cancel-all", {"account_id": account})).status_code == 404


async def test_a_replacement_is_one_intent(alice: Person, bob: Person, account: int) -> None:
    order_id = await _placed(alice, account)
    path, body = f"/api/v1/orders/{order_id}/replace", {"price": "51000"}
    wanted = await alice.write(path, body, key="k")
    again = await alice.write(path, body, key="k")
    other = await alice.write(path, {"price": "52000"})

    assert (wanted.status_code, again.content) == (202, wanted.content)
    assert (wanted.json()["state"], wanted.json()["price"]) == ("WAITING", "51000")
    assert other.status_code == 409
    assert (await bob.write(path, body)).status_code == 404
    events = (await alice.get(f"/api/v1/orders/{order_id}")).json()["events"]
    assert "to be replaced: 0.001 in all at 51000" in events[-1]["words"] or events[-1]["kind"] == "canceled"


async def test_a_bad_replacement_names_its_field_and_changes_nothing(alice: Person, account: int) -> None:
    order_id = await _placed(alice, account)
    for body, field in (({}, "price"), ({"price": "50000.001"}, "price"), ({"quantity": "0.0000001"}, "quantity")):
        answer = await alice.write(f"/api/v1/orders/{order_id}/replace", body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)

    assert await _status(alice, order_id) == "NEW"


@pytest.fixture
async def incident(account: int, migrator_sessions: Sessions) -> int:
    """Alice's account is frozen, and an incident says so."""
    async with migrator_sessions.begin() as session:
        await session.execute(text("UPDATE execution.accounts SET state = 'FROZEN' WHERE id = :id"), {"id": account})
        added = text(
            "INSERT INTO execution.incidents (account_id, kind, message) VALUES (:id, 'ACCOUNT_FROZEN', 'key refused')"
            " RETURNING id"
        )
        return int((await session.execute(added, {"id": account})).scalar_one())


async def test_an_incident_says_what_it_means_and_is_closed_with_a_note_by_its_owner(
    alice: Person, bob: Person, root: Person, incident: int, web_sessions: Sessions
) -> None:
    shown = (await alice.get("/api/v1/incidents")).json()["incidents"]
    assert [one["id"] for one in shown] == [incident]
    assert "unfreeze the account" in shown[0]["advice"]
    assert (await bob.get("/api/v1/incidents")).json() == {"incidents": []}
    assert len((await root.get("/api/v1/incidents")).json()["incidents"]) == 1

    path = f"/api/v1/incidents/{incident}"
    assert (await bob.write(f"{path}/close", {"note": "mine now"})).status_code == 404
    assert (await alice.write(f"{path}/acknowledge", {})).json()["acknowledged_by"] == "alice@example.com"
    assert (await alice.write(f"{path}/close", {"note": ""})).json()["error"]["field"] == "note"
    closed = (await alice.write(f"{path}/close", {"note": "a new key is in place"})).json()
    assert (closed["closed_by"], closed["note"]) == ("alice@example.com", "a new key is in place")
    assert (await alice.write(f"{path}/close", {"note": "once more"})).status_code == 409
    assert (await alice.get("/api/v1/incidents")).json() == {"incidents": []}
    assert len((await alice.get("/api/v1/incidents", params={"open_only": False})).json()["incidents"]) == 1
    told = [action for action, _, _ in await _audited(web_sessions)]
    assert told == ["incident.acknowledged", "incident.closed"]


@pytest.mark.usefixtures("incident")
async def test_a_frozen_account_is_asked_to_be_trusted_again_by_its_owner_or_an_admin(
    alice: Person, bob: Person, root: Person, account: int, migrator_sessions: Sessions
) -> None:
    path = f"/api/v1/accounts/{account}/unfreeze"

    assert (await bob.write(path)).status_code == 404
    assert [(await who.write(path)).status_code for who in (alice, root)] == [202, 202]
    async with migrator_sessions.begin() as session:
        asked = await session.execute(text("SELECT state, unfreeze_requested_at IS NOT NULL FROM execution.accounts"))
        assert asked.all() == [("FROZEN", True)]
        await session.execute(text("UPDATE execution.accounts SET state = 'ACTIVE'"))
    assert (await alice.write(path)).status_code == 409


async def test_comparing_everybody_is_for_admins(alice: Person, root: Person, account: int) -> None:
    everybody = {"everybody": True}

    assert (await alice.write("/api/v1/reconciliation", everybody)).status_code == 403
    assert (await root.write("/api/v1/reconciliation", everybody)).json() == {"accounts": 1}
    assert (await alice.write("/api/v1/reconciliation", {"account_id": account})).json() == {"accounts": 1}
    found = (await alice.get("/api/v1/reconciliation")).json()
    assert [one["account_id"] for one in found["accounts"]] == [account]
