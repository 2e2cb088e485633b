"""A live account in the browser: asked twice, shown as LIVE, traded; a second paper exchange stands in for Binance."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_client import Api, use_setup_link
from both_books import Ours, all_orders, compare
from playwright.sync_api import Page, expect
from stack import ROOT, Stack, new_stack, wait_for
from strategies import hold
from watched import Watched

TOKEN = "token-of-the-stand-in"


class StandIn:
    """A paper exchange of its own, at whose address the platform believes Binance to be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "token").write_text(TOKEN)
        self.port = "0"  # the system picks one, and it is kept
        self.start()
        self.http = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def start(self) -> None:
        """Listen, with the books as they were."""
        folder, port_file = self._folder, self._folder / "port"
        port_file.unlink(missing_ok=True)
        options = {"data": "paper.sqlite", "port-file": "port", "control-token-file": "token"}
        given = [part for name, value in options.items() for part in (f"--{name}", str(folder / value))]
        command = [sys.executable, "-m", "app.paper_exchange", "--port", self.port, *given]
        with (folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        found = lambda: port_file.exists() and port_file.read_text().strip()  # noqa: E731
        self.port = wait_for(found, "the stand-in listens", within_s=120)
        self.url = f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The settings that send live and testnet accounts here."""
        ws = self.url.replace("http", "ws")
        addresses = {"REST_URL": self.url, "WS_API_URL": f"{ws}/ws-api/v3", "STREAM_URL": ws}
        return {f"{kind}_{name}": value for kind in ("LIVE", "TESTNET") for name, value in addresses.items()}

    def control(self, path: str, body: Any = None) -> Any:
        """A control endpoint; GET without a body."""
        method = "GET" if body is None else "POST"
        answer = self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, keys: dict[str, str], **params: str) -> Any:
        """An order made elsewhere, with an HMAC key."""
        query = "&".join(f"{name}={value}" for name, value in params.items()) + f"&timestamp={time.time_ns() // 10**6}"
        signature = hmac.new(keys["secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": keys["api_key"], "Content-Type": "application/x-www-form-urlencoded"}
        answer = self.http.post("/api/v3/order", content=f"{query}&signature={signature}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stop(self) -> None:
        """End it, by its id."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def binance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path_factory.mktemp("binance"))
    yield stand_in
    stand_in.stop()
    stand_in.http.close()


@pytest.fixture(scope="module")
def stack(binance: StandIn) -> Iterator[Stack]:
    with new_stack(**binance.environment()) as stack:
        use_setup_link(stack.start())
        yield stack


def test_live_account(stack: Stack, binance: StandIn, watched: Watched) -> None:
    page = watched.page
    theirs = traded_before(binance)
    asked_before = binance.control("/paper/status")["accounts"]
    watched.sign_in(stack.url)
    pem = add_live_account(watched)
    api_key = binance.control(f"/paper/accounts/{theirs['account_id']}/key", {"public_key_pem": pem})["api_key"]
    bring_the_key(watched, binance, theirs, api_key)
    assert binance.control("/paper/status")["accounts"] == asked_before, "nothing is made at the exchange by us"
    place_one_order(watched)
    live_is_said_everywhere(watched)
    with Api(stack.url) as api:
        account_id = api.get("/accounts")["accounts"][0]["id"]
        run_a_strategy(api, watched)
        wait_for(lambda: not differing(api, binance, account_id, theirs["account_id"]), "both books agree")
        wait_for(lambda: api.get("/accounts")["accounts"][0]["books_agree_at"], "the platform says so", within_s=90)
        ours = {order["client_order_id"] for order in all_orders(api, account_id)}
        there = [order["clientOrderId"] for order in binance.control(f"/paper/books/{theirs['account_id']}")["orders"]]
        assert [name in ours for name in there].count(False) == 1, "what was traded there before is not in our books"
    paste_a_testnet_key(stack, binance, watched)
    remove_it(page, watched)


def test_an_exchange_that_is_away_at_a_start_holds_up_its_own_accounts_alone(stack: Stack, binance: StandIn) -> None:
    with Api(stack.url) as api:
        paper = api.paper_account("Paper")
        live = live_account(api, binance)
        binance.stop()
        try:
            stack.child("worker").kill()
            wait_for(lambda: state_of(api, live) == "RECOVERING", "the live account waits", within_s=90)
            wait_for(stack.healthy, "the service is healthy all the same", within_s=90)
            body = {"account_id": paper, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
            api.wait_for_order(api.post("/orders", body)["id"], {"FILLED"})
            refused = api.send("POST", "/orders", json={**body, "account_id": live, "confirm_live": True})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict"), refused.text
        finally:
            binance.start()
        wait_for(lambda: state_of(api, live) == "ACTIVE", "it goes on once its exchange is back", within_s=90)
        bought = api.post("/orders", {**body, "account_id": live, "confirm_live": True})
        api.wait_for_order(bought["id"], {"FILLED"}, within_s=60)


def live_account(api: Api, binance: StandIn) -> int:
    """Another live account, by the API with an HMAC key, once it is active."""
    keys = binance.control("/paper/accounts", {"label": "other", "balances": {"USDT": "1000"}})
    given = {"label": "Other", "kind": "LIVE", "confirm_live": True, "label_again": "Other"}
    made = api.post("/accounts", {**given, "api_key": keys["api_key"], "secret": keys["secret"]})
    wait_for(lambda: state_of(api, made["id"]) == "ACTIVE", "the live account is active", within_s=30)
    return int(made["id"])


def state_of(api: Api, account_id: int) -> str:
    return next(str(one["state"]) for one in api.get("/accounts")["accounts"] if one["id"] == account_id)


def traded_before(binance: StandIn) -> dict[str, Any]:
    """An account there with a history that is not ours."""
    body = {"label": "theirs", "balances": {"USDT": "20000", "BTC": "0.5"}}
    keys: dict[str, Any] = binance.control("/paper/accounts", body)
    binance.order(keys, symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.1")
    return keys


def add_live_account(watched: Watched) -> str:
    """The public key that is shown, once both confirmations were given."""
    page = watched.page
    watched.visit("settings")
    page.get_by_test_id("add-account").click()
    page.get_by_test_id("kind-live").click()
    page.get_by_test_id("account-label").fill("Main")
    page.get_by_test_id("create-account").click()
    dialog = page.get_by_test_id("account-dialog")
    expect(dialog.get_by_text("confirm that this trades real money")).to_be_visible()
    page.get_by_test_id("confirm-live").check()
    page.get_by_test_id("account-label-again").fill("Mein")
    page.get_by_test_id("create-account").click()
    expect(dialog.get_by_text("once more.")).to_be_visible()
    watched.shot("asked-twice")
    page.get_by_test_id("account-label-again").fill("Main")
    page.get_by_test_id("create-account").click()
    expect(page.get_by_test_id("public-key")).to_contain_text("BEGIN PUBLIC KEY", timeout=20_000)
    expect(page.get_by_test_id("key-state")).to_have_text("Waiting for your API key")
    watched.shot("public-key")
    return page.get_by_test_id("public-key").inner_text()


def bring_the_key(watched: Watched, binance: StandIn, theirs: dict[str, Any], api_key: str) -> None:
    """With withdrawals on it is refused in words; once they are off, it is taken."""
    page = watched.page
    binance.control(f"/paper/accounts/{theirs['account_id']}/rights", {"enableWithdrawals": True})
    page.get_by_test_id("brought-api-key").fill(api_key)
    page.get_by_test_id("bring-api-key").click()
    expect(page.get_by_test_id("key-refused")).to_contain_text("Switch off withdrawals", timeout=20_000)
    watched.shot("withdrawals-refused")
    binance.control(f"/paper/accounts/{theirs['account_id']}/rights", {"enableWithdrawals": False})
    page.get_by_test_id("check-again").click()
    expect(page.get_by_test_id("key-state")).to_have_text("Active", timeout=20_000)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("account-may")).to_have_text("reading, spot trading, bound to addresses")
    expect(page.get_by_test_id("account-key")).to_contain_text(f"Ed25519 …{api_key[-4:]}")
    expect(page.get_by_test_id("strip-exchange")).to_have_text("LIVE")
    watched.shot("live-account")


def place_one_order(watched: Watched) -> None:
    page = watched.page
    watched.visit("orders")
    page.get_by_test_id("place-order").click()
    page.get_by_test_id("kind-market").click()
    page.get_by_test_id("symbol").select_option("BTCUSDT")
    page.get_by_test_id("quantity").fill("0.01")
    page.get_by_test_id("order-submit").click()
    expect(page.get_by_test_id("order-dialog").get_by_text("Say that you mean real money.")).to_be_visible()
    page.get_by_test_id("confirm-live").check()
    watched.shot("order-form")
    page.get_by_test_id("order-submit").click()
    expect(page.get_by_test_id("order-asked")).to_contain_text("Main · LIVE: buy 0.01 BTCUSDT market, about ")
    watched.shot("asked-again")
    expect(page.get_by_test_id("orders-empty")).to_be_attached()
    page.get_by_test_id("order-send-live").click()
    expect(page.get_by_test_id("order-status").first).to_have_text("Filled", timeout=20_000)


def live_is_said_everywhere(watched: Watched) -> None:
    page = watched.page
    expect(page.get_by_test_id("orders").get_by_test_id("account-kind")).to_have_text("LIVE")
    watched.shot("orders")
    page.get_by_test_id("order-link").first.click()
    watched.ready()
    expect(page.get_by_test_id("account-kind")).to_have_text("LIVE")
    watched.shot("order")
    watched.visit("dashboard")
    watched.shot("dashboard")
    expect(page.locator('[data-testid="fills"] .badge.LIVE').first).to_be_visible()
    expect(page.locator('[data-testid="positions"] .badge.LIVE').first).to_be_visible()
    watched.visit("portfolio")
    expect(page.get_by_test_id("account-kind").first).to_have_text("LIVE")
    watched.shot("portfolio")
    watched.visit("risk")
    expect(page.locator(".content .badge.LIVE").first).to_be_visible()
    for name in ("dashboard", "market", "strategies", "runs", "orders", "portfolio", "risk", "settings"):
        watched.visit(name)
        expect(page.get_by_test_id("strip-exchange")).to_have_text("LIVE")
        expect(page.locator(".strip.live")).to_be_visible()


def run_a_strategy(api: Api, watched: Watched) -> None:
    """By hand started after both questions, it trades by itself on candles of its own exchange."""
    page = watched.page
    api.post("/strategies", {"name": "Hold", "document": hold()})
    watched.visit("runs")
    page.get_by_test_id("open-start").click()
    expect(page.get_by_test_id("start-account")).to_contain_text("Main · LIVE")
    page.get_by_test_id("start-run").click()
    expect(page.get_by_test_id("start-dialog").get_by_text("Say that you mean real money.")).to_be_visible()
    page.get_by_test_id("confirm-live").check()
    watched.shot("start")
    page.get_by_test_id("start-run").click()
    expect(page.get_by_test_id("start-asked")).to_contain_text("Main · LIVE: “Hold · v1” buys and sells BTCUSDT")
    watched.shot("start-asked")
    assert api.get("/runs")["runs"] == []
    page.get_by_test_id("start-run-live").click()
    watched.at(r"runs/\d+")
    watched.ready()
    expect(page.get_by_test_id("run-state")).to_have_text("Running", timeout=60_000)
    expect(page.get_by_test_id("account-kind")).to_have_text("LIVE")
    expect(page.get_by_test_id("run-fills").locator("tbody tr").first).to_be_visible(timeout=60_000)
    expect(page.get_by_test_id("plan-state")).to_have_text("Protected", timeout=30_000)
    watched.shot("run")
    run = api.get("/runs")["runs"][0]
    assert (run["venue"], run["account_kind"]) == ("binance", "LIVE")
    api.post(f"/runs/{run['id']}/stop", {"mode": "close"})
    wait_for(lambda: api.get("/runs")["runs"][0]["state"] == "STOPPED", "the run closes its position", within_s=60)


def differing(api: Api, binance: StandIn, account_id: int, exchange_account_id: int) -> list[str]:
    """What our books and the stand-in's disagree about, its history before us left out."""
    theirs = binance.control(f"/paper/books/{exchange_account_id}")
    ours = all_orders(api, account_id)
    known = {order["client_order_id"] for order in ours}
    there = [order for order in theirs["orders"] if order["clientOrderId"] in known]
    numbers = {order["orderId"] for order in there}
    trades = [trade for trade in theirs["trades"] if trade["orderId"] in numbers]
    balances = api.get("/portfolio", account_id=account_id)["portfolio"]["balances"]
    totals = {balance["asset"]: Decimal(balance["total"]) for balance in balances}
    fills = api.get("/fills", account_id=account_id)["fills"]
    return [one.words for one in compare(Ours(ours, fills, totals), {**theirs, "orders": there, "trades": trades})]


def paste_a_testnet_key(stack: Stack, binance: StandIn, watched: Watched) -> None:
    """A pasted secret works, and is nowhere to be found afterwards."""
    page = watched.page
    keys = binance.control("/paper/accounts", {"label": "test", "balances": {"USDT": "100"}})
    watched.visit("settings")
    page.get_by_test_id("add-account").click()
    page.get_by_test_id("kind-testnet").click()
    page.get_by_test_id("account-label").fill("Try")
    page.get_by_test_id("key-own").click()
    page.get_by_test_id("account-api-key").fill(keys["api_key"])
    page.get_by_test_id("account-secret").fill(keys["secret"])
    watched.shot("paste")
    page.get_by_test_id("create-account").click()
    expect(page.get_by_test_id("key-state")).to_have_text("Active", timeout=20_000)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("strip-exchange")).to_have_text(["LIVE", "TESTNET"])
    watched.shot("two-accounts")
    everything = stack.output() + "".join(path.read_text(errors="replace") for path in stack.home.glob("logs/*.log"))
    with stack.database("migrator") as database:
        for table in ("accounts", "credentials", "key_requests"):
            everything += str(database.execute(f"SELECT t::text FROM execution.{table} t").fetchall())
        for table in ("idempotency_keys", "audit_log"):
            everything += str(database.execute(f"SELECT t::text FROM auth.{table} t").fetchall())
    assert keys["api_key"] in everything
    assert keys["secret"] not in everything
    assert keys["secret"].encode().hex() not in everything
    assert keys["secret"] not in page.content()


def remove_it(page: Page, watched: Watched) -> None:
    row = page.get_by_test_id("accounts").locator("tbody tr", has_text="Try")
    row.get_by_test_id("account-off").click()
    page.get_by_test_id("confirm-off-yes").click()
    expect(row.get_by_test_id("account-state")).to_have_text("Switched off", timeout=20_000)
    row.get_by_test_id("account-remove").click()
    page.get_by_test_id("confirm-remove-yes").click()
    expect(row).to_have_count(0, timeout=20_000)
    expect(page.get_by_test_id("strip-exchange")).to_have_text("LIVE")
    watched.shot("removed")
