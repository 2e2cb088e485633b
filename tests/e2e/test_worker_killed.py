"""SIGKILL takes the worker in the middle of its work: nothing is doubled, nothing is lost, nobody trades on."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from api_client import Api, use_setup_link
from both_books import all_orders, differences
from playwright.sync_api import expect
from stack import Stack, new_stack, wait_for
from strategies import busy, hold
from watched import Watched

#: So that an order which never left is given up within seconds, not a minute and a quarter.
SHORT_DEATH_BOUND = {"RECV_WINDOW_MS": "3000", "ENGINE_TIMEOUT_MS": "2000", "VISIBILITY_MARGIN_MS": "3000"}
#: How long after the first order of a burst the worker dies, s.
MOMENTS = (0.15, 0.5, 1.0)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with new_stack(**SHORT_DEATH_BOUND) as stack:
        use_setup_link(stack.start())
        yield stack


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[Api]:
    with Api(stack.url) as client:
        yield client


def test_a_killed_worker_recovers_without_doubling_anything(stack: Stack, api: Api, watched: Watched) -> None:
    account_id = api.paper_account("Crash", usdt="100000", BTC="1")
    held = start(api, hold(), account_id)
    trading = create(api, busy())
    wait_for_plan(api, held, "PROTECTED")
    watched.sign_in(stack.url)

    for round_number, moment_s in enumerate(MOMENTS, start=1):
        run_id = run(api, trading, account_id)
        wait_for_fills(api, run_id)
        answers = kill_during_a_burst(stack, api, account_id, after_s=moment_s)
        assert 503 in answers, f"/health never said 503: {answers}"
        assert stack.health()[1]["epoch"] == round_number + 1

        for one in api.get("/runs")["runs"]:
            assert one["state"] == "STOPPED", one
        assert "restarted" in api.get(f"/runs/{run_id}")["run"]["stop_reason"]
        last: list[str] = []
        settled(stack, api, account_id, last)
        close(api, run_id)

    every = all_orders(api, account_id)
    assert len({order["client_order_id"] for order in every}) == len(every)
    for order in every:
        kinds = [event["kind"] for event in api.order(order["id"])["events"]]
        assert kinds.count("attempt_sent") <= 1, (order, kinds)
    the_held_position_still_has_its_stop(stack, api, held)

    notices = watched.page.get_by_test_id("notices")
    expect(notices).to_contain_text("Recovery complete")
    expect(watched.page.get_by_test_id("strip-service")).to_have_text(re.compile("healthy", re.I))
    watched.shot("recovered")


def kill_during_a_burst(stack: Stack, api: Api, account_id: int, *, after_s: float) -> list[int]:
    """Orders by hand come in, the worker dies; returns every status of /health until it is well again."""
    answers: list[int] = []
    victim = stack.child("worker")
    with ThreadPoolExecutor(1) as pool:
        burst: Future[None] = pool.submit(place_many, api, account_id)
        time.sleep(after_s)
        victim.kill()
        watching = threading.Event()
        watcher = threading.Thread(target=watch_health, args=(stack, answers, watching))
        watcher.start()
        try:
            stack.wait_for(re.compile("worker ended unexpectedly .* starting it again"), within_s=10)
            victim.wait(5)
            wait_for(lambda: stack.health()[1].get("state") == "RECOVERING" or 503 in answers, "recovery begins")
            wait_for(stack.healthy, "healthy again", within_s=60)
            burst.result(timeout=60)
        finally:
            watching.set()
            watcher.join()
    assert stack.child("worker").pid != victim.pid
    return answers


def watch_health(stack: Stack, answers: list[int], over: threading.Event) -> None:
    while not over.wait(0.02):
        answers.append(stack.health()[0])


def place_many(api: Api, account_id: int) -> None:
    """Fourteen orders one after the other; while nobody is there to take them, the gateway may say so."""
    for number in range(14):
        order = {"account_id": account_id, "symbol": "BTCUSDT", "side": "BUY" if number % 2 else "SELL"}
        if number % 3:
            order |= {"type": "MARKET", "quantity": "0.001"}
        else:
            price = "70000" if order["side"] == "BUY" else "150000"
            order |= {"type": "LIMIT", "time_in_force": "GTC", "quantity": "0.001", "price": price}
        answer = api.send("POST", "/orders", json=order)
        assert answer.status_code in (201, 503), answer.text
        time.sleep(0.05)


def settled(stack: Stack, api: Api, account_id: int, last: list[str]) -> None:
    """Wait until our books and the exchange's say the same; on failure, say what differs."""

    def look() -> bool:
        last[:] = differences(stack, api, account_id)
        return not last

    try:
        wait_for(look, "books that agree", within_s=45, every_s=0.5)
    except AssertionError:
        raise AssertionError("the books differ:\n" + "\n".join(last)) from None


def the_held_position_still_has_its_stop(stack: Stack, api: Api, run_id: int) -> None:
    found = api.get(f"/runs/{run_id}")
    assert found["plan"]["state"] == "PROTECTED"
    stop = api.order(found["plan"]["stop_order_id"])["order"]
    there = [o for o in stack.paper_books(1)["orders"] if o["clientOrderId"] == stop["client_order_id"]]
    assert [(o["status"], o["type"], o["side"]) for o in there] == [("NEW", "STOP_LOSS", "SELL")]
    positions = api.get("/portfolio", account_id=stop["account_id"])["portfolio"]["positions"]
    held = next(Decimal(p["quantity"]) for p in positions if p["run_id"] == run_id)
    assert held >= Decimal(there[0]["origQty"]) > 0


# --- steps ---------------------------------------------------------------------------------------------


def create(api: Api, document: dict[str, Any]) -> int:
    return int(api.post("/strategies", {"name": document["name"], "document": document})["id"])


def run(api: Api, strategy_id: int, account_id: int) -> int:
    return int(api.post(f"/strategies/{strategy_id}/start", {"account_id": account_id})["id"])


def start(api: Api, document: dict[str, Any], account_id: int) -> int:
    return run(api, create(api, document), account_id)


def close(api: Api, run_id: int) -> None:
    """Sell what a stopped run still holds; it may be on its way out already."""
    answer = api.send("POST", f"/runs/{run_id}/stop", json={"mode": "close"})
    assert answer.status_code in (200, 409), answer.text
    wait_for_plan(api, run_id, "CLOSED")
    wait_for(lambda: api.get(f"/runs/{run_id}")["run"]["state"] == "STOPPED", f"run {run_id} has stopped")


def wait_for_fills(api: Api, run_id: int) -> None:
    wait_for(lambda: api.get("/fills", run_id=run_id)["fills"], "the strategy trades", within_s=60)


def wait_for_plan(api: Api, run_id: int, state: str) -> None:
    def look() -> bool:
        plan = api.get(f"/runs/{run_id}")["plan"]
        return plan is not None and plan["state"] == state

    wait_for(look, f"the plan of run {run_id} is {state}", within_s=60, every_s=0.2)
