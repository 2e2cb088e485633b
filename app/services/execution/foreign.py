"""What happens to an account outside of Plumbline: shown, never touched, and booked.

Orders made elsewhere are differences until they are gone or somebody adopts them. Their trades change balances, as
external adjustments under the trade's id. Money that comes or goes has no id that the exchange would give a trading
key: it is a difference of balances that stays, and is booked as such. Runs' positions are not ours to change by it,
but where fewer coins are left than runs hold, theirs shrink to what is there and the runs are paused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.domain.clock import Clock
from app.domain.errors import Conflict, require
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, EventSource, ExchangeReport, Order, OrderStatus, OrderType, Side, TimeInForce
from app.domain.positions import balance_changes
from app.domain.symbols import SymbolRules
from app.models.portfolio import AdjustmentKind
from app.services.exchange.protocol import ExchangeTrade
from app.services.execution import bookkeeping
from app.services.execution.intents import request_cancel
from app.services.execution.store import Transaction
from app.services.execution.store_reconciling import Adjustment, RunHolding

#: Every client order id that Plumbline makes begins with this (`RandomIds`).
OUR_PREFIX = "pl-"
FOREIGN_ACTIVITY, RECOVERED_ORDERS = "FOREIGN_ACTIVITY", "RECOVERED_ORDERS"
WORKER = "worker"


def is_ours(report: ExchangeReport) -> bool:
    """Whether the order bears our mark: then our books had it once, and were put back to before (F61)."""
    return report.client_order_id.startswith(OUR_PREFIX)


def order_key(report: ExchangeReport) -> str:
    """Key of the difference about an order."""
    return f"{report.symbol}:{report.exchange_order_id}"


def order_facts(report: ExchangeReport) -> dict[str, Any]:
    """What is shown of an order made elsewhere."""
    return {
        "symbol": report.symbol,
        "side": report.side,
        "type": report.type,
        "quantity": plain(report.original_quantity),
        "filled": plain(report.executed),
        "price": plain(report.price),
        "stop_price": plain(report.stop_price),
        "client_order_id": report.client_order_id,
        "exchange_order_id": report.exchange_order_id,
    }


# --- trades ------------------------------------------------------------------------------------------------


async def book_foreign_trade(tx: Transaction, account_id: int, trade: ExchangeTrade, rules: SymbolRules) -> bool:
    """Book what a trade made elsewhere changed, once; False when it was booked before."""
    fill = trade.fill
    verb = "bought" if trade.side is Side.BUY else "sold"
    words = f"{verb} {plain(fill.quantity)} {rules.base_asset} at {plain(fill.price)} {rules.quote_asset} elsewhere"
    changes = balance_changes(trade.side, fill, rules.base_asset, rules.quote_asset)
    adjustments = [
        Adjustment(
            account_id=account_id,
            asset=asset,
            change=change,
            kind=AdjustmentKind.TRADE.value,
            reason=words,
            reference=trade_reference(trade.symbol, fill.trade_id),
            occurred_ms=fill.traded_at_ms,
        )
        for asset, change in sorted(changes.items())
    ]
    booked = [await tx.adjust(adjustment) for adjustment in adjustments]
    return any(booked)


def trade_reference(symbol: str, trade_id: int) -> str:
    """Under what a trade made elsewhere is booked."""
    return f"trade:{symbol}:{trade_id}"


# --- adopting ----------------------------------------------------------------------------------------------


async def adopt(tx: Transaction, account_id: int, report: ExchangeReport, *, clock: Clock) -> Order:
    """Make an order of the exchange one of ours, by hand and of no run. `report` holds the fills it has had.

    What was booked of its trades as made elsewhere is taken back, so that its fills are ours. Raises Conflict in
    words for an order of a kind that we do not have.
    """
    now_ms = clock.exchange_now_ms()
    facts = await tx.trading_facts(account_id, report.symbol, None, now_ms=clock.now_ms())
    if facts is None or facts.rules is None:
        raise Conflict(f"{report.symbol} is not traded on this account")
    known = await tx.order_by_client_id(account_id, report.client_order_id)
    if known is not None:
        return known
    order = _as_ours(report, account_id, facts.rules, now_ms)
    order = await tx.add_order(bookkeeping.created(order, EventSource.RECONCILER, now_ms))
    # The report carries it out of NEW in this very transaction: what is NEW would be sent.
    applied = bookkeeping.apply_report(order, (), report, source=EventSource.RECONCILER, at_ms=now_ms)
    await _take_back_trades(tx, account_id, report.symbol, (fill.trade_id for fill in report.fills))
    await tx.write(applied.steps)
    return applied.order


async def _take_back_trades(tx: Transaction, account_id: int, symbol: str, trade_ids: Iterable[int]) -> None:
    """Undo the adjustments of trades that turn out to be ours: they are about to be booked as fills."""
    for trade_id in sorted(trade_ids):
        reference = trade_reference(symbol, trade_id)
        for booked in await tx.adjustments(account_id, reference):
            back = Adjustment(
                account_id=account_id,
                asset=booked.asset,
                change=-booked.change,
                kind=AdjustmentKind.ADOPTED.value,
                reason=f"taken back: the order of trade {trade_id} was adopted, and the trade is ours now",
                reference=f"adopted:{symbol}:{trade_id}",
                occurred_ms=booked.occurred_ms,
            )
            await tx.adjust(back)


def _as_ours(report: ExchangeReport, account_id: int, rules: SymbolRules, now_ms: int) -> Order:
    if report.type not in set(OrderType) or report.side not in set(Side):
        raise Conflict(f"an order of type {report.type or 'unknown'} cannot be adopted: Plumbline has none like it")
    quantity = report.original_quantity or report.executed
    if quantity <= 0:
        raise Conflict("the exchange does not say how much this order is for, so it cannot be adopted")
    created_ms = report.created_at_ms or report.updated_at_ms or now_ms
    side = Side(report.side)
    order = Order(
        id=0,
        account_id=account_id,
        run_id=None,
        plan_id=None,
        client_order_id=report.client_order_id,
        intent_key=f"adopted:{order_key(report)}",
        symbol=report.symbol,
        side=side,
        type=OrderType(report.type),
        time_in_force=TimeInForce(report.time_in_force) if report.time_in_force in set(TimeInForce) else None,
        quantity=quantity,
        quote_quantity=None,
        price=report.price or None,
        stop_price=report.stop_price or None,
        status=OrderStatus.NEW,
        version=1,
        filled=ZERO,
        filled_quote=ZERO,
        exchange_order_id=None,
        created_at_ms=created_ms,
        deadline_ms=created_ms,
        signed_timestamp_ms=None,
        recv_window_ms=None,
        outcome_unknown_since_ms=None,
        cancel_requested_at_ms=None,
        last_report_ms=0,
        reserved_asset=rules.quote_asset if side is Side.BUY else rules.base_asset,
        reserved=ZERO,
        reject_code="",
        reject_reason="",
    )
    return replace(order, reserved=bookkeeping.reserved_after(order))


# --- coins that are no longer there ------------------------------------------------------------------------


async def fit_positions(tx: Transaction, account_id: int, *, clock: Clock) -> None:
    """Where an account holds fewer coins than its runs think, shrink the newest runs' positions and pause those runs.

    Coins that belong to no run are used up first: only what is missing then is a run's.
    """
    holdings = await tx.runs_holding(account_id)
    totals = await tx.balances(account_id) if holdings else {}
    for asset in sorted({holding.asset for holding in holdings}):
        of_asset = [holding for holding in holdings if holding.asset == asset]
        missing = sum((h.quantity for h in of_asset), ZERO) - max(totals.get(asset, ZERO), ZERO)
        for holding in of_asset:
            if missing <= 0:
                break
            gone = min(missing, holding.quantity)
            await _shrink(tx, account_id, holding, gone, clock=clock)
            missing -= gone


async def _shrink(tx: Transaction, account_id: int, holding: RunHolding, gone: Decimal, *, clock: Clock) -> None:
    require(gone > 0, "something is missing", gone=gone)
    left = holding.quantity - gone
    words = (
        f"{plain(gone)} {holding.asset} of the {plain(holding.quantity)} that run {holding.run_id} held are no longer"
        " in the account: sold or withdrawn outside of the run. The run is paused;"
        f" {plain(left)} {holding.asset} stay protected"
    )
    at_ms = clock.exchange_now_ms()
    await tx.take_from_run(account_id, holding, gone, reason=words, at_ms=at_ms)
    await tx.pause_run(holding.run_id, words)
    await tx.add_incident(FOREIGN_ACTIVITY, words, account_id=account_id)
    for plan in await tx.plans_open(account_id):
        if plan.run_id != holding.run_id or plan.symbol != holding.symbol:
            continue
        # A stop for more than is there would fail when it is needed: its plan rests a smaller one in its place.
        for order in await tx.plan_orders(plan.id):
            if order.side is Side.SELL and order.status not in FINAL and (order.quantity or ZERO) - order.filled > left:
                await request_cancel(tx, order.id, source=EventSource.RECONCILER, clock=clock, reason="coins are gone")
        await tx.wake("plans")
