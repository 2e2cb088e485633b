"""A kill switch that flattens an account, in the browser on the real stack: rehearsed, engaged, done, released."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from api_client import Api, use_setup_link
from both_books import differences
from playwright.sync_api import Page, expect
from stack import Stack, new_stack, wait_for
from strategies import hold
from watched import Watched


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with new_stack() as stack:
        use_setup_link(stack.start())
        yield stack


def test_flattening_does_what_its_drill_said(stack: Stack, watched: Watched) -> None:
    with Api(stack.url) as api:
        account_id = api.paper_account("Flat", usdt="10000")
        run_id, stop_id = protected_run(api, account_id)
        by_hand = orders_by_hand(api, account_id)
        watched.sign_in(stack.url)

        rehearse(watched, api, account_id)
        said = engage(watched, account_id)
        done(watched)

        cancelled = {int(number) for number in re.findall(r"^Order (\d+) ", "\n".join(said), re.M)}
        assert cancelled == {by_hand["far below"], by_hand["far above"]}
        everything_is_gone(api, account_id, run_id, {stop_id, *cancelled})
        exit_id, left = api.get(f"/runs/{run_id}")["plan"]["exit_order_id"], "after its protection is cancelled"
        assert f"Run {run_id} leaves: {filled(api, exit_id)} BTCUSDT is sold at market, {left}." in said
        mine = [o for o in api.get("/orders", account_id=account_id)["orders"] if o["run_id"] is None]
        sale_id = next(o["id"] for o in mine if (o["side"], o["type"]) == ("SELL", "MARKET"))
        then = f"at market once order {by_hand['far above']} is cancelled."
        assert any(line.endswith(f"(held by hand) is sold: {filled(api, sale_id)} {then}") for line in said)
        wait_for(lambda: not differences(stack, api, account_id), "the books agree with the exchange's", within_s=60)
        assert differences(stack, api, account_id) == []
        stays_latched(watched, api, account_id)
        look_around(watched, run_id)
        release(watched, api, account_id)
        told = [row[0] for row in stack.database().execute("SELECT action FROM auth.audit_log ORDER BY seq")]
        assert told.count("kill_switch.engaged") == told.count("kill_switch.released") == 1
        assert told.count("kill_switch.order_cancelled") == 2
        where = stack.database().execute("SELECT ip FROM auth.audit_log WHERE action = 'kill_switch.engaged'")
        assert where.fetchone() == ("127.0.0.1",)


def protected_run(api: Api, account_id: int) -> tuple[int, int]:
    """A run that holds a position under its stop; its id and the stop's."""
    document = hold()
    strategy = api.post("/strategies", {"name": document["name"], "document": document})
    run = api.post(f"/strategies/{strategy['id']}/start", {"account_id": account_id})

    def protected() -> Any:
        plan = api.get(f"/runs/{run['id']}")["plan"]
        return plan if plan and plan["state"] == "PROTECTED" else None

    plan = wait_for(protected, "the run holds a protected position", within_s=150, every_s=0.5)
    return int(run["id"]), int(plan["stop_order_id"])


def orders_by_hand(api: Api, account_id: int) -> dict[str, int]:
    """A position by hand, a buy far below the market, and a sale of a part of it far above."""

    def place(**what: str) -> Any:
        return api.post("/orders", {"account_id": account_id, "symbol": "BTCUSDT", **what})["id"]

    bought = api.wait_for_order(place(side="BUY", type="MARKET", quote_quantity="600"), ["FILLED"])["order"]
    price = Decimal(bought["filled_quote"]) / Decimal(bought["filled"])
    below, above = (str((price * factor).quantize(Decimal(1))) for factor in (Decimal("0.8"), Decimal("1.2")))
    ids = {
        "far below": place(side="BUY", type="LIMIT", quantity="0.001", price=below),
        "far above": place(side="SELL", type="LIMIT", quantity="0.001", price=above),
    }
    for order_id in ids.values():
        api.wait_for_order(order_id, ["OPEN"])
    return ids


def filled(api: Api, order_id: int) -> str:
    order = api.order(order_id)["order"]
    assert (order["side"], order["type"], order["status"]) == ("SELL", "MARKET", "FILLED")
    return str(order["filled"])


def open_drill(page: Page, account_id: int, action: str) -> list[str]:
    page.get_by_test_id(f"switch-account-{account_id}").click()
    page.get_by_test_id(f"action-{action}").click()
    expect(page.get_by_test_id(f"action-{action}")).to_have_attribute("aria-pressed", "true")
    return [line.strip() for line in page.get_by_test_id("drill").locator("li > :last-child").all_inner_texts()]


def rehearse(watched: Watched, api: Api, account_id: int) -> None:
    """A drill of each action; then nothing has happened."""
    page, before = watched.page, api.get("/orders", account_id=account_id)
    watched.visit("risk")
    watched.shot("risk")
    lines = open_drill(page, account_id, "cancel_all")
    assert any("keeps" in line and "under its stop" in line for line in lines)
    watched.shot("drill-cancel-all")
    page.get_by_role("button", name="Do nothing").click()
    expect(page.get_by_test_id("switch-dialog")).not_to_be_visible()
    assert api.get("/orders", account_id=account_id) == before
    assert api.get("/kill-switches") == {"kill_switches": []}


def engage(watched: Watched, account_id: int) -> list[str]:
    page = watched.page
    lines = open_drill(page, account_id, "flatten")
    watched.shot("drill-flatten")
    page.get_by_label("Reason").fill("the market scares me")
    page.get_by_test_id("confirm-switch").click()
    expect(page.get_by_test_id("switch-dialog")).not_to_be_visible()
    return lines


def done(watched: Watched) -> None:
    page = watched.page
    expect(page.get_by_test_id("kill-account")).to_have_text("ENGAGED: Flatten")
    watched.shot("engaged")
    said = re.compile(r"^Done: 2 of 2 orders ended, 2 of 2 positions sold\.$")
    expect(page.get_by_test_id("kill-account-progress")).to_have_text(said, timeout=60_000)
    watched.shot("done")


def everything_is_gone(api: Api, account_id: int, run_id: int, cancelled: set[int]) -> None:
    for order_id in cancelled:
        assert api.order(order_id)["order"]["status"] == "CANCELED"
    positions = api.get("/portfolio", account_id=account_id)["portfolio"]["positions"]
    left = {p["symbol"]: Decimal(p["quantity"]) for p in positions if Decimal(p["quantity"]) >= Decimal("0.00001")}
    assert left == {}
    run = wait_for(
        lambda: found if (found := api.get(f"/runs/{run_id}"))["run"]["state"] == "STOPPED" else None, "the run stops"
    )
    assert (run["plan"]["state"], run["plan"]["exit_reason"]) == ("CLOSED", "kill_switch")


def stays_latched(watched: Watched, api: Api, account_id: int) -> None:
    """Nothing is bought, and asking for less does not weaken it."""
    order = api.post(
        "/orders",
        {"account_id": account_id, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quote_quantity": "50"},
    )
    assert (order["status"], order["reject_code"]) == ("REJECTED", "RISK_KILL_SWITCH")
    weaker = {"scope": "account", "scope_id": account_id, "action": "halt", "reason": "only halt, please"}
    assert api.post("/kill-switches", weaker)["action"] == "flatten"
    expect(watched.page.get_by_test_id("strip-kill")).to_have_text("flatten for account “Flat”")


def look_around(watched: Watched, run_id: int) -> None:
    page = watched.page
    watched.visit("reconciliation")
    expect(page.get_by_test_id("agrees-at").first).to_contain_text("ago")
    expect(page.get_by_test_id("passes")).to_contain_text("Agrees")
    watched.shot("reconciliation")
    watched.visit("incidents")
    watched.shot("incidents")
    watched.visit("orders")
    watched.shot("orders")
    page.get_by_test_id("cancel-all").click()
    expect(page.get_by_test_id("cancel-all-dialog")).to_be_visible()
    watched.shot("cancel-all")
    page.get_by_role("button", name="Go back").click()
    watched.open(f"{page.url.split('/orders')[0]}/runs/{run_id}")
    expect(page.get_by_test_id("run-state")).to_have_text("Stopped")
    watched.shot("run")


def release(watched: Watched, api: Api, account_id: int) -> None:
    page = watched.page
    watched.visit("risk")
    page.get_by_test_id(f"release-account-{account_id}").click()
    page.get_by_label("Reason").fill("calm again")
    watched.shot("release")
    page.get_by_test_id("confirm-switch").click()
    expect(page.get_by_test_id("kill-account")).to_have_text("Not engaged")
    assert api.get("/kill-switches") == {"kill_switches": []}
