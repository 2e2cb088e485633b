"""Storage of execution in PostgreSQL. Triggers guard what this code writes; see the first migration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import psycopg
from sqlalchemy import (
    BindParameter,
    Select,
    Table,
    and_,
    bindparam,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel, col

from app.database.hints import Kind, Work, tell_browsers, wake_worker
from app.domain.clock import to_datetime
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, IN_FLIGHT, KILL_SALE, EventKind, EventSource, Fill, Order, OrderStatus, Side
from app.domain.symbols import SymbolRules
from app.models.analytics import Price
from app.models.execution import (
    Account,
    AccountState,
    FillRow,
    Incident,
    OrderAttempt,
    OrderEventRow,
    OrderRow,
    Plan,
    PlanState,
    SymbolRow,
)
from app.models.portfolio import Balance, PositionRow
from app.services.execution.bookkeeping import Step
from app.services.execution.rows import (
    changed_values,
    fill_values,
    order_of,
    order_values,
    plan_of,
    plan_values,
    rules_of,
)
from app.services.execution.store import NEWEST_OF_PLAN, AccountFacts, Contended, PlanRecord, TradingFacts
from app.services.execution.store_postgres_reconciling import PostgresReconciling
from app.services.execution.store_postgres_switches import PostgresSwitches
from app.services.execution.store_reconciling import REPAIRED
from app.services.identity.audit import record
from app.services.portfolio.projection import book_fill
from app.services.risk.limits import limits_of

#: SQLSTATE of a serialisation failure and of a deadlock: all is undone, and the same may be tried again.
GIVEN_UP = frozenset({"40001", "40P01"})
_UNFINISHED = [s.value for s in OrderStatus if s not in FINAL]


def _table(model: type[SQLModel]) -> Table:
    return cast(Table, inspect(model).local_table)


# Made once, values given as parameters: to build a statement around thirty values costs more than to send it.
_ORDER = select(_table(OrderRow)).with_for_update()
_ADD_ORDER = insert(_table(OrderRow)).returning(_table(OrderRow).c.id)
_CHANGE_ORDER = update(_table(OrderRow)).where(_table(OrderRow).c.id == bindparam("this"))
_ADD_EVENT, _ADD_ATTEMPT, _ADD_FILL = (insert(_table(row)) for row in (OrderEventRow, OrderAttempt, FillRow))


def _holdings() -> Select[Any]:
    """One row: total and reserved of the base asset, of the quote asset, position, quote still to be spent on buys."""
    account: BindParameter[int] = bindparam("account")
    symbol: BindParameter[str] = bindparam("symbol_")

    def total(asset: str) -> Any:
        return _summed(Balance.total, col(Balance.account_id) == account, col(Balance.asset) == bindparam(asset))

    def reserved(*conditions: Any) -> Any:
        working = (col(OrderRow.account_id) == account, col(OrderRow.status).in_(_UNFINISHED))
        return _summed(OrderRow.reserved, *working, *conditions)

    of_symbol = (col(PositionRow.account_id) == account, col(PositionRow.symbol) == symbol)
    buys = (col(OrderRow.symbol) == symbol, col(OrderRow.side) == Side.BUY.value)
    return select(
        total("base"),
        reserved(col(OrderRow.reserved_asset) == bindparam("base")),
        total("quote"),
        reserved(col(OrderRow.reserved_asset) == bindparam("quote")),
        _summed(PositionRow.quantity, *of_symbol),
        reserved(*buys),
    )


def _summed(column: Any, *conditions: Any) -> Any:
    return func.coalesce(select(func.sum(col(column))).where(*conditions).scalar_subquery(), ZERO)


_HOLDINGS = _holdings()


@asynccontextmanager
async def in_one_go(session: AsyncSession) -> AsyncIterator[None]:
    """Statements whose results nobody reads: sent one after the other without waiting for each answer.

    The first that the database refuses is raised at the end, as any other would be. Do not read anything inside:
    there are no rows yet.
    """
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    assert isinstance(raw, psycopg.AsyncConnection)
    try:
        async with raw.pipeline():
            yield
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error) from error


#: For a transaction that has changed anything.
_FENCE = text("SELECT execution.require_epoch(:epoch, 'a change') WHERE pg_current_xact_id_if_assigned() IS NOT NULL")


class PostgresTransaction(PostgresSwitches, PostgresReconciling):
    """`Transaction` over an SQLAlchemy session whose transaction somebody else commits.

    `epoch` is the worker's fencing token; None for the web, whose few kinds of events need none.
    """

    def __init__(self, session: AsyncSession, epoch: int | None = None, owners: dict[int, int] | None = None) -> None:
        self.session = session
        self._epoch = epoch
        self._owners = {} if owners is None else owners  # account → user, which never changes
        self._is_fenced = False  # an event has shown the epoch already
        self._repairs: list[tuple[Step, Step]] = []  # the first and the last step of each order the reconciler wrote

    async def _one_order(self, *conditions: Any) -> Order | None:
        row = (await self.session.execute(_ORDER.where(*conditions))).one_or_none()
        return None if row is None else order_of(row)

    async def order(self, order_id: int) -> Order | None:
        return await self._one_order(col(OrderRow.id) == order_id)

    async def order_by_client_id(self, account_id: int, client_order_id: str) -> Order | None:
        return await self._one_order(
            col(OrderRow.account_id) == account_id, col(OrderRow.client_order_id) == client_order_id
        )

    async def order_by_exchange_id(self, account_id: int, symbol: str, exchange_order_id: int) -> Order | None:
        return await self._one_order(
            col(OrderRow.account_id) == account_id,
            col(OrderRow.symbol) == symbol,
            col(OrderRow.exchange_order_id) == exchange_order_id,
        )

    async def order_by_intent(self, account_id: int, intent_key: str) -> Order | None:
        return await self._one_order(col(OrderRow.account_id) == account_id, col(OrderRow.intent_key) == intent_key)

    async def add_order(self, step: Step) -> Order:
        order_id = (await self.session.execute(_ADD_ORDER, order_values(step.order))).scalar_one()
        order = replace(step.order, id=int(order_id or 0))
        await self._append(replace(step, order=order))
        await self._tell(order, "order", order.id)
        return order

    async def write(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        await self._user(steps[-1].order.account_id)  # known from now on: nothing is read in one go
        for step in steps:
            if step.fill is not None:
                await self._append(step)
                await self._book(step.order, step.fill)
            async with in_one_go(self.session):
                if step.fill is None:
                    await self._append(step)
                if step.event.kind is EventKind.ATTEMPT_SENT:
                    await self._record_attempt(step.order)
                await self.session.execute(_CHANGE_ORDER, changed_values(step.order) | {"this": step.order.id})
                if step is steps[-1]:
                    await self._tell(step.order, "order", step.order.id)
                    if step.order.plan_id is not None:
                        await self.wake("plans")
        if steps[0].event.source is EventSource.RECONCILER:
            self._repairs.append((steps[0], steps[-1]))

    async def finish(self) -> None:
        """Last before the commit: a worker that was replaced changes nothing; repairs go to the audit log.

        The log's head is locked by it, and the lease until the commit.
        """
        if self._epoch is not None and not self._is_fenced:
            await self.session.execute(_FENCE, {"epoch": self._epoch})
        for first, last in self._repairs:
            order, event = last.order, last.event
            details = {"was": first.event.from_status, "is": order.status, "filled": plain(order.filled)}
            await record(
                self.session,
                actor="worker",
                action=REPAIRED,
                object=f"order:{order.id}",
                details=details | {"account": order.account_id, "event": event.kind},
                now=to_datetime(event.occurred_at_ms),
            )

    async def _append(self, step: Step) -> None:
        self._is_fenced = True  # its trigger looks at the epoch
        event = step.event
        values = {
            "order_id": step.order.id,
            "seq": step.order.version,
            "kind": event.kind.value,
            "from_status": event.from_status.value if event.from_status else None,
            "to_status": event.to_status.value,
            "source": event.source.value,
            "epoch": self._epoch,
            "payload": event.payload,
            "dedup_key": event.dedup_key,
            "occurred_at": to_datetime(event.occurred_at_ms),
        }
        await self.session.execute(_ADD_EVENT, values)

    async def _record_attempt(self, order: Order) -> None:
        values = {
            "order_id": order.id,
            "epoch": self._epoch or 0,
            "signed_timestamp_ms": order.signed_timestamp_ms,
            "recv_window_ms": order.recv_window_ms,
        }
        await self.session.execute(_ADD_ATTEMPT, values)

    async def _book(self, order: Order, fill: Fill) -> None:
        account = await self.account(order.account_id)
        kind = account.kind if account else ""
        rules = await self._rules(kind, order.symbol)
        if rules is None:
            raise LookupError(f"no trading rules of {order.symbol} although it traded")
        commission_price = None
        if fill.commission and fill.commission_asset not in (rules.base_asset, rules.quote_asset):
            found = await self._price(kind, fill.commission_asset + rules.quote_asset)
            commission_price = found[0] if found else None
        values = fill_values(order, fill) | {"commission_price": commission_price}
        await self.session.execute(_ADD_FILL, values)
        await book_fill(
            self.session,
            order=order,
            fill=fill,
            base_asset=rules.base_asset,
            quote_asset=rules.quote_asset,
            commission_price=commission_price,
        )
        await self._tell(order, "fill", order.id)

    async def trade_ids(self, order_id: int) -> set[int]:
        found = await self.session.execute(select(col(FillRow.trade_id)).where(col(FillRow.order_id) == order_id))
        return set(found.scalars())

    async def trade_ids_since(self, account_id: int, symbol: str, since_ms: int) -> set[int]:
        mine = (col(FillRow.account_id) == account_id, col(FillRow.symbol) == symbol)
        recent = col(FillRow.traded_at) >= to_datetime(since_ms)
        return set((await self.session.execute(select(col(FillRow.trade_id)).where(*mine, recent))).scalars())

    async def claim_new(self, busy: Collection[int] = ()) -> Order | None:
        exits = or_(col(OrderRow.plan_id).is_not(None), col(OrderRow.intent_key).startswith(KILL_SALE))
        leaves = and_(exits, col(OrderRow.side) == Side.SELL.value)
        statement = (
            select(OrderRow)
            .where(col(OrderRow.status) == OrderStatus.NEW.value, col(OrderRow.account_id).not_in(list(busy)))
            .order_by(leaves.desc(), col(OrderRow.id))
            .limit(1)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        row = (await self.session.execute(statement)).scalar_one_or_none()
        return None if row is None else order_of(row)

    async def newest_entry_codes(self, run_id: int, count: int) -> list[str]:
        mine = (col(OrderRow.run_id) == run_id, col(OrderRow.side) == Side.BUY.value)
        statement = select(col(OrderRow.status), col(OrderRow.reject_code)).where(*mine)
        newest = (await self.session.execute(statement.order_by(col(OrderRow.id).desc()).limit(count))).all()
        return [code if status == OrderStatus.REJECTED.value else "" for status, code in newest]

    async def in_flight(self, account_id: int | None = None) -> Sequence[Order]:
        statement = (
            select(OrderRow).where(col(OrderRow.status).in_([s.value for s in IN_FLIGHT])).order_by(col(OrderRow.id))
        )
        if account_id is not None:
            statement = statement.where(col(OrderRow.account_id) == account_id)
        return [order_of(row) for row in (await self.session.execute(statement)).scalars()]

    async def awaiting_answer(self) -> Sequence[Order]:
        # Asked twice a second: in the words of the index `orders_awaiting_answer`, which holds hardly any row.
        waits = text(
            "status IN ('SUBMITTED', 'OPEN', 'PARTIALLY_FILLED', 'CANCELING')"
            " AND (exchange_order_id IS NULL OR type = 'MARKET')"
        )
        statement = select(OrderRow).where(waits).order_by(col(OrderRow.id))
        return [order_of(row) for row in (await self.session.execute(statement)).scalars()]

    async def with_status(self, status: OrderStatus) -> Sequence[Order]:
        statement = select(OrderRow).where(col(OrderRow.status) == status.value).order_by(col(OrderRow.id))
        return [order_of(row) for row in (await self.session.execute(statement)).scalars()]

    async def symbols_traded(self, account_id: int, since_ms: int) -> Sequence[str]:
        recent = or_(col(OrderRow.created_at_ms) >= since_ms, col(OrderRow.status).in_(_UNFINISHED))
        statement = select(col(OrderRow.symbol)).where(col(OrderRow.account_id) == account_id, recent).distinct()
        return sorted((await self.session.execute(statement)).scalars())

    async def account(self, account_id: int) -> AccountFacts | None:
        row = await self.session.get(Account, account_id)
        if row is None or row.id is None:
            return None
        return AccountFacts(id=row.id, user_id=row.user_id, kind=row.kind, state=row.state, label=row.label)

    async def trading_facts(
        self, account_id: int, symbol: str, run_id: int | None, *, now_ms: int
    ) -> TradingFacts | None:
        locked = await self.session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('account', :id))"), {"id": account_id}
        )
        locked.close()
        account = await self.account(account_id)
        if account is None:
            return None
        rules = await self._rules(account.kind, symbol)
        price = await self._price(account.kind, symbol)
        base, quote = (rules.base_asset, rules.quote_asset) if rules else ("", "")
        given = {"account": account_id, "symbol_": symbol, "base": base, "quote": quote}
        held = (await self.session.execute(_HOLDINGS, given)).one()
        base_total, base_reserved, quote_total, quote_reserved, position, open_buy_notional = held
        return TradingFacts(
            account=account,
            rules=rules,
            price=price[0] if price else None,
            price_age_ms=now_ms - price[1] if price else None,
            base_total=base_total,
            base_reserved=base_reserved,
            quote_total=quote_total,
            quote_reserved=quote_reserved,
            position=position,
            open_buy_notional=open_buy_notional,
            kill_switch=await self.kill_switch(account_id, run_id),
            limits=await limits_of(self.session, account_id),
        )

    async def _rules(self, kind: str, symbol: str) -> SymbolRules | None:
        row = await self.session.get(SymbolRow, (kind, symbol))
        return None if row is None else rules_of(row.rules)

    async def _price(self, kind: str, symbol: str) -> tuple[Decimal, int] | None:
        row = await self.session.get(Price, (kind, symbol), populate_existing=True)
        return None if row is None else (row.price, round(row.priced_at.timestamp() * 1000))

    async def _sum(self, column: Any, *conditions: Any) -> Decimal:
        found = (await self.session.execute(select(func.sum(column)).where(*conditions))).scalar_one_or_none()
        return ZERO if found is None else Decimal(found)

    async def freeze_account(self, account_id: int, reason: str) -> None:
        values = {"state": AccountState.FROZEN.value, "state_reason": reason}
        await self.session.execute(update(Account).where(col(Account.id) == account_id).values(values))
        await self.add_incident("ACCOUNT_FROZEN", reason, account_id=account_id)

    async def add_incident(
        self, kind: str, message: str, *, account_id: int | None = None, order_id: int | None = None, key: str = ""
    ) -> None:
        same = select(col(Incident.id)).where(
            col(Incident.kind) == kind,
            col(Incident.account_id).is_not_distinct_from(account_id),
            col(Incident.order_id).is_not_distinct_from(order_id),
            col(Incident.key) == key if key else col(Incident.message) == message,
            col(Incident.closed_at).is_(None),
        )
        if (await self.session.execute(same)).first() is None:
            values: dict[str, Any] = {
                "kind": kind,
                "message": message,
                "account_id": account_id,
                "order_id": order_id,
                "details": {},
                "key": key,
            }
            await self.session.execute(insert(Incident).values(values))
            await tell_browsers(self.session, "service", user_id=None)

    async def plans_open(self, account_id: int | None = None) -> Sequence[PlanRecord]:
        statement = select(Plan).where(col(Plan.state) != PlanState.CLOSED.value).order_by(col(Plan.id))
        if account_id is not None:
            statement = statement.where(col(Plan.account_id) == account_id)
        return [plan_of(row) for row in (await self.session.execute(statement)).scalars()]

    async def plan(self, plan_id: int, *, locked: bool = True) -> PlanRecord | None:
        statement = select(Plan).where(col(Plan.id) == plan_id).execution_options(populate_existing=True)
        row = (await self.session.execute(statement.with_for_update() if locked else statement)).scalar_one_or_none()
        return None if row is None else plan_of(row)

    async def add_plan(self, plan: PlanRecord) -> int:
        statement = insert(Plan).values(plan_values(plan)).returning(col(Plan.id))
        return int((await self.session.execute(statement)).scalar_one() or 0)

    async def save_plan(self, plan: PlanRecord) -> None:
        values = plan_values(plan)
        if plan.state == PlanState.CLOSED.value:
            values["closed_at"] = func.now()
        await self.session.execute(update(Plan).where(col(Plan.id) == plan.id).values(values))
        await tell_browsers(self.session, "run", plan.run_id, user_id=await self._user(plan.account_id))

    async def plan_orders(self, plan_id: int) -> Sequence[Order]:
        mine = col(OrderRow.plan_id) == plan_id
        newest = select(col(OrderRow.id)).where(mine).order_by(col(OrderRow.id).desc()).limit(NEWEST_OF_PLAN)
        said = or_(col(OrderRow.status).in_(_UNFINISHED), col(OrderRow.filled) > 0, col(OrderRow.id).in_(newest))
        return await self._orders(mine, said)

    async def list_legs(self, account_id: int, list_client_order_id: str) -> Sequence[Order]:
        named = col(OrderRow.list_client_order_id) == list_client_order_id
        return await self._orders(col(OrderRow.account_id) == account_id, named)

    async def _orders(self, *conditions: Any) -> Sequence[Order]:
        """Orders, oldest first, locked."""
        statement = select(OrderRow).where(*conditions).order_by(col(OrderRow.id)).with_for_update()
        found = await self.session.execute(statement.execution_options(populate_existing=True))
        return [order_of(row) for row in found.scalars()]

    async def run_position(self, account_id: int, run_id: int, symbol: str) -> Decimal:
        return await self._sum(
            col(PositionRow.quantity),
            col(PositionRow.account_id) == account_id,
            col(PositionRow.run_id) == run_id,
            col(PositionRow.symbol) == symbol,
        )

    async def balances(self, account_id: int) -> dict[str, Decimal]:
        statement = select(col(Balance.asset), col(Balance.total)).where(col(Balance.account_id) == account_id)
        return {asset: total for asset, total in (await self.session.execute(statement)).all() if total != 0}

    async def see_balances(self, account_id: int, totals: Mapping[str, Decimal]) -> None:
        seen = func.now()
        # In one order always, as fills take them: two writers never wait for each other.
        mine = select(col(Balance.asset)).where(col(Balance.account_id) == account_id).order_by(col(Balance.asset))
        await self.session.execute(mine.with_for_update())
        known = update(Balance).where(col(Balance.account_id) == account_id)
        await self.session.execute(known.values(exchange_total=ZERO, exchange_seen_at=seen))
        for asset, total in sorted(totals.items()):
            row = {"account_id": account_id, "asset": asset, "total": ZERO, "exchange_total": total}
            statement = upsert(Balance).values(row | {"exchange_seen_at": seen})
            await self.session.execute(
                statement.on_conflict_do_update(
                    index_elements=["account_id", "asset"],
                    set_={"exchange_total": total, "exchange_seen_at": seen},
                )
            )

    async def wake(self, what: Work) -> None:
        await wake_worker(self.session, what)

    async def _user(self, account_id: int) -> int:
        if account_id not in self._owners:
            account = await self.account(account_id)
            self._owners[account_id] = account.user_id if account else 0
        return self._owners[account_id]

    async def _tell(self, order: Order, kind: Kind, object_id: int) -> None:
        await tell_browsers(self.session, kind, object_id, user_id=await self._user(order.account_id))


class PostgresStore:
    """`Store` over a session factory; every transaction of a worker carries its epoch."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], epoch: int | None = None) -> None:
        self.sessions = sessions
        self.epoch = epoch
        self._owners: dict[int, int] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        try:
            async with self.sessions.begin() as session:
                tx = PostgresTransaction(session, self.epoch, self._owners)
                yield tx
                await tx.finish()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in GIVEN_UP:
                raise Contended("the database gave the transaction up for another one") from error
            raise
