"""A strategy with two targets and a trail trades on the real stack: pairs rest, stops move, and the books agree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from api_client import Api, use_setup_link
from both_books import all_orders, differences
from candle_files import csv
from playwright.sync_api import expect
from stack import Stack, new_stack, wait_for
from watched import Watched

ALWAYS = {"op": ">", "left": "close", "right": 0}
NEVER = {"op": "<", "left": "close", "right": 0}


def laddered() -> dict[str, Any]:
    """Buys whenever it is flat; two near targets, a trail a little below the price, and a time stop."""
    return {
        "schema": 1,
        "name": "Ladder",
        "market": {"symbols": ["BTCUSDT"], "timeframe": "1s"},
        "params": {},
        "series": {},
        "entry": {"all": [ALWAYS]},
        "exit": {"any": [NEVER]},
        "order": {"type": "market"},
        "sizing": {"mode": "equity_pct", "pct": "20"},
        "protect": {
            "stop": {"pct": "4"},
            "take_profit": [{"at": {"pct": "1"}, "close_pct": 40}, {"at": {"r": "0.5"}, "close_pct": 30}],
            "trail": {"pct": "1"},
            "trail_after_r": "0.7",
            "time_stop_bars": 60,
        },
        "limits": {"max_open": 1},
    }


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with new_stack() as stack:
        use_setup_link(stack.start())
        yield stack


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[Api]:
    with Api(stack.url) as client:
        yield client


def waves(count: int = 600) -> bytes:
    """Hours that rise by a quarter per cent sixteen times and then fall by 0.6 per cent four times."""
    rows, price, first_ms = [], 50_000.0, 1_700_000_000_000 // 3_600_000 * 3_600_000
    for number in range(count):
        close = price * (1.0025 if number % 20 < 16 else 0.994)
        high, low = max(price, close) * 1.0002, min(price, close) * 0.9998
        rows.append(f"{first_ms + number * 3_600_000},{price:.2f},{high:.2f},{low:.2f},{close:.2f},9000")
        price = round(close, 2)
    return csv(rows)


def replay(api: Api) -> None:
    """The paper market shows these waves from now on, a candle a second."""
    form = {"symbol": "BTCUSDT", "timeframe": "1h", "name": "waves"}
    answer = api.send("POST", "/datasets", data=form, files={"file": ("waves.csv", waves())})
    assert answer.status_code == 201, answer.text
    dataset = answer.json()["id"] if "id" in answer.json() else answer.json()["dataset"]["id"]
    before = api.get("/paper-markets")["paper_markets"]
    api.post("/paper-markets", {"symbol": "BTCUSDT", "source": "replay", "dataset_id": dataset, "start": 0})
    wait_for(lambda: api.get("/paper-markets")["paper_markets"] != before, "the market replays", within_s=60)


def test_a_ladder_with_a_trail_trades_and_both_books_agree(stack: Stack, api: Api, watched: Watched) -> None:
    account_id = api.paper_account("Ladder", usdt="100000")
    replay(api)
    strategy_id = int(api.post("/strategies", {"name": "Ladder", "document": laddered()})["id"])
    run_id = int(api.post(f"/strategies/{strategy_id}/start", {"account_id": account_id})["id"])
    watched.sign_in(stack.url)
    watched.page.goto(f"{stack.url}/runs/{run_id}")

    # A pair is two orders of one list; the part that no target covers has a stop alone.
    wait_for(lambda: resting(api, account_id, "LIMIT_MAKER"), "a target rests", within_s=90, every_s=0.5)
    parts = watched.page.get_by_test_id("plan-parts")
    expect(parts).to_contain_text("rests", timeout=30_000)
    watched.shot("plan-parts")
    watched.page.goto("about:blank")

    wait_for(
        lambda: len(filled(api, account_id, "LIMIT_MAKER")) >= 3, "three targets were reached", within_s=180, every_s=1
    )
    wait_for(lambda: raised(api, account_id), "a stop was moved up", within_s=120, every_s=1)
    time.sleep(5)  # a few more positions, come what may
    api.post(f"/runs/{run_id}/stop", {"mode": "close"})
    wait_for(lambda: api.get(f"/runs/{run_id}")["run"]["state"] == "STOPPED", "the run has stopped", within_s=60)
    last: list[str] = []

    def agree() -> bool:
        last[:] = differences(stack, api, account_id)
        return not last

    try:
        wait_for(agree, "books that agree", within_s=75, every_s=0.5)
    except AssertionError:
        raise AssertionError("the books differ:\n" + "\n".join(last)) from None
    assert api.get(f"/runs/{run_id}")["plan"]["state"] == "CLOSED"
    every = all_orders(api, account_id)
    assert not [order for order in every if order["status"] in ("NEW", "SUBMITTED", "OPEN", "PARTIALLY_FILLED")]
    print(f"a moved stop lay bare for {bare_s(api, every)} s (median)")
    print({kind: len([o for o in every if o["type"] == kind]) for kind in ("MARKET", "STOP_LOSS", "LIMIT_MAKER")})


def resting(api: Api, account_id: int, kind: str) -> list[Any]:
    return [o for o in all_orders(api, account_id) if o["type"] == kind and o["status"] == "OPEN"]


def filled(api: Api, account_id: int, kind: str) -> list[Any]:
    return [o for o in all_orders(api, account_id) if o["type"] == kind and o["status"] == "FILLED"]


def raised(api: Api, account_id: int) -> bool:
    """Whether a stop was cancelled and placed again higher up before the next entry."""
    before = None
    for order in reversed(all_orders(api, account_id)):
        if order["side"] == "BUY":
            before = None
        elif order["type"] == "STOP_LOSS":
            if before is not None and float(order["stop_price"]) > before:
                return True
            before = float(order["stop_price"])
    return False


def bare_s(api: Api, every: list[Any]) -> float | None:
    """From the end of a stop that was taken back to the confirmation of the next one: the median."""
    stops = [api.order(order["id"]) for order in reversed(every) if order["type"] == "STOP_LOSS"]
    gaps = []
    for old, new in pairwise(stops):
        ended, confirmed = at(old, "canceled"), at(new, "acknowledged")
        if ended and confirmed:
            gaps.append((confirmed - ended).total_seconds())
    return round(median(gaps), 3) if gaps else None


def at(order: Any, kind: str) -> datetime | None:
    """When the first event of this kind was recorded."""
    found = (event["recorded_at"] for event in order["events"] if event["kind"] == kind)
    return next((datetime.fromisoformat(moment) for moment in found), None)
