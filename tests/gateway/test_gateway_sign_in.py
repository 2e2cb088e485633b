"""Signing in and out: forms and cookies for browsers, tokens for programs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from gateway_kit import ORIGIN, PASSWORD, Person, Sessions, StillClock, cookie_of
from sqlalchemy import text

from app.domain.clock import to_datetime
from app.gateway.app import create_api
from app.services.container import AppServices
from app.services.identity import audit, retention, setup, users

FORM = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


async def _login(
    client: httpx.AsyncClient, *, email: str = "alice@example.com", password: str = PASSWORD, **more: str
) -> httpx.Response:
    form = {"email": email, "password": password, **more}
    return await client.post("/api/v1/auth/login", data=form, headers=FORM)


def _error(answer: httpx.Response) -> dict[str, str]:
    """The query of the address a form was sent back to."""
    assert answer.status_code == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def test_signing_in_sets_an_http_only_cookie_and_goes_on(client: httpx.AsyncClient, alice: Person) -> None:
    answer = await _login(client, email=" Alice@Example.com ", next="/orders?open=1")

    cookie = answer.headers["set-cookie"]
    assert (answer.status_code, answer.headers["location"]) == (303, "/orders?open=1")
    assert cookie.startswith("plumbline=")
    for flag in ("HttpOnly", "SameSite=lax", "Path=/"):
        assert flag in cookie
    assert (await client.get("/api/v1/me")).json()["user"]["email"] == "alice@example.com"


async def test_over_https_the_cookie_is_bound_to_the_host(
    services: AppServices, alice: Person, tmp_path: object
) -> None:
    origin = "https://trade.example.com"
    settings = services.settings.model_copy(update={"public_url": origin})
    api = create_api(lambda: replace(services, settings=settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url=origin) as client:
        form = {"email": "alice@example.com", "password": PASSWORD}
        answer = await client.post("/api/v1/auth/login", data=form, headers={"Origin": origin})

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-plumbline=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"])
async def test_nobody_is_sent_to_another_site(client: httpx.AsyncClient, alice: Person, elsewhere: str) -> None:
    assert (await _login(client, next=elsewhere)).headers["location"] == "/"


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    client: httpx.AsyncClient, alice: Person
) -> None:
    wrong = await _login(client, password="not the right one")
    unknown = await _login(client, email="nobody@example.com")

    assert _error(wrong) == _error(unknown) == {"error": "wrong"}
    assert "set-cookie" not in wrong.headers


async def test_after_five_wrong_passwords_one_has_to_wait_longer_each_time(
    client: httpx.AsyncClient, alice: Person, clock: StillClock
) -> None:
    for _ in range(5):
        assert _error(await _login(client, password="wrong")) == {"error": "wrong"}

    assert _error(await _login(client, password="wrong")) == {"error": "wait", "wait_s": "1"}
    clock.advance(1)
    assert _error(await _login(client, password="wrong")) == {"error": "wrong"}
    assert _error(await _login(client)) == {"error": "wait", "wait_s": "2"}
    clock.advance(2)
    assert (await _login(client)).headers["location"] == "/"
    assert _error(await _login(client, password="wrong")) == {"error": "wrong"}


async def test_twenty_wrong_tries_from_one_address_slow_it_down_for_every_user(
    client: httpx.AsyncClient, alice: Person
) -> None:
    for number in range(20):
        await _login(client, email=f"user{number}@example.com")

    assert _error(await _login(client)) == {"error": "wait", "wait_s": "1"}


async def test_strangers_who_guess_cannot_keep_the_owner_out_of_where_he_was_before(
    client: httpx.AsyncClient, api: FastAPI, alice: Person
) -> None:
    await _login(client)
    transport = httpx.ASGITransport(app=api, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as stranger:
        for _ in range(5):
            await _login(stranger, password="guess")
        assert _error(await _login(stranger, password="guess"))["error"] == "wait"

    assert (await _login(client)).headers["location"] == "/"


async def test_the_counters_are_in_the_database_so_without_it_nobody_gets_in(
    client: httpx.AsyncClient, alice: Person, migrator_sessions: Sessions
) -> None:
    async with migrator_sessions.begin() as session:
        await session.execute(text("REVOKE ALL ON auth.throttle_buckets FROM web"))
    answer = await _login(client)

    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


async def test_signing_in_again_ends_the_browsers_old_session(client: httpx.AsyncClient, alice: Person) -> None:
    await _login(client)
    old = client.cookies["plumbline"]
    await _login(client)

    assert client.cookies["plumbline"] != old
    client.cookies.clear()
    assert (await client.get("/api/v1/me", headers={"Cookie": f"plumbline={old}"})).status_code == 401


async def test_signing_out_ends_the_session_at_once(client: httpx.AsyncClient, alice: Person) -> None:
    await _login(client)
    old = client.cookies["plumbline"]
    answer = await client.post("/api/v1/auth/logout", headers=FORM)

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "plumbline" not in client.cookies
    assert (await client.get("/api/v1/me", headers={"Cookie": f"plumbline={old}"})).status_code == 401


@pytest.mark.parametrize(("passed_s", "status"), [(11.9 * 3600, 200), (12.1 * 3600, 401), (13 * 24 * 3600, 401)])
async def test_an_idle_session_ends_after_twelve_hours(
    client: httpx.AsyncClient, alice: Person, services: AppServices, clock: StillClock, passed_s: float, status: int
) -> None:
    headers = {"Cookie": await cookie_of(services, alice.viewer)}
    clock.advance(passed_s)

    assert (await client.get("/api/v1/me", headers=headers)).status_code == status


async def test_a_session_in_use_ends_after_seven_days(
    client: httpx.AsyncClient, alice: Person, services: AppServices, clock: StillClock
) -> None:
    headers = {"Cookie": await cookie_of(services, alice.viewer)}
    seen = []
    for _ in range(15):
        clock.advance(11.5 * 3600)
        seen.append((await client.get("/api/v1/me", headers=headers)).status_code)

    assert seen == [200] * 14 + [401]


async def test_a_session_revoked_elsewhere_is_believed_for_five_seconds_at_most(
    client: httpx.AsyncClient, alice: Person, services: AppServices, clock: StillClock, web_sessions: Sessions
) -> None:
    headers = {"Cookie": await cookie_of(services, alice.viewer)}
    assert (await client.get("/api/v1/me", headers=headers)).status_code == 200
    async with web_sessions.begin() as session:
        await users.end_all_access(session, user_id=alice.viewer.user_id, clock=clock)
    clock.advance(5)

    assert (await client.get("/api/v1/me", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_write_with_the_cookie_from_another_site_is_refused(
    client: httpx.AsyncClient, alice: Person, services: AppServices, account: int, headers: dict[str, str]
) -> None:
    headers = headers | {"Cookie": await cookie_of(services, alice.viewer), "Idempotency-Key": "k"}
    form = {"email": "alice@example.com", "password": PASSWORD}
    answers = [
        await client.delete("/api/v1/orders/1", headers=headers),
        await client.post("/api/v1/auth/login", data=form, headers=headers),
        await client.post("/api/v1/auth/logout", headers=headers),
        await client.post("/api/v1/auth/setup", data=form, headers=headers),
    ]

    assert [answer.json()["error"]["code"] for answer in answers] == ["cross_site"] * 4


async def test_our_own_page_may_write_with_the_cookie(
    client: httpx.AsyncClient, alice: Person, services: AppServices
) -> None:
    headers = FORM | {"Cookie": await cookie_of(services, alice.viewer), "Idempotency-Key": "k"}
    answer = await client.delete("/api/v1/orders/1", headers=headers)

    assert answer.json()["error"]["code"] == "not_found"


async def test_a_program_gets_tokens_and_refreshes_them_once(client: httpx.AsyncClient, alice: Person) -> None:
    first = (await client.post("/api/v1/auth/token", json={"email": "alice@example.com", "password": PASSWORD})).json()
    second = await client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    me = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {second.json()['access_token']}"})

    assert first["expires_in_s"] == 600
    assert me.json()["user"]["role"] == "trader"


async def test_a_refresh_token_used_twice_ends_everything_made_from_it(
    client: httpx.AsyncClient, alice: Person
) -> None:
    first = (await client.post("/api/v1/auth/token", json={"email": "alice@example.com", "password": PASSWORD})).json()[
        "refresh_token"
    ]
    second = (await client.post("/api/v1/auth/refresh", json={"refresh_token": first})).json()["refresh_token"]
    stolen = await client.post("/api/v1/auth/refresh", json={"refresh_token": first})
    owner = await client.post("/api/v1/auth/refresh", json={"refresh_token": second})

    assert (stolen.status_code, owner.status_code) == (401, 401)


async def test_of_two_refreshes_at_once_one_wins(client: httpx.AsyncClient, alice: Person) -> None:
    token = (await client.post("/api/v1/auth/token", json={"email": "alice@example.com", "password": PASSWORD})).json()[
        "refresh_token"
    ]
    answers = await asyncio.gather(
        *(client.post("/api/v1/auth/refresh", json={"refresh_token": token}) for _ in range(4))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_an_access_token_ends_after_ten_minutes(alice: Person, clock: StillClock) -> None:
    clock.advance(599)
    assert (await alice.get("/api/v1/me")).status_code == 200
    clock.advance(1)
    answer = await alice.get("/api/v1/me")

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_disabled_user_is_out_at_once(
    client: httpx.AsyncClient, alice: Person, root: Person, services: AppServices
) -> None:
    cookie = {"Cookie": await cookie_of(services, alice.viewer)}
    assert (await client.get("/api/v1/me", headers=cookie)).status_code == 200
    await root.write(f"/api/v1/users/{alice.viewer.user_id}/disable")

    assert (await client.get("/api/v1/me", headers=cookie)).status_code == 401
    assert (await alice.get("/api/v1/me")).status_code == 401
    assert _error(await _login(client)) == {"error": "wrong"}


async def test_what_a_token_may_do_is_read_from_the_database(root: Person, web_sessions: Sessions) -> None:
    assert (await root.get("/api/v1/users")).status_code == 200
    async with web_sessions.begin() as session:
        await session.execute(text("UPDATE auth.users SET role = 'trader'"))

    assert (await root.get("/api/v1/users")).status_code == 403


async def test_the_last_admin_cannot_be_removed(root: Person, web_sessions: Sessions) -> None:
    answer = await root.write(f"/api/v1/users/{root.viewer.user_id}/disable")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_the_first_admin_is_made_with_a_link_that_works_once(
    api: FastAPI, client: httpx.AsyncClient, services: AppServices
) -> None:
    link = await setup.ensure_setup_link(services.sessions, ORIGIN, services.clock)
    assert link is not None
    token = parse_qs(urlsplit(link).query)["token"][0]
    form = {"token": token, "email": "Me@Example.com", "password": PASSWORD, "password_again": PASSWORD}

    typo = await client.post("/api/v1/auth/setup", data=form | {"password_again": "x"}, headers=FORM)
    done = await client.post("/api/v1/auth/setup", data=form, headers=FORM)
    again = await client.post("/api/v1/auth/setup", data=form, headers=FORM)

    assert _error(typo) == {"error": "differ", "token": token}
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert (await client.get("/api/v1/me")).json()["user"] == {
        "user_id": 1,
        "email": "me@example.com",
        "role": "admin",
    }
    assert _error(again)["error"] == "link"
    assert await setup.ensure_setup_link(services.sessions, ORIGIN, services.clock) is None


@pytest.mark.parametrize(
    ("password", "code"),
    [("short", "short"), ("x" * 129, "long"), ("Password123456!", "common"), ("me.example 2026!", "common")],
)
async def test_a_weak_password_is_refused_and_the_link_stays_good(
    client: httpx.AsyncClient, services: AppServices, password: str, code: str
) -> None:
    link = await setup.ensure_setup_link(services.sessions, ORIGIN, services.clock)
    token = parse_qs(urlsplit(link or "").query)["token"][0]
    form = {"token": token, "email": "me@example.com"}
    answer = await client.post("/api/v1/auth/setup", data=form | {"password": password}, headers=FORM)
    done = await client.post("/api/v1/auth/setup", data=form | {"password": PASSWORD}, headers=FORM)

    assert _error(answer)["error"] == code
    assert done.headers["location"] == "/"


async def test_a_newer_setup_link_replaces_the_older_and_one_day_ends_it(
    services: AppServices, clock: StillClock, web_sessions: Sessions
) -> None:
    links = [await setup.ensure_setup_link(services.sessions, ORIGIN, clock) for _ in range(2)]
    old, new = (parse_qs(urlsplit(link or "").query)["token"][0] for link in links)
    async with web_sessions.begin() as session:
        assert (await setup.look_up(session, new, clock=clock)).purpose == "first_admin"
        with pytest.raises(Exception, match="expired"):
            await setup.look_up(session, old, clock=clock)
        clock.advance(24 * 3600)
        with pytest.raises(Exception, match="expired"):
            await setup.look_up(session, new, clock=clock)


async def test_a_reset_link_changes_the_password_and_ends_old_sessions(
    client: httpx.AsyncClient, alice: Person, services: AppServices, web_sessions: Sessions
) -> None:
    old = {"Cookie": await cookie_of(services, alice.viewer)}
    assert (await client.get("/api/v1/me", headers=old)).status_code == 200
    async with web_sessions.begin() as session:
        link = await setup.reset_link(session, email="alice@example.com", public_url=ORIGIN, clock=services.clock)
    token = parse_qs(urlsplit(link).query)["token"][0]
    form = {"token": token, "password": "another good phrase here"}
    await client.post("/api/v1/auth/setup", data=form, headers=FORM)
    client.cookies.clear()

    assert (await client.get("/api/v1/me", headers=old)).status_code == 401
    assert _error(await _login(client)) == {"error": "wrong"}
    assert (await _login(client, password="another good phrase here")).headers["location"] == "/"


async def test_old_things_are_forgotten_and_newer_ones_kept(
    client: httpx.AsyncClient, alice: Person, services: AppServices, clock: StillClock, web_sessions: Sessions
) -> None:
    await _login(client)
    await alice.write("/api/v1/accounts", {"label": "old", "balances": {"USDT": "1"}}, key="old")
    left = []
    for days in (6.9, 0.2, 30):
        clock.advance(days * 24 * 3600)
        async with web_sessions.begin() as session:
            await retention.forget_old(session, now=to_datetime(clock.now_ms()))
            counted = await session.execute(
                text("SELECT (SELECT count(*) FROM auth.idempotency_keys), (SELECT count(*) FROM auth.sessions)")
            )
            left.append(tuple(counted.one()))

    assert left == [(1, 1), (0, 1), (0, 0)]


async def test_who_signed_in_and_who_failed_is_in_the_audit_log(
    client: httpx.AsyncClient, alice: Person, web_sessions: Sessions
) -> None:
    await _login(client, password="wrong")
    await _login(client)
    async with web_sessions.begin() as session:
        rows = (await session.execute(text("SELECT actor, action, ip, details FROM auth.audit_log ORDER BY seq"))).all()
        broken = await audit.verify_chain(session)

    assert [tuple(row)[:3] for row in rows] == [
        ("anonymous", "sign_in.failed", "192.0.2.1"),
        (f"user:{alice.viewer.user_id}", "user.signed_in", "192.0.2.1"),
    ]
    assert rows[0].details == {"email": "alice@example.com"}
    assert broken is None


async def test_no_password_and_no_session_id_is_stored(
    client: httpx.AsyncClient, alice: Person, migrator_sessions: Sessions
) -> None:
    await _login(client)
    secrets = {PASSWORD, client.cookies["plumbline"]}
    async with migrator_sessions.begin() as session:
        names = (
            await session.execute(text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'auth'"))
        ).scalars()
        stored = [
            str(row)
            for name in list(names)
            for row in (await session.execute(text(f"SELECT t::text FROM auth.{name} AS t"))).scalars()
        ]

    assert stored
    assert not [row for row in stored for secret in secrets if secret in row]
