"""Answers when something is wrong: in words, in one shape, never a traceback."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from gateway_kit import ORIGIN, Person, Sessions, StillClock, limit_order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.database.engine import make_engine, session_factory
from app.domain.clock import to_datetime
from app.gateway import envelope
from app.gateway.app import create_api
from app.gateway.limits import Limits, TokenBuckets
from app.gateway.routes import health as health_route
from app.logs import configure_logging
from app.services.container import AppServices, get_services


async def test_health_is_200_only_while_the_execution_service_is_healthy(
    client: httpx.AsyncClient, healthy: None, migrator_sessions: Sessions, clock: StillClock
) -> None:
    async with migrator_sessions.begin() as session:
        await session.execute(text("UPDATE execution.worker_lease SET clock_offset_ms = -1250"))
    fine = await client.get("/health")
    clock.advance(60)
    stale = await client.get("/health")
    async with migrator_sessions.begin() as session:
        await session.execute(
            text("UPDATE execution.worker_lease SET state = 'RECOVERING', state_reason = 'asking', renewed_at = :now"),
            {"now": to_datetime(clock.now_ms())},
        )
    recovering = await client.get("/health")

    assert (fine.status_code, fine.json()["status"], fine.json()["state"]) == (200, "ok", "HEALTHY")
    assert fine.json()["time_drift_seconds"] == -1.25
    assert (stale.status_code, stale.json()["state"]) == (503, "STALE")
    assert "60 s" in stale.json()["reason"]
    assert (recovering.status_code, recovering.json()["state"]) == (503, "RECOVERING")


@pytest.fixture
def cut_off(services: AppServices) -> AppServices:
    """The same services with a database that is not there."""
    engine = make_engine("postgresql://web:secret@127.0.0.1:1/nothing")
    return replace(services, sessions=session_factory(engine))


async def test_without_its_database_the_gateway_says_so_in_words(cut_off: AppServices) -> None:
    transport = httpx.ASGITransport(app=create_api(lambda: cut_off))
    async with httpx.AsyncClient(transport=transport, base_url=cut_off.settings.public_url) as client:
        health = await client.get("/health")
        orders = await client.get("/api/v1/orders", headers={"Cookie": "plumbline=abc"})
        form = {"email": "a@example.com", "password": "x"}
        login = await client.post("/api/v1/auth/login", data=form, headers={"Origin": cut_off.settings.public_url})

    assert (health.status_code, health.json()["state"]) == (503, "DATABASE_DOWN")
    assert (orders.status_code, orders.json()["error"]["code"]) == (503, "unavailable")
    assert "database" in orders.json()["error"]["message"]
    assert "secret" not in orders.text
    assert login.headers["location"] == "/login?error=unavailable"


async def test_a_database_that_hangs_does_not_make_its_callers_hang(
    services: AppServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(health_route, "PATIENCE_S", 0.2)
    monkeypatch.setattr(envelope, "DEADLINE_S", 1.0)
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    engine = make_engine(f"postgresql://web:x@127.0.0.1:{server.sockets[0].getsockname()[1]}/silent")
    silent = replace(services, sessions=session_factory(engine))
    transport = httpx.ASGITransport(app=create_api(lambda: silent))
    async with server, httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        health = await client.get("/health")
        orders = await client.get("/api/v1/orders", headers={"Cookie": "plumbline=abc"})
        await engine.dispose()

    assert (health.status_code, health.json()["reason"]) == (503, "The database does not answer.")
    assert (orders.status_code, orders.json()["error"]["code"]) == (503, "unavailable")


async def test_before_the_process_is_up_the_gateway_says_that_it_is_starting() -> None:
    transport = httpx.ASGITransport(app=create_api(get_services))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        health = await client.get("/health")
        orders = await client.get("/api/v1/orders")

    assert (health.status_code, health.json()["state"]) == (503, "STARTING")
    assert orders.status_code == 503


async def test_every_answer_carries_the_request_id_and_so_does_the_error(client: httpx.AsyncClient) -> None:
    given_id = await client.get("/api/v1/orders", headers={"X-Request-Id": "abc-1"})
    made = await client.get("/api/v1/orders", headers={"X-Request-Id": "no good\x01" + "x" * 100})

    assert given_id.headers["x-request-id"] == given_id.json()["error"]["request_id"] == "abc-1"
    assert made.headers["x-request-id"] == made.json()["error"]["request_id"]
    assert len(made.headers["x-request-id"]) == 16
    assert made.headers["cache-control"] == "no-store"


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the web process writes to its log."""
    written = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("web", pretty=False, stream=written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


async def test_each_call_is_one_line_in_the_log_with_request_and_user_and_without_secrets(
    alice: Person, account: int, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    await alice.client.get("/api/v1/orders/1?token=abc", headers={**alice.headers, "X-Request-Id": "r-1"})
    await alice.client.get("/api/v1/orders", headers={"Cookie": "plumbline=secret-of-mine", "X-Request-Id": "r-2"})

    first, second = [line for line in log_lines() if line["event"] == "request"]
    assert (first["request_id"], first["user_id"], first["status"]) == ("r-1", alice.viewer.user_id, 404)
    assert (first["method"], first["path"]) == ("GET", "/api/v1/orders/1")
    assert (second["request_id"], second["user_id"], second["status"]) == ("r-2", None, 401)
    assert not [line for line in log_lines() if alice.token in str(line) or "secret-of-mine" in str(line)]


async def test_unknown_paths_and_methods_are_answered_in_our_shape(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/api/v2/orders")
    wrong = await client.put("/api/v1/orders/1")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET")


async def test_an_unexpected_error_is_a_500_without_its_text(client: httpx.AsyncClient, api: FastAPI) -> None:
    async def broken() -> None:
        raise RuntimeError("the secret of the house")

    api.router.routes.insert(0, _route("/api/v1/broken", broken))
    answer = await client.get("/api/v1/broken")

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def _route(path: str, endpoint: Any) -> Any:
    from fastapi.routing import APIRoute

    return APIRoute(path, endpoint)


async def test_a_body_above_one_megabyte_is_refused(alice: Person) -> None:
    answer = await alice.write("/api/v1/orders", {"symbol": "x" * 1_100_000})

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


_TYPOS: list[tuple[bytes, str, str]] = [
    (b"{", "", "not valid JSON"),
    (b"[]", "", "object"),
    (b"{}", "account_id", "is missing"),
    (json.dumps(limit_order(1, sides="BUY")).encode(), "sides", "not known"),
    (json.dumps(limit_order(1, side="BOUGHT")).encode(), "side", "BUY"),
    (json.dumps(limit_order(2**63)).encode(), "account_id", "less than"),
    (json.dumps(limit_order(1, quantity="1e999999999")).encode(), "quantity", "too large"),
    (json.dumps(limit_order(1, quantity="NaN")).encode(), "quantity", "finite"),
    (json.dumps(limit_order(1, quantity=float("nan"))).encode(), "", "finite"),
    (json.dumps(limit_order(1, symbol="BTC\x00")).encode(), "", "cannot be stored"),
    (b'{"symbol": "\\ud800"}', "", "cannot be stored"),
    (b"[" * 100_000, "", ""),
    (b'{"document": ' + b'{"a": ' * 100 + b"1" + b"}" * 101, "", "nested"),
]


async def test_a_typo_is_explained(alice: Person) -> None:
    headers = {**alice.headers, "Idempotency-Key": "k", "Content-Type": "application/json"}
    for body, field, words in _TYPOS:
        answer = await alice.client.post("/api/v1/orders", content=body, headers=headers)

        error = answer.json()["error"]
        assert 400 <= answer.status_code < 500, body[:80]
        assert error["field"] == field, body[:80]
        assert words in error["message"], body[:80]


async def test_who_calls_too_often_is_told_when_to_come_again(services: AppServices, alice: Person) -> None:
    now_s = 0.0
    limits = Limits(by_user=TokenBuckets(per_s=0.5, burst=3, now_s=lambda: now_s))
    transport = httpx.ASGITransport(app=create_api(lambda: services, limits=limits))
    async with httpx.AsyncClient(transport=transport, base_url=services.settings.public_url) as client:
        fine = [await client.get("/api/v1/me", headers=alice.headers) for _ in range(3)]
        refused = await client.get("/api/v1/me", headers=alice.headers)
        now_s = 2.0
        later = await client.get("/api/v1/me", headers=alice.headers)

    assert [answer.status_code for answer in fine] == [200] * 3
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert refused.json()["error"]["code"] == "rate_limited"
    assert later.status_code == 200


async def test_an_address_that_floods_is_braked_before_anything_is_looked_up(services: AppServices) -> None:
    limits = Limits(by_ip=TokenBuckets(per_s=1, burst=2, now_s=lambda: 0.0))
    transport = httpx.ASGITransport(app=create_api(lambda: services, limits=limits))
    async with httpx.AsyncClient(transport=transport, base_url=services.settings.public_url) as client:
        answers = [await client.get("/api/v1/me") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[2].headers["x-request-id"]


def test_the_memory_of_the_brake_is_bounded() -> None:
    now_s = 0.0
    buckets = TokenBuckets(per_s=1, burst=2, now_s=lambda: now_s)
    for number in range(30_000):
        now_s = number / 100
        buckets.take(f"192.0.2.{number}")

    assert len(buckets._left) <= 10_000


_SWITCH = {"scope": "account", "scope_id": 1, "reason": "testing"}
_WRITES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/v1/orders", {**limit_order(1), "quote_quantity": None, "stop_price": None, "time_in_force": None}),
    ("POST", "/api/v1/accounts", {"label": "x", "balances": {"USDT": "1"}}),
    ("POST", "/api/v1/kill-switches", _SWITCH),
    ("POST", "/api/v1/kill-switches/release", _SWITCH),
    ("POST", "/api/v1/strategies", {"name": "x", "document": {"schema": 1}}),
    ("POST", "/api/v1/strategies/1/start", {"account_id": 1, "version_number": 1, "symbol": "BTCUSDT"}),
    ("POST", "/api/v1/runs/1/stop", {"mode": "close", "reason": "testing"}),
    ("POST", "/api/v1/paper-markets", {"symbol": "BTCUSDT", "source": "synthetic", "seed": 1, "start": None}),
    ("POST", "/api/v1/auth/token", {"email": "a@example.com", "password": "x"}),
    ("POST", "/api/v1/auth/refresh", {"refresh_token": "x"}),
]
_NASTY = [
    None, True, -1, 0, 2**63, 10**30, 1.5, math.nan, "", " ", "a\x00b", "a\ud800b", "ß" * 2000, "1e400", "-0",
    [], {}, {"a\x00": "1"}, {"USDT": "\x00"}, [["deep"] * 3],
]  # fmt: skip


async def _send(who: Person, method: str, path: str, body: Any, key: bytes) -> None:
    """The call is answered in our shape, and not as our fault."""
    content = json.dumps(body, ensure_ascii=True).encode()
    headers = {**who.headers, "Content-Type": "application/json", "Idempotency-Key": key}
    answer = await who.client.request(method, path, content=content, headers=headers)  # type: ignore[arg-type]

    assert answer.status_code < 500, (method, path, content, answer.text)
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) >= {"code", "message", "field", "request_id"}


async def test_no_field_whatever_makes_a_500(alice: Person, account: int) -> None:
    for method, path, good in _WRITES:
        for number, (field, value) in enumerate(itertools.product([*good, "unknown"], _NASTY)):
            await _send(alice, method, path, {**good, field: value}, f"{path}-{number}".encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
)


async def test_no_nonsense_whatever_makes_a_500(alice: Person, account: int) -> None:
    """Whatever JSON Hypothesis thinks of, as the body or in place of one of its fields, under any key."""
    loop = asyncio.get_running_loop()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(_WRITES), st.integers(0, 9), _JSON, st.text(alphabet="ab \x7fé", max_size=3))
    def nonsense(write: tuple[str, str, dict[str, Any]], place: int, value: Any, key: str) -> None:
        method, path, good = write
        body = {**good, [*good][place]: value} if place < len(good) else value
        call = _send(alice, method, path, body, key.encode("latin-1"))
        asyncio.run_coroutine_threadsafe(call, loop).result(30)

    await asyncio.to_thread(nonsense)


_BAD_QUERIES = [
    "/api/v1/orders?limit=0",
    "/api/v1/orders?before_id=99999999999999999999",
    "/api/v1/orders?symbol=%00",
    "/api/v1/orders/abc",
    "/api/v1/orders/99999999999999999999",
    "/api/v1/fills?before=yesterday",
    "/api/v1/fills?before=-1e30",
    "/api/v1/candles?venue=%00&symbol=BTCUSDT&timeframe=1h",
    "/api/v1/candles?venue=a&symbol=BTCUSDT&timeframe=7h",
    "/api/v1/candles?venue=a&symbol=BTCUSDT&timeframe=1h&end=99999999999999999999",
    "/api/v1/candles",
]


async def test_a_bad_query_is_explained(alice: Person) -> None:
    for path in _BAD_QUERIES:
        answer = await alice.get(path)

        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input"), path
        assert answer.json()["error"]["field"], path


async def test_the_schema_is_for_those_who_are_signed_in(client: httpx.AsyncClient, alice: Person) -> None:
    assert (await client.get("/openapi.json")).status_code == 401
    assert "/api/v1/orders" in (await alice.get("/openapi.json")).json()["paths"]
