"""What every `TradingSession` must do, whoever implements it. Run against each by a subclass with a `venue` fixture."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from app.domain.clock import Clock
from app.domain.money import floor_to_step
from app.domain.orders import ExchangeReport, OrderType, Side, TimeInForce
from app.services.exchange.protocol import (
    BalancesChanged,
    CancelRejected,
    Confirmed,
    Found,
    MarketData,
    NotVisible,
    OrderRequest,
    OrderUpdate,
    PlaceOutcome,
    Refused,
    StreamUp,
    TradingSession,
    Unknown,
    UserEvent,
)

SYMBOL, BASE, QUOTE = "BTCUSDT", "BTC", "USDT"
OPENING = {BASE: Decimal(50), QUOTE: Decimal(20_000_000)}
DAY_MS = 86_400_000
_ids = itertools.count(1)
T = TypeVar("T")


@dataclass(slots=True)
class Venue:
    """An exchange under test with one fresh account that holds `OPENING`.

    `limited_market` makes the market offer so little that 80 BTC are not to be had near its price.
    """

    trading: TradingSession
    market: MarketData
    clock: Clock
    limited_market: Callable[[], Awaitable[None]]


def new_id() -> str:
    """A client order id that no other test uses."""
    return f"contract-{next(_ids)}"


def order(kind: OrderType = OrderType.MARKET, side: Side = Side.BUY, **changes: Any) -> OrderRequest:
    """A small order; `changes` override."""
    values: dict[str, Any] = {"client_order_id": new_id(), "symbol": SYMBOL, "quantity": Decimal("0.01")}
    if kind in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT):
        values["time_in_force"] = TimeInForce.GTC
    return OrderRequest(side=side, type=kind, **{**values, **changes})


async def price_near(venue: Venue, factor: str) -> Decimal:
    """The last price times `factor`, on the tick."""
    return floor_to_step((await venue.market.prices())[SYMBOL] * Decimal(factor), Decimal("0.01"))


async def place(venue: Venue, request: OrderRequest, *, age_ms: int = 0) -> PlaceOutcome:
    """Send with a timestamp that is `age_ms` old."""
    signed_ms = venue.clock.exchange_now_ms() - age_ms
    return await venue.trading.place(request, signed_timestamp_ms=signed_ms, recv_window_ms=5_000)


async def confirmed(venue: Venue, request: OrderRequest) -> ExchangeReport:
    """Send; the exchange takes it."""
    outcome = await place(venue, request)
    assert isinstance(outcome, Confirmed), outcome
    return outcome.report


async def cancel(venue: Venue, request: OrderRequest, exchange_order_id: int | None = None) -> Any:
    """Send a cancel, by client id unless the exchange's is given."""
    return await venue.trading.cancel(
        SYMBOL, client_order_id=request.client_order_id, exchange_order_id=exchange_order_id
    )


async def query(venue: Venue, request: OrderRequest, exchange_order_id: int | None = None) -> Any:
    """Ask, by client id unless the exchange's is given."""
    return await venue.trading.query(
        SYMBOL, client_order_id=request.client_order_id, exchange_order_id=exchange_order_id
    )


@asynccontextmanager
async def listening(venue: Venue) -> AsyncIterator[list[UserEvent]]:
    """The user events that arrive inside the block; it begins once the stream is up."""
    heard: list[UserEvent] = []

    async def listen() -> None:
        async for event in venue.trading.user_events():
            heard.append(event)  # noqa: PERF401 - it never ends

    task = asyncio.create_task(listen())
    try:
        await until(lambda: heard)
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], T], timeout_s: float = 5.0) -> T:
    """Poll until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not (value := condition()):  # noqa: ASYNC110 - the condition is not ours to signal
            await asyncio.sleep(0.01)
        return value


def reports(heard: list[UserEvent]) -> list[ExchangeReport]:
    """Of order updates."""
    return [event.report for event in heard if isinstance(event, OrderUpdate)]


class TradingContract:
    """The suite."""

    async def test_a_market_order_is_confirmed_with_the_fills_it_got(self, venue: Venue) -> None:
        request = order()
        report = await confirmed(venue, request)
        assert report.client_order_id == request.client_order_id
        assert (report.status, report.executed) == ("FILLED", Decimal("0.01"))
        assert sum(fill.quantity for fill in report.fills) == report.executed
        assert sum(fill.quote_quantity for fill in report.fills) == report.executed_quote
        assert all(fill.commission_asset == BASE and fill.commission > 0 for fill in report.fills)

    async def test_the_trades_of_an_order_are_its_fills(self, venue: Venue) -> None:
        report = await confirmed(venue, order())
        assert list(await venue.trading.trades_of(SYMBOL, report.exchange_order_id)) == list(report.fills)

    async def test_fills_move_the_balances_by_what_they_say(self, venue: Venue) -> None:
        report = await confirmed(venue, order())
        fees = sum(fill.commission for fill in report.fills)
        balances = await venue.trading.balances()
        assert balances[BASE].free == OPENING[BASE] + report.executed - fees
        assert balances[QUOTE].free == OPENING[QUOTE] - report.executed_quote
        assert balances[QUOTE].locked == 0

    async def test_a_sale_pays_its_fee_in_the_quote_asset(self, venue: Venue) -> None:
        report = await confirmed(venue, order(side=Side.SELL))
        fees = sum(fill.commission for fill in report.fills)
        assert {fill.commission_asset for fill in report.fills} == {QUOTE}
        assert (await venue.trading.balances())[QUOTE].free == OPENING[QUOTE] + report.executed_quote - fees

    async def test_a_market_order_sized_in_quote_spends_at_most_that(self, venue: Venue) -> None:
        report = await confirmed(venue, order(quantity=None, quote_quantity=Decimal(1_000)))
        assert report.status == "FILLED"
        assert Decimal(990) < report.executed_quote <= Decimal(1_000)

    async def test_a_query_shows_what_was_executed_but_no_fills(self, venue: Venue) -> None:
        request = order()
        report = await confirmed(venue, request)
        found = await query(venue, request)
        assert isinstance(found, Found)
        assert (found.report.status, found.report.executed, found.report.fills) == ("FILLED", report.executed, ())
        assert found.report.exchange_order_id == report.exchange_order_id

    async def test_a_limit_order_away_from_the_market_rests_and_locks_its_cost(self, venue: Venue) -> None:
        price = await price_near(venue, "0.8")
        request = order(OrderType.LIMIT, price=price)
        report = await confirmed(venue, request)
        assert (report.status, report.executed, report.fills) == ("NEW", 0, ())
        assert [o.client_order_id for o in await venue.trading.open_orders()] == [request.client_order_id]
        assert (await venue.trading.balances())[QUOTE].locked == price * Decimal("0.01")

    async def test_a_cancel_ends_a_resting_order_and_frees_what_it_locked(self, venue: Venue) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        await confirmed(venue, request)
        outcome = await cancel(venue, request)
        assert isinstance(outcome, Confirmed)
        assert (outcome.report.client_order_id, outcome.report.status) == (request.client_order_id, "CANCELED")
        assert await venue.trading.open_orders() == []
        assert (await venue.trading.balances())[QUOTE].locked == 0

    async def test_cancel_and_query_find_an_order_by_the_exchanges_id(self, venue: Venue) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        exchange_id = (await confirmed(venue, request)).exchange_order_id
        found = await query(venue, request, exchange_id)
        assert isinstance(found, Found)
        assert found.report.client_order_id == request.client_order_id
        assert isinstance(await cancel(venue, request, exchange_id), Confirmed)

    async def test_a_canceled_order_is_still_found_by_its_client_id(self, venue: Venue) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        await confirmed(venue, request)
        await cancel(venue, request)
        found = await query(venue, request)
        assert isinstance(found, Found)
        assert found.report.status == "CANCELED"

    async def test_a_second_cancel_is_rejected_and_says_nothing_else(self, venue: Venue) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        await confirmed(venue, request)
        await cancel(venue, request)
        assert isinstance(await cancel(venue, request), CancelRejected)

    async def test_a_filled_order_and_one_that_never_was_cannot_be_canceled(self, venue: Venue) -> None:
        filled = order()
        await confirmed(venue, filled)
        assert isinstance(await cancel(venue, filled), CancelRejected)
        assert isinstance(await cancel(venue, order()), CancelRejected)

    async def test_an_order_that_never_was_is_not_visible(self, venue: Venue) -> None:
        assert await query(venue, order()) == NotVisible()
        assert await query(venue, order(), 999_999_999) == NotVisible()

    async def test_an_order_larger_than_the_market_fills_in_part_and_keeps_that_when_it_is_canceled(
        self, venue: Venue
    ) -> None:
        await venue.limited_market()
        request = order(OrderType.LIMIT, quantity=Decimal(80), price=await price_near(venue, "1.001"))
        report = await confirmed(venue, request)
        assert report.status == "PARTIALLY_FILLED"
        assert 0 < sum(fill.quantity for fill in report.fills) == report.executed < 80
        outcome = await cancel(venue, request)
        assert isinstance(outcome, Confirmed)
        assert outcome.report.status == "CANCELED"
        assert outcome.report.executed >= report.executed
        trades = await venue.trading.trades_of(SYMBOL, report.exchange_order_id)
        assert sum(fill.quantity for fill in trades) == outcome.report.executed

    async def test_an_order_without_the_money_for_it_is_refused(self, venue: Venue) -> None:
        outcome = await place(venue, order(side=Side.SELL, quantity=Decimal(60)))
        assert isinstance(outcome, Refused)
        assert outcome.code == "-2010"
        assert "insufficient balance" in outcome.message

    async def test_an_order_that_breaks_a_filter_is_refused_and_not_there(self, venue: Venue) -> None:
        tiny = order(OrderType.LIMIT, quantity=Decimal("0.00001"), price=await price_near(venue, "0.9"))
        outcome = await place(venue, tiny)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.message) == ("-1013", "Filter failure: NOTIONAL")
        assert await query(venue, tiny) == NotVisible()

    async def test_an_unknown_symbol_is_refused(self, venue: Venue) -> None:
        outcome = await place(venue, order(symbol="NOSUCH"))
        assert isinstance(outcome, Refused)
        assert outcome.code == "-1121"

    async def test_a_request_outside_its_window_is_refused_and_asks_for_the_clock(self, venue: Venue) -> None:
        for age_ms in (6_000, -3_000):
            outcome = await place(venue, order(), age_ms=age_ms)
            assert isinstance(outcome, Refused)
            assert (outcome.code, outcome.resyncs_clock) == ("-1021", True)

    async def test_the_client_id_of_an_open_order_is_taken_so_the_outcome_has_to_be_asked_for(
        self, venue: Venue
    ) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        first = await confirmed(venue, request)
        assert isinstance(await place(venue, request), Unknown)
        found = await query(venue, request)
        assert isinstance(found, Found)
        assert found.report.exchange_order_id == first.exchange_order_id
        assert len(await venue.trading.open_orders()) == 1

    async def test_the_client_id_of_an_ended_order_is_no_guard_against_a_second_one(self, venue: Venue) -> None:
        request = order()
        first = await confirmed(venue, request)
        second = await confirmed(venue, request)
        assert second.exchange_order_id != first.exchange_order_id

    async def test_a_maker_order_that_would_take_is_refused(self, venue: Venue) -> None:
        outcome = await place(venue, order(OrderType.LIMIT_MAKER, price=await price_near(venue, "1.05")))
        assert isinstance(outcome, Refused), outcome
        assert (outcome.code, outcome.message) == ("-2010", "Order would immediately match and take.")

    async def test_an_immediate_order_that_cannot_trade_expires_without_a_fill(self, venue: Venue) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.9"), time_in_force=TimeInForce.IOC)
        report = await confirmed(venue, request)
        assert (report.status, report.executed) == ("EXPIRED", 0)
        assert await venue.trading.open_orders() == []

    async def test_a_stop_rests_until_it_is_canceled(self, venue: Venue) -> None:
        request = order(
            OrderType.STOP_LOSS_LIMIT,
            Side.SELL,
            stop_price=await price_near(venue, "0.85"),
            price=await price_near(venue, "0.84"),
        )
        assert (await confirmed(venue, request)).status == "NEW"
        assert (await venue.trading.balances())[BASE].locked == Decimal("0.01")
        assert isinstance(await cancel(venue, request), Confirmed)
        assert (await venue.trading.balances())[BASE].locked == 0

    async def test_history_lists_all_orders_of_the_symbol_from_a_time_on(self, venue: Venue) -> None:
        began_ms = venue.clock.exchange_now_ms()
        resting = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        placed = [await confirmed(venue, order()), await confirmed(venue, resting), await confirmed(venue, order())]
        for start_ms in (began_ms, began_ms - DAY_MS, began_ms - 3 * DAY_MS, began_ms - 400 * DAY_MS):
            listed = await venue.trading.orders_since(SYMBOL, start_ms)
            assert [o.exchange_order_id for o in listed] == [o.exchange_order_id for o in placed]
        assert await venue.trading.orders_since(SYMBOL, began_ms + 60_000) == []

    async def test_history_lists_all_trades_of_the_symbol_from_a_time_on(self, venue: Venue) -> None:
        began_ms = venue.clock.exchange_now_ms()
        bought, sold = await confirmed(venue, order()), await confirmed(venue, order(side=Side.SELL))
        expected = [*bought.fills, *sold.fills]
        for start_ms in (began_ms, began_ms - DAY_MS, began_ms - 400 * DAY_MS):
            trades = await venue.trading.trades_since(SYMBOL, start_ms)
            assert [trade.fill for trade in trades] == expected
            assert {t.exchange_order_id: t.side for t in trades} == {
                bought.exchange_order_id: Side.BUY,
                sold.exchange_order_id: Side.SELL,
            }
        assert await venue.trading.trades_since(SYMBOL, began_ms + 60_000) == []

    async def test_history_goes_on_from_an_id(self, venue: Venue) -> None:
        made = [await confirmed(venue, order()) for _ in range(3)]
        later = await venue.trading.orders_from(SYMBOL, made[1].exchange_order_id)
        assert [r.exchange_order_id for r in later] == [r.exchange_order_id for r in made[1:]]
        first_trade = min(fill.trade_id for fill in made[1].fills)
        trades = await venue.trading.trades_from(SYMBOL, first_trade)
        assert [t.fill for t in trades] == [*made[1].fills, *made[2].fills]
        assert await venue.trading.trades_from(SYMBOL, trades[-1].fill.trade_id + 1) == []

    async def test_open_orders_are_listed_by_symbol_with_what_adopting_them_needs(self, venue: Venue) -> None:
        low, stop = await price_near(venue, "0.9"), await price_near(venue, "0.8")
        request = order(OrderType.LIMIT, price=low)
        await confirmed(venue, request)
        sale = order(OrderType.STOP_LOSS_LIMIT, Side.SELL, price=stop, stop_price=stop)
        await confirmed(venue, sale)
        listed = {r.client_order_id: r for r in await venue.trading.open_orders(SYMBOL)}
        rests, waits = listed[request.client_order_id], listed[sale.client_order_id]
        assert (rests.side, rests.type, rests.price, rests.time_in_force) == ("BUY", "LIMIT", low, "GTC")
        assert (rests.original_quantity, rests.stop_price) == (Decimal("0.01"), 0)
        assert (waits.type, waits.stop_price) == ("STOP_LOSS_LIMIT", stop)
        assert abs(rests.created_at_ms - venue.clock.exchange_now_ms()) < 60_000
        assert await venue.trading.open_orders("ETHUSDT") == []

    async def test_the_stream_is_up_first_and_then_tells_the_orders_whole_life(self, venue: Venue) -> None:
        async with listening(venue) as heard:
            report = await confirmed(venue, order())
            await until(lambda: [r for r in reports(heard) if r.status == "FILLED"])
            await until(lambda: BalancesChanged() in heard)
        assert heard[0] == StreamUp()
        mine = [r for r in reports(heard) if r.exchange_order_id == report.exchange_order_id]
        assert (mine[0].status, mine[0].fills) == ("NEW", ())
        told = [fill for r in mine for fill in r.fills]
        assert told == list(report.fills)
        assert mine[-1].executed == report.executed

    async def test_the_stream_tells_a_cancel_under_the_orders_own_id(self, venue: Venue) -> None:
        request = order(OrderType.LIMIT, price=await price_near(venue, "0.8"))
        async with listening(venue) as heard:
            await confirmed(venue, request)
            await cancel(venue, request)
            ended = await until(lambda: [r for r in reports(heard) if r.status == "CANCELED"])
        assert [r.client_order_id for r in ended] == [request.client_order_id]

    async def test_the_exchanges_clock_and_rules_can_be_asked(self, venue: Venue) -> None:
        assert abs(await venue.market.server_time_ms() - venue.clock.exchange_now_ms()) < 1_000
        rules = (await venue.market.symbol_rules())[SYMBOL]
        assert (rules.base_asset, rules.quote_asset, rules.status) == (BASE, QUOTE, "TRADING")
        assert (rules.tick_size, rules.step_size) == (Decimal("0.01"), Decimal("0.00001"))
