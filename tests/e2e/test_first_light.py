"""A person's first hour, in the browser, on the real stack: from the set-up link to a stopped strategy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_client import EMAIL, PASSWORD
from candle_files import REAL_MINUTES, Hours, hours
from playwright.sync_api import Locator, expect
from stack import Stack, new_stack, wait_for
from watched import Watched

#: Pixels of a chart by colour: a drawn one has a background, axes, and candles of two colours.
_COLOURS = """canvases => {
  const seen = new Map();
  for (const canvas of canvases) {
    if (!canvas.width || !canvas.height) continue;
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < data.length; i += 4)
      if (data[i + 3] > 200) { const key = `${data[i]},${data[i+1]},${data[i+2]}`; seen.set(key, (seen.get(key) || 0) + 1); }
  }
  return [...seen.values()].filter((count) => count > 200).length;
}"""  # noqa: E501 - JavaScript

#: Remember every status that an order's badge shows, and would be lost by a reload.
_WATCH_ORDERS = """() => {
  const seen = (window.__statuses = {});
  const look = () => document.querySelectorAll('[data-testid="run-orders"] tbody tr').forEach((row) => {
    const id = row.querySelector('[data-testid="order-link"]')?.textContent;
    const status = row.querySelector('[data-testid="order-status"]')?.textContent;
    if (id && status && !(seen[id] ??= []).includes(status)) seen[id].push(status);
  });
  look();
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with new_stack() as stack:
        yield stack.start()


def test_first_light(stack: Stack, watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    set_up_and_sign_in(stack, watched)
    add_paper_account(watched)
    file = hours(tmp_path)
    import_candles(watched, file)
    replay_them(watched, file)
    create_strategy(watched)
    start_strategy(watched)
    watch_it_trade(watched)
    read_one_order(watched)
    stop_and_keep_protected(watched)
    place_and_cancel_by_hand(watched, file)
    close_what_was_kept(watched)
    stop_and_close(watched)
    look_at_the_books(watched)
    expect(page.get_by_test_id("strip-service")).to_have_text(re.compile("healthy", re.I))


def set_up_and_sign_in(stack: Stack, watched: Watched) -> None:
    page = watched.page
    page.goto(stack.setup_link())
    expect(page.get_by_role("heading", name="Set up Plumbline")).to_be_visible()
    watched.shot("set-up")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Create the first admin").click()
    watched.at("")
    watched.ready()
    expect(page.get_by_test_id("who")).to_have_text(EMAIL)
    watched.shot("first-dashboard")

    page.get_by_role("button", name="Sign out").click()
    watched.at("login")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill("not " + PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    watched.shot("wrong-password")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    watched.at("")
    watched.ready()
    assert page.evaluate("document.cookie") == "", "the session must be out of JavaScript's reach"


def add_paper_account(watched: Watched) -> None:
    page = watched.page
    watched.visit("settings")
    page.get_by_test_id("add-account").click()
    page.get_by_test_id("account-label").fill("Paper 1")
    page.get_by_test_id("account-usdt").fill("10,000")
    page.get_by_test_id("account-btc").fill("0.5")
    page.get_by_test_id("create-account").click()
    expect(page.get_by_test_id("account-state")).to_have_text("Active", timeout=20_000)
    expect(page.get_by_test_id("strip-exchange")).to_have_text("PAPER")
    watched.shot("account")


def import_candles(watched: Watched, file: Hours) -> None:
    page = watched.page
    watched.visit("market")
    page.get_by_test_id("dataset-file").set_input_files(file.path)
    expect(page.get_by_test_id("dataset-symbol")).to_have_value("BTCUSDT")
    expect(page.get_by_test_id("dataset-timeframe")).to_have_value("1h")
    page.get_by_test_id("dataset-import").click()
    expect(page.get_by_test_id("dataset-rows")).to_have_text(file.rows, timeout=60_000)
    expect(page.get_by_test_id("dataset-gaps")).to_have_text(file.gaps)
    expect(page.get_by_test_id("dataset")).to_contain_text(f"{file.first} to ")
    expect(page.get_by_test_id("gaps").locator("tbody tr")).to_have_count(int(file.gaps.split()[0]))
    chart_is_drawn(page.get_by_test_id("dataset-chart"))
    watched.shot("imported")
    if REAL_MINUTES.exists():
        page.get_by_test_id("dataset-file").set_input_files(REAL_MINUTES)
        expect(page.get_by_test_id("dataset-timeframe")).to_have_value("1m")
        page.get_by_test_id("dataset-import").click()
        minutes = page.get_by_test_id("datasets").locator("tbody tr", has_text="BTCUSDT-1m")
        expect(minutes.get_by_test_id("dataset-rows")).to_have_text("130,708", timeout=60_000)
        expect(minutes.get_by_test_id("dataset-gaps")).to_have_text("no gaps")


def replay_them(watched: Watched, file: Hours) -> None:
    page = watched.page
    expect(page.get_by_test_id("market-source")).to_have_text("Synthetic")
    page.get_by_test_id("change-market").click()
    hours = page.locator("#dataset_id option", has_text="· 1h ·")
    page.locator("#dataset_id").select_option(value=hours.get_attribute("value"))
    page.get_by_label("Start at candle").fill(file.start)
    watched.shot("choose-replay")
    page.get_by_test_id("apply-market").click()
    expect(page.get_by_test_id("market-source")).to_have_text("Replay", timeout=30_000)
    expect(page.get_by_test_id("market-progress")).to_contain_text("of ")
    page.get_by_test_id("tf-1s").click()
    chart_is_drawn(page.get_by_test_id("live-chart"))
    newest = page.get_by_test_id("live-chart")
    before = wait_for(lambda: newest.get_attribute("data-newest"), "a live candle")
    wait_for(lambda: newest.get_attribute("data-newest") != before, "another live candle without a reload")
    watched.shot("replay")


def create_strategy(watched: Watched) -> None:
    page = watched.page
    watched.visit("strategies")
    page.get_by_test_id("new-strategy").click()
    page.get_by_test_id("template-ema_cross_fast").click()
    expect(page.get_by_test_id("template-ema_cross_fast")).to_be_checked()
    page.get_by_test_id("strategy-name").fill("First light")
    watched.shot("templates")
    page.get_by_test_id("create-strategy").click()
    watched.at(r"strategies/\d+")
    watched.ready()
    expect(page.get_by_test_id("valid")).to_be_visible()
    expect(page.get_by_test_id("reading")).to_contain_text("buy when EMA 3 crosses above EMA 8")
    watched.shot("strategy")


def start_strategy(watched: Watched) -> None:
    """From wherever the button is: the strategy's page or the list of runs."""
    page = watched.page
    page.get_by_test_id("open-start").first.click()
    expect(page.get_by_test_id("start-account")).to_contain_text("Paper 1")
    watched.shot("start-dialog")
    page.get_by_test_id("start-run").click()
    watched.at(r"runs/\d+")
    watched.ready()
    expect(page.get_by_test_id("run-state")).to_have_text("Running", timeout=60_000)
    page.evaluate(_WATCH_ORDERS)


def watch_it_trade(watched: Watched) -> None:
    """Orders, fills with fees, position and PnL arrive on the open page."""
    page = watched.page
    expect(page.get_by_test_id("run-fills").locator("tbody tr").first).to_be_visible(timeout=120_000)
    watched.shot("first-fill")
    expect(page.get_by_test_id("run-fills").locator("tbody tr").first).to_contain_text("BTC")
    unrealised = page.get_by_test_id("unrealised")
    wait_for(lambda: _number(unrealised) is not None, "a profit or loss on paper", within_s=60)
    seen = {_number(unrealised)}
    wait_for(lambda: len(seen | {_number(unrealised)} - {None}) > 1, "a PnL that moves with the price", within_s=30)
    # Until it has left by its own rule: the resting stop is cancelled, the rest sold, the result realised.
    wait_for(lambda: _a_stop_rested_and_was_cancelled(watched), "a whole trade", within_s=200, every_s=0.2)
    expect(page.get_by_test_id("run-fills").locator("tbody tr", has_text="Sell").first).to_be_visible()
    wait_for(lambda: _number(page.get_by_test_id("realised")) not in (None, 0.0), "a realised result", within_s=20)
    chart_is_drawn(page.get_by_test_id("run-chart"))
    watched.shot("traded")


def _a_stop_rested_and_was_cancelled(watched: Watched) -> bool:
    statuses: dict[str, list[str]] = watched.page.evaluate("window.__statuses")
    whole = any("Open" in seen and seen[-1] == "Canceled" for seen in statuses.values())
    return whole and any(seen[-1] == "Filled" for seen in statuses.values())


def read_one_order(watched: Watched) -> None:
    page = watched.page
    entry = page.get_by_test_id("run-orders").locator("tbody tr", has_text="Buy").last
    entry.get_by_test_id("order-link").click()
    watched.at(r"orders/\d+")
    watched.ready()
    expect(page.get_by_test_id("order-status")).to_have_text("Filled")
    timeline = page.get_by_test_id("timeline")
    for words in ("Created", "Sent to the exchange, once", "Filled"):
        expect(timeline).to_contain_text(words)
    expect(page.get_by_test_id("order-fills").locator("tbody tr").first).to_contain_text("BTC")
    watched.shot("order-timeline")
    page.go_back()
    watched.at(r"runs/\d+")
    watched.ready()


def stop_and_keep_protected(watched: Watched) -> None:
    """Stopped while it holds a position: the stop order goes on."""
    for _ in range(6):  # the market may be quicker and reach the stop, or the strategy its exit
        stop(watched, "keep_protected")
        facts = _facts(watched)
        if facts["plan"] == "Protected":
            break
        expect(watched.page.get_by_test_id("plan-state")).to_have_text("Closed", timeout=30_000)
        start_again(watched)
    assert facts == {**facts, "run": "Stopped", "plan": "Protected", "stop order": "Open"}
    assert float(facts["position"].replace(",", "")) > 0.001
    watched.shot("stopped-protected")


def close_what_was_kept(watched: Watched) -> None:
    """The stopped run holds its position under the stop until somebody closes it."""
    page = watched.page
    watched.visit("runs")
    page.get_by_test_id("runs-stopped").get_by_role("link").first.click()
    watched.at(r"runs/\d+")
    watched.ready()
    if _facts(watched)["plan"] == "Protected":  # the market may have reached the stop meanwhile
        page.get_by_test_id("close-position").click()
        watched.shot("close-position")
        page.get_by_test_id("confirm-close-yes").click()
    expect(page.get_by_test_id("plan-state")).to_have_text("Closed", timeout=30_000)


def stop_and_close(watched: Watched) -> None:
    page = watched.page
    why = page.get_by_text("the run was stopped with “close”")
    for _ in range(6):
        start_again(watched)
        stop(watched, "close")
        expect(page.get_by_test_id("plan-state")).to_have_text("Closed", timeout=30_000)
        if why.is_visible():
            break
    expect(why).to_be_visible()
    expect(page.get_by_test_id("run-orders").locator("tbody tr", has_text="Sell").first).to_contain_text("Filled")
    assert float(_facts(watched)["position"].replace(",", "")) < 0.00001, "at most dust is left"
    watched.shot("stopped-closed")


def _facts(watched: Watched) -> dict[str, str]:
    """What the page of a run shows at one moment."""
    facts: dict[str, str] = watched.page.evaluate(
        """() => {
          const text = (id, root = document) => root.querySelector(`[data-testid="${id}"]`)?.textContent ?? "";
          const stop = [...document.querySelectorAll('[data-testid="run-orders"] tbody tr')]
            .find((row) => row.textContent.includes("Stop"));
          return { run: text("run-state"), plan: text("plan-state"), position: text("position"),
                   "stop order": stop ? text("order-status", stop) : "" };
        }"""
    )
    return facts


def stop(watched: Watched, mode: str) -> None:
    """Once it holds a protected position."""
    page = watched.page
    expect(page.get_by_test_id("plan-state")).to_have_text("Protected", timeout=150_000)
    page.get_by_test_id("stop-run").click()
    page.get_by_test_id(f"stop-{mode}").check()
    watched.shot(f"stop-{mode}")
    page.get_by_test_id("confirm-stop").click()
    expect(page.get_by_test_id("run-state")).to_have_text("Stopped", timeout=30_000)


def start_again(watched: Watched) -> None:
    watched.visit("strategies")
    start_strategy(watched)


def place_and_cancel_by_hand(watched: Watched, file: Hours) -> None:
    page = watched.page
    watched.visit("orders")
    page.get_by_test_id("place-order").click()
    page.get_by_test_id("kind-limit").click()
    page.get_by_test_id("quantity").fill("0.01")
    page.get_by_test_id("price").fill(file.far_below)
    watched.shot("order-form")
    page.get_by_test_id("order-submit").click()
    row = page.get_by_test_id("orders").locator("tbody tr", has_text="By hand").first
    expect(row.get_by_test_id("order-status")).to_have_text("Open", timeout=20_000)
    watched.shot("order-open")
    row.get_by_test_id("cancel-order").click()
    expect(page.get_by_test_id("confirm-cancel")).to_contain_text("0.01 BTCUSDT")
    page.get_by_test_id("confirm-cancel-yes").click()
    expect(row.get_by_test_id("order-status")).to_have_text("Canceled", timeout=20_000)
    watched.shot("order-canceled")


def look_at_the_books(watched: Watched) -> None:
    page = watched.page
    watched.visit("portfolio")
    expect(page.get_by_test_id("balances")).to_contain_text("USDT")
    watched.shot("portfolio")
    watched.visit("risk")
    watched.shot("risk")
    watched.visit("runs")
    watched.shot("runs")
    watched.visit("admin")
    watched.shot("admin")
    watched.visit("dashboard")
    watched.shot("dashboard")


def chart_is_drawn(chart: Locator) -> None:
    def drawn() -> bool:
        return int(chart.locator("canvas").evaluate_all(_COLOURS)) >= 2

    wait_for(drawn, f"a drawn chart: {chart}", within_s=20, every_s=0.2)


def _number(figure: Locator) -> float | None:
    text = (figure.text_content() or "").replace(",", "").replace("−", "-").strip()
    try:
        return float(text)
    except ValueError:
        return None
