"""The exchange in memory keeps the contract, and does what its faults say."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from app.domain.orders import OrderType, Side
from app.domain.symbols import SymbolRules
from app.services.exchange import fake_faults
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import Fault
from app.services.exchange.protocol import (
    AskingFailed,
    CancelRejected,
    Confirmed,
    Found,
    KlineEvent,
    NoInformation,
    NotSent,
    NotVisible,
    Refused,
    StreamDown,
    StreamUp,
    Unknown,
)
from tests.exchange.contract import (
    BASE,
    OPENING,
    QUOTE,
    SYMBOL,
    TradingContract,
    Venue,
    cancel,
    confirmed,
    listening,
    order,
    place,
    query,
    reports,
    until,
)
from tests.exchange.oco_contract import OcoContract, pair, place_pair

RULES = SymbolRules(
    SYMBOL,
    BASE,
    QUOTE,
    tick_size=Decimal("0.01"),
    min_price=Decimal("0.01"),
    max_price=Decimal(1_000_000),
    step_size=Decimal("0.00001"),
    min_qty=Decimal("0.00001"),
    max_qty=Decimal(9_000),
    min_notional=Decimal(5),
    max_notional=Decimal(9_000_000),
)
PRICE = Decimal(100_000)


class HandClock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.ms = 1_795_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def exchange_now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def exchange(clock: HandClock) -> FakeExchange:
    made = FakeExchange(clock, [RULES], balances=OPENING)
    made.set_price(SYMBOL, PRICE)
    return made


@pytest.fixture
def venue(exchange: FakeExchange, clock: HandClock) -> Venue:
    async def limited_market() -> None:
        exchange.set_price(SYMBOL, PRICE, available=Decimal(3))

    return Venue(exchange, exchange, clock, limited_market)


class TestFakeExchange(TradingContract):
    """The contract."""


class TestFakeExchangePairs(OcoContract):
    """The contract of order lists."""


async def test_a_target_that_trades_in_part_ends_its_stop_first(venue: Venue, exchange: FakeExchange) -> None:
    request = await pair(venue)
    await place_pair(venue, request)
    exchange.set_price(SYMBOL, PRICE * 12 // 10, available=Decimal("0.004"))
    stop, target = exchange.book()
    assert (stop.status, target.status, target.executed) == ("EXPIRED", "PARTIALLY_FILLED", Decimal("0.004"))
    assert (await exchange.balances())[BASE].locked == Decimal("0.006")


async def test_a_stop_that_triggers_ends_its_target_and_sells_the_same_coins(
    venue: Venue, exchange: FakeExchange
) -> None:
    await place_pair(venue, await pair(venue))
    exchange.set_price(SYMBOL, PRICE * 7 // 10)
    stop, target = exchange.book()
    assert (stop.status, target.status) == ("FILLED", "EXPIRED")
    balances = await exchange.balances()
    assert (balances[BASE].free, balances[BASE].locked) == (OPENING[BASE] - Decimal("0.01"), 0)
    assert not exchange.late_fill(target.client_order_id, Decimal("0.001"), PRICE)


async def test_a_leg_that_the_exchange_ends_takes_the_other_with_it(venue: Venue, exchange: FakeExchange) -> None:
    request = await pair(venue)
    await place_pair(venue, request)
    exchange.cancel_by_exchange(request.stop.client_order_id)
    assert [o.status for o in exchange.book()] == ["EXPIRED", "EXPIRED"]


async def test_a_pair_arrives_late_as_one(venue: Venue, exchange: FakeExchange, clock: HandClock) -> None:
    exchange.fail_next("place", fake_faults.arrives_late(2_000))
    assert isinstance(await place_pair(venue, await pair(venue)), Unknown)
    assert await exchange.open_orders() == []
    clock.ms += 2_000
    assert len(await exchange.open_orders()) == 2


async def test_a_resting_order_fills_at_its_own_price_when_the_market_crosses_it(
    venue: Venue, exchange: FakeExchange
) -> None:
    request = order(OrderType.LIMIT, price=Decimal(90_000))
    await confirmed(venue, request)
    exchange.set_price(SYMBOL, Decimal(90_000))
    found = await query(venue, request)
    assert found.report.status == "FILLED"
    trades = await exchange.trades_since(SYMBOL, 0)
    assert [(t.fill.price, t.fill.is_maker) for t in trades] == [(Decimal(90_000), True)]


async def test_a_stop_sells_at_the_market_once_it_is_triggered(venue: Venue, exchange: FakeExchange) -> None:
    request = order(OrderType.STOP_LOSS, Side.SELL, stop_price=Decimal(95_000))
    await confirmed(venue, request)
    exchange.set_price(SYMBOL, Decimal(95_001))
    assert (await query(venue, request)).report.status == "NEW"
    exchange.set_price(SYMBOL, Decimal(94_000))
    assert (await query(venue, request)).report.status == "FILLED"
    assert (await exchange.trades_since(SYMBOL, 0))[0].fill.price == Decimal(94_000)


async def test_a_buy_stop_that_gaps_beyond_the_money_expires(venue: Venue, exchange: FakeExchange) -> None:
    request = order(OrderType.STOP_LOSS, quantity=Decimal(80), stop_price=Decimal(110_000))
    await confirmed(venue, request)
    exchange.set_price(SYMBOL, Decimal(400_000))
    assert (await query(venue, request)).report.status == "EXPIRED"
    assert (await exchange.balances())[QUOTE].free == OPENING[QUOTE]


async def test_a_market_order_that_exhausts_the_market_expires_with_its_fills(
    venue: Venue, exchange: FakeExchange
) -> None:
    exchange.set_price(SYMBOL, PRICE, available=Decimal(3))
    report = await confirmed(venue, order(quantity=Decimal(4)))
    assert (report.status, report.executed) == ("EXPIRED", Decimal(3))
    assert (await exchange.balances())[QUOTE].locked == 0


async def test_a_lost_answer_leaves_an_order_that_can_be_found(venue: Venue, exchange: FakeExchange) -> None:
    request = order()
    exchange.fail_next("place", fake_faults.answer_lost())
    assert isinstance(await place(venue, request), Unknown)
    assert isinstance(await query(venue, request), Found)


async def test_a_lost_request_leaves_nothing(venue: Venue, exchange: FakeExchange) -> None:
    request = order()
    exchange.fail_next("place", fake_faults.request_lost())
    assert isinstance(await place(venue, request), Unknown)
    assert await query(venue, request) == NotVisible()
    assert exchange.requests[0] == ("place", request)


@pytest.mark.parametrize(("reached", "seen"), [(True, Found), (False, NotVisible)])
async def test_a_5xx_is_unknown_whether_the_order_is_there_or_not(
    venue: Venue, exchange: FakeExchange, reached: bool, seen: type
) -> None:
    request = order()
    exchange.fail_next("place", fake_faults.unknown_5xx(reached=reached))
    assert isinstance(await place(venue, request), Unknown)
    assert isinstance(await query(venue, request), seen)


async def test_an_order_can_be_invisible_for_a_while(venue: Venue, exchange: FakeExchange, clock: HandClock) -> None:
    request = order()
    exchange.fail_next("place", fake_faults.answer_lost(visible_after_ms=1_300))
    await place(venue, request)
    assert await query(venue, request) == NotVisible()
    assert await exchange.orders_since(SYMBOL, 0) == []
    assert await exchange.trades_since(SYMBOL, 0) == []
    clock.ms += 1_300
    assert isinstance(await query(venue, request), Found)
    assert len(await exchange.trades_since(SYMBOL, 0)) == 1


@pytest.mark.parametrize(("late_ms", "seen"), [(4_000, Found), (6_000, NotVisible)])
async def test_a_request_that_arrives_late_counts_only_within_its_window(
    venue: Venue, exchange: FakeExchange, clock: HandClock, late_ms: int, seen: type
) -> None:
    request = order()
    exchange.fail_next("place", fake_faults.arrives_late(late_ms))
    assert isinstance(await place(venue, request), Unknown)
    assert await query(venue, request) == NotVisible()
    clock.ms += late_ms
    assert isinstance(await query(venue, request), seen)


@pytest.mark.parametrize(
    ("fault", "placing", "cancelling"),
    [
        (fake_faults.refuse(-2015), Refused, Refused),
        (fake_faults.refuse(-1003, status=429, wait_s=5.0), Refused, Refused),
        (fake_faults.refuse(-2011), Unknown, CancelRejected),
        (fake_faults.not_sent(), NotSent, NotSent),
        (fake_faults.request_lost(), Unknown, Unknown),
    ],
)
async def test_a_fault_gives_what_the_classification_makes_of_it(
    venue: Venue, exchange: FakeExchange, fault: Fault, placing: type, cancelling: type
) -> None:
    resting = order(OrderType.LIMIT, price=Decimal(80_000))
    await confirmed(venue, resting)
    exchange.fail_next("place", fault)
    exchange.fail_next("cancel", fault)
    assert isinstance(await place(venue, order()), placing)
    assert isinstance(await cancel(venue, resting), cancelling)
    assert len(await exchange.open_orders()) == 1
    assert isinstance(await cancel(venue, resting), Confirmed)


async def test_asking_can_fail(venue: Venue, exchange: FakeExchange) -> None:
    exchange.fail_next("query", fake_faults.unknown_5xx(), fake_faults.refuse(-2015))
    assert isinstance(await query(venue, order()), NoInformation)
    assert (await query(venue, order())).freezes_account
    exchange.fail_next("list", fake_faults.answer_lost(), fake_faults.refuse(-1003, status=429, wait_s=5.0))
    with pytest.raises(AskingFailed):
        await exchange.open_orders()
    with pytest.raises(AskingFailed) as failure:
        await exchange.balances()
    assert failure.value.retry_after_s == 5.0


async def test_what_happens_while_the_stream_is_down_is_not_told(venue: Venue, exchange: FakeExchange) -> None:
    async with listening(venue) as heard:
        exchange.drop_stream("gone")
        await confirmed(venue, order())
        exchange.restore_stream()
        await until(lambda: len(heard) == 3)
    assert heard == [StreamUp(), StreamDown("gone"), StreamUp()]


async def test_the_exchange_can_end_an_order_itself(venue: Venue, exchange: FakeExchange) -> None:
    request = order(OrderType.LIMIT, price=Decimal(80_000))
    await confirmed(venue, request)
    async with listening(venue) as heard:
        exchange.cancel_by_exchange(request.client_order_id, status="EXPIRED_IN_MATCH")
        await until(lambda: reports(heard))
    assert reports(heard)[0].status == "EXPIRED_IN_MATCH"


async def test_pushed_candles_are_heard_and_the_closed_ones_remembered(exchange: FakeExchange) -> None:
    closed = KlineEvent(SYMBOL, "1m", 60_000, 1.0, 2.0, 0.5, 1.5, 10.0, closed=True)
    forming = replace(closed, open_time_ms=120_000, closed=False)
    events = exchange.market_events([(SYMBOL, "1m")])
    assert await anext(events) == StreamUp()
    for candle in (closed, forming, replace(closed, timeframe="1h")):
        exchange.push_candle(candle)
    assert [await anext(events), await anext(events)] == [closed, forming]
    assert await exchange.closed_candles(SYMBOL, "1m", start_ms=0, end_ms=10**12) == [closed]
