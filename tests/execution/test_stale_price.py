"""What is bought on an old price, in either store: nothing at the market, and by no strategy; sales go on."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain.orders import EventSource, Order, OrderStatus, OrderType, Side
from app.services.execution.intents import BY_HAND, OrderDraft, Owner, commit_intent
from app.services.execution.store_memory import MemoryStore
from app.services.risk.checks import STALE_PRICE_MS
from tests.execution.conftest import World

D = Decimal
MARKET_BUY = {"side": Side.BUY, "type": OrderType.MARKET, "quantity": D(1)}
LIMIT_BUY = {"side": Side.BUY, "type": OrderType.LIMIT, "quantity": D(1), "price": D(90)}
MARKET_SELL = {"side": Side.SELL, "type": OrderType.MARKET, "quantity": D(1)}


async def intend(world: World, key: str, draft: dict[str, object], owner: Owner = BY_HAND) -> Order:
    async with world.store.transaction() as tx:
        return await commit_intent(
            tx,
            OrderDraft(world.account_id, "BTCUSDT", **draft),  # type: ignore[arg-type]
            intent_key=key,
            owner=owner,
            clock=world.clock,
            ids=world.ids,
        )


@pytest.mark.parametrize(
    "draft", [MARKET_BUY, MARKET_BUY | {"quantity": None, "quote_quantity": D(100)}], ids=["base", "quote"]
)
async def test_a_purchase_at_the_market_needs_a_fresh_price(world: World, draft: dict[str, object]) -> None:
    world.clock.ms += STALE_PRICE_MS
    assert (await intend(world, "fresh", draft)).status is OrderStatus.NEW
    world.clock.ms += 1
    refused = await intend(world, "stale", draft)
    assert (refused.status, refused.reject_code, refused.reserved) == (OrderStatus.REJECTED, "RISK_STALE_PRICE", 0)
    assert "15 s old" in refused.reject_reason


async def test_a_limit_and_a_sale_by_hand_rely_on_no_price(world: World) -> None:
    world.clock.ms += 3_600_000
    assert (await intend(world, "limit", LIMIT_BUY)).status is OrderStatus.NEW
    assert (await intend(world, "sale", MARKET_SELL)).status is OrderStatus.NEW


async def test_a_run_enters_on_no_old_price_whatever_the_order(world: World) -> None:
    if not isinstance(world.store, MemoryStore):
        pytest.skip("PostgreSQL wants the run's row as well; the rule is the same code")
    world.clock.ms += STALE_PRICE_MS + 1
    entry = await intend(world, "entry", LIMIT_BUY, Owner(EventSource.STRATEGY, run_id=1))
    assert (entry.status, entry.reject_code) == (OrderStatus.REJECTED, "RISK_STALE_PRICE")
    leaving = await intend(world, "exit", MARKET_SELL, Owner(EventSource.PLAN, run_id=1, plan_id=1))
    assert leaving.status is OrderStatus.NEW
