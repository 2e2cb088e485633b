"""An order replaced, an incident settled and an account trusted again, in the browser on the real stack."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from api_client import Api
from playwright.sync_api import expect
from stack import Stack, wait_for
from watched import Watched


def test_an_order_is_replaced_and_both_timelines_tell(shared_stack: Stack, api: Api, watched: Watched) -> None:
    account_id, page = api.paper_account("Moves", usdt="10000"), watched.page
    market = {"account_id": account_id, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quote_quantity": "100"}
    bought = api.wait_for_order(api.post("/orders", market)["id"], ["FILLED"])["order"]
    price = Decimal(bought["filled_quote"]) / Decimal(bought["filled"])
    below, lower = (str((price * factor).quantize(Decimal(1))) for factor in (Decimal("0.9"), Decimal("0.85")))
    limit = market | {"type": "LIMIT", "quantity": "0.001", "price": below}
    del limit["quote_quantity"]
    old = api.post("/orders", limit)["id"]
    api.wait_for_order(old, ["OPEN"])

    watched.sign_in(shared_stack.url)
    watched.open(f"{shared_stack.url}/orders/{old}")
    page.get_by_test_id("replace-order").click()
    page.get_by_test_id("price").fill("0.001")
    page.get_by_test_id("confirm-replace").click()
    expect(page.get_by_test_id("replace-dialog")).to_contain_text("below the least allowed")
    watched.shot("wrong-price")
    page.get_by_test_id("price").fill(lower)
    watched.shot("replace")
    page.get_by_test_id("confirm-replace").click()
    expect(page.get_by_test_id("order-status")).to_have_text("Canceled", timeout=20_000)
    told = re.compile(rf"Replaced by order \d+: buy 0.001 .* at {lower}")
    expect(page.get_by_test_id("timeline")).to_contain_text(told)
    watched.shot("replaced")

    new = next(o for o in api.get("/orders", account_id=account_id)["orders"] if o["id"] > old)
    found = api.wait_for_order(new["id"], ["OPEN"])
    assert (found["order"]["price"], found["order"]["quantity"]) == (lower, "0.001")
    assert any(event["words"] == f"Takes the place of order {old}" for event in found["events"])
    done = api.post("/orders/cancel-all", {"account_id": account_id})
    assert done == {"cancelled": [new["id"]], "kept": []}
    api.wait_for_order(new["id"], ["CANCELED"])


def test_a_frozen_account_is_compared_and_trades_again(shared_stack: Stack, api: Api, watched: Watched) -> None:
    account_id, page = api.paper_account("Frozen", usdt="1000"), watched.page
    with shared_stack.database("worker") as database:
        frozen = "UPDATE execution.accounts SET state = 'FROZEN', state_reason = 'the key was refused' WHERE id = %s"
        database.execute(frozen, [account_id])
        database.execute(
            "INSERT INTO execution.incidents (account_id, kind, message)"
            " VALUES (%s, 'ACCOUNT_FROZEN', 'the exchange refused the key: -2015')",
            [account_id],
        )

    watched.sign_in(shared_stack.url)
    expect(page.get_by_test_id("strip-incidents")).to_contain_text("open")
    watched.visit("incidents")
    mine = page.get_by_test_id("incident-list").locator("[data-incident]", has_text="An account is frozen").first
    expect(mine).to_contain_text("unfreeze the account")
    watched.shot("incident")
    mine.get_by_test_id("acknowledge").click()
    expect(mine.get_by_test_id("incident-state")).to_have_text("Seen")
    mine.get_by_test_id("unfreeze").click()
    watched.shot("unfreeze")
    page.get_by_test_id("confirm-unfreeze-yes").click()

    def active() -> Any:
        found = next(one for one in api.get("/accounts")["accounts"] if one["id"] == account_id)
        return found if found["state"] == "ACTIVE" else None

    wait_for(active, "the account trades again", within_s=40)
    mine.get_by_test_id("close-incident").click()
    page.get_by_label("How was it settled?").fill("the key is in order again")
    page.get_by_test_id("confirm-close-incident").click()
    expect(page.get_by_test_id("close-incident-dialog")).not_to_be_visible()
    page.get_by_test_id("incidents-all").click()
    expect(mine).to_contain_text("“The key is in order again.”")
    watched.shot("closed")
    watched.visit("reconciliation")
    page.get_by_test_id("compare-all").click()
    expect(page.get_by_test_id("passes")).to_contain_text("Asked for", timeout=20_000)
    watched.shot("reconciliation")
    watched.visit("admin")
    watched.shot("admin")
