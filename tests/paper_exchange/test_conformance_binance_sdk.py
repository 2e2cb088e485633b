"""Binance's own SDK (binance-sdk-spot 13), unmodified but for its base addresses."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from binance_common.errors import BadRequestError
from binance_sdk_spot.spot import Spot
from client_kit import KINDS, Prices, open_account, sdk_client
from paper_kit import Paper, until

SYMBOL = "BTCUSDT"
QUANTITY = 0.01


@pytest.fixture(params=KINDS)
async def client(paper: Paper, request: pytest.FixtureRequest) -> Spot:
    return sdk_client(paper, await open_account(paper, request.param))


async def rest(client: Spot, name: str, **params: Any) -> Any:
    """A REST call of the SDK, which blocks: in a thread. Its answer as a model."""
    answer = await asyncio.to_thread(getattr(client.rest_api, name), **params)
    data = answer.data()
    return getattr(data, "actual_instance", None) or data


@pytest.fixture
async def prices(client: Spot) -> Prices:
    return Prices(Decimal((await rest(client, "ticker_price", symbol=SYMBOL)).price))


async def test_market_data(client: Spot) -> None:
    await rest(client, "ping")
    assert (await rest(client, "time")).server_time > 0
    info = await rest(client, "exchange_info", symbol=SYMBOL)
    assert info.symbols[0].symbol == SYMBOL
    assert (await rest(client, "depth", symbol=SYMBOL, limit=5)).bids
    assert len(await rest(client, "klines", symbol=SYMBOL, interval="1m", limit=3)) == 3
    assert len(await rest(client, "ui_klines", symbol=SYMBOL, interval="1h", limit=3, time_zone="5:45")) == 3
    assert (await rest(client, "avg_price", symbol=SYMBOL)).mins == 5
    await until(lambda: rest(client, "get_trades", symbol=SYMBOL))
    for name in ("historical_trades", "agg_trades"):
        assert await rest(client, name, symbol=SYMBOL)
    for name in ("ticker24hr", "ticker", "ticker_trading_day", "ticker_price", "ticker_book_ticker"):
        assert (await rest(client, name, symbol=SYMBOL)).symbol == SYMBOL


async def test_orders_and_account(client: Spot, prices: Prices) -> None:
    limit = {
        "symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": QUANTITY,
        "price": float(prices.at("0.8")),
    }  # fmt: skip
    await rest(client, "order_test", **limit)
    bought = await rest(client, "new_order", symbol=SYMBOL, side="BUY", type="MARKET", quantity=QUANTITY)
    assert bought.status == "FILLED"
    assert bought.fills
    placed = await rest(client, "new_order", **limit)
    assert (await rest(client, "get_order", symbol=SYMBOL, order_id=placed.order_id)).status == "NEW"
    amended = await rest(client, "order_amend_keep_priority", symbol=SYMBOL, order_id=placed.order_id, new_qty=0.009)
    assert amended.amended_order.qty == "0.00900000"
    assert len(await rest(client, "order_amendments", symbol=SYMBOL, order_id=placed.order_id)) == 1
    replaced = await rest(
        client, "order_cancel_replace", **limit, cancel_replace_mode="STOP_ON_FAILURE", cancel_order_id=placed.order_id
    )
    new_id = replaced.new_order_response.order_id
    assert [o.order_id for o in await rest(client, "get_open_orders", symbol=SYMBOL)] == [new_id]
    assert (await rest(client, "delete_order", symbol=SYMBOL, order_id=new_id)).status == "CANCELED"
    with pytest.raises(BadRequestError):
        await rest(client, "delete_order", symbol=SYMBOL, order_id=new_id)
    assert len(await rest(client, "all_orders", symbol=SYMBOL)) == 3
    assert len(await rest(client, "my_trades", symbol=SYMBOL)) >= 1
    account = await rest(client, "get_account", omit_zero_balances=True)
    assert {b.asset for b in account.balances} == {"BTC", "ETH", "USDT"}
    assert (await rest(client, "account_commission", symbol=SYMBOL)).standard_commission.maker == "0.00100000"
    assert len(await rest(client, "rate_limit_order")) == 2
    assert (await rest(client, "my_filters", symbol=SYMBOL)).symbol_filters
    assert await rest(client, "my_prevented_matches", symbol=SYMBOL, order_id=1) == []
    assert await rest(client, "my_allocations", symbol=SYMBOL) == []


async def test_order_lists(client: Spot, prices: Prices) -> None:
    above, below = float(prices.at("1.1")), float(prices.at("0.9"))
    oco = await rest(
        client, "order_list_oco", symbol=SYMBOL, side="SELL", quantity=QUANTITY, above_type="LIMIT_MAKER",
        above_price=above, below_type="STOP_LOSS", below_stop_price=below,
    )  # fmt: skip
    old = await rest(
        client, "order_oco", symbol=SYMBOL, side="SELL", quantity=QUANTITY, price=above, stop_price=below,
        stop_limit_price=below, stop_limit_time_in_force="GTC",
    )  # fmt: skip
    assert [len(one.order_reports) for one in (oco, old)] == [2, 2]
    working = {
        "symbol": SYMBOL, "working_type": "LIMIT", "working_side": "BUY", "working_time_in_force": "GTC",
        "working_price": float(prices.at("0.8")), "working_quantity": QUANTITY, "pending_side": "SELL",
        "pending_quantity": QUANTITY,
    }  # fmt: skip
    oto = await rest(client, "order_list_oto", **working, pending_type="MARKET")
    otoco = await rest(
        client, "order_list_otoco", **working, pending_above_type="LIMIT_MAKER", pending_above_price=above,
        pending_below_type="STOP_LOSS", pending_below_stop_price=float(prices.at("0.7")),
    )  # fmt: skip
    ids = [one.order_list_id for one in (oco, old, oto, otoco)]
    assert [one.order_list_id for one in await rest(client, "open_order_list")] == ids
    assert [one.order_list_id for one in await rest(client, "all_order_list")] == ids
    assert (await rest(client, "get_order_list", order_list_id=ids[0])).list_order_status == "EXECUTING"
    gone = await rest(client, "delete_order_list", symbol=SYMBOL, order_list_id=ids[0])
    assert gone.list_order_status == "ALL_DONE"
    assert len(await rest(client, "delete_open_orders", symbol=SYMBOL)) == 3


async def test_the_websocket_api(client: Spot, prices: Prices) -> None:
    connection = await client.websocket_api.create_connection()

    async def ask(name: str, **params: Any) -> Any:
        return (await asyncio.wait_for(getattr(connection, name)(**params), 10)).data().result

    try:
        await connection.ping()
        assert (await ask("time")).server_time > 0
        for name in ("depth", "avg_price", "trades_recent", "trades_aggregate", "trades_historical"):
            assert await ask(name, symbol=SYMBOL), name
        assert len(await ask("klines", symbol=SYMBOL, interval="1m", limit=2)) == 2
        placed = await ask(
            "order_place", symbol=SYMBOL, side="BUY", type="LIMIT", time_in_force="GTC", quantity=QUANTITY,
            price=float(prices.at("0.8")),
        )  # fmt: skip
        assert (await ask("order_status", symbol=SYMBOL, order_id=placed.order_id)).status == "NEW"
        amended = await ask("order_amend_keep_priority", symbol=SYMBOL, order_id=placed.order_id, new_qty=0.009)
        assert amended.amended_order.qty == "0.00900000"
        canceled = await ask("order_cancel", symbol=SYMBOL, order_id=placed.order_id)
        assert canceled.status == "CANCELED"
        assert len(await ask("all_orders", symbol=SYMBOL)) == 1
        assert (await ask("account_status")).can_trade
        assert len(await ask("account_rate_limits_orders")) == 2
    finally:
        await client.websocket_api.close_connection(close_session=True, connection=None)


async def test_streams_and_the_user_stream(client: Spot) -> None:
    heard: dict[str, Any] = {}
    streams = await client.websocket_streams.create_connection()
    for name, params in {
        "kline": {"interval": "1m"}, "mini_ticker": {}, "ticker": {}, "trade": {}, "agg_trade": {}, "book_ticker": {},
        "diff_book_depth": {}, "partial_book_depth": {"levels": "5"}, "avg_price": {},
        "rolling_window_ticker": {"window_size": "1h"},
    }.items():  # fmt: skip
        handle = await getattr(streams, name)(symbol="btcusdt", **params)
        handle.on("message", lambda message, name=name: heard.__setitem__(name, message))

    async def all_heard() -> bool:
        return len(heard) == 10

    api = await client.websocket_api.create_connection()
    try:
        await until(all_heard, 15)
        subscribed = await api.user_data_stream_subscribe_signature()
        events: list[Any] = []
        subscribed.stream.on("message", events.append)
        await rest(client, "new_order", symbol=SYMBOL, side="BUY", type="MARKET", quantity=QUANTITY)

        async def told() -> bool:
            return len(events) >= 3

        await until(told)
        kinds = [type(getattr(event, "actual_instance", event)).__name__ for event in events]
        assert kinds[:2] == ["ExecutionReport"] * 2
        assert kinds[-1] == "OutboundAccountPosition"
    finally:
        await client.websocket_streams.close_connection(close_session=True)
        await client.websocket_api.close_connection(close_session=True)
