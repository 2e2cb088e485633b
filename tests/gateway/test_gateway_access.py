"""Who may call what: every route, for everybody."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from gateway_kit import Person, StillClock, limit_order

from app.gateway.app import create_api
from app.gateway.deps import Access
from app.services.container import AppServices
from app.services.identity import Role

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


@pytest.mark.parametrize(
    ("method", "path"), sorted((method, path) for method, path, roles in ROUTES if roles), ids=lambda value: value
)
async def test_anonymous_and_role(
    method: str, path: str, alice: Person, root: Person, services: AppServices, clock: StillClock
) -> None:
    """Nobody without signing in, no trader where an admin is wanted; an admin gets past the door everywhere."""
    url = path.replace("{", "").replace("}", "")
    for name in ("order_id", "user_id", "dataset_id", "strategy_id", "run_id"):
        url = url.replace(name, "999")
    clock.advance(1)
    anonymous = await alice.client.request(method, url, headers={"Idempotency-Key": "k"})
    trader = await alice.write(url, method=method)
    admin = await root.write(url, method=method)

    assert (anonymous.status_code, anonymous.json()["error"]["code"]) == (401, "not_signed_in")
    if (method, path) in ADMIN_ONLY:
        assert trader.status_code == 403
    else:
        assert trader.status_code not in (401, 403)
    assert admin.status_code not in (401, 403)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_order_is_its_owners_alone(
    method: str, order_of_alice: int, alice: Person, bob: Person, root: Person
) -> None:
    path = f"/api/v1/orders/{order_of_alice}"
    owner, other, admin = [await who.write(path, method=method) for who in (alice, bob, root)]

    assert (owner.status_code, other.status_code, admin.status_code) == (200, 404, 404)


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
