"""Both stores keep the same books: what one accepts or refuses, the other does too."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.errors import InvalidInput, InvariantViolated, NotFound
from app.domain.orders import EventSource, ExchangeReport, Fill, Order, OrderStatus, OrderType, Side
from app.services.execution import bookkeeping
from app.services.execution.intents import OrderDraft, commit_intent, request_cancel
from app.services.execution.store import PlanRecord
from app.services.execution.store_memory import StaleEpoch
from tests.execution.conftest import START_MS, World

D = Decimal
S = OrderStatus
REFUSED = (InvariantViolated, StaleEpoch, DBAPIError)


async def place(world: World, key: str = "a", **changes: object) -> Order:
    values = {
        "account_id": world.account_id,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "quantity": D(1),
        "price": D(99),
    }
    draft = OrderDraft(**(values | changes))  # type: ignore[arg-type]
    async with world.store.transaction() as tx:
        return await commit_intent(tx, draft, intent_key=key, clock=world.clock, ids=world.ids)


async def submit(world: World, order: Order) -> Order:
    async with world.store.transaction() as tx:
        claimed = await tx.claim_new()
        assert claimed is not None
        assert claimed.id == order.id
        step = bookkeeping.attempt(claimed, signed_timestamp_ms=START_MS, recv_window_ms=5000, at_ms=START_MS)
        await tx.write([step])
    return step.order


def report(order: Order, status: str, *fills: tuple[int, str]) -> ExchangeReport:
    booked = tuple(
        Fill(n, D(q), D(99), D(q) * 99, D(q) / 1000, "BTC", is_maker=True, traded_at_ms=START_MS + n) for n, q in fills
    )
    executed = sum((fill.quantity for fill in booked), D(0))
    return ExchangeReport(
        order.client_order_id, 700 + order.id, "BTCUSDT", status, executed, executed * 99, START_MS, booked
    )


async def hear(world: World, order: Order, news: ExchangeReport) -> Order:
    async with world.store.transaction() as tx:
        current = await tx.order_by_client_id(world.account_id, order.client_order_id)
        assert current is not None
        known = await tx.trade_ids(current.id)
        applied = bookkeeping.apply_report(current, known, news, source=EventSource.EXCHANGE, at_ms=START_MS)
        await tx.write(applied.steps)
    return applied.order


async def test_an_intent_is_committed_once_for_its_key(world: World) -> None:
    first, again = await place(world), await place(world)

    assert first == again
    assert (first.status, first.version, first.reserved) == (S.NEW, 1, D(99))


async def test_money_reserved_by_open_orders_cannot_be_spent_twice(world: World) -> None:
    await place(world, quantity=D(10))
    second = await place(world, "b", quantity=D(1))

    assert (second.status, second.reject_code, second.reserved) == (S.REJECTED, "RISK_BALANCE", D(0))
    assert "10" in second.reject_reason


async def test_a_quantity_below_the_lot_is_an_error_in_words_and_leaves_no_order(world: World) -> None:
    with pytest.raises(InvalidInput, match="below the lot minimum") as caught:
        await place(world, quantity=D("0.000001"))

    assert caught.value.field == "quantity"
    async with world.store.transaction() as tx:
        assert await tx.claim_new() is None


async def test_an_order_for_somebody_elses_account_is_not_found(world: World) -> None:
    draft = OrderDraft(world.account_id, "BTCUSDT", Side.BUY, OrderType.LIMIT, quantity=D(1), price=D(99))
    async with world.store.transaction() as tx:
        with pytest.raises(NotFound):
            await commit_intent(tx, draft, intent_key="x", user_id=999_999, clock=world.clock, ids=world.ids)


async def test_an_order_lives_from_new_to_filled_with_balances_and_position(world: World) -> None:
    order = await submit(world, await place(world))
    order = await hear(world, order, report(order, "NEW"))
    order = await hear(world, order, report(order, "PARTIALLY_FILLED", (1, "0.4")))
    order = await hear(world, order, report(order, "FILLED", (1, "0.4"), (2, "0.6")))

    assert (order.status, order.filled, order.filled_quote, order.version) == (S.FILLED, D(1), D(99), 5)
    async with world.store.transaction() as tx:
        stored = await tx.order(order.id)
        assert stored == order
        assert await tx.balances(world.account_id) == {"USDT": D(901), "BTC": D("2.999")}
        assert await tx.run_position(world.account_id, 0, "BTCUSDT") == D("0.999")
        assert await tx.in_flight() == []


async def test_only_orders_of_which_too_little_is_known_await_an_answer(world: World) -> None:
    async def awaiting() -> list[int]:
        async with world.store.transaction() as tx:
            return [order.id for order in await tx.awaiting_answer()]

    limit = await place(world)
    assert await awaiting() == []
    sent = await submit(world, limit)
    assert await awaiting() == [sent.id]
    resting = await hear(world, sent, report(sent, "NEW"))
    assert await awaiting() == []
    market = await submit(world, await place(world, "b", type=OrderType.MARKET, price=None))
    half = await hear(world, market, report(market, "PARTIALLY_FILLED", (1, "0.4")))
    assert await awaiting() == [half.id]
    await hear(world, half, report(half, "FILLED", (1, "0.4"), (2, "0.6")))
    assert await awaiting() == []
    async with world.store.transaction() as tx:
        assert [order.id for order in await tx.in_flight()] == [resting.id]


async def test_the_same_news_twice_changes_nothing(world: World) -> None:
    order = await submit(world, await place(world))
    news = report(order, "FILLED", (1, "1"))
    first = await hear(world, order, news)

    assert await hear(world, first, news) == first


async def test_a_second_attempt_to_send_is_refused(world: World) -> None:
    order = await submit(world, await place(world))
    step = bookkeeping.attempt(
        replace(order, status=S.NEW), signed_timestamp_ms=START_MS, recv_window_ms=5000, at_ms=START_MS
    )
    with pytest.raises(REFUSED):
        async with world.store.transaction() as tx:
            await tx.write([step])


async def test_a_stale_version_is_refused(world: World) -> None:
    order = await submit(world, await place(world))
    await hear(world, order, report(order, "NEW"))
    stale = bookkeeping.outcome_unknown(order, reason="late writer", at_ms=START_MS)
    assert stale is not None
    with pytest.raises(REFUSED):
        async with world.store.transaction() as tx:
            await tx.write([stale])


async def test_a_failed_transaction_leaves_the_books_as_they_were(world: World) -> None:
    order = await place(world)
    with pytest.raises(ZeroDivisionError):
        await _cancel_and_fail(world, order)
    async with world.store.transaction() as tx:
        assert await tx.order(order.id) == order


async def _cancel_and_fail(world: World, order: Order) -> None:
    async with world.store.transaction() as tx:
        await request_cancel(tx, order.id, source=EventSource.USER, clock=world.clock)
        raise ZeroDivisionError


async def test_claiming_passes_over_busy_accounts(world: World) -> None:
    await place(world)
    async with world.store.transaction() as tx:
        assert await tx.claim_new(busy=[world.account_id]) is None
        assert await tx.claim_new() is not None


async def test_an_order_sized_in_quote_learns_its_quantity_when_it_is_filled(world: World) -> None:
    order = await place(world, type=OrderType.MARKET, quantity=None, price=None, quote_quantity=D("99"))
    order = await submit(world, order)
    order = await hear(world, order, report(order, "FILLED", (1, "1")))

    assert (order.status, order.quantity, order.reserved) == (S.FILLED, D(1), D(0))


async def test_plans_are_kept_and_found_by_their_orders(world: World) -> None:
    async with world.store.transaction() as tx:
        assert await tx.plans_open() == []
        facts = await tx.trading_facts(world.account_id, "BTCUSDT", None, now_ms=START_MS + 5)

    assert facts is not None
    assert (facts.price, facts.price_age_ms, facts.quote_total) == (D(100), 5, D(1000))
    assert PlanRecord.__dataclass_params__.frozen  # type: ignore[attr-defined]
