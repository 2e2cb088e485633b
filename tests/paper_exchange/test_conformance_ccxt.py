"""ccxt 4.5 and ccxt.pro, unmodified but for their base addresses: unified REST, streams, orders over the ws-api."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import ccxt
import pytest
from client_kit import KINDS, Prices, ccxt_client, open_account
from paper_kit import Keys, Paper, until

SYMBOL = "BTC/USDT"


@pytest.fixture(params=KINDS)
async def keys(paper: Paper, request: pytest.FixtureRequest) -> Keys:
    return await open_account(paper, request.param)


@pytest.fixture
async def client(paper: Paper, keys: Keys) -> AsyncIterator[Any]:
    made = ccxt_client(paper, keys)
    await made.load_markets()
    yield made
    await made.close()


@pytest.fixture
async def prices(client: Any) -> Prices:
    return Prices(Decimal(str((await client.fetch_ticker(SYMBOL))["last"])))


async def test_markets_and_market_data(client: Any) -> None:
    market = client.market(SYMBOL)
    assert (market["id"], market["spot"], market["active"]) == ("BTCUSDT", True, True)
    assert market["limits"]["cost"]["min"] == 5
    assert abs(await client.fetch_time() - client.milliseconds()) < 5000
    book = await client.fetch_order_book(SYMBOL, 5)
    assert book["bids"][0][0] < book["asks"][0][0]
    candles = await client.fetch_ohlcv(SYMBOL, "1m", limit=10)
    assert len(candles) == 10
    assert await client.fetch_ohlcv(SYMBOL, "1m", since=candles[2][0], limit=3) == candles[2:5]
    assert (await client.fetch_ticker(SYMBOL))["bid"] > 0
    assert set(await client.fetch_tickers()) == {"BTC/USDT", "ETH/USDT"}
    assert set(await client.fetch_bids_asks()) == {"BTC/USDT", "ETH/USDT"}
    assert await client.fetch_last_prices([SYMBOL])
    assert await until(lambda: client.fetch_trades(SYMBOL, limit=5))


async def test_account_and_fees(client: Any) -> None:
    balance = await client.fetch_balance()
    assert (balance["BTC"]["free"], balance["USDT"]["total"]) == (10, 1_000_000)
    assert (await client.fetch_trading_fee(SYMBOL))["taker"] == 0.001
    assert (await client.fetch_trading_fees())["ETH/USDT"]["maker"] == 0.001


@pytest.mark.parametrize("over_ws", [False, True], ids=["rest", "ws"])
async def test_every_order_type(client: Any, prices: Prices, over_ws: bool) -> None:
    create = client.create_order_ws if over_ws else client.create_order
    cancel = client.cancel_order_ws if over_ws else client.cancel_order
    fetch = client.fetch_order_ws if over_ws else client.fetch_order
    low, high = prices.at("0.9"), prices.at("1.1")
    at_once: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("market", "buy", None, {}),
        ("limit", "buy", high, {}),
        ("limit", "sell", low, {"timeInForce": "IOC"}),
        ("limit", "sell", low, {"timeInForce": "FOK"}),
    ]
    for kind, side, price, params in at_once:
        order = await create(SYMBOL, kind, side, 0.01, price, params)
        assert order["status"] == "closed", (kind, params)
        assert order["filled"] == 0.01
    standing: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("limit", "buy", low, {"timeInForce": "GTC"}),
        ("limit", "sell", high, {"postOnly": True}),
        ("market", "sell", None, {"stopLossPrice": low}),
        ("limit", "sell", low, {"stopLossPrice": low}),
        ("market", "sell", None, {"takeProfitPrice": high}),
        ("limit", "sell", high, {"takeProfitPrice": high}),
    ]
    if over_ws:  # its unified words for these leave the client as parameters that Binance does not know
        standing = [
            ("limit", "buy", low, {"timeInForce": "GTC"}),
            ("LIMIT_MAKER", "sell", high, {}),
            ("STOP_LOSS", "sell", None, {"stopPrice": low}),
            ("STOP_LOSS_LIMIT", "sell", low, {"stopPrice": low, "timeInForce": "GTC"}),
            ("TAKE_PROFIT", "sell", None, {"stopPrice": high}),
            ("TAKE_PROFIT_LIMIT", "sell", high, {"stopPrice": high, "timeInForce": "GTC"}),
        ]
    made = []
    for kind, side, price, params in standing:
        order = await create(SYMBOL, kind, side, 0.01, price, {**params, "newOrderRespType": "RESULT"})
        assert order["status"] == "open", (kind, params)
        assert (await fetch(order["id"], SYMBOL))["status"] == "open"
        made.append(order["id"])
    types = [o["info"]["type"] for o in await client.fetch_open_orders(SYMBOL)]
    assert types == [
        "LIMIT", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
    ]  # fmt: skip
    assert (await cancel(made[0], SYMBOL))["status"] == "canceled"
    await (client.cancel_all_orders_ws if over_ws else client.cancel_all_orders)(SYMBOL)
    assert await client.fetch_open_orders(SYMBOL) == []
    with pytest.raises(ccxt.OrderNotFound):
        await cancel(made[0], SYMBOL)


async def test_cost_test_order_edit_and_history(client: Any, prices: Prices) -> None:
    spent = await client.create_market_buy_order_with_cost(SYMBOL, 500)
    assert 490 < spent["cost"] <= 500
    await client.create_order(SYMBOL, "market", "buy", 0.01, None, {"test": True})
    order = await client.create_order(SYMBOL, "limit", "buy", 0.01, prices.at("0.8"))
    edited = await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, prices.at("0.81"))  # cancelReplace
    assert (edited["status"], edited["amount"]) == ("open", 0.02)
    assert (await client.fetch_order(order["id"], SYMBOL))["status"] == "canceled"
    assert [o["id"] for o in await client.fetch_open_orders(SYMBOL)] == [edited["id"]]
    assert len(await client.fetch_orders(SYMBOL)) == 3
    assert [o["id"] for o in await client.fetch_closed_orders(SYMBOL)] == [spent["id"]]
    trades = await client.fetch_my_trades(SYMBOL)
    assert sum(t["amount"] for t in trades) == pytest.approx(spent["filled"])
    assert await client.fetch_order_trades(spent["id"], SYMBOL) == trades


async def test_refusals_become_the_right_exceptions(client: Any, prices: Prices) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order(SYMBOL, "limit", "buy", 50, prices.at("0.9"))
    with pytest.raises(ccxt.BadRequest, match="NOTIONAL"):
        await client.create_order(SYMBOL, "limit", "buy", 0.00001, prices.at("0.9"))
    with pytest.raises(ccxt.OrderNotFound):
        await client.fetch_order("999999999", SYMBOL)
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        await client.create_order(SYMBOL, "limit", "buy", 0.01, prices.at("1.1"), {"postOnly": True})


async def test_streams_of_the_market(client: Any) -> None:
    async def all_of_it() -> None:
        assert (await client.watch_ticker(SYMBOL))["last"] > 0
        assert len(await client.watch_ohlcv(SYMBOL, "1m")) > 0
        assert len(await client.watch_trades(SYMBOL)) > 0
        book = await client.watch_order_book(SYMBOL, 10)
        assert book["bids"][0][0] < book["asks"][0][0]
        for _ in range(3):
            book = await client.watch_order_book(SYMBOL, 10)
        assert book["bids"][0][0] < book["asks"][0][0]
        assert (await client.watch_bids_asks([SYMBOL]))[SYMBOL]["ask"] > 0

    await asyncio.wait_for(all_of_it(), 40)


async def test_streams_of_the_user(client: Any, prices: Prices) -> None:
    orders = asyncio.create_task(client.watch_orders(SYMBOL))
    trades = asyncio.create_task(client.watch_my_trades(SYMBOL))
    balance = asyncio.create_task(client.watch_balance())
    await asyncio.sleep(1)  # the client tells nobody when its subscription stands
    made = await client.create_order(SYMBOL, "market", "buy", 0.01)
    assert (await asyncio.wait_for(orders, 10))[-1]["id"] == made["id"]
    assert (await asyncio.wait_for(trades, 10))[-1]["order"] == made["id"]
    assert (await asyncio.wait_for(balance, 10))["BTC"]["total"] > 10


async def test_queries_over_the_ws_api(client: Any) -> None:
    await client.create_order_ws(SYMBOL, "market", "buy", 0.01)
    balances = (await client.fetch_balance_ws())["info"]["balances"]
    assert Decimal(next(b["free"] for b in balances if b["asset"] == "BTC")) > 10
    assert len(await client.fetch_ohlcv_ws(SYMBOL, "1m", limit=3)) == 3
    assert await client.fetch_open_orders_ws(SYMBOL) == []
    assert len(await client.fetch_orders_ws(SYMBOL)) == 1
    assert len(await client.fetch_my_trades_ws(SYMBOL)) >= 1
