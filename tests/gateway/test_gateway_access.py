"""Who may call what: every route, for everybody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from gateway_kit import Person, limit_order

from app.gateway.app import create_api
from app.gateway.deps import Access
from app.services.identity import Role
from app.services.strategy import template

#: Everything an anonymous caller may reach. A new line here is a decision.
PUBLIC = {
    ("GET", "/health"),
    ("POST", "/api/v1/auth/token"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/logout"),
    ("POST", "/api/v1/auth/setup"),
}
ADMIN_ONLY = {
    ("GET", "/api/v1/users"),
    ("POST", "/api/v1/users/{user_id}/disable"),
    ("POST", "/api/v1/users/{user_id}/enable"),
}


def _declared(dependant: Any) -> list[Access]:
    """Every Access in a route's dependencies, at any depth."""
    found = [dependant.call] if isinstance(dependant.call, Access) else []
    return found + [access for inner in dependant.dependencies for access in _declared(inner)]


def _routes(api: FastAPI) -> list[tuple[str, str, frozenset[Role]]]:
    found = []
    for route in iter_route_contexts(api.routes):
        accesses = _declared(route.dependant)
        assert len(accesses) == 1, f"{route.path} must declare who may call it, once"
        if route.path != "/api/{rest:path}":
            found += [(method, route.path or "", accesses[0].roles) for method in route.methods or ()]
    return found


ROUTES = _routes(create_api())


def test_every_route_declares_who_may_call_it_and_nothing_else_is_public() -> None:
    assert len(ROUTES) > 15
    assert {(method, path) for method, path, roles in ROUTES if not roles} == PUBLIC
    assert {(method, path) for method, path, roles in ROUTES if roles == {Role.ADMIN}} == ADMIN_ONLY


@pytest.fixture
async def order_of_alice(alice: Person, account: int) -> int:
    return int((await alice.write("/api/v1/orders", limit_order(account))).json()["id"])


async def test_nobody_passes_without_signing_in_and_no_trader_where_an_admin_is_wanted(
    alice: Person, root: Person
) -> None:
    """The whole table in one test: what each kind of caller gets from each route that is not public."""
    wrong = []
    for method, path, roles in ROUTES:
        if not roles:
            continue
        url = re.sub(r"\{\w+\}", "999", path)
        anonymous = await alice.client.request(method, url, headers={"Idempotency-Key": "k"})
        trader, admin = [await who.write(url, method=method) for who in (alice, root)]
        refused = {403} if (method, path) in ADMIN_ONLY else set()
        if (
            anonymous.status_code != 401
            or anonymous.json()["error"]["code"] != "not_signed_in"
            or {trader.status_code} & {401, 403} != refused
            or admin.status_code in (401, 403)
        ):
            wrong.append((method, path, anonymous.status_code, trader.status_code, admin.status_code))

    assert wrong == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_order_is_its_owners_alone(
    method: str, order_of_alice: int, alice: Person, bob: Person, root: Person
) -> None:
    path = f"/api/v1/orders/{order_of_alice}"
    owner, other, admin = [await who.write(path, method=method) for who in (alice, bob, root)]

    assert (owner.status_code, other.status_code, admin.status_code) == (200, 404, 404)


@pytest.fixture
async def strategy_of_alice(alice: Person) -> int:
    body = {"document": template("ema_cross").document()}
    return int((await alice.write("/api/v1/strategies", body)).json()["id"])


@pytest.fixture
async def run_of_alice(alice: Person, account: int, strategy_of_alice: int) -> int:
    started = await alice.write(f"/api/v1/strategies/{strategy_of_alice}/start", {"account_id": account})
    return int(started.json()["id"])


async def test_strategies_runs_and_portfolios_are_their_owners_alone(
    account: int, strategy_of_alice: int, run_of_alice: int, alice: Person, bob: Person, root: Person
) -> None:
    stop = {"mode": "close"}
    calls: list[tuple[str, str, Any, int]] = [
        ("GET", f"/api/v1/portfolio?account_id={account}", None, 200),
        ("GET", f"/api/v1/portfolio/history?account_id={account}", None, 200),
        ("GET", f"/api/v1/strategies/{strategy_of_alice}", None, 200),
        ("GET", f"/api/v1/runs/{run_of_alice}", None, 200),
        ("POST", "/api/v1/kill-switches", {"scope": "run", "scope_id": run_of_alice, "reason": "look"}, 201),
        (
            "POST",
            f"/api/v1/strategies/{strategy_of_alice}/versions",
            {"document": template("ema_cross").document()},
            201,
        ),
        ("POST", f"/api/v1/runs/{run_of_alice}/stop", stop, 200),
        ("DELETE", f"/api/v1/strategies/{strategy_of_alice}", None, 200),
    ]
    for method, path, body, expected in calls:
        for other in (bob, root):
            assert (await other.write(path, body, method=method)).status_code == 404, path
        assert (await alice.write(path, body, method=method)).status_code == expected, path


async def test_lists_hold_ones_own_things_only(order_of_alice: int, alice: Person, bob: Person, root: Person) -> None:
    for path, name in (("/api/v1/orders", "orders"), ("/api/v1/accounts", "accounts")):
        assert len((await alice.get(path)).json()[name]) == 1
        assert (await bob.get(path)).json()[name] == []
        assert (await root.get(path)).json()[name] == []


async def test_a_kill_switch_of_anothers_account_does_not_exist_and_the_global_one_is_an_admins(
    account: int, alice: Person, bob: Person, root: Person
) -> None:
    mine = {"scope": "account", "scope_id": account, "reason": "I want to look first"}
    everything = {"scope": "global", "reason": "exchange maintenance"}

    assert (await bob.write("/api/v1/kill-switches", mine)).status_code == 404
    assert (await alice.write("/api/v1/kill-switches", everything)).status_code == 403
    assert (await alice.write("/api/v1/kill-switches", mine)).status_code == 201
    assert (await root.write("/api/v1/kill-switches", everything)).status_code == 201
    refused = (await alice.write("/api/v1/orders", limit_order(account))).json()
    assert refused["status"] == "REJECTED"
    assert (await root.write("/api/v1/kill-switches/release", everything)).status_code == 200
    assert (await alice.write("/api/v1/kill-switches/release", mine)).status_code == 200
    assert (await alice.get("/api/v1/kill-switches")).json() == {"kill_switches": []}
    assert (await alice.write("/api/v1/orders", limit_order(account))).json()["status"] == "NEW"


@pytest.mark.parametrize("scheme", ["Basic YWxpY2U6cHc=", "Bearer", "Bearer x.y.z", "Bearer é", "Nonsense"])
async def test_a_bad_token_is_refused_even_beside_a_good_cookie(alice: Person, scheme: str) -> None:
    answer = await alice.client.get("/api/v1/me", headers={"Authorization": scheme.encode()})  # type: ignore[dict-item]

    assert answer.status_code == 401
