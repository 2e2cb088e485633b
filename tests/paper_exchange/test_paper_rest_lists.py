"""Order lists, tickers and the rest of REST on the wire: what is refused, and in which words."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from client_kit import open_account
from paper_kit import Keys, Paper, PaperProcess

OCO = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.01"}
STOP = {"Type": "STOP_LOSS", "StopPrice": "60000"}
TARGET = {"Type": "LIMIT_MAKER", "Price": "200000"}
GAIN = {"Type": "TAKE_PROFIT", "StopPrice": "200000"}


@pytest.fixture
async def keys(paper: Paper) -> Keys:
    return await open_account(paper, "hmac")


def legs(above: dict[str, str], below: dict[str, str]) -> dict[str, str]:
    return {**{f"above{k}": v for k, v in above.items()}, **{f"below{k}": v for k, v in below.items()}}


@pytest.mark.parametrize(
    ("side", "above", "below", "code", "words"),
    [
        ("SELL", {"Type": "LIMIT", "Price": "1"}, STOP, -1158, "Order type not supported in OCO."),
        ("SELL", TARGET, {"Type": "MARKET"}, -1158, "Order type not supported in OCO."),
        ("SELL", TARGET, TARGET, -1168, "At least one OCO order must be contingent."),
        ("BUY", TARGET, STOP, -1165, "A limit order in a buy OCO must be below."),
        ("SELL", STOP, TARGET, -1166, "A limit order in a sell OCO must be above."),
        ("BUY", STOP, STOP, -1196, "A stop loss order in a buy OCO must be above."),
        ("SELL", STOP, STOP, -1197, "A stop loss order in a sell OCO must be below."),
        ("BUY", GAIN, GAIN, -1198, "A take profit order in a buy OCO must be below."),
        ("SELL", GAIN, GAIN, -1199, "A take profit order in a sell OCO must be above."),
        ("SELL", TARGET, {"Type": "STOP_LOSS"}, -1102, "Param 'belowStopPrice' or 'belowTrailingDelta' must be sent"),
        ("SELL", {"Type": "LIMIT_MAKER"}, STOP, -1102, "Mandatory parameter 'abovePrice' was not sent"),
        ("SELL", TARGET, {**STOP, "Price": "5"}, -1106, "Parameter 'belowPrice' sent when not required."),
        ("SELL", TARGET, {**STOP, "IcebergQty": "1"}, -2010, "Iceberg orders are not supported for this symbol."),
        ("SELL", TARGET, {**STOP, "TrailingDelta": "100"}, -2010, "Trailing stop orders are not supported"),
        ("SELL", TARGET, {**STOP, "Colour": "red"}, -1104, "Not all sent parameters were read"),
        ("SELL", {**TARGET, "Price": "70000"}, STOP, -2010, "The relationship of the prices for the orders"),
    ],
)
async def test_bad_pairs_are_refused(
    paper: Paper, keys: Keys, side: str, above: dict[str, str], below: dict[str, str], code: int, words: str
) -> None:
    params = {**OCO, "side": side, **legs(above, below)}
    status, answer = await paper.signed("POST", "/api/v3/orderList/oco", keys, **params)
    assert (status, answer["code"]) == (400, code), answer
    assert words in answer["msg"]
    assert (await paper.books(keys.account_id))["orders"] == []


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("ticker/24hr", "symbol=BTCUSDT&type=BIG", -1139),
        ("ticker/24hr", "symbol=BTCUSDT&symbolStatus=BREAK", -1220),
        ("ticker/24hr", "symbolStatus=SLEEPING", -1122),
        ("ticker", "symbol=BTCUSDT&windowSize=60m", -1130),
        ("ticker", "symbol=BTCUSDT&windowSize=8d", -1130),
        ("ticker", "", -1102),
        ("ticker/tradingDay", "symbol=BTCUSDT&timeZone=15", -1130),
        ("klines", "symbol=BTCUSDT&interval=1h&timeZone=-12:30", -1130),
        ("klines", "symbol=BTCUSDT&interval=1h&timeZone=5:75", -1130),
        ("aggTrades", "symbol=BTCUSDT&fromId=1&startTime=1", -1128),
        ("exchangeInfo", "symbol=BTCUSDT&permissions=SPOT", -1128),
        ("exchangeInfo", "permissions=EVERYTHING", -1130),
        ("referencePrice", "symbol=BTCUSDT", -2043),
        ("historicalBlockTrades", "symbol=BTCUSDT", -1102),
    ],
)
async def test_bad_questions_about_the_market_are_refused(paper: Paper, path: str, query: str, code: int) -> None:
    status, answer, _ = await paper.raw("GET", f"/api/v3/{path}", query)
    assert (status, answer["code"]) == (400, code), answer


async def test_tickers_filter_by_status_and_windows_begin_on_a_minute(paper: Paper) -> None:
    async def get(path: str, query: str = "") -> Any:
        return (await paper.raw("GET", f"/api/v3/{path}", query))[1]

    assert await get("ticker/24hr", "symbolStatus=BREAK") == []
    assert len(await get("ticker/24hr", "symbolStatus=TRADING&type=MINI")) == 2
    hour = await get("ticker", "symbol=BTCUSDT&windowSize=1h")
    assert 3_600_000 <= hour["closeTime"] - hour["openTime"] < 3_660_000
    day = await get("ticker/tradingDay", 'symbols=["BTCUSDT","ETHUSDT"]&timeZone=5:30&type=MINI')
    assert {(row["openTime"] + 19_800_000) % 86_400_000 for row in day} == {0}
    assert (await get("exchangeInfo", "permissions=MARGIN"))["symbols"] == []
    assert (await get("exchangeInfo", "symbol=BTCUSDT&showPermissionSets=false"))["symbols"][0]["permissionSets"] == []
    shifted = await get("klines", "symbol=BTCUSDT&interval=4h&timeZone=5:45&limit=3")
    assert {(row[0] + 20_700_000) % 14_400_000 for row in shifted} == {0}


async def test_an_order_test_says_nothing_of_what_only_the_engine_knows(paper: Paper, keys: Keys) -> None:
    order = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_LOSS", "quantity": "9", "stopPrice": "200000"}
    assert await paper.signed("POST", "/api/v3/order/test", keys, **order) == (200, {})
    assert (await paper.signed("POST", "/api/v3/order", keys, **order))[1]["code"] == -2010


@pytest.mark.parametrize("path", ["orderList/opo", "orderList/opoco", "sor/order", "sor/order/test"])
async def test_what_is_not_served_says_so(paper: Paper, keys: Keys, path: str) -> None:
    assert (await paper.signed("POST", f"/api/v3/{path}", keys))[1] == {
        "code": -1020, "msg": "This operation is not supported.",
    }  # fmt: skip


async def test_lists_amendments_and_their_bonds_survive_a_kill(tmp_path: Path) -> None:
    process = PaperProcess(tmp_path)
    paper = process.start()
    keys = await open_account(paper, "hmac")
    pair = {**OCO, **legs(TARGET, STOP), "listClientOrderId": "pair"}
    placed = (await paper.signed("POST", "/api/v3/orderList/oco", keys, **pair))[1]
    order_id = placed["orders"][0]["orderId"]
    amend = {"symbol": "BTCUSDT", "orderId": order_id, "newQty": "0.009"}
    assert (await paper.signed("PUT", "/api/v3/order/amend/keepPriority", keys, **amend))[0] == 200
    before = (await paper.signed("GET", "/api/v3/openOrderList", keys))[1]
    process.kill()
    paper = process.start()
    assert (await paper.signed("GET", "/api/v3/openOrderList", keys))[1] == before
    duplicate = await paper.signed("POST", "/api/v3/orderList/oco", keys, **pair)
    assert duplicate[1]["msg"] == "Duplicate order sent."
    again = (await paper.signed("POST", "/api/v3/orderList/oco", keys, **{**pair, "listClientOrderId": "two"}))[1]
    assert again["orderListId"] == placed["orderListId"] + 1
    rows = (await paper.signed("GET", "/api/v3/order/amendments", keys, symbol="BTCUSDT", orderId=order_id))[1]
    assert [row["newQty"] for row in rows] == ["0.00900000"]
    canceled = (await paper.signed("DELETE", "/api/v3/order", keys, symbol="BTCUSDT", orderId=order_id))[1]
    assert [report["status"] for report in canceled["orderReports"]] == ["CANCELED", "CANCELED"]
    _, account = await paper.signed("GET", "/api/v3/account", keys, omitZeroBalances="true")
    assert {b["asset"]: Decimal(b["locked"]) for b in account["balances"]}["BTC"] == Decimal("0.01")
    assert process.stop() == 0
