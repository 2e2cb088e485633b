"""Kill switches and replacements in PostgreSQL: a part of `PostgresTransaction`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, text, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import to_datetime
from app.domain.money import ZERO
from app.domain.orders import FINAL, Order, OrderStatus
from app.models.analytics import Price
from app.models.execution import (
    Account,
    KillScope,
    KillSwitch,
    OrderRow,
    Plan,
    Replacement,
    ReplacementState,
    SymbolRow,
)
from app.models.portfolio import Balance, PositionRow
from app.models.strategy import Run, StrategyVersion
from app.services.execution.rows import order_of, plan_of, rules_of
from app.services.execution.store import PRICE_GOOD_FOR_MS, PlanRecord
from app.services.execution.store_switches import Holding, ReplacementRecord, Scope, Switch
from app.services.identity.audit import record

_UNFINISHED = [s.value for s in OrderStatus if s not in FINAL]
_REPLACEMENT_FIELDS = tuple(ReplacementRecord.__dataclass_fields__)


class PostgresSwitches:
    """Mixed into `PostgresTransaction`."""

    session: AsyncSession

    async def kill_switch(self, account_id: int, run_id: int | None) -> str | None:
        scopes = [(KillScope.GLOBAL.value, 0), (KillScope.ACCOUNT.value, account_id)]
        if run_id is not None:
            of_run = select(col(StrategyVersion.strategy_id)).join(Run, col(Run.version_id) == col(StrategyVersion.id))
            strategy_id = await self.session.scalar(of_run.where(col(Run.id) == run_id))
            scopes += [(KillScope.RUN.value, run_id), (KillScope.STRATEGY.value, strategy_id or 0)]
        place = tuple_(col(KillSwitch.scope), col(KillSwitch.scope_id))
        engaged = select(KillSwitch).where(place.in_(scopes), col(KillSwitch.released_at).is_(None))
        rows = (await self.session.scalars(engaged.execution_options(populate_existing=True))).all()
        reasons = {(row.scope, row.scope_id): row.reason for row in rows}
        return next((reasons[scope] for scope in scopes if scope in reasons), None)

    async def scope(self, kind: str, scope_id: int) -> Scope:
        if kind == KillScope.RUN.value:
            return Scope(kind, scope_id, frozenset({scope_id}))
        if kind != KillScope.STRATEGY.value:
            return Scope(kind, scope_id)
        of_strategy = select(col(Run.id)).join(StrategyVersion, col(StrategyVersion.id) == col(Run.version_id))
        found = await self.session.scalars(of_strategy.where(col(StrategyVersion.strategy_id) == scope_id))
        return Scope(kind, scope_id, frozenset(number for number in found if number is not None))

    async def switches(self) -> Sequence[Switch]:
        engaged = select(KillSwitch).where(col(KillSwitch.released_at).is_(None)).order_by(col(KillSwitch.engaged_at))
        rows = (await self.session.scalars(engaged.execution_options(populate_existing=True))).all()
        return [await self._switch(row) for row in rows]

    async def switch(self, kind: str, scope_id: int) -> Switch | None:
        # Also a switch that has no row yet is one person's at a time.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('kill switch ' || :kind, :id))")
        (await self.session.execute(lock, {"kind": kind, "id": scope_id})).close()
        row = await self.session.get(KillSwitch, (kind, scope_id), populate_existing=True, with_for_update=True)
        return None if row is None or row.released_at is not None else await self._switch(row)

    async def _switch(self, row: KillSwitch) -> Switch:
        return Switch(
            scope=await self.scope(row.scope, row.scope_id),
            action=row.action,
            reason=row.reason,
            engaged_by=row.engaged_by,
            engaged_ms=round(row.engaged_at.timestamp() * 1000),
            until_order_id=row.until_order_id,
            **{name: tuple(row.work.get(name, ())) for name in ("orders", "plans", "sales")},
        )

    async def save_switch(self, switch: Switch) -> None:
        values = {
            "action": switch.action,
            "reason": switch.reason,
            "engaged_by": switch.engaged_by,
            "engaged_at": to_datetime(switch.engaged_ms),
            "until_order_id": switch.until_order_id,
            "work": {"orders": list(switch.orders), "plans": list(switch.plans), "sales": list(switch.sales)},
            "released_at": None,
            "released_by": "",
            "release_reason": "",
        }
        statement = upsert(KillSwitch).values(scope=switch.scope.kind, scope_id=switch.scope.id, **values)
        await self.session.execute(statement.on_conflict_do_update(index_elements=["scope", "scope_id"], set_=values))
        await tell_browsers(self.session, "kill", user_id=None)

    async def release_switch(self, switch: Switch, *, by: str, reason: str, at_ms: int) -> None:
        mine = (col(KillSwitch.scope) == switch.scope.kind, col(KillSwitch.scope_id) == switch.scope.id)
        values = {"released_at": to_datetime(at_ms), "released_by": by, "release_reason": reason}
        await self.session.execute(update(KillSwitch).where(*mine).values(values))
        await tell_browsers(self.session, "kill", user_id=None)

    async def newest_order_id(self) -> int:
        return int(await self.session.scalar(select(func.max(col(OrderRow.id)))) or 0)

    async def unfinished(self, scope: Scope) -> Sequence[Order]:
        within = _within(scope, col(OrderRow.account_id), col(OrderRow.run_id))
        working = select(OrderRow).where(col(OrderRow.status).in_(_UNFINISHED), within).order_by(col(OrderRow.id))
        return [order_of(row) for row in await self.session.scalars(working.execution_options(populate_existing=True))]

    async def orders_by_id(self, order_ids: Collection[int]) -> Sequence[Order]:
        named = select(OrderRow).where(col(OrderRow.id).in_(list(order_ids))).order_by(col(OrderRow.id))
        return [order_of(row) for row in await self.session.scalars(named.execution_options(populate_existing=True))]

    async def plans_by_id(self, plan_ids: Collection[int]) -> Sequence[PlanRecord]:
        named = select(Plan).where(col(Plan.id).in_(list(plan_ids))).order_by(col(Plan.id))
        return [plan_of(row) for row in await self.session.scalars(named.execution_options(populate_existing=True))]

    async def holdings(self, scope: Scope, *, now_ms: int) -> Sequence[Holding]:
        reserved = (
            select(func.coalesce(func.sum(col(OrderRow.reserved)), ZERO))
            .where(
                col(OrderRow.account_id) == col(PositionRow.account_id),
                col(OrderRow.reserved_asset) == col(PositionRow.base_asset),
                col(OrderRow.status).in_(_UNFINISHED),
            )
            .scalar_subquery()
        )
        of_asset = (
            col(Balance.account_id) == col(PositionRow.account_id),
            col(Balance.asset) == col(PositionRow.base_asset),
        )
        query = (
            select(PositionRow, col(Account.kind), func.coalesce(col(Balance.total), ZERO) - reserved)
            .join(Account, col(Account.id) == col(PositionRow.account_id))
            .outerjoin(Balance, of_asset[0] & of_asset[1])
            .where(col(PositionRow.quantity) > 0, _within(scope, col(PositionRow.account_id), col(PositionRow.run_id)))
            .order_by(col(PositionRow.account_id), col(PositionRow.run_id), col(PositionRow.symbol))
            .execution_options(populate_existing=True)
        )
        found = (await self.session.execute(query)).all()
        return [await self._holding_of(position, kind, Decimal(free), now_ms) for position, kind, free in found]

    async def _holding_of(self, position: PositionRow, kind: str, free: Decimal, now_ms: int) -> Holding:
        rules = await self.session.get(SymbolRow, (kind, position.symbol))
        price = await self.session.get(Price, (kind, position.symbol), populate_existing=True)
        is_good = price is not None and now_ms - price.priced_at.timestamp() * 1000 <= PRICE_GOOD_FOR_MS
        return Holding(
            account_id=position.account_id,
            run_id=position.run_id,
            symbol=position.symbol,
            quantity=position.quantity,
            free=free,
            rules=None if rules is None else rules_of(rules.rules),
            price=price.price if price is not None and is_good else None,
        )

    async def add_replacement(self, wanted: ReplacementRecord) -> int:
        values = {name: value for name, value in asdict(wanted).items() if name != "id"}
        statement = insert(Replacement).values(values).returning(col(Replacement.id))
        return int((await self.session.execute(statement)).scalar_one() or 0)

    async def replacement_for(self, account_id: int, intent_key: str) -> ReplacementRecord | None:
        mine = (col(Replacement.account_id) == account_id, col(Replacement.intent_key) == intent_key)
        row = (await self.session.scalars(select(Replacement).where(*mine))).one_or_none()
        return None if row is None else _replacement_of(row)

    async def replacements_waiting(self) -> Sequence[ReplacementRecord]:
        waiting = select(Replacement).where(col(Replacement.state) == ReplacementState.WAITING.value)
        return [_replacement_of(row) for row in await self.session.scalars(waiting.order_by(col(Replacement.id)))]

    async def replacement(self, replacement_id: int) -> ReplacementRecord | None:
        row = await self.session.get(Replacement, replacement_id, populate_existing=True, with_for_update=True)
        return None if row is None else _replacement_of(row)

    async def save_replacement(self, replacement: ReplacementRecord) -> None:
        values = {name: getattr(replacement, name) for name in ("state", "new_order_id", "reason")}
        await self.session.execute(update(Replacement).where(col(Replacement.id) == replacement.id).values(values))

    async def audit(self, actor: str, action: str, object: str, details: Mapping[str, Any], *, at_ms: int) -> None:  # noqa: A002
        await record(self.session, actor=actor, action=action, object=object, details=details, now=to_datetime(at_ms))


def _within(scope: Scope, account_id: Any, run_id: Any) -> ColumnElement[bool]:
    if scope.kind == KillScope.GLOBAL.value:
        return true()
    if scope.kind == KillScope.ACCOUNT.value:
        of_account: ColumnElement[bool] = account_id == scope.id
        return of_account
    of_runs: ColumnElement[bool] = run_id.in_(list(scope.runs))
    return of_runs


def _replacement_of(row: Replacement) -> ReplacementRecord:
    return ReplacementRecord(**{name: getattr(row, name) for name in _REPLACEMENT_FIELDS})
