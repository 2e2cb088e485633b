"""A plan's protection on either store and an exchange in memory: pairs, ladders, moves, and what crashes leave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlmodel import col

from app.domain.orders import EventSource, Order, OrderRole, OrderStatus, OrderType, Side
from app.models.execution import Incident, KillAction, KillScope, RiskLimits, SymbolRow
from app.services.exchange.fake import FakeExchange
from app.services.exchange.fake_faults import Fault, answer_lost, not_sent, refuse, request_lost
from app.services.exchange.protocol import OcoRequest, OrderUpdate, UserEvent
from app.services.execution import plans
from app.services.execution.intents import OrderDraft, Owner, commit_intent, request_cancel
from app.services.execution.plan_moves import UNPROTECTED_AFTER_MS
from app.services.execution.protection import Candle, Reason, trailed
from app.services.execution.rows import rules_document
from app.services.execution.store import PlanRecord
from app.services.execution.store_memory import MemoryStore
from app.services.execution.store_postgres import PostgresStore
from app.services.execution.store_switches import Scope, Switch
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.risk.checks import Limits
from tests.execution.conftest import RULES, START_MS, Sessions, World, memory_world, postgres_world

D = Decimal
S = OrderStatus
BOUND_MS = 75_001
LADDER = {
    "targets": [{"r": "1", "close_pct": 50}, {"pct": "4", "close_pct": 30}],
    "trail": {"pct": "2"},
    "timeframe_ms": 60_000,
}


@dataclass
class Floor:
    """Books, an exchange, and the hands of a worker that a test moves one by one."""

    world: World
    exchange: FakeExchange
    submitter: Submitter
    run_id: int
    owner: Sessions | None = None
    told: list[UserEvent] = field(default_factory=list)

    async def enter(self, protect: dict[str, Any] | None = None, *, stop: dict[str, str] | None = None) -> int:
        """Buy 100 USDT worth under a plan; the entry is filled."""
        async with self.world.store.transaction() as tx:
            plan = PlanRecord(
                0, self.world.account_id, self.run_id, "BTCUSDT", "ENTERING", None, None, None, stop or {"pct": "2"},
                None, None, "", 0, protect=protect or {}, trailed_ms=START_MS,
            )  # fmt: skip
            plan = replace(plan, id=await tx.add_plan(plan))
            draft = OrderDraft(self.world.account_id, "BTCUSDT", Side.BUY, OrderType.MARKET, quote_quantity=D(100))
            owner = Owner(EventSource.STRATEGY, run_id=self.run_id, plan_id=plan.id, role=OrderRole.ENTRY)
            order = await commit_intent(
                tx, draft, intent_key=f"entry:{plan.id}", owner=owner, clock=self.world.clock, ids=self.world.ids
            )
            await tx.save_plan(replace(plan, entry_order_id=order.id))
        await self.send()
        return plan.id

    async def send(self) -> Order | None:
        """Claim and send the next order."""
        claimed = await self.submitter.claim(may_send=True)
        if claimed is None or claimed.status is not S.SUBMITTED:
            return claimed
        return await self.submitter.send(claimed)

    async def advance(self) -> list[PlanRecord | None]:
        async with self.world.store.transaction() as tx:
            found = await tx.plans_open()
            return [await plans.advance(tx, p.id, clock=self.world.clock, ids=self.world.ids) for p in found]

    async def cancels(self) -> bool:
        async with self.world.store.transaction() as tx:
            canceling = await tx.with_status(S.CANCELING)
        for order in canceling:
            await self.submitter.cancel(order)
        return bool(canceling)

    async def hear(self) -> None:
        """Book what the stream has told."""
        while self.told:
            event = self.told.pop(0)
            if isinstance(event, OrderUpdate):
                await self.submitter.apply(self.world.account_id, event.report, EventSource.EXCHANGE)

    async def settle(self) -> None:
        """Until nothing moves any more."""
        before: object = None
        for _ in range(30):
            heard = bool(self.told)
            await self.hear()
            after = await self.advance()
            if not (await self.cancels() or await self.send() or heard) and after == before:
                return
            before = after
        raise AssertionError("it never comes to rest")

    async def ask_all(self) -> None:
        """What recovery and reconciliation do for orders in flight."""
        async with self.world.store.transaction() as tx:
            in_flight = await tx.in_flight()
        for order in in_flight:
            await self.submitter.ask(order)

    async def orders(self) -> list[Order]:
        async with self.world.store.transaction() as tx:
            return list(await tx.plan_orders(1))

    async def working(self) -> list[tuple[str, Decimal | None, Decimal | None]]:
        """Role, remaining quantity and price of each sale that works."""
        sells = [o for o in await self.orders() if o.side is Side.SELL and not o.is_final]
        return [(str(o.role), (o.quantity or D(0)) - o.filled, o.price or o.stop_price) for o in sells]

    async def plan(self) -> PlanRecord:
        async with self.world.store.transaction() as tx:
            found = await tx.plan(1)
        assert found is not None
        return found

    async def open_incidents(self) -> list[str]:
        store = self.world.store
        if isinstance(store, MemoryStore):
            return sorted({kind for kind, _, _ in store.books.open_incidents})
        assert isinstance(store, PostgresStore)
        async with store.sessions.begin() as session:
            found = select(col(Incident.kind)).where(col(Incident.closed_at).is_(None), col(Incident.key) != "")
            return sorted(set((await session.execute(found)).scalars()))

    def market(self, price: str, *, available: str | None = None) -> None:
        self.exchange.set_price("BTCUSDT", D(price), available=D(available) if available else None)


async def a_run(sessions: Sessions, account_id: int) -> int:
    """The row of a run, which a plan belongs to."""
    async with sessions.begin() as session:
        rows = (
            "WITH s AS (INSERT INTO strategy.strategies (user_id, name) SELECT id, 's' FROM auth.users RETURNING id), "
            "v AS (INSERT INTO strategy.strategy_versions (strategy_id, number, hash, document) "
            "SELECT id, 1, 'h', '{}' FROM s RETURNING id) "
            "INSERT INTO strategy.runs (user_id, account_id, version_id, symbol, timeframe) "
            "SELECT u.id, :account, v.id, 'BTCUSDT', '1m' FROM v, auth.users u RETURNING id"
        )
        return int((await session.execute(text(rows), {"account": account_id})).scalar_one())


@pytest.fixture
async def floor(roles: tuple[Sessions, Sessions] | None) -> Floor:
    balances = {"USDT": D(1000)}
    world = memory_world(balances) if roles is None else await postgres_world(*roles, balances)
    run_id = 1 if roles is None else await a_run(roles[0], world.account_id)
    exchange = FakeExchange(world.clock, [RULES], balances=balances)
    exchange.set_price("BTCUSDT", D(100))
    made = Floor(
        world, exchange, Submitter(world.store, {world.account_id: exchange}, world.clock, SubmitSettings()), run_id
    )
    made.owner = roles[0] if roles else None
    exchange.observe(made.told.append)
    return made


async def books_agree(floor: Floor) -> None:
    """Order by order, fill by fill, coin by coin."""
    async with floor.world.store.transaction() as tx:
        ours = {order.client_order_id: order for order in await tx.plan_orders(1)}
        for theirs in floor.exchange.book():
            order = ours[theirs.client_order_id]
            assert order.filled == theirs.executed, order
            assert await tx.trade_ids(order.id) == {fill.trade_id for fill in theirs.fills}
            assert order.is_final == theirs.is_final, (order.status, theirs.status)
        totals = {asset: total for asset, total in floor.exchange.totals().items() if total}
        assert await tx.balances(floor.world.account_id) == totals


# --- resting -------------------------------------------------------------------------------------------------


async def test_a_ladder_rests_as_pairs_and_a_stop_each_coin_sold_once(floor: Floor) -> None:
    await floor.enter(LADDER)
    await floor.settle()

    assert await floor.working() == [
        ("stop", D("0.4995"), D(98)),
        ("target", D("0.4995"), D(102)),
        ("stop", D("0.2997"), D(98)),
        ("target", D("0.2997"), D(104)),
        ("stop", D("0.1998"), D(98)),
    ]
    plan = await floor.plan()
    assert (plan.state, plan.entry_price, plan.first_quantity) == ("PROTECTED", D(100), D("0.999"))
    pairs = [asked for call, asked in floor.exchange.requests if isinstance(asked, OcoRequest)]
    assert len(pairs) == 2
    assert (await floor.exchange.balances())["BTC"].free == 0
    await books_agree(floor)


async def test_the_coins_of_a_pair_are_reserved_once(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.settle()
    async with floor.world.store.transaction() as tx:
        facts = await tx.trading_facts(floor.world.account_id, "BTCUSDT", None, now_ms=START_MS)

    assert facts is not None
    assert (facts.base_total, facts.base_reserved) == (D("0.999"), D("0.999"))


async def test_both_legs_are_one_attempt_each_and_one_request(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.advance()
    before = len(floor.exchange.requests)
    claimed = await floor.submitter.claim(may_send=True)
    assert claimed is not None
    legs = [order for order in await floor.orders() if order.side is Side.SELL]

    assert [leg.status for leg in legs] == [S.SUBMITTED, S.SUBMITTED]
    assert {leg.signed_timestamp_ms for leg in legs} == {START_MS}
    assert len({leg.list_client_order_id for leg in legs}) == 1
    assert await floor.submitter.claim(may_send=True) is None
    await floor.submitter.send(claimed)
    assert [call for call, _ in floor.exchange.requests[before:]] == ["place"]


async def test_targets_fill_one_by_one_and_the_rest_stays_protected(floor: Floor) -> None:
    await floor.enter(LADDER)
    await floor.settle()
    floor.market("102.5")
    await floor.settle()
    assert await floor.working() == [
        ("stop", D("0.2997"), D(98)),
        ("target", D("0.2997"), D(104)),
        ("stop", D("0.1998"), D(98)),
    ]
    floor.market("104")
    await floor.settle()
    floor.market("97")
    await floor.settle()
    plan = await floor.plan()

    assert (plan.state, plan.exit_reason) == ("CLOSED", Reason.STOP)
    ended = [(o.role, o.status) for o in await floor.orders() if o.side is Side.SELL]
    assert ended == [
        (OrderRole.STOP, S.EXPIRED), (OrderRole.TARGET, S.FILLED), (OrderRole.STOP, S.EXPIRED),
        (OrderRole.TARGET, S.FILLED), (OrderRole.STOP, S.FILLED),
    ]  # fmt: skip
    await books_agree(floor)


async def test_the_last_target_ends_the_plan(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 60}, {"r": "2", "close_pct": 40}]})
    await floor.settle()
    floor.market("110")
    await floor.settle()

    assert ((await floor.plan()).state, (await floor.plan()).exit_reason) == ("CLOSED", Reason.TARGET)
    await books_agree(floor)


async def test_a_target_filled_in_part_gives_its_rest_a_stop_again(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.settle()
    floor.market("102", available="0.3")
    floor.market("101")
    await floor.settle()

    assert await floor.working() == [("stop", D("0.699"), D(98)), ("target", D("0.699"), D(102))]
    await books_agree(floor)


async def test_a_reached_target_that_cannot_rest_any_more_is_sold_at_market(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 50}]})
    floor.market("103")
    async with floor.world.store.transaction() as tx:
        if isinstance(floor.world.store, MemoryStore):
            floor.world.store.books.prices["BTCUSDT"] = (D(103), START_MS)
        else:
            await tx.session.execute(text("UPDATE analytics.prices SET price = 103"))  # type: ignore[attr-defined]
    await floor.settle()

    assert await floor.working() == [("stop", D("0.4995"), D(98))]
    sold = [o for o in await floor.orders() if o.role is OrderRole.TARGET and o.status is S.FILLED]
    assert [(o.type, o.filled, o.filled_quote) for o in sold] == [(OrderType.MARKET, D("0.4995"), D("51.4485"))]
    await books_agree(floor)


# --- outcomes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [answer_lost(), answer_lost(visible_after_ms=20_000)], ids=["visible", "later"])
async def test_a_pair_whose_answer_is_lost_is_found_leg_by_leg_and_never_sent_again(floor: Floor, fault: Fault) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    floor.exchange.fail_next("place", fault)
    await floor.advance()
    await floor.send()
    floor.told.clear()
    legs = (await floor.orders())[1:]
    assert [leg.outcome_unknown_since_ms for leg in legs] == [START_MS, START_MS]
    floor.world.clock.ms += 25_000
    await floor.ask_all()
    await floor.settle()

    assert await floor.working() == [("stop", D("0.999"), D(98)), ("target", D("0.999"), D(102))]
    assert sum(isinstance(asked, OcoRequest) for _, asked in floor.exchange.requests) == 1
    await books_agree(floor)


async def test_a_pair_that_never_arrived_expires_after_the_bound_and_is_decided_anew(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    floor.exchange.fail_next("place", request_lost())
    await floor.advance()
    await floor.send()
    await floor.ask_all()
    assert [o.status for o in (await floor.orders())[1:]] == [S.SUBMITTED, S.SUBMITTED]
    floor.world.clock.ms += BOUND_MS
    await floor.ask_all()
    await floor.settle()
    sells = (await floor.orders())[1:]

    assert [o.status for o in sells] == [S.EXPIRED, S.EXPIRED, S.OPEN, S.OPEN]
    assert len({o.client_order_id for o in sells}) == 4
    await books_agree(floor)


@pytest.mark.parametrize("fault", [not_sent(), refuse(-1013, "Filter failure: NOTIONAL"), refuse(-1015)])
async def test_a_refused_pair_is_refused_in_both_legs_and_tried_again(floor: Floor, fault: Fault) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    floor.exchange.fail_next("place", fault)
    await floor.settle()
    assert [o.status for o in (await floor.orders())[1:]] == [S.REJECTED, S.REJECTED]
    floor.world.clock.ms += 1_000
    await floor.settle()

    assert [o.status for o in (await floor.orders())[3:]] == [S.OPEN, S.OPEN]


async def test_a_pair_the_engine_refuses_is_a_stop_at_once_and_a_pair_a_minute_later(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    floor.exchange.fail_next("place", refuse(-2010, "The relationship of the prices for the orders is not correct."))
    await floor.settle()
    assert await floor.working() == [("stop", D("0.999"), D(98))]
    floor.world.clock.ms += 60_000
    await floor.settle()

    assert await floor.working() == [("stop", D("0.999"), D(98)), ("target", D("0.999"), D(102))]
    await books_agree(floor)


async def test_a_leg_taken_back_before_it_is_sent_takes_the_other_with_it(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.advance()
    target = (await floor.orders())[2]
    async with floor.world.store.transaction() as tx:
        await request_cancel(tx, target.id, source=EventSource.PLAN, clock=floor.world.clock)
    await floor.send()

    assert [o.status for o in (await floor.orders())[1:]] == [S.CANCELED, S.CANCELED]
    assert not any(isinstance(asked, OcoRequest) for _, asked in floor.exchange.requests)


async def test_a_pair_past_its_deadline_expires_unsent_in_both_legs(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.advance()
    floor.world.clock.ms += 30_001
    await floor.send()

    assert [(o.status, o.reject_code) for o in (await floor.orders())[1:]] == [(S.EXPIRED, "STALE_INTENT")] * 2


@pytest.mark.parametrize("which", [1, 2])
async def test_cancelling_either_leg_ends_both_and_the_plan_places_them_again(floor: Floor, which: int) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.settle()
    async with floor.world.store.transaction() as tx:
        await request_cancel(tx, which + 1, source=EventSource.PLAN, clock=floor.world.clock)
    floor.told.clear()
    await floor.settle()

    assert [o.status for o in (await floor.orders())[1:]] == [S.CANCELED, S.CANCELED, S.OPEN, S.OPEN]
    await books_agree(floor)


# --- moving and leaving --------------------------------------------------------------------------------------


async def trail(floor: Floor, *highs: str) -> None:
    """Candles have closed."""
    async with floor.world.store.transaction() as tx:
        plan = await tx.plan(1)
        assert plan is not None
        candles = [Candle(START_MS + 60_000 * n, D(high), D(high)) for n, high in enumerate(highs, start=1)]
        await tx.save_plan(trailed(plan, candles, RULES))


async def test_a_trailed_stop_moves_all_parts_and_never_sells_a_coin_twice(floor: Floor) -> None:
    await floor.enter(LADDER)
    await floor.settle()
    floor.market("101.5")
    await trail(floor, "101.5")
    await floor.settle()

    assert await floor.working() == [
        ("stop", D("0.4995"), D("99.5")),
        ("target", D("0.4995"), D(102)),
        ("stop", D("0.2997"), D("99.5")),
        ("target", D("0.2997"), D(104)),
        ("stop", D("0.1998"), D("99.5")),
    ]
    assert (await floor.plan()).state == "PROTECTED"
    await books_agree(floor)


async def test_a_stop_trailed_above_the_price_sells_what_is_held(floor: Floor) -> None:
    await floor.enter({"trail": {"pct": "2"}})
    await floor.settle()
    floor.market("101")
    await trail(floor, "104")
    await floor.settle()

    assert ((await floor.plan()).state, (await floor.plan()).exit_reason) == ("CLOSED", Reason.TRAIL)
    await books_agree(floor)


async def test_a_worker_that_dies_between_cancel_and_placement_leaves_a_plan_that_places_again(floor: Floor) -> None:
    await floor.enter({"trail": {"pct": "2"}})
    await floor.settle()
    await trail(floor, "101")
    await floor.advance()
    await floor.cancels()  # … and here it dies: nothing of it is left but rows
    assert (await floor.plan()).state == "PROTECTING"
    again = Submitter(floor.world.store, {floor.world.account_id: floor.exchange}, floor.world.clock, SubmitSettings())
    reborn = Floor(floor.world, floor.exchange, again, floor.run_id)
    await reborn.ask_all()
    await reborn.settle()

    assert await reborn.working() == [("stop", D("0.999"), D(99))]
    await books_agree(reborn)


async def test_an_exit_cancels_every_part_and_sells_all(floor: Floor) -> None:
    await floor.enter(LADDER)
    await floor.settle()
    async with floor.world.store.transaction() as tx:
        await tx.save_plan(replace(await floor_plan(tx), exit_reason="rule"))
    await floor.settle()
    plan, sold = await floor.plan(), [o for o in await floor.orders() if o.role is OrderRole.EXIT]

    assert (plan.state, plan.exit_reason, [o.filled for o in sold]) == ("CLOSED", "rule", [D("0.999")])
    await books_agree(floor)


async def floor_plan(tx: Any) -> PlanRecord:
    plan = await tx.plan(1)
    assert plan is not None
    return plan


# --- by time, and by a person --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [request_lost(), not_sent()], ids=["unknown", "not sent"])
async def test_a_position_without_its_stop_for_30_s_is_an_incident_until_it_has_it_again(
    floor: Floor, fault: Fault
) -> None:
    await floor.enter()
    floor.exchange.fail_next("place", *[fault] * 6)
    for _ in range(UNPROTECTED_AFTER_MS // 1_000):
        await floor.advance()
        await floor.send()
        assert await floor.open_incidents() == []
        floor.world.clock.ms += 1_000
    await floor.advance()
    assert await floor.open_incidents() == ["UNPROTECTED"]
    for _ in range(10):
        floor.world.clock.ms += BOUND_MS
        await floor.ask_all()
        await floor.settle()

    assert await floor.working() == [("stop", D("0.999"), D(98))]
    assert await floor.open_incidents() == []


async def test_a_frozen_account_does_not_hide_that_its_position_lies_bare(floor: Floor) -> None:
    await floor.enter()
    async with floor.world.store.transaction() as tx:
        await tx.freeze_account(floor.world.account_id, "the key was refused")
    await floor.advance()
    floor.world.clock.ms += UNPROTECTED_AFTER_MS
    await floor.advance()

    assert "UNPROTECTED" in await floor.open_incidents()
    assert len(await floor.orders()) == 1


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_person_takes_over_and_nothing_is_sold(floor: Floor, cancels: bool) -> None:
    await floor.enter(LADDER)
    await floor.settle()
    async with floor.world.store.transaction() as tx:
        await plans.take_over_plan(tx, 1, cancels=cancels, clock=floor.world.clock)
    await floor.settle()
    plan = await floor.plan()

    assert (plan.state, plan.exit_reason) == ("CLOSED", Reason.TAKEN_OVER)
    assert len(await floor.working()) == (0 if cancels else 5)
    assert [o for o in await floor.orders() if o.role is OrderRole.EXIT] == []
    async with floor.world.store.transaction() as tx:
        assert await tx.run_position(floor.world.account_id, floor.run_id, "BTCUSDT") == D("0.999")


async def test_a_plan_of_somebody_else_or_one_that_has_ended_cannot_be_taken_over(floor: Floor) -> None:
    await floor.enter()
    async with floor.world.store.transaction() as tx:
        with pytest.raises(Exception, match="there is no such plan"):
            await plans.take_over_plan(tx, 1, cancels=True, clock=floor.world.clock, user_id=999)
        await plans.take_over_plan(tx, 1, cancels=True, clock=floor.world.clock)
        with pytest.raises(Exception, match="has ended already"):
            await plans.take_over_plan(tx, 1, cancels=True, clock=floor.world.clock)


async def test_no_switch_and_no_limit_refuses_what_protects_or_leaves(floor: Floor) -> None:
    await floor.enter(LADDER)
    store = floor.world.store
    if isinstance(store, MemoryStore):
        store.books.limits[1] = Limits(D(1), D(1))
    else:
        assert floor.owner is not None
        limits = {"max_order_notional": D(1), "max_symbol_exposure": D(1)}
        async with floor.owner.begin() as session:
            await session.execute(insert(RiskLimits).values({"account_id": floor.world.account_id} | limits))
    async with store.transaction() as tx:
        scope = Scope(KillScope.ACCOUNT.value, floor.world.account_id)
        await tx.save_switch(Switch(scope, KillAction.HALT.value, "a storm", "ann", START_MS, 0))
    await floor.settle()

    assert (await floor.plan()).state == "PROTECTED"


async def test_a_pair_of_which_one_order_breaks_a_filter_leaves_neither(floor: Floor) -> None:
    await floor.enter({"targets": [{"r": "1", "close_pct": 100}]})
    await floor.advance()
    async with floor.world.store.transaction() as tx:
        for order in (await tx.plan_orders(1))[1:]:
            await request_cancel(tx, order.id, source=EventSource.PLAN, clock=floor.world.clock)
    low = replace(RULES, max_price=D(101))
    if isinstance(floor.world.store, MemoryStore):
        floor.world.store.books.rules["BTCUSDT"] = low
    else:
        assert floor.owner is not None
        async with floor.owner.begin() as session:
            await session.execute(update(SymbolRow).values(rules=rules_document(low)))
    await floor.advance()

    assert [o.status for o in (await floor.orders())[1:]] == [S.CANCELED, S.CANCELED]
    assert (await floor.plan()).state == "PROTECTING"
