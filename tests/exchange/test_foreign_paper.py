"""What another program does on the same account of the paper exchange, through the adapter, and what our books say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from app.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from app.services.exchange.protocol import Confirmed, OrderRequest
from app.services.runtime import SystemClock
from tests.exchange.test_stream_gaps_paper import Desk, desk_at

D = Decimal


async def elsewhere(desk: Desk, name: str, side: Side, price: str | None = None) -> None:
    """Another program with the same key trades, or rests an order."""
    kind, until = (OrderType.MARKET, None) if price is None else (OrderType.LIMIT, TimeInForce.GTC)
    limit = None if price is None else D(price)
    request = OrderRequest(name, "BTCUSDT", side, kind, until, quantity=D("0.2"), price=limit)
    now_ms = desk.clock.exchange_now_ms()
    sent = await desk.elsewhere.place(request, signed_timestamp_ms=now_ms, recv_window_ms=5_000)
    assert isinstance(sent, Confirmed), sent


async def test_trades_and_orders_made_elsewhere_are_booked_shown_and_taken_in(tmp_path: Path) -> None:
    """F49, F50, F61."""
    async with desk_at(tmp_path, SystemClock(), None) as desk:
        await elsewhere(desk, "other-1", Side.SELL)
        await elsewhere(desk, "other-2", Side.BUY, "20000")
        await elsewhere(desk, "pl-lost", Side.BUY, "21000")
        result = await desk.reconciler.run(1, trigger="operator", sweep_history=True)

        assert (result.error, result.agrees) == ("", True)
        books, theirs = desk.store.books, await desk.paper.books(desk.exchange_account)
        held = {asset: D(b["free"]) + D(b["locked"]) for asset, b in theirs["balances"].items()}
        assert {asset: total for (_, asset), total in books.totals.items() if total} == held
        trade_id = theirs["trades"][0]["id"]
        assert {a for _, a, reference in books.adjustments if reference == f"trade:BTCUSDT:{trade_id}"} == {
            "BTC",
            "USDT",
        }
        assert [d.facts["client_order_id"] for d in books.differences.values()] == ["other-2"]
        lost = next(o for o in books.orders.values() if o.client_order_id == "pl-lost")
        assert (lost.status, lost.price, lost.quantity) == (OrderStatus.OPEN, D(21000), D("0.2"))
        assert lost.time_in_force is TimeInForce.GTC


async def test_a_withdrawal_is_a_difference_at_once(tmp_path: Path) -> None:
    async with desk_at(tmp_path, SystemClock(), None) as desk:
        status, _ = await desk.paper.control(
            "POST", f"/paper/accounts/{desk.exchange_account}/withdraw", {"BTC": "1.5"}
        )
        assert status == 200
        result = await desk.reconciler.run(1, trigger="operator")

        assert not result.agrees
        assert [d.facts["difference"] for d in desk.store.books.differences.values()] == ["-1.5"]
