"""Replays on a running exchange whose clock the test moves: re-stamping, gaps, the end, and what a change means."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from paper_kit import TOKEN, Keys, ManualClock, Paper, flat_candles, running, until

RICH = {"USDT": "1000000", "BTC": "10"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(int(time.time()) * 1000)


@pytest.fixture
async def moving(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Paper]:
    """An exchange that stands still unless the test moves its clock."""
    async with running(tmp_path / "paper.db", clock, weight_limit_per_minute=0) as made:
        yield made


def rising(count: int, first: int = 50_000) -> list[list[Any]]:
    """Candles whose closes are first+1, first+2, …"""
    return [
        [n * 3_600_000, str(first + n), str(first + n + 1), str(first + n), str(first + n + 1), "8"]
        for n in range(count)
    ]


async def klines(paper: Paper, interval: str, limit: int = 1000, symbol: str = "BTCUSDT") -> list[list[Any]]:
    return (await paper.raw("GET", "/api/v3/klines", f"symbol={symbol}&interval={interval}&limit={limit}"))[1]


async def signed(paper: Paper, clock: ManualClock, method: str, path: str, keys: Keys, **params: Any) -> Any:
    return (await paper.signed(method, path, keys, timestamp=clock.now_ms(), **params))[1]


async def test_candles_are_restamped_to_now_one_a_second_with_the_history_before_them(
    moving: Paper, clock: ManualClock
) -> None:
    began_ms = clock.now_ms()
    status = await moving.replay("BTCUSDT", rising(2000), start=1800, label="ten years ago")
    assert (status["source"], status["label"], status["progress"]) == (
        "replay",
        "ten years ago",
        {"played": 1801, "of": 2000},
    )
    history = await klines(moving, "1s")
    assert [r[0] for r in history] == list(range(began_ms - 999_000, began_ms + 1000, 1000))
    assert [float(r[4]) for r in history[:-1]] == [50_801 + n for n in range(1, 1000)][: len(history) - 1]
    await clock.advance(3)
    after = await klines(moving, "1s", 4)
    assert [(r[0], float(r[1])) for r in after] == [(began_ms + n * 1000, 51_800 + n) for n in range(4)]
    minutes = await klines(moving, "1m")
    assert len(minutes) in (31, 32)
    assert all(later[0] - earlier[0] == 60_000 for earlier, later in pairwise(minutes))


async def test_a_new_symbol_can_be_replayed_and_gaps_are_closed_and_counted(moving: Paper, clock: ManualClock) -> None:
    rows = [*flat_candles(10, "5.1234"), *flat_candles(10, "5.2", from_ms=90 * 60_000)]
    status = await moving.replay("FILUSDT", rows, start=9)
    assert (status["gaps_closed"], status["candles_missing"]) == (1, 80)
    await clock.advance(1)
    found = await klines(moving, "1s", 2, "FILUSDT")
    assert [(r[0] // 1000, r[4]) for r in found] == [
        (clock.now_ms() // 1000 - 1, "5.12340000"), (clock.now_ms() // 1000, "5.20000000"),
    ]  # fmt: skip
    info = (await moving.raw("GET", "/api/v3/exchangeInfo", "symbol=FILUSDT"))[1]["symbols"][0]
    assert (info["baseAsset"], info["filters"][0]["tickSize"]) == ("FIL", "0.00010000")


async def test_at_its_end_the_symbol_is_halted_and_takes_no_orders(moving: Paper, clock: ManualClock) -> None:
    keys = await moving.open_account(RICH, ed25519=False)
    await moving.replay("BTCUSDT", rising(12), start=8)
    resting = await signed(
        moving, clock, "POST", "/api/v3/order", keys,
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="40000",
    )  # fmt: skip
    await clock.advance(5)
    assert (await moving.status_of("BTCUSDT"))["halted"]
    info = (await moving.raw("GET", "/api/v3/exchangeInfo", "symbol=BTCUSDT"))[1]
    assert info["symbols"][0]["status"] == "BREAK"
    market = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    refused = await signed(moving, clock, "POST", "/api/v3/order", keys, **market)
    assert refused == {"code": -1013, "msg": "Market is closed."}
    canceled = await signed(
        moving, clock, "DELETE", "/api/v3/order", keys, symbol="BTCUSDT", orderId=resting["orderId"]
    )  # fmt: skip
    assert canceled["status"] == "CANCELED"
    count = len(await klines(moving, "1s"))
    await clock.advance(70)
    assert len(await klines(moving, "1s")) == count
    other = await signed(moving, clock, "POST", "/api/v3/order", keys, **{**market, "symbol": "ETHUSDT"})
    assert other["status"] == "FILLED"


async def test_a_looping_replay_starts_again(moving: Paper, clock: ManualClock) -> None:
    await moving.replay("BTCUSDT", rising(10), start=8, loop=True)
    await clock.advance(4)
    assert [float(r[1]) for r in await klines(moving, "1s", 5)] == [50_008, 50_009, 50_000, 50_001, 50_002]
    status = await moving.status_of("BTCUSDT")
    assert (status["halted"], status["loop"], status["progress"]) == (False, True, {"played": 3, "of": 10})


async def test_a_change_of_source_expires_open_orders_keeps_balances_and_counts_up_the_market(
    moving: Paper, clock: ManualClock
) -> None:
    keys = await moving.open_account(RICH, ed25519=False)
    before = await moving.status_of("BTCUSDT")
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    placed = await signed(moving, clock, "POST", "/api/v3/order", keys, **order, price="50000")
    status = await moving.replay("BTCUSDT", rising(3000), start=2000)
    assert status["market_id"] > before["market_id"]
    found = await signed(moving, clock, "GET", "/api/v3/order", keys, symbol="BTCUSDT", orderId=placed["orderId"])
    assert (found["status"], found["expiryReason"]) == ("EXPIRED", "EXCHANGE_CANCELED")
    books = await moving.books(keys.account_id)
    assert books["balances"]["USDT"] == {"free": "1000000", "locked": "0"}
    again = await moving.control("POST", "/paper/markets/BTCUSDT", {"source": "synthetic", "seed": 7})
    assert again[1]["market_id"] > status["market_id"]
    placed_later = await signed(moving, clock, "POST", "/api/v3/order", keys, **order, price="50000")
    assert placed_later["orderId"] == placed["orderId"] + 1


async def test_resting_orders_fill_as_the_replay_passes_them(moving: Paper, clock: ManualClock) -> None:
    keys = await moving.open_account(RICH, ed25519=False)
    await moving.replay("BTCUSDT", rising(100), start=10)
    placed = await signed(
        moving, clock, "POST", "/api/v3/order", keys,
        symbol="BTCUSDT", side="SELL", type="LIMIT", timeInForce="GTC", quantity="0.01", price="50015.00",
    )  # fmt: skip
    await clock.advance(3)
    assert (await moving.books(keys.account_id))["orders"][0]["status"] == "NEW"
    await clock.advance(3)
    (filled,) = (await moving.books(keys.account_id))["orders"]
    (trade,) = (await moving.books(keys.account_id))["trades"]
    assert (filled["status"], trade["orderId"], trade["price"]) == ("FILLED", placed["orderId"], "50015.00000000")
    assert trade["isMaker"]


async def test_a_standstill_of_the_process_is_a_gap_and_being_late_is_not(moving: Paper, clock: ManualClock) -> None:
    await moving.replay("BTCUSDT", rising(500), start=100)
    await clock.advance(2)
    await clock.jump(5)
    late = await klines(moving, "1s", 8)
    assert [b[0] - a[0] for a, b in pairwise(late)] == [1000] * 7
    await clock.jump(60)
    await clock.advance(2)
    gap = await klines(moving, "1s", 4)
    assert [b[0] - a[0] for a, b in pairwise(gap)] == [60_000, 1000, 1000]
    assert [float(b[1]) - float(a[1]) for a, b in pairwise(gap)] == [1, 1, 1]


async def test_three_hundred_thousand_candles_are_taken_gzipped(moving: Paper) -> None:
    rows = flat_candles(300_000, "50000.01", "1.5")
    body = gzip.compress(json.dumps({"source": "replay", "candles": rows, "start": 200_000}).encode(), 1)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
    async with aiohttp.ClientSession() as session:
        response = await session.post(f"{moving.url}/paper/markets/BTCUSDT", data=body, headers=headers)
        assert response.status == 200, await response.text()
        status = await response.json()
    assert status["progress"] == {"played": 200_001, "of": 300_000}
    assert status["history_seconds"] == 86_400
    assert len(await klines(moving, "1h")) in (24, 25)


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("/paper/markets/BTCUSDT", {"source": "dream"}, 400, "source must be"),
        ("/paper/markets/BTCUSDT", {"source": "synthetic", "seed": "x"}, 400, "seed must be"),
        ("/paper/markets/BTCUSDT", {"source": "synthetic", "price": "0"}, 400, "price must be above zero"),
        ("/paper/markets/BTC-USDT", {"source": "synthetic"}, 400, "is not a symbol"),
        ("/paper/markets/BTCUSDT", {"source": "replay", "candles": []}, 400, "at least 2 candles"),
        ("/paper/markets/BTCUSDT", {"source": "replay", "candles": rising(5), "start": 5}, 400, "start must be"),
        ("/paper/markets/BTCUSDT", {"source": "replay", "candles": rising(5)[::-1]}, 400, "candle 1"),
        ("/paper/accounts", {"balances": {"USDT": "-1"}}, 400, "USDT must be above zero"),
        ("/paper/accounts", {"balances": {"USDT": 5.5}}, 400, "written as text"),
        ("/paper/accounts", {"balances": {"USDT": "0.123456789"}}, 400, "more than eight"),
        ("/paper/accounts", {"public_key_pem": "x"}, 400, "not a public key"),
        ("/paper/accounts", [], 400, "JSON object"),
        ("/paper/accounts/987654/deposit", {"USDT": "1"}, 404, "no account 987654"),
        ("/paper/accounts/987654/withdraw", {"USDT": "1"}, 404, "no account 987654"),
    ],
)
async def test_bad_control_requests_are_refused_in_words_and_change_nothing(
    paper: Paper, path: str, body: Any, code: int, words: str
) -> None:
    before = (await paper.control("GET", "/paper/status"))[1]
    status, answer = await paper.control("POST", path, body)
    assert (status, words in answer["error"]) == (code, True), answer
    after = (await paper.control("GET", "/paper/status"))[1]
    assert [s["market_id"] for s in after["symbols"]] == [s["market_id"] for s in before["symbols"]]
    assert after["accounts"] == before["accounts"]


async def test_control_endpoints_want_the_token_and_status_does_not(paper: Paper, tmp_path: Path) -> None:
    assert (await paper.control("GET", "/paper/status", token=None))[0] == 200
    assert (await paper.control("GET", "/paper/health", token=None))[1]["status"] == "ok"
    for token in (None, "wrong"):
        assert (await paper.control("POST", "/paper/accounts", {}, token=token))[0] == 401
        assert (await paper.control("GET", "/paper/books/1", token=token))[0] == 401
    from app.paper_exchange.settings import PaperSettings

    token_file = tmp_path / "token"
    token_file.write_text("from-a-file\n")
    assert PaperSettings(tmp_path / "x", control_token_file=token_file).read_token() == "from-a-file"


async def test_deposits_arrive(paper: Paper) -> None:
    keys = await paper.open_account({"USDT": "10"})
    status, answer = await paper.control("POST", f"/paper/accounts/{keys.account_id}/deposit", {"USDT": "2.5"})
    assert (status, answer["balances"]["USDT"]["free"]) == (200, "12.5")

    async def stored() -> bool:
        return (await paper.books(keys.account_id))["balances"]["USDT"]["free"] == "12.5"

    assert await until(stored)


async def test_what_is_free_can_be_withdrawn_and_no_more(paper: Paper) -> None:
    keys = await paper.open_account({"USDT": "10", "BTC": "1"})
    path = f"/paper/accounts/{keys.account_id}/withdraw"
    status, answer = await paper.control("POST", path, {"USDT": "2.5"})
    assert (status, answer["balances"]["USDT"]["free"]) == (200, "7.5")
    status, answer = await paper.control("POST", path, {"BTC": "0.5", "USDT": "7.6"})
    assert (status, answer["field"]) == (400, "USDT")

    async def stored() -> bool:
        balances = (await paper.books(keys.account_id))["balances"]
        return (balances["USDT"]["free"], balances["BTC"]["free"]) == ("7.5", "1")

    assert await until(stored)
