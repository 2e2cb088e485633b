"""Strategies, runs, portfolio and paper markets through the API."""

from __future__ import annotations

import asyncio

from gateway_kit import Person, Sessions, limit_order
from sqlalchemy import text

from app.services.strategy import template

DOCUMENT = template("ema_cross").document()


async def test_a_strategy_is_stored_read_aloud_started_and_stopped(alice: Person, account: int) -> None:
    made = (await alice.write("/api/v1/strategies", {"name": "Mine", "document": DOCUMENT})).json()
    started = await alice.write(f"/api/v1/strategies/{made['id']}/start", {"account_id": account})
    run_id = started.json()["id"]
    listed = (await alice.get("/api/v1/runs", params={"active_only": True})).json()["runs"]
    stopped = await alice.write(f"/api/v1/runs/{run_id}/stop", {"mode": "keep_protected", "reason": "enough"})
    detail = (await alice.get(f"/api/v1/runs/{run_id}")).json()

    assert made["versions"][0]["number"] == 1
    assert "BTCUSDT" in made["versions"][0]["reading"]
    assert (started.status_code, started.json()["state"]) == (201, "STARTING")
    assert [run["id"] for run in listed] == [run_id]
    assert stopped.json()["stop_mode"] == "keep_protected"
    assert detail["run"]["state"] == "STOPPED"
    assert detail["decisions"] == []


async def test_one_start_sent_four_times_at_once_is_one_run(
    alice: Person, account: int, web_sessions: Sessions
) -> None:
    made = (await alice.write("/api/v1/strategies", {"document": DOCUMENT})).json()
    path, body = f"/api/v1/strategies/{made['id']}/start", {"account_id": account}
    answers = await asyncio.gather(*(alice.write(path, body, key="start") for _ in range(4)))
    async with web_sessions.begin() as session:
        runs = (await session.execute(text("SELECT count(*) FROM strategy.runs"))).scalar_one()

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert runs == 1


async def test_what_is_wrong_with_a_strategy_is_listed_with_its_place(alice: Person) -> None:
    bad = {**DOCUMENT, "entry": {"left": "nowhere", "op": ">", "right": 1}}
    answer = await alice.write("/api/v1/strategies", {"document": bad})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "invalid_input", "document")
    assert error["problems"]
    assert all(problem["path"] and problem["message"] for problem in error["problems"])


async def test_nothing_is_started_while_the_execution_service_is_not_healthy(
    alice: Person, account: int, migrator_sessions: Sessions
) -> None:
    made = (await alice.write("/api/v1/strategies", {"document": DOCUMENT})).json()
    async with migrator_sessions.begin() as session:
        await session.execute(text("UPDATE execution.worker_lease SET state = 'RECOVERING'"))
    answer = await alice.write(f"/api/v1/strategies/{made['id']}/start", {"account_id": account})

    assert answer.status_code == 503


async def test_the_portfolio_gives_amounts_as_text(alice: Person, account: int) -> None:
    await alice.write("/api/v1/orders", limit_order(account))
    portfolio = (await alice.get("/api/v1/portfolio", params={"account_id": account})).json()["portfolio"]

    usdt = portfolio["balances"][0]
    assert (usdt["asset"], usdt["total"], usdt["reserved"], usdt["free"]) == ("USDT", "10000", "50", "9950")
    assert portfolio["equity"] == "10000"


async def test_a_paper_market_is_asked_for(alice: Person, healthy: None) -> None:
    wish = await alice.write("/api/v1/paper-markets", {"symbol": "BTCUSDT", "source": "synthetic", "seed": 7})
    wrong = await alice.write("/api/v1/paper-markets", {"symbol": "BTCUSDT", "source": "replay"})
    shown = (await alice.get("/api/v1/paper-markets")).json()

    assert (wish.status_code, wish.json()["state"]) == (202, "REQUESTED")
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "dataset_id")
    assert shown == {"paper_markets": []}
