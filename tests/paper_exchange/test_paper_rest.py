"""The REST side on the wire: codes and texts as documented, requests exactly as real clients send them."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from paper_kit import Keys, ManualClock, Paper, hmac_of, running

RICH = {"USDT": "100000", "BTC": "1"}
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.001",
    "price": "90000",
}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


@pytest.fixture
async def keys(paper: Paper) -> Keys:
    return await paper.open_account(RICH, ed25519=False)


def without(params: dict[str, str], *names: str) -> dict[str, str]:
    return {k: v for k, v in params.items() if k not in names}


async def test_public_endpoints_answer_as_documented(paper: Paper) -> None:
    assert (await paper.raw("GET", "/api/v3/ping"))[:2] == (200, {})
    status, answer, headers = await paper.raw("GET", "/api/v3/time")
    assert abs(answer["serverTime"] - time.time() * 1000) < 2000
    assert int(headers["X-MBX-USED-WEIGHT-1M"]) >= 1
    assert status == 200
    _, info, _ = await paper.raw("GET", "/api/v3/exchangeInfo", 'symbols=["BTCUSDT","ETHUSDT"]')
    assert [s["symbol"] for s in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert {f["filterType"] for f in info["symbols"][0]["filters"]} >= {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL"}
    _, one, _ = await paper.raw("GET", "/api/v3/ticker/price", "symbol=BTCUSDT")
    _, many, _ = await paper.raw("GET", "/api/v3/ticker/price")
    assert one["symbol"] == "BTCUSDT"
    assert [p["symbol"] for p in many] == ["BTCUSDT", "ETHUSDT"]
    _, best, _ = await paper.raw("GET", "/api/v3/ticker/bookTicker", "symbol=BTCUSDT")
    assert Decimal(best["bidPrice"]) < Decimal(best["askPrice"])
    _, book, _ = await paper.raw("GET", "/api/v3/depth", "symbol=BTCUSDT&limit=5")
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert [Decimal(p) for p, _ in book["bids"]] == sorted((Decimal(p) for p, _ in book["bids"]), reverse=True)


async def test_klines_end_with_the_forming_one_and_page_by_time(paper: Paper) -> None:
    _, newest, _ = await paper.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=3")
    now_ms = (await paper.raw("GET", "/api/v3/time"))[1]["serverTime"]
    assert len(newest) == 3
    assert newest[-1][6] >= now_ms - 1000
    assert all(len(row) == 12 and row[6] == row[0] + 59_999 for row in newest)
    _, all_of_it, _ = await paper.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=5000")
    assert len(all_of_it) == 1000
    start, end = all_of_it[10][0], all_of_it[20][0]
    _, part, _ = await paper.raw(
        "GET", "/api/v3/klines", f"symbol=BTCUSDT&interval=1m&startTime={start}&endTime={end}&limit=500"
    )
    assert part == all_of_it[10:21]
    _, in_microseconds, _ = await paper.raw(
        "GET", "/api/v3/klines", f"symbol=BTCUSDT&interval=1m&startTime={start}000&endTime={end}000"
    )
    assert in_microseconds == part


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", "symbol=NOSUCH&interval=1m", -1121),
        ("klines", "symbol=btcusdt&interval=1m", -1100),
        ("klines", "interval=1m", -1102),
        ("klines", "symbol=BTCUSDT", -1102),
        ("klines", "symbol=BTCUSDT&interval=7m", -1120),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=x", -1100),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=0", -1130),
        ("klines", "symbol=BTCUSDT&interval=1m&limit=99999999999999999999", -1108),
        ("klines", "symbol=BTCUSDT&interval=1m&colour=red", -1104),
        ("klines", "symbol=BTCUSDT&symbol=BTCUSDT&interval=1m", -1101),
        ("klines", "symbol=BTCUSDT&interval=1m&startTime=", -1105),
        ("ticker/price", "symbol=BTCUSDT&symbols=[%22BTCUSDT%22]", -1128),
        ("ticker/price", "symbols=BTCUSDT", -1100),
        ("ticker/price", "symbols=[%22BTCUSDT%22,%22BTCUSDT%22]", -1151),
        ("exchangeInfo", "symbolStatus=SLEEPING", -1122),
        ("account", "", -2014),
    ],
)
async def test_bad_public_requests_are_refused_with_their_codes(paper: Paper, path: str, query: str, code: int) -> None:
    status, answer, headers = await paper.raw("GET", f"/api/v3/{path}", query)
    assert (status, answer["code"]) == (401 if code == -2014 else 400, code)
    assert "X-MBX-USED-WEIGHT-1M" in headers


async def test_an_unknown_parameter_is_refused_with_the_documented_text(paper: Paper, keys: Keys) -> None:
    status, answer = await paper.signed("POST", "/api/v3/order", keys, **MARKET, newClientOrderID="typo")
    assert (status, answer["code"]) == (400, -1104)
    assert answer["msg"] == "Not all sent parameters were read; read '6' parameter(s) but was sent '7'."


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "LIMITED"}, -1116, "Invalid orderType."),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"timeInForce": None}, -1102, "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed."),
        ({"price": None}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
        ({"price": "1e5"}, -1100, "Illegal characters found in parameter 'price'"),
        ({"price": "-5"}, -1100, "Illegal characters found in parameter 'price'"),
        ({"price": "0"}, -1013, "Invalid price."),
        ({"quantity": "0.000"}, -1013, "Invalid quantity."),
        ({"quantity": "0.000000001"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"price": "90000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "1000"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL"),
        ({"quantity": "5"}, -2010, "Account has insufficient balance for requested action."),
        ({"quoteOrderQty": "10"}, -1106, "Parameter 'quoteOrderQty' sent when not required."),
        ({"stopPrice": "10"}, -1106, "Parameter 'stopPrice' sent when not required."),
        ({"icebergQty": "0.0001"}, -2010, "Iceberg orders are not supported for this symbol."),
        ({"newClientOrderId": "with space".replace(" ", "%20")}, -1100, "Illegal characters found in parameter"),
        ({"newClientOrderId": "x" * 37}, -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        ({"newOrderRespType": "LOUD"}, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
        ({"strategyType": "5"}, -1134, "`strategyType` was less than 1000000."),
        ({"selfTradePreventionMode": "WISH"}, -1013, "This symbol does not allow"),
        ({"symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        ({"recvWindow": "60001"}, -1102, "'recvWindow' contains unexpected value. Cannot be greater than 60000."),
        ({"recvWindow": "abc"}, -1100, "Illegal characters found in parameter 'recvWindow'"),
    ],
)
async def test_bad_orders_are_refused_with_their_codes_and_texts(
    paper: Paper, keys: Keys, change: dict[str, str | None], code: int, words: str
) -> None:
    status, answer = await paper.signed("POST", "/api/v3/order", keys, **{**LIMIT, **change})
    assert (status, answer["code"]) == (400, code)
    assert words in answer["msg"]
    assert (await paper.books(keys.account_id))["orders"] == []


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({**without(MARKET, "quantity")}, -1102, "Param 'quantity' or 'quoteOrderQty' must be sent, but both"),
        ({**MARKET, "price": "1"}, -1106, "Parameter 'price' sent when not required."),
        ({**MARKET, "timeInForce": "GTC"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({**MARKET, "type": "STOP_LOSS"}, -1102, "Param 'stopPrice' or 'trailingDelta' must be sent"),
        ({**MARKET, "type": "STOP_LOSS", "stopPrice": "50000"}, -2010, "Order would trigger immediately."),
        ({**MARKET, "type": "STOP_LOSS", "trailingDelta": "100"}, -2010, "Trailing stop orders are not supported"),
        ({**without(LIMIT, "timeInForce"), "type": "LIMIT_MAKER", "price": "400000"}, -2010,
         "Order would immediately match and take."),
    ],
)  # fmt: skip
async def test_parameters_belong_to_their_order_types(
    paper: Paper, keys: Keys, params: dict[str, str], code: int, words: str
) -> None:
    status, answer = await paper.signed("POST", "/api/v3/order", keys, **params)
    assert (status, answer["code"]) == (400, code)
    assert words in answer["msg"]


async def test_keys_signatures_and_times_are_checked(paper: Paper, keys: Keys) -> None:
    account = "/api/v3/account"
    assert (await paper.raw("GET", account))[:2] == (401, {"code": -2014, "msg": "API-key format invalid."})
    unknown = await paper.raw("GET", account, keys="nobody")
    assert unknown[:2] == (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."})
    now_ms = int(time.time() * 1000)
    unsigned = await paper.raw("GET", account, f"timestamp={now_ms}", keys=keys)
    assert unsigned[1]["msg"] == "Mandatory parameter 'signature' was not sent, was empty/null, or malformed."
    signature = hmac_of(keys, f"timestamp={now_ms}")
    forged = await paper.raw("GET", account, f"timestamp={now_ms + 1}&signature={signature}", keys=keys)
    assert forged[:2] == (400, {"code": -1022, "msg": "Signature for this request is not valid."})
    upper = await paper.raw("GET", account, f"timestamp={now_ms}&signature={signature.upper()}", keys=keys)
    assert upper[0] == 200
    untimed = await paper.raw("GET", account, f"signature={hmac_of(keys, '')}", keys=keys)
    assert untimed[1]["code"] == -1102
    late, answer = await paper.signed("GET", account, keys, timestamp=int(time.time() * 1000) - 5500)
    assert (late, answer["code"]) == (400, -1021)
    assert answer["msg"] == "Timestamp for this request is outside of the recvWindow."
    old = int(time.time() * 1000) - 5500
    assert (await paper.signed("GET", account, keys, timestamp=old, recvWindow="30000.5"))[0] == 200
    early, answer = await paper.signed("GET", account, keys, timestamp=int(time.time() * 1000) + 8000)
    assert (early, answer["msg"]) == (400, "Timestamp for this request was 1000ms ahead of the server's time.")
    microseconds, _ = await paper.signed("GET", account, keys, timestamp=int(time.time() * 1_000_000))
    assert microseconds == 200


async def test_parameters_travel_in_query_or_body_or_both(paper: Paper, keys: Keys) -> None:
    now_ms = int(time.time() * 1000)
    head, tail = "symbol=BTCUSDT&side=BUY&type=MARKET", f"quantity=0.001&recvWindow=60000&timestamp={now_ms}"
    whole = f"{head}&{tail}"
    in_body = await paper.raw("POST", "/api/v3/order", "", f"{whole}&signature={hmac_of(keys, whole)}", keys)
    assert in_body[0] == 200
    in_query = await paper.raw("POST", "/api/v3/order", f"{whole}&signature={hmac_of(keys, whole)}", "", keys)
    assert in_query[0] == 200
    mixed = f"{tail}&signature={hmac_of(keys, head + tail)}"
    in_both = await paper.raw("POST", "/api/v3/order", head, mixed, keys)
    assert in_both[0] == 200
    cancel = f"symbol=BTCUSDT&orderId=1&recvWindow=60000&timestamp={now_ms}"
    delete = await paper.raw("DELETE", "/api/v3/order", "", f"{cancel}&signature={hmac_of(keys, cancel)}", keys)
    assert delete[:2] == (400, {"code": -2011, "msg": "Unknown order sent."})


@pytest.mark.parametrize(
    ("response", "present", "absent"),
    [("ACK", "transactTime", "status"), ("RESULT", "status", "fills"), ("FULL", "fills", "x"), (None, "fills", "x")],
)
async def test_the_answer_is_as_long_as_asked(
    paper: Paper, keys: Keys, response: str | None, present: str, absent: str
) -> None:
    status, answer = await paper.signed("POST", "/api/v3/order", keys, **MARKET, newOrderRespType=response)
    assert status == 200
    assert present in answer
    assert absent not in answer


async def test_an_order_is_queried_and_cancelled_by_either_id(paper: Paper, keys: Keys) -> None:
    placed = (await paper.signed("POST", "/api/v3/order", keys, **LIMIT, newClientOrderId="mine-1"))[1]
    both = {"symbol": "BTCUSDT", "orderId": placed["orderId"], "origClientOrderId": "mine-1"}
    for names in (("orderId",), ("origClientOrderId",), ("orderId", "origClientOrderId")):
        picked = {"symbol": "BTCUSDT", **{n: both[n] for n in names}}
        status, found = await paper.signed("GET", "/api/v3/order", keys, **picked)
        assert (status, found["orderId"], found["status"]) == (200, placed["orderId"], "NEW")
    wrong = await paper.signed("GET", "/api/v3/order", keys, **{**both, "origClientOrderId": "other"})
    assert wrong[1]["code"] == -2039
    neither = await paper.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT")
    assert neither[1]["code"] == -1102
    unknown = await paper.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT", orderId=10**9)
    assert unknown == (400, {"code": -2013, "msg": "Order does not exist."})
    kept = await paper.signed("DELETE", "/api/v3/order", keys, **both, cancelRestrictions="ONLY_PARTIALLY_FILLED")
    assert kept[1]["msg"] == "Order was not canceled due to cancel restrictions."
    status, canceled = await paper.signed("DELETE", "/api/v3/order", keys, **both, newClientOrderId="my-cancel")
    assert (canceled["clientOrderId"], canceled["origClientOrderId"]) == ("my-cancel", "mine-1")
    assert (status, canceled["status"]) == (200, "CANCELED")
    again = await paper.signed("DELETE", "/api/v3/order", keys, **both)
    assert again == (400, {"code": -2011, "msg": "Unknown order sent."})
    after = await paper.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="mine-1")
    assert after[1]["status"] == "CANCELED"


async def test_a_reused_client_id_finds_its_newest_order(paper: Paper, keys: Keys) -> None:
    ids = [
        (await paper.signed("POST", "/api/v3/order", keys, **MARKET, newClientOrderId="again"))[1]["orderId"]
        for _ in range(2)
    ]
    assert ids[0] < ids[1]
    found = await paper.signed("GET", "/api/v3/order", keys, symbol="BTCUSDT", origClientOrderId="again")
    assert found[1]["orderId"] == ids[1]


async def test_one_account_does_not_see_anothers_orders(paper: Paper, keys: Keys) -> None:
    other = await paper.open_account(RICH, ed25519=False)
    placed = (await paper.signed("POST", "/api/v3/order", keys, **LIMIT))[1]
    which = {"symbol": "BTCUSDT", "orderId": placed["orderId"]}
    assert (await paper.signed("GET", "/api/v3/order", other, **which))[1]["code"] == -2013
    assert (await paper.signed("DELETE", "/api/v3/order", other, **which))[1]["code"] == -2011
    assert (await paper.signed("GET", "/api/v3/openOrders", other))[1] == []
    assert (await paper.signed("GET", "/api/v3/allOrders", other, symbol="BTCUSDT"))[1] == []


async def test_history_pages_by_id_and_by_windows_of_a_day(paper: Paper, keys: Keys) -> None:
    began_ms = int(time.time() * 1000)
    for _ in range(5):
        await paper.signed("POST", "/api/v3/order", keys, **MARKET)
    _, orders = await paper.signed("GET", "/api/v3/allOrders", keys, symbol="BTCUSDT")
    _, trades = await paper.signed("GET", "/api/v3/myTrades", keys, symbol="BTCUSDT")
    assert len(orders) == len(trades) == 5
    assert [o["orderId"] for o in orders] == sorted(o["orderId"] for o in orders)

    async def get(what: str, **params: Any) -> Any:
        return (await paper.signed("GET", f"/api/v3/{what}", keys, symbol="BTCUSDT", **params))[1]

    assert await get("allOrders", limit=2) == orders[-2:]
    assert await get("allOrders", orderId=orders[1]["orderId"], limit=2) == orders[1:3]
    assert await get("myTrades", limit=2) == trades[-2:]
    assert await get("myTrades", fromId=trades[2]["id"]) == trades[2:]
    assert await get("myTrades", orderId=orders[3]["orderId"]) == [trades[3]]
    assert await get("myTrades", startTime=began_ms - 1000, endTime=began_ms + 60_000, limit=1) == trades[:1]
    assert await get("allOrders", startTime=began_ms - 1000) == orders
    assert await get("allOrders", endTime=began_ms - 1000) == []
    day_ms = 86_400_000
    for what in ("allOrders", "myTrades"):
        assert await get(what, startTime=began_ms - day_ms, endTime=began_ms) is not None
        too_long = await get(what, startTime=began_ms - day_ms - 1, endTime=began_ms)
        assert too_long == {"code": -1127, "msg": "More than 24 hours between startTime and endTime."}
    assert (await get("myTrades", orderId=1, startTime=1))["code"] == -1128


async def test_account_commission_and_rights_are_told(paper: Paper, keys: Keys) -> None:
    _, account = await paper.signed("GET", "/api/v3/account", keys, omitZeroBalances="true")
    assert {b["asset"]: b["free"] for b in account["balances"]} == {"BTC": "1.00000000", "USDT": "100000.00000000"}
    assert account["commissionRates"]["taker"] == "0.00100000"
    _, everything = await paper.signed("GET", "/api/v3/account", keys)
    assert "ETH" in {b["asset"] for b in everything["balances"]}
    _, commission = await paper.signed("GET", "/api/v3/account/commission", keys, symbol="BTCUSDT")
    assert commission["standardCommission"]["maker"] == "0.00100000"
    _, rights = await paper.signed("GET", "/sapi/v1/account/apiRestrictions", keys)
    assert rights["enableReading"] is True
    assert rights["enableSpotAndMarginTrading"] is True
    assert rights["enableWithdrawals"] is False


async def test_a_test_order_is_checked_and_not_placed(paper: Paper, keys: Keys) -> None:
    assert await paper.signed("POST", "/api/v3/order/test", keys, **MARKET) == (200, {})
    refused = await paper.signed("POST", "/api/v3/order/test", keys, **{**MARKET, "quantity": "0.000001"})
    assert refused[1]["msg"] == "Filter failure: LOT_SIZE"
    _, rates = await paper.signed("POST", "/api/v3/order/test", keys, **MARKET, computeCommissionRates="true")
    assert rates["standardCommissionForOrder"]["taker"] == "0.00100000"
    assert (await paper.books(keys.account_id))["orders"] == []


async def test_cancel_all_ends_every_open_order_of_the_symbol(paper: Paper, keys: Keys) -> None:
    for _ in range(3):
        await paper.signed("POST", "/api/v3/order", keys, **LIMIT)
    status, canceled = await paper.signed("DELETE", "/api/v3/openOrders", keys, symbol="BTCUSDT")
    assert status == 200
    assert [c["status"] for c in canceled] == ["CANCELED"] * 3
    assert (await paper.signed("DELETE", "/api/v3/openOrders", keys, symbol="BTCUSDT"))[1]["code"] == -2011
    _, account = await paper.signed("GET", "/api/v3/account", keys)
    assert all(Decimal(b["locked"]) == 0 for b in account["balances"])


async def test_the_removed_listen_key_endpoints_are_gone(paper: Paper) -> None:
    for method in ("POST", "PUT", "DELETE"):
        async with aiohttp.ClientSession() as session:
            response = await session.request(method, f"{paper.url}/api/v3/userDataStream")
            assert response.status == 410


async def test_too_much_weight_is_answered_429_with_the_time_to_wait(tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_030_000)
    async with running(tmp_path / "paper.db", clock, weight_limit_per_minute=50) as paper:
        used = [(await paper.raw("GET", "/api/v3/exchangeInfo"))[2]["X-MBX-USED-WEIGHT-1M"] for _ in range(2)]
        assert used == ["20", "40"]
        status, answer, headers = await paper.raw("GET", "/api/v3/exchangeInfo")
        assert (status, answer["code"]) == (429, -1003)
        assert headers["Retry-After"] == "31"
        await clock.advance(31)
        assert (await paper.raw("GET", "/api/v3/exchangeInfo"))[0] == 200


async def test_a_request_that_waited_too_long_inside_is_refused_before_the_engine(tmp_path: Path) -> None:
    """The window is checked on arrival and again just before the engine."""
    times = iter(())

    class Slow(ManualClock):
        def exchange_now_ms(self) -> int:
            return next(times, super().exchange_now_ms())

    clock = Slow(int(time.time() * 1000))
    async with running(tmp_path / "paper.db", clock) as paper:
        keys = await paper.open_account(RICH, ed25519=False)
        now_ms = clock.now_ms()
        times = iter([now_ms, now_ms + 6000])  # arrival, engine
        status, answer = await paper.signed("POST", "/api/v3/order", keys, **MARKET, timestamp=now_ms)
        assert (status, answer["code"]) == (400, -1021)
        assert (await paper.books(keys.account_id))["orders"] == []
