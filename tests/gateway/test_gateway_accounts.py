"""Accounts over the API: keys go in sealed and never come out, and real money is confirmed each time."""

from __future__ import annotations

from typing import Any

import pytest
from gateway_kit import Person, Sessions, funded_account, limit_order
from sqlalchemy import text

from app.services.exchange.vault_private import Vault
from app.services.strategy import template

VAULT = Vault(b"m" * 32)
API_KEY, SECRET = "k" * 64, "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
LIVE = {"label": "Main", "kind": "LIVE", "confirm_live": True, "label_again": "Main"}


@pytest.fixture(autouse=True)
async def _sealing_key(migrator_sessions: Sessions) -> None:
    key = VAULT.sealing_key
    async with migrator_sessions.begin() as session:
        await session.execute(
            text("INSERT INTO execution.sealing_keys (id, public_key) VALUES (:id, :key)"),
            {"id": key.id, "key": key.public_key},
        )


@pytest.fixture
async def live(migrator_sessions: Sessions, alice: Person, healthy: None) -> int:
    """Alice's live account, ready to trade."""
    account_id = await funded_account(migrator_sessions, alice, "Main")
    async with migrator_sessions.begin() as session:
        await session.execute(text("UPDATE execution.accounts SET kind = 'LIVE' WHERE id = :id"), {"id": account_id})
        for table in ("execution.symbols", "analytics.prices"):
            await session.execute(text(f"UPDATE {table} SET kind = 'LIVE'"))
    return account_id


def error(answer: Any, status: int, field: str = "") -> str:
    body = answer.json()["error"]
    assert (answer.status_code, body["field"]) == (status, field), body
    return str(body["message"])


async def test_a_live_account_is_asked_for_with_both_confirmations(alice: Person) -> None:
    made = (await alice.write("/api/v1/accounts", LIVE)).json()
    assert (made["kind"], made["state"]) == ("LIVE", "REQUESTED")
    assert made["key_wanted"] == {"kind": "ED25519", "message": "", "public_key_pem": "", "waits_for_api_key": False}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"confirm_live": False}, "confirm_live"),
        ({"label_again": ""}, "label_again"),
        ({"label_again": "Other"}, "label_again"),
        ({"api_key": API_KEY}, "secret"),
        ({"secret": SECRET}, "api_key"),
        ({"api_key": API_KEY, "secret": "x"}, "secret"),
        ({"balances": {"USDT": "1"}}, "balances"),
        ({"kind": "FUTURES"}, "kind"),
        ({"label": ""}, "label"),
    ],
)
async def test_half_a_wish_is_refused_by_field(alice: Person, changes: dict[str, Any], field: str) -> None:
    error(await alice.write("/api/v1/accounts", {**LIVE, **changes}), 422, field)
    assert (await alice.get("/api/v1/accounts")).json()["accounts"] == []


async def test_a_paper_account_takes_no_key(alice: Person) -> None:
    body = {"label": "Paper", "balances": {"USDT": "1"}, "api_key": API_KEY, "secret": SECRET}
    error(await alice.write("/api/v1/accounts", body), 422, "api_key")


async def test_a_secret_is_sealed_for_the_worker_and_kept_nowhere_else(
    alice: Person, migrator_sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    body = {**LIVE, "api_key": API_KEY, "secret": SECRET}
    made = await alice.write("/api/v1/accounts", body, key="once")
    again = await alice.write("/api/v1/accounts", body, key="once")
    assert (made.status_code, again.json()) == (201, made.json())
    async with migrator_sessions.begin() as session:
        row = (await session.execute(text("SELECT * FROM execution.key_requests"))).one()
        kept = [
            str(line)
            for table in ("auth.idempotency_keys", "auth.audit_log", "execution.accounts", "execution.key_requests")
            for line in (await session.execute(text(f"SELECT t::text FROM {table} t"))).scalars()
        ]
    account_id = made.json()["id"]
    opened = VAULT.unseal(
        row.sealed_box, sealed_to=row.sealed_to, user_id=alice.viewer.user_id, account_id=account_id, kind=row.kind
    )
    assert opened.private_bytes() == SECRET.encode()
    assert len(kept) >= 4
    for secret in (SECRET, SECRET.encode().hex()):
        assert secret not in "".join(kept) + made.text + caplog.text


@pytest.mark.parametrize("secret", ["a" * 9_000, 12345, ["x"]])
async def test_a_refused_secret_is_not_repeated(alice: Person, secret: object) -> None:
    answer = await alice.write("/api/v1/accounts", {**LIVE, "api_key": API_KEY, "secret": secret})
    assert answer.status_code == 422
    assert "12345" not in answer.text
    assert "aaaa" not in answer.text


async def test_an_api_key_is_brought_only_when_one_is_waited_for(alice: Person, migrator_sessions: Sessions) -> None:
    account_id = (await alice.write("/api/v1/accounts", LIVE)).json()["id"]
    path = f"/api/v1/accounts/{account_id}/api-key"
    error(await alice.write(path, {"api_key": API_KEY}), 409)  # the worker has not made the pair yet
    async with migrator_sessions.begin() as session:
        await session.execute(text("UPDATE execution.key_requests SET public_key_pem = 'PEM'"))
    error(await alice.write(path, {"api_key": "too short"}), 422, "api_key")
    answer = await alice.write(path, {"api_key": API_KEY})
    assert (answer.status_code, answer.json()["key_wanted"]["waits_for_api_key"]) == (202, False)


async def test_an_account_is_switched_off_on_and_removed(alice: Person, bob: Person, live: int) -> None:
    path = f"/api/v1/accounts/{live}"
    assert (await alice.write(f"{path}/disable")).json()["wanted"] == "DISABLED"
    assert (await alice.write(f"{path}/enable")).json()["wanted"] == "ACTIVE"
    assert (await bob.write(path, method="DELETE")).status_code == 404
    assert (await alice.write(path, method="DELETE")).json()["wanted"] == "REMOVED"
    error(await alice.write(f"{path}/enable"), 409)


async def test_an_order_on_a_live_account_says_that_it_means_real_money(alice: Person, live: int) -> None:
    assert "live account" in error(await alice.write("/api/v1/orders", limit_order(live)), 422, "confirm_live")
    assert (await alice.get("/api/v1/orders")).json()["orders"] == []
    made = await alice.write("/api/v1/orders", limit_order(live, confirm_live=True))
    assert (made.status_code, made.json()["status"]) == (201, "NEW")
    detail = (await alice.get(f"/api/v1/orders/{made.json()['id']}")).json()
    assert (detail["account_label"], detail["account_kind"]) == ("Main", "LIVE")


async def test_a_run_on_a_live_account_says_that_it_means_real_money(alice: Person, live: int) -> None:
    document = template("ema_cross").document()
    strategy = (await alice.write("/api/v1/strategies", {"name": "Mine", "document": document})).json()["id"]
    path = f"/api/v1/strategies/{strategy}/start"
    assert "real money" in error(await alice.write(path, {"account_id": live}), 422, "confirm_live")
    started = await alice.write(path, {"account_id": live, "confirm_live": True})
    assert (started.status_code, started.json()["account_kind"]) == (201, "LIVE")


async def test_paper_needs_no_confirmation(alice: Person, account: int) -> None:
    assert (await alice.write("/api/v1/orders", limit_order(account))).status_code == 201
