"""What people get wrong where they meet it: the words stand beside the field, and nothing typed is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from api_client import Api
from candle_files import candle_rows, csv
from playwright.sync_api import expect
from stack import Stack
from strategies import hold
from watched import Watched


@pytest.fixture
def signed_in(shared_stack: Stack, watched: Watched, account_id: int) -> Watched:
    """On the dashboard of the shared stack, which has an active account."""
    watched.sign_in(shared_stack.url)
    return watched


def test_a_bad_row_and_a_huge_file(signed_in: Watched, tmp_path: Path) -> None:
    page = signed_in.page
    signed_in.expect_error(r"422.*/api/v1/datasets")  # the browser itself logs each refused request
    signed_in.visit("market")
    bad = tmp_path / "BTCUSDT-1h.csv"
    rows = candle_rows(40)
    rows[9] = rows[9].replace(".", ",", 1)
    bad.write_bytes(csv(rows))
    page.get_by_test_id("dataset-file").set_input_files(bad)
    page.get_by_test_id("dataset-import").click()
    expect(page.get_by_test_id("dataset-error")).to_contain_text("Row 11")
    expect(page.get_by_test_id("dataset-symbol")).to_have_value("BTCUSDT")
    signed_in.shot("bad-row")

    huge = tmp_path / "huge-1h.csv"
    with huge.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    page.get_by_test_id("dataset-file").set_input_files(huge)
    expect(page.get_by_test_id("dataset-error")).to_contain_text("200.0 MB; the limit is 50 MB")
    page.get_by_test_id("dataset-import").click()
    expect(page.get_by_test_id("dataset-error")).to_contain_text("the limit is 50 MB")


def test_prices_of_another_symbol_can_be_confirmed(signed_in: Watched, api: Api, tmp_path: Path) -> None:
    page = signed_in.page
    signed_in.expect_error(r"422.*/api/v1/datasets")
    signed_in.visit("market")
    cheap = tmp_path / "BTCUSDT-1h.csv"
    cheap.write_bytes(csv(candle_rows(30, price=0.7)))
    page.get_by_test_id("dataset-file").set_input_files(cheap)
    page.get_by_test_id("dataset-name").fill("Cheap")
    page.get_by_test_id("dataset-import").click()
    expect(page.get_by_test_id("dataset-error")).to_contain_text("do not look like BTCUSDT")
    signed_in.shot("wrong-scale")
    assert api.get("/datasets")["datasets"] == []


def test_a_quantity_below_the_lot_size(signed_in: Watched) -> None:
    page = signed_in.page
    signed_in.visit("orders")
    page.get_by_test_id("place-order").click()
    page.locator("#symbol").select_option("BTCUSDT")
    page.get_by_test_id("kind-limit").click()
    page.get_by_test_id("quantity").fill("0.000001")
    page.get_by_test_id("price").fill("90000")
    page.get_by_test_id("order-submit").click()
    expect(page.locator(".field", has=page.get_by_test_id("quantity")).get_by_role("alert")).to_contain_text("0.00001")
    expect(page.get_by_test_id("price")).to_have_value("90000")
    signed_in.shot("lot-size")

    page.get_by_test_id("quantity").fill("five")
    page.get_by_test_id("order-submit").click()
    expect(page.locator(".field", has=page.get_by_test_id("quantity")).get_by_role("alert")).to_contain_text("five")


def test_a_strategy_that_names_an_unknown_series(signed_in: Watched) -> None:
    page = signed_in.page
    signed_in.visit("strategies")
    page.get_by_test_id("new-strategy").click()
    page.get_by_test_id("create-strategy").click()
    signed_in.at(r"strategies/\d+")
    signed_in.ready()
    document = hold()
    document["entry"] = {"all": [{"op": ">", "left": "ema_fats", "right": 0}]}
    page.get_by_test_id("strategy-json").fill(json.dumps(document, indent=2))
    problems = page.get_by_test_id("problems")
    expect(problems).to_contain_text("entry.all[0].left")
    expect(problems).to_contain_text("ema_fats")
    page.get_by_test_id("save-strategy").click()
    expect(page.get_by_test_id("save-error")).not_to_be_empty()
    expect(page.get_by_test_id("versions").locator("tbody tr")).to_have_count(1)
    expect(page.get_by_test_id("strategy-json")).to_have_value(json.dumps(document, indent=2))
    signed_in.shot("unknown-series")


def test_a_setup_link_works_once(signed_in: Watched, shared_stack: Stack) -> None:
    page = signed_in.page
    page.goto(shared_stack.setup_link())
    expect(page.get_by_test_id("setup-link-problem")).to_be_visible()
    expect(page.get_by_label("Password", exact=True)).to_have_count(0)
    signed_in.shot("used-link")
