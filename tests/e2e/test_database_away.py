"""The database goes away under a running installation, and comes back."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_client import FINAL, Api, error_of, use_setup_link
from playwright.sync_api import expect
from stack import Stack, new_stack, wait_for
from watched import Watched

from app.database.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that is not the supervisor's to start again."""
    folder = Path(tempfile.mkdtemp(prefix="plumbline-e2e-"))
    server = EmbeddedPostgres(folder / "postgres", folder / "secrets", folder / "postgres.log", fast=True)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(server: EmbeddedPostgres) -> Iterator[Stack]:
    urls = {f"DATABASE_URL_{role.upper()}": server.url(role) for role in ("migrator", "web", "worker", "research")}
    with new_stack(**urls) as stack:
        use_setup_link(stack.start())
        yield stack


def test_everybody_is_told_and_trading_goes_on_afterwards(
    server: EmbeddedPostgres, stack: Stack, watched: Watched
) -> None:
    page = watched.page
    with Api(stack.url) as api:
        account_id = api.paper_account()
        watched.sign_in(stack.url)
        watched.visit("orders")

        server.stop()

        status, health = wait_for(lambda: _unhealthy(stack), "an unhealthy answer", within_s=20)
        assert (status, health["state"]) == (503, "DATABASE_DOWN")
        assert health["reason"] == "The database cannot be reached."
        order = {"account_id": account_id, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        refused = error_of(api.send("POST", "/orders", key="while-away", json=order), 503)
        assert refused["message"].startswith("The database cannot be reached at the moment. Nothing was changed")
        expect(page.get_by_test_id("banner-database")).to_contain_text("cannot be reached", timeout=20_000)
        expect(page.get_by_test_id("strip-service")).to_have_text("unknown")
        watched.shot("away")
        page.get_by_test_id("nav-dashboard").click()
        watched.at("")
        expect(page.get_by_test_id("banner-database")).to_be_visible()
        assert stack.child("web").is_running()

        server.start()

        wait_for(stack.healthy, "healthy again", within_s=60)
        expect(page.get_by_test_id("banner-database")).to_have_count(0, timeout=20_000)
        expect(page.get_by_test_id("strip-service")).to_have_text(re.compile("healthy", re.I), timeout=20_000)
        placed = api.post("/orders", order, key="while-away")
        assert api.wait_for_order(placed["id"], FINAL)["order"]["status"] == "FILLED"
        assert len(api.get("/orders", account_id=account_id)["orders"]) == 1
        watched.visit("orders")
        expect(page.get_by_test_id("order-status").first).to_have_text("Filled")
        watched.shot("back")


def _unhealthy(stack: Stack) -> tuple[int, dict[str, str]] | None:
    status, body = stack.health()
    return (status, body) if status == 503 and body.get("state") == "DATABASE_DOWN" else None
