"""python-binance 1.0.37 against the exchange, unmodified but for its base addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from binance import AsyncClient
from binance.exceptions import BinanceAPIException
from paper_kit import Keys, Paper, close, until

RICH = {"USDT": "1000000", "BTC": "10"}


@pytest.fixture(params=["ed25519", "hmac"])
async def keys(paper: Paper, request: pytest.FixtureRequest) -> Keys:
    return await paper.open_account(RICH, ed25519=request.param == "ed25519")


@pytest.fixture
async def client(paper: Paper, keys: Keys) -> AsyncIterator[AsyncClient]:
    made = await paper.client(keys)
    yield made
    await close(made)


async def price_of(client: AsyncClient) -> Decimal:
    return Decimal((await client.get_symbol_ticker(symbol="BTCUSDT"))["price"])


def at(price: Decimal, factor: str) -> str:
    return format((price * Decimal(factor)).quantize(Decimal("0.01")), "f")


async def test_the_client_walks_through_account_market_data_and_rights(client: AsyncClient) -> None:
    await client.ping()
    info = await client.get_symbol_info("BTCUSDT")
    assert info["status"] == "TRADING"
    account = await client.get_account()
    assert {b["asset"]: b["free"] for b in account["balances"]}["BTC"] == "10.00000000"
    for interval in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"):
        assert len(await client.get_klines(symbol="BTCUSDT", interval=interval, limit=3)) == 3
    assert (await client.get_orderbook_ticker(symbol="BTCUSDT"))["bidPrice"]
    assert len((await client.get_order_book(symbol="BTCUSDT", limit=10))["asks"]) == 10
    assert len(await client.get_all_tickers()) == 2
    assert (await client.get_account_api_permissions())["enableSpotAndMarginTrading"]


async def test_every_order_type_is_taken_and_answered(client: AsyncClient) -> None:
    price = await price_of(client)
    far_below, below, above = at(price, "0.5"), at(price, "0.9"), at(price, "1.1")
    bought = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    assert (bought["status"], bought["executedQty"]) == ("FILLED", "0.01000000")
    assert sum(Decimal(f["qty"]) for f in bought["fills"]) == Decimal("0.01")
    spent = await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="100")
    assert Decimal(98) < Decimal(spent["cummulativeQuoteQty"]) <= 100
    sold = await client.create_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.01")
    assert sold["fills"][0]["commissionAsset"] == "USDT"
    base = {"symbol": "BTCUSDT", "quantity": "0.01"}
    limit = {**base, "type": "LIMIT", "side": "BUY"}
    ioc = await client.create_order(**limit, timeInForce="IOC", price=far_below)
    fok = await client.create_order(**limit, timeInForce="FOK", price=far_below)
    taken = await client.create_order(**limit, timeInForce="GTC", price=above)
    rests = await client.create_order(**limit, timeInForce="GTC", price=below)
    assert [o["status"] for o in (ioc, fok, taken, rests)] == ["EXPIRED", "EXPIRED", "FILLED", "NEW"]
    maker = await client.create_order(**base, side="SELL", type="LIMIT_MAKER", price=above)
    stops = [
        await client.create_order(**base, side="SELL", type="STOP_LOSS", stopPrice=below),
        await client.create_order(
            **base, side="SELL", type="STOP_LOSS_LIMIT", stopPrice=below, price=far_below, timeInForce="GTC"
        ),
        await client.create_order(**base, side="SELL", type="TAKE_PROFIT", stopPrice=above),
        await client.create_order(
            **base, side="SELL", type="TAKE_PROFIT_LIMIT", stopPrice=above, price=above, timeInForce="GTC"
        ),
    ]
    open_ids = [o["orderId"] for o in await client.get_open_orders(symbol="BTCUSDT")]
    assert open_ids == [o["orderId"] for o in (rests, maker, *stops)]
    seen = await client.get_order(symbol="BTCUSDT", orderId=stops[0]["orderId"])
    assert (seen["isWorking"], seen["stopPrice"]) == (False, f"{below}000000")
    canceled = await client.cancel_order(symbol="BTCUSDT", origClientOrderId=rests["clientOrderId"])
    assert canceled["status"] == "CANCELED"
    assert len(await client.cancel_all_open_orders(symbol="BTCUSDT")) == 5
    assert len(await client.get_all_orders(symbol="BTCUSDT")) == 12
    trades = await client.get_my_trades(symbol="BTCUSDT")
    assert len({t["id"] for t in trades}) == len(trades) >= 4
    await client.create_test_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")


async def test_refusals_reach_the_client_with_code_and_text(client: AsyncClient) -> None:
    with pytest.raises(BinanceAPIException) as caught:
        await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.0000001")
    assert (caught.value.code, caught.value.message) == (-1013, "Filter failure: LOT_SIZE")
    with pytest.raises(BinanceAPIException) as caught:
        await client.cancel_order(symbol="BTCUSDT", orderId=99_999_999)
    assert (caught.value.code, caught.value.message) == (-2011, "Unknown order sent.")


async def test_the_user_stream_tells_an_orders_whole_life(paper: Paper, keys: Keys, client: AsyncClient) -> None:
    events: list[dict[str, Any]] = []
    socket = paper.sockets(client).user_socket()

    async def read() -> None:
        while True:
            events.append(await socket.recv())

    async with socket:
        reader = asyncio.create_task(read())
        price = await price_of(client)
        await client.create_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.5", newClientOrderId="m")
        rest = await client.create_order(
            symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price=at(price, "0.8")
        )
        await client.cancel_order(symbol="BTCUSDT", orderId=rest["orderId"])
        await paper.control("POST", f"/paper/accounts/{keys.account_id}/deposit", {"USDT": "5"})
        await until(lambda: _seen(events, "balanceUpdate"))
        await until(lambda: _seen(events[-1:], "outboundAccountPosition"))
        reader.cancel()
    kinds = [(e["e"], e.get("x")) for e in events]
    trades = kinds.count(("executionReport", "TRADE"))
    assert trades >= 1
    assert kinds == [
        ("executionReport", "NEW"), *[("executionReport", "TRADE")] * trades, ("outboundAccountPosition", None),
        ("executionReport", "NEW"), ("outboundAccountPosition", None),
        ("executionReport", "CANCELED"), ("outboundAccountPosition", None),
        ("balanceUpdate", None), ("outboundAccountPosition", None),
    ]  # fmt: skip
    assert events[trades]["X"] == "FILLED"
    assert set(events[0]) >= set("e E s c S o f q p P F g C x X r i l z L n N T t I w m M O Z Y Q W V".split())  # noqa: SIM905


async def _seen(events: list[dict[str, Any]], kind: str) -> bool:
    return any(e["e"] == kind for e in events)


async def test_a_second_subscription_is_refused_and_an_ended_one_says_so(client: AsyncClient) -> None:
    first = await client._ws_api_request("userDataStream.subscribe.signature", True, {})
    assert first == {"subscriptionId": 0}
    with pytest.raises(BinanceAPIException) as caught:
        await client._ws_api_request("userDataStream.subscribe.signature", True, {})
    assert caught.value.code == -2035
    assert await client._ws_api_request("session.subscriptions", False, {}) == [{"subscriptionId": 0}]
    assert await client._ws_api_request("userDataStream.unsubscribe", False, {"subscriptionId": 0}) == {}
    with pytest.raises(BinanceAPIException) as caught:
        await client._ws_api_request("userDataStream.unsubscribe", False, {"subscriptionId": 0})
    assert caught.value.code == -2036
    again = await client._ws_api_request("userDataStream.subscribe.signature", True, {})
    assert again == {"subscriptionId": 1}


async def test_orders_go_over_the_ws_api_too(client: AsyncClient) -> None:
    placed = await client._ws_api_request(
        "order.place", True, {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    )
    assert placed["status"] == "FILLED"
    found = await client._ws_api_request("order.status", True, {"symbol": "BTCUSDT", "orderId": placed["orderId"]})
    assert found["executedQty"] == "0.01000000"
    with pytest.raises(BinanceAPIException) as caught:
        await client._ws_api_request("order.place", True, {"symbol": "BTCUSDT", "side": "BUY"})
    assert caught.value.code == -1102


async def test_second_candles_stream_and_close_and_agree_with_rest(paper: Paper, client: AsyncClient) -> None:
    messages = []
    async with paper.sockets(client).kline_socket("BTCUSDT", "1s") as socket:
        while sum(m["k"]["x"] for m in messages) < 2:
            messages.append(await asyncio.wait_for(socket.recv(), 5))
    closed = [m["k"] for m in messages if m["k"]["x"]]
    assert closed[1]["t"] == closed[0]["t"] + 1000
    assert all(k["T"] == k["t"] + 999 and k["t"] % 1000 == 0 for k in closed)
    assert any(not m["k"]["x"] for m in messages)
    rows = await client.get_klines(symbol="BTCUSDT", interval="1s", startTime=closed[0]["t"], endTime=closed[1]["t"])
    assert [[r[0], *r[1:6]] for r in rows] == [[k["t"], k["o"], k["h"], k["l"], k["c"], k["v"]] for k in closed]


async def test_combined_streams_come_wrapped(paper: Paper, client: AsyncClient) -> None:
    names = ["btcusdt@kline_1m", "btcusdt@miniTicker", "!miniTicker@arr", "ethusdt@bookTicker", "btcusdt@trade"]
    seen: dict[str, Any] = {}
    async with paper.sockets(client).multiplex_socket(names) as socket:
        while set(seen) != set(names):
            message = await asyncio.wait_for(socket.recv(), 5)
            seen[message["stream"]] = message["data"]
    assert (seen["btcusdt@kline_1m"]["k"]["i"], seen["btcusdt@kline_1m"]["k"]["x"]) == ("1m", False)
    assert seen["btcusdt@miniTicker"]["e"] == "24hrMiniTicker"
    assert {t["s"] for t in seen["!miniTicker@arr"]} == {"BTCUSDT", "ETHUSDT"}
    assert Decimal(seen["ethusdt@bookTicker"]["b"]) < Decimal(seen["ethusdt@bookTicker"]["a"])
    assert seen["btcusdt@trade"]["e"] == "trade"
