"""Orders, fills and reports for tests: short to write, complete in every field."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.domain.money import ZERO
from app.domain.orders import ExchangeReport, Fill, Order, OrderStatus, OrderType, Side, TimeInForce

D = Decimal
NOW_MS = 1_700_000_000_000


def an_order(status: OrderStatus = OrderStatus.NEW, **changes: Any) -> Order:
    """A limit buy of 1 BTC at 100, in the given state."""
    order = Order(
        id=1,
        account_id=1,
        run_id=None,
        plan_id=None,
        client_order_id="pl-one",
        intent_key="user:1:a",
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=D(1),
        quote_quantity=None,
        price=D(100),
        stop_price=None,
        status=status,
        version=1,
        filled=ZERO,
        filled_quote=ZERO,
        exchange_order_id=None,
        created_at_ms=NOW_MS,
        deadline_ms=NOW_MS + 30_000,
        signed_timestamp_ms=None,
        recv_window_ms=None,
        outcome_unknown_since_ms=None,
        cancel_requested_at_ms=None,
        last_report_ms=0,
        reserved_asset="USDT",
        reserved=D(100),
        reject_code="",
        reject_reason="",
    )
    return replace(order, **changes)


def sent(**changes: Any) -> Order:
    """The same order after its attempt."""
    values: dict[str, Any] = {"version": 2, "signed_timestamp_ms": NOW_MS, "recv_window_ms": 5_000} | changes
    return an_order(OrderStatus.SUBMITTED, **values)


def working(**changes: Any) -> Order:
    """The same order, resting on the exchange."""
    values: dict[str, Any] = {"version": 3, "exchange_order_id": 77} | changes
    return replace(sent(), status=OrderStatus.OPEN, **values)


def a_fill(trade_id: int, quantity: str, price: str = "100", *, at_ms: int = NOW_MS) -> Fill:
    """A taker fill with 0.1 % fee in base."""
    return Fill(
        trade_id=trade_id,
        quantity=D(quantity),
        price=D(price),
        quote_quantity=D(quantity) * D(price),
        commission=D(quantity) / 1000,
        commission_asset="BTC",
        is_maker=False,
        traded_at_ms=at_ms,
    )


def a_report(status: str, *fills: Fill, executed: str | None = None, at_ms: int = NOW_MS) -> ExchangeReport:
    """What the exchange says about the order; `executed` defaults to the sum of the fills."""
    total = D(executed) if executed is not None else sum((f.quantity for f in fills), ZERO)
    return ExchangeReport(
        client_order_id="pl-one",
        exchange_order_id=77,
        symbol="BTCUSDT",
        status=status,
        executed=total,
        executed_quote=sum((f.quote_quantity for f in fills), ZERO),
        updated_at_ms=at_ms,
        fills=fills,
        original_quantity=D(1),
    )
