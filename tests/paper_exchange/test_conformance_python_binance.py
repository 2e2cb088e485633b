"""python-binance 1.0.37, unmodified but for its base addresses, through everything it can ask of Spot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from binance import AsyncClient
from binance.exceptions import BinanceAPIException
from client_kit import KINDS, Prices, open_account
from paper_kit import Keys, Paper, close, until

SYMBOL = "BTCUSDT"
BASE = {"symbol": SYMBOL, "quantity": "0.01"}


@pytest.fixture(params=KINDS)
async def keys(paper: Paper, request: pytest.FixtureRequest) -> Keys:
    return await open_account(paper, request.param)


@pytest.fixture
async def client(paper: Paper, keys: Keys) -> AsyncIterator[AsyncClient]:
    made = await paper.client(keys)
    yield made
    await close(made)


@pytest.fixture
async def prices(client: AsyncClient) -> Prices:
    return Prices(Decimal((await client.get_symbol_ticker(symbol=SYMBOL))["price"]))


async def test_market_data(client: AsyncClient) -> None:
    info = await client.get_exchange_info()
    assert {s["symbol"] for s in info["symbols"]} == {"BTCUSDT", "ETHUSDT"}
    assert (await client.get_order_book(symbol=SYMBOL, limit=5))["lastUpdateId"] > 0
    recent = await until(lambda: client.get_recent_trades(symbol=SYMBOL, limit=5))
    assert await client.get_historical_trades(symbol=SYMBOL, fromId=recent[0]["id"], limit=len(recent)) == recent
    together = await client.get_aggregate_trades(symbol=SYMBOL, fromId=recent[0]["id"], limit=1)
    assert together[0]["f"] == recent[0]["id"]
    rows = await client.get_klines(symbol=SYMBOL, interval="1m", limit=5)
    assert await client.get_ui_klines(symbol=SYMBOL, interval="1m", limit=4, endTime=rows[3][0]) == rows[:4]
    for interval in ("3d", "1w", "1M"):
        assert await client.get_klines(symbol=SYMBOL, interval=interval)
    assert Decimal((await client.get_avg_price(symbol=SYMBOL))["price"]) > 0
    day = await client.get_ticker(symbol=SYMBOL)
    assert Decimal(day["lowPrice"]) <= Decimal(day["lastPrice"]) <= Decimal(day["highPrice"])
    assert {t["symbol"] for t in await client.get_ticker()} == {"BTCUSDT", "ETHUSDT"}
    mini = await client.get_ticker(symbol=SYMBOL, type="MINI")
    assert "priceChange" not in mini
    assert (await client.get_symbol_ticker_window(symbol=SYMBOL, windowSize="4h"))["openTime"] % 60_000 == 0
    assert (await client.v3_get_ticker_trading_day(symbol=SYMBOL))["openTime"] % 86_400_000 == 0
    assert len(await client.get_orderbook_tickers()) == 2


async def test_account_and_commission(client: AsyncClient) -> None:
    account = await client.get_account()
    assert {b["asset"]: b["free"] for b in account["balances"]}["BTC"] == "10.00000000"
    commission = await client.v3_get_account_commission(symbol=SYMBOL)
    assert commission["standardCommission"]["taker"] == "0.00100000"
    counts = await client.get_current_order_count()
    assert [(c["interval"], c["count"]) for c in counts] == [("SECOND", 0), ("DAY", 0)]
    assert await client.get_prevented_matches(symbol=SYMBOL, orderId=1) == []
    assert await client.get_allocations(symbol=SYMBOL) == []
    assert (await client.get_asset_balance("USDT"))["free"] == "1000000.00000000"


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"side": "BUY", "type": "MARKET"}, "FILLED"),
        ({"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "price": "1.1"}, "NEW"),
        ({"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "1.1"}, "FILLED"),
        ({"side": "SELL", "type": "LIMIT", "timeInForce": "IOC", "price": "1.1"}, "EXPIRED"),
        ({"side": "SELL", "type": "LIMIT", "timeInForce": "FOK", "price": "0.9"}, "FILLED"),
        ({"side": "SELL", "type": "LIMIT", "timeInForce": "FOK", "price": "1.1"}, "EXPIRED"),
        ({"side": "SELL", "type": "LIMIT_MAKER", "price": "1.1"}, "NEW"),
        ({"side": "SELL", "type": "STOP_LOSS", "stopPrice": "0.9"}, "NEW"),
        ({"side": "BUY", "type": "STOP_LOSS_LIMIT", "stopPrice": "1.1", "price": "1.2", "timeInForce": "GTC"}, "NEW"),
        ({"side": "BUY", "type": "TAKE_PROFIT", "stopPrice": "0.9"}, "NEW"),
        ({"side": "SELL", "type": "TAKE_PROFIT_LIMIT", "stopPrice": "1.1", "price": "1.1", "timeInForce": "GTC"},
         "NEW"),
    ],
)  # fmt: skip
async def test_every_order_type_is_tested_placed_queried_and_cancelled(
    client: AsyncClient, prices: Prices, params: dict[str, str], status: str
) -> None:
    priced = {k: prices.at(v) if k in ("price", "stopPrice") else v for k, v in params.items()}
    assert await client.create_test_order(**BASE, **priced) == {}
    placed = await client.create_order(**BASE, **priced, newOrderRespType="FULL")
    assert placed["status"] == status
    found = await client.get_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert (found["status"], found["type"], found["clientOrderId"]) == (status, params["type"], placed["clientOrderId"])
    if status == "NEW":
        assert [o["orderId"] for o in await client.get_open_orders(symbol=SYMBOL)] == [placed["orderId"]]
        canceled = await client.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
        assert (canceled["status"], canceled["origClientOrderId"]) == ("CANCELED", placed["clientOrderId"])
    with pytest.raises(BinanceAPIException) as caught:
        await client.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert (caught.value.code, caught.value.message) == (-2011, "Unknown order sent.")


async def test_orders_and_trades_are_paged(client: AsyncClient) -> None:
    spent = await client.create_order(symbol=SYMBOL, side="BUY", type="MARKET", quoteOrderQty="500")
    assert Decimal("490") < Decimal(spent["cummulativeQuoteQty"]) <= 500
    for _ in range(3):
        await client.create_order(**BASE, side="SELL", type="MARKET")
    orders = await client.get_all_orders(symbol=SYMBOL)
    assert len(orders) == 4
    assert await client.get_all_orders(symbol=SYMBOL, orderId=orders[1]["orderId"], limit=2) == orders[1:3]
    trades = await client.get_my_trades(symbol=SYMBOL)
    assert await client.get_my_trades(symbol=SYMBOL, fromId=trades[-2]["id"]) == trades[-2:]
    assert {t["orderId"] for t in await client.get_my_trades(symbol=SYMBOL, orderId=orders[0]["orderId"])} == {
        orders[0]["orderId"]
    }
    at_ms = orders[0]["time"]
    window = {"symbol": SYMBOL, "startTime": at_ms - 1000, "endTime": at_ms + 60_000}
    assert await client.get_my_trades(**window) == trades
    for ask in (client.get_all_orders, client.get_my_trades):
        with pytest.raises(BinanceAPIException) as caught:
            await ask(symbol=SYMBOL, startTime=at_ms - 86_400_001, endTime=at_ms)
        assert caught.value.code == -1127


async def test_cancel_replace_tells_what_was_done(client: AsyncClient, prices: Prices) -> None:
    new = {**BASE, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": prices.at("0.8")}
    first = await client.create_order(**{**new, "price": prices.at("0.7")})
    both = await client.cancel_replace_order(
        **new, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=first["orderId"], cancelNewClientOrderId="bye"
    )
    assert (both["cancelResult"], both["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert (both["cancelResponse"]["clientOrderId"], both["newOrderResponse"]["status"]) == ("bye", "NEW")

    async def refusal(**params: Any) -> tuple[int, int, str, str]:
        with pytest.raises(BinanceAPIException) as caught:
            await client.cancel_replace_order(**{**new, **params})
        data = json.loads(await caught.value.response.text())["data"]
        return caught.value.status_code, caught.value.code, data["cancelResult"], data["newOrderResult"]

    unknown = {"cancelOrderId": first["orderId"]}
    assert await refusal(**unknown, cancelReplaceMode="STOP_ON_FAILURE") == (400, -2022, "FAILURE", "NOT_ATTEMPTED")
    assert await refusal(**unknown, cancelReplaceMode="ALLOW_FAILURE") == (409, -2021, "FAILURE", "SUCCESS")
    too_much = {"quantity": "50"}
    assert await refusal(**unknown, **too_much, cancelReplaceMode="ALLOW_FAILURE") == (
        400, -2022, "FAILURE", "FAILURE",
    )  # fmt: skip
    standing = {"cancelOrderId": both["newOrderResponse"]["orderId"], "cancelReplaceMode": "STOP_ON_FAILURE"}
    assert await refusal(**standing, cancelRestrictions="ONLY_PARTIALLY_FILLED") == (
        400, -2022, "FAILURE", "NOT_ATTEMPTED",
    )  # fmt: skip
    assert await refusal(**standing, **too_much) == (409, -2021, "SUCCESS", "FAILURE")
    with pytest.raises(BinanceAPIException) as caught:  # filters come before the cancel
        await client.cancel_replace_order(**{**new, **standing, "quantity": "0.0000001"})
    assert caught.value.code == -1013


async def test_an_order_is_amended_and_its_amendments_are_told(client: AsyncClient, prices: Prices) -> None:
    placed = await client.create_order(
        **BASE, side="BUY", type="LIMIT", timeInForce="GTC", price=prices.at("0.8"), newClientOrderId="first"
    )
    amend = {"symbol": SYMBOL, "orderId": placed["orderId"]}
    answer = await client._put(
        "order/amend/keepPriority", True, data={**amend, "newQty": "0.009", "newClientOrderId": "second"}
    )
    order = answer["amendedOrder"]
    assert (order["qty"], order["origClientOrderId"], order["clientOrderId"]) == ("0.00900000", "first", "second")
    kept = await client.get_order(symbol=SYMBOL, origClientOrderId="second")
    assert (kept["orderId"], kept["origQty"]) == (placed["orderId"], "0.00900000")
    (row,) = await client._get("order/amendments", True, data={**amend})
    assert (row["executionId"], row["origQty"], row["newQty"]) == (answer["executionId"], "0.01000000", "0.00900000")
    with pytest.raises(BinanceAPIException) as caught:
        await client._put("order/amend/keepPriority", True, data={**amend, "newQty": "0.02"})
    assert (caught.value.code, caught.value.message) == (-2038, "Order amend (quantity increase) is not supported.")


async def test_order_lists_are_placed_told_and_cancelled(client: AsyncClient, prices: Prices) -> None:
    stop = {"belowType": "STOP_LOSS", "belowStopPrice": prices.at("0.9")}
    target = {"aboveType": "LIMIT_MAKER", "abovePrice": prices.at("1.1")}
    oco = await client.create_oco_order(**BASE, side="SELL", **stop, **target, listClientOrderId="pair")
    assert (oco["contingencyType"], oco["listStatusType"], oco["listOrderStatus"]) == (
        "OCO", "EXEC_STARTED", "EXECUTING",
    )  # fmt: skip
    assert [r["type"] for r in oco["orderReports"]] == ["STOP_LOSS", "LIMIT_MAKER"]
    assert (await client.get_asset_balance("BTC"))["locked"] == "0.01000000"
    working = {
        "symbol": SYMBOL, "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
        "workingPrice": prices.at("0.8"), "workingQuantity": "0.01", "pendingSide": "SELL", "pendingQuantity": "0.01",
    }  # fmt: skip
    oto = await client.v3_post_order_list_oto(**working, pendingType="MARKET")
    otoco = await client.v3_post_order_list_otoco(
        **working, pendingAboveType="TAKE_PROFIT", pendingAboveStopPrice=prices.at("1.1"),
        pendingBelowType="STOP_LOSS_LIMIT", pendingBelowStopPrice=prices.at("0.7"),
        pendingBelowPrice=prices.at("0.69"), pendingBelowTimeInForce="GTC",
    )  # fmt: skip
    assert [r["status"] for r in oto["orderReports"]] == ["NEW", "PENDING_NEW"]
    assert [r["status"] for r in otoco["orderReports"]] == ["NEW", "PENDING_NEW", "PENDING_NEW"]
    ids = [one["orderListId"] for one in (oco, oto, otoco)]
    assert [one["orderListId"] for one in await client.get_open_oco_orders()] == ids
    assert (await client.v3_get_order_list(origClientOrderId="pair"))["orders"] == oco["orders"]
    assert [one["orderListId"] for one in await client.v3_get_all_order_list()] == ids
    canceled = await client.v3_delete_order_list(symbol=SYMBOL, orderListId=ids[0])
    assert (canceled["listOrderStatus"], [r["status"] for r in canceled["orderReports"]]) == (
        "ALL_DONE", ["CANCELED"] * 2,
    )  # fmt: skip
    by_order = await client.cancel_order(symbol=SYMBOL, orderId=oto["orders"][1]["orderId"])
    assert (by_order["orderListId"], len(by_order["orderReports"])) == (ids[1], 2)
    (rest,) = await client.cancel_all_open_orders(symbol=SYMBOL)
    assert (rest["orderListId"], len(rest["orderReports"])) == (ids[2], 3)
    assert await client.get_open_oco_orders() == []
    assert (await client.v3_get_order_list(orderListId=ids[2]))["listOrderStatus"] == "ALL_DONE"


async def test_the_working_order_of_a_list_sets_its_pending_order_free(client: AsyncClient, prices: Prices) -> None:
    oto = await client.v3_post_order_list_oto(
        symbol=SYMBOL, workingType="LIMIT", workingSide="BUY", workingTimeInForce="GTC", workingPrice=prices.at("1.1"),
        workingQuantity="0.01", pendingType="LIMIT_MAKER", pendingSide="SELL", pendingQuantity="0.009",
        pendingPrice=prices.at("1.2"),
    )  # fmt: skip
    assert [r["status"] for r in oto["orderReports"]] == ["FILLED", "PENDING_NEW"]
    pending = oto["orders"][1]["orderId"]
    assert (await client.get_order(symbol=SYMBOL, orderId=pending))["status"] == "NEW"
    trades = await client.get_my_trades(symbol=SYMBOL, orderId=oto["orders"][0]["orderId"])
    assert {t["orderListId"] for t in trades} == {oto["orderListId"]}


async def test_the_same_goes_over_the_websocket_api(client: AsyncClient, prices: Prices) -> None:
    await client.ws_ping()
    assert (await client.ws_get_time())["serverTime"] > 0
    assert await client.ws_get_exchange_info(symbol=SYMBOL)
    assert (await client.ws_get_order_book(symbol=SYMBOL))["bids"]
    assert len(await client.ws_get_klines(symbol=SYMBOL, interval="1m", limit=3)) == 3
    assert len(await client.ws_get_uiKlines(symbol=SYMBOL, interval="1m", limit=3)) == 3
    assert await until(lambda: client.ws_get_recent_trades(symbol=SYMBOL))
    assert await client.ws_get_historical_trades(symbol=SYMBOL)
    assert await client.ws_get_aggregate_trades(symbol=SYMBOL)
    for ask in (
        client.ws_get_avg_price, client.ws_get_ticker, client.ws_get_trading_day_ticker,
        client.ws_get_symbol_ticker_window, client.ws_get_symbol_ticker, client.ws_get_orderbook_ticker,
    ):  # fmt: skip
        assert await ask(symbol=SYMBOL), ask.__name__
    assert (await client.ws_get_account())["uid"] > 0
    assert await client.ws_get_account_rate_limits_orders()
    assert (await client.ws_get_commission_rates(symbol=SYMBOL))["symbol"] == SYMBOL
    assert await client.ws_get_prevented_matches(symbol=SYMBOL, orderId=1) == []
    assert await client.ws_get_allocations(symbol=SYMBOL) == []
    limit = {**BASE, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": prices.at("0.8")}
    assert await client.ws_create_test_order(**limit) == {}
    placed = await client.ws_create_order(**limit)
    assert (await client.ws_get_order(symbol=SYMBOL, orderId=placed["orderId"]))["status"] == "NEW"
    assert [o["orderId"] for o in await client.ws_get_open_orders(symbol=SYMBOL)] == [placed["orderId"]]
    replaced = await client.ws_cancel_and_replace_order(
        **limit, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"]
    )
    new_id = replaced["newOrderResponse"]["orderId"]
    assert (await client.ws_cancel_order(symbol=SYMBOL, orderId=new_id))["status"] == "CANCELED"
    assert len(await client.ws_get_all_orders(symbol=SYMBOL)) == 2
    assert await client.ws_get_my_trades(symbol=SYMBOL) == []
    oco = await client.ws_create_oco_order(
        **BASE, side="SELL", belowType="STOP_LOSS", belowStopPrice=prices.at("0.9"), aboveType="LIMIT_MAKER",
        abovePrice=prices.at("1.1"),
    )  # fmt: skip
    assert (await client.ws_get_oco_order(orderListId=oco["orderListId"]))["orders"] == oco["orders"]
    assert len(await client.ws_get_oco_open_orders()) == 1
    canceled = await client.ws_cancel_oco_order(symbol=SYMBOL, orderListId=oco["orderListId"])
    assert canceled["listOrderStatus"] == "ALL_DONE"
    working = {
        "symbol": SYMBOL, "workingType": "LIMIT", "workingSide": "BUY", "workingTimeInForce": "GTC",
        "workingPrice": prices.at("0.8"), "workingQuantity": "0.01", "pendingSide": "SELL", "pendingQuantity": "0.01",
    }  # fmt: skip
    await client.ws_create_oto_order(**working, pendingType="MARKET")
    await client.ws_create_otoco_order(
        **working, pendingAboveType="LIMIT_MAKER", pendingAbovePrice=prices.at("1.1"), pendingBelowType="STOP_LOSS",
        pendingBelowStopPrice=prices.at("0.7"),
    )  # fmt: skip
    assert [len(one["orderReports"]) for one in await client.ws_cancel_all_open_orders(symbol=SYMBOL)] == [2, 3]
    with pytest.raises(BinanceAPIException) as caught:
        await client.ws_cancel_order(symbol=SYMBOL, orderId=new_id)
    assert caught.value.code == -2011


async def test_the_user_stream_tells_every_kind_of_event(
    paper: Paper, keys: Keys, client: AsyncClient, prices: Prices
) -> None:
    events: list[dict[str, Any]] = []

    async def seen(kind: str, **fields: Any) -> bool:
        return any(e["e"] == kind and all(e.get(k) == v for k, v in fields.items()) for e in events)

    async with paper.sockets(client).user_socket() as socket:

        async def read() -> None:
            while True:
                events.append(await socket.recv())

        reader = asyncio.create_task(read())
        limit = {**BASE, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        await client.create_order(**BASE, side="BUY", type="MARKET")
        await client.create_order(**{**limit, "timeInForce": "IOC", "price": prices.at("0.8")})
        rests = await client.create_order(**limit, price=prices.at("0.8"))
        await client._put(
            "order/amend/keepPriority", True, data={"symbol": SYMBOL, "orderId": rests["orderId"], "newQty": "0.009"}
        )
        await client.cancel_order(symbol=SYMBOL, orderId=rests["orderId"])
        # A sell below the best bid of the market that would meet an own buy: that one is prevented.
        bid = Decimal((await client.get_orderbook_ticker(symbol=SYMBOL))["bidPrice"])
        await client.create_order(**limit, price=format(bid, "f"))
        await client.create_order(
            **{**limit, "side": "SELL", "quantity": "3", "price": prices.at("0.98")},
            selfTradePreventionMode="EXPIRE_BOTH",
        )
        oco = await client.create_oco_order(
            **BASE, side="SELL", belowType="STOP_LOSS", belowStopPrice=prices.at("0.9"), aboveType="LIMIT_MAKER",
            abovePrice=prices.at("1.1"),
        )  # fmt: skip
        await client.v3_delete_order_list(symbol=SYMBOL, orderListId=oco["orderListId"])
        await paper.control("POST", f"/paper/accounts/{keys.account_id}/deposit", {"USDT": "5"})
        for kind, fields in (
            ("executionReport", {"x": "NEW"}), ("executionReport", {"x": "TRADE"}),
            ("executionReport", {"x": "EXPIRED", "eR": "UNFILLED_IOC_QUANTITY_EXPIRED"}),
            ("executionReport", {"x": "REPLACED"}), ("executionReport", {"x": "CANCELED"}),
            ("executionReport", {"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH"}),
            ("listStatus", {"l": "EXEC_STARTED", "g": oco["orderListId"]}),
            ("listStatus", {"l": "ALL_DONE", "L": "ALL_DONE"}),
            ("outboundAccountPosition", {}), ("balanceUpdate", {"d": "5.00000000"}),
        ):  # fmt: skip
            await until(lambda kind=kind, fields=fields: seen(kind, **fields))
        reader.cancel()


async def test_every_market_socket_of_the_client_speaks(paper: Paper, client: AsyncClient) -> None:
    sockets = paper.sockets(client)
    wanted = {
        "kline": sockets.kline_socket(SYMBOL, "1m"),
        "trade": sockets.trade_socket(SYMBOL),
        "aggTrade": sockets.aggtrade_socket(SYMBOL),
        "24hrMiniTicker": sockets.symbol_miniticker_socket(SYMBOL),
        "24hrTicker": sockets.symbol_ticker_socket(SYMBOL),
        "depthUpdate": sockets.depth_socket(SYMBOL),
    }

    async def first(name: str, socket: Any) -> None:
        async with socket:
            message = await asyncio.wait_for(socket.recv(), 10)
        assert message["e"] == name

    await asyncio.gather(*(first(name, socket) for name, socket in wanted.items()))
    async with sockets.symbol_book_ticker_socket(SYMBOL) as socket:
        best = await asyncio.wait_for(socket.recv(), 10)
    assert Decimal(best["b"]) < Decimal(best["a"])
    async with sockets.depth_socket(SYMBOL, depth="5") as socket:
        assert len((await asyncio.wait_for(socket.recv(), 10))["bids"]) == 5
    async with sockets.miniticker_socket() as socket:
        assert {t["s"] for t in await asyncio.wait_for(socket.recv(), 10)} <= {"BTCUSDT", "ETHUSDT"}
