"""Reconciliation on PostgreSQL: repairs reach the books, the result is kept, and the audit log tells of them."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select
from sqlmodel import col

from app.domain.orders import OrderStatus, OrderType, Side
from app.models.auth import AuditEntry
from app.models.execution import Account, OrderRow, ReconciliationPass
from app.services.exchange.fake import FakeExchange
from app.services.execution.intents import OrderDraft, commit_intent
from app.services.execution.reconcile import Reconciler
from app.services.execution.submit import SubmitSettings, Submitter
from tests.execution.conftest import RULES, Sessions, postgres_world

D = Decimal


async def test_a_repair_is_booked_kept_and_audited(migrator_sessions: Sessions, worker_sessions: Sessions) -> None:
    world = await postgres_world(migrator_sessions, worker_sessions, {"USDT": D(1000)})
    exchange = FakeExchange(world.clock, [RULES], balances={"USDT": D(1000)})
    exchange.set_price("BTCUSDT", D(100))
    sessions = {world.account_id: exchange}
    submitter = Submitter(world.store, sessions, world.clock, SubmitSettings())
    draft = OrderDraft(world.account_id, "BTCUSDT", Side.BUY, OrderType.LIMIT, quantity=D(1), price=D(99))
    async with world.store.transaction() as tx:
        await commit_intent(tx, draft, intent_key="a", clock=world.clock, ids=world.ids)
    order = await submitter.claim(may_send=True)
    assert order is not None
    await submitter.send(order)
    exchange.set_price("BTCUSDT", D(98))  # it fills and nobody hears it
    world.clock.ms += 60_000
    result = await Reconciler(world.store, sessions, submitter, world.clock).run(world.account_id, trigger="schedule")

    assert (result.repaired, result.agrees, result.error) == (1, True, "")
    async with migrator_sessions.begin() as session:
        assert (await session.execute(select(col(OrderRow.status)))).scalar_one() == OrderStatus.FILLED
        assert (await session.execute(select(col(ReconciliationPass.repaired)))).scalar_one() == 1
        assert (await session.execute(select(col(Account.books_agree_at)))).scalar_one() is not None
        entry = (await session.execute(select(AuditEntry))).scalar_one()
    assert (entry.actor, entry.action, entry.object) == ("worker", "reconciliation.repaired", f"order:{order.id}")
    assert (entry.details["was"], entry.details["is"], entry.details["filled"]) == ("OPEN", "FILLED", "1")
