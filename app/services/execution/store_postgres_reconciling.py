"""Reconciliation in PostgreSQL: a part of `PostgresTransaction`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.clock import to_datetime, to_ms
from app.domain.orders import IN_FLIGHT, Order, OrderStatus
from app.models.execution import Account, AccountState, FillRow, Incident, OrderRow, ReconciliationPass, SymbolRow
from app.models.portfolio import AdjustmentKind, BalanceAdjustment, PositionRow
from app.models.reconciling import Difference, DifferenceState, TradeCursor
from app.models.strategy import Run, RunState, StopMode
from app.services.execution.rows import order_of
from app.services.execution.store_reconciling import Adjustment, DifferenceRecord, PassResult, RunHolding
from app.services.portfolio.projection import book_adjustment, book_taken

_DIFFERENCE_FIELDS = tuple(DifferenceRecord.__dataclass_fields__)
_IN_USE = [AccountState.ACTIVE.value, AccountState.RECOVERING.value]


class PostgresReconciling:
    """Mixed into `PostgresTransaction`."""

    session: AsyncSession

    async def differences(self, account_id: int) -> Sequence[DifferenceRecord]:
        statement = select(Difference).where(
            col(Difference.account_id) == account_id, col(Difference.closed_at).is_(None)
        )
        locked = statement.order_by(col(Difference.id)).with_for_update().execution_options(populate_existing=True)
        return [_difference_of(row) for row in await self.session.scalars(locked)]

    async def see_difference(
        self, account_id: int, kind: str, key: str, facts: Mapping[str, Any], *, same: bool, at_ms: int
    ) -> DifferenceRecord:
        mine = (col(Difference.account_id) == account_id, col(Difference.kind) == kind, col(Difference.key) == key)
        again: dict[str, Any] = {"facts": dict(facts), "last_seen_ms": at_ms}
        if same:
            again["looks"] = col(Difference.looks) + 1
        else:
            again |= {"looks": 1, "first_seen_ms": at_ms, "state": DifferenceState.OPEN.value}
        standing = update(Difference).where(*mine, col(Difference.closed_at).is_(None))
        options = {"synchronize_session": False, "populate_existing": True}
        found = await self.session.execute(standing.values(again).returning(Difference).execution_options(**options))
        row = found.scalar_one_or_none()
        if row is None:
            new = {"account_id": account_id, "kind": kind, "key": key, "facts": dict(facts)}
            statement = insert(Difference).values(new | {"first_seen_ms": at_ms, "last_seen_ms": at_ms})
            row = (await self.session.execute(statement.returning(Difference))).scalar_one()
            await self._tell_account(account_id)
        return _difference_of(row)

    async def close_difference(self, difference_id: int, state: str, *, by: str, note: str, at_ms: int) -> None:
        values = {"state": state, "closed_at": to_datetime(at_ms), "closed_by": by, "wanted": ""}
        if note:
            values["note"] = note
        mine = update(Difference).where(col(Difference.id) == difference_id)
        closed = mine.values(values).returning(col(Difference.account_id))
        await self._tell_account((await self.session.execute(closed)).scalar_one())

    async def answer_difference(self, difference_id: int, note: str) -> None:
        mine = update(Difference).where(col(Difference.id) == difference_id)
        answered = mine.values(wanted="", wanted_by="", note=note).returning(col(Difference.account_id))
        await self._tell_account((await self.session.execute(answered)).scalar_one())

    async def trade_cursor(self, account_id: int, symbol: str) -> int | None:
        mine = (col(TradeCursor.account_id) == account_id, col(TradeCursor.symbol) == symbol)
        return await self.session.scalar(select(col(TradeCursor.next_trade_id)).where(*mine))

    async def move_trade_cursor(self, account_id: int, symbol: str, next_trade_id: int) -> None:
        statement = upsert(TradeCursor).values(account_id=account_id, symbol=symbol, next_trade_id=next_trade_id)
        further = func.greatest(col(TradeCursor.next_trade_id), statement.excluded.next_trade_id)
        await self.session.execute(
            statement.on_conflict_do_update(
                index_elements=["account_id", "symbol"], set_={"next_trade_id": further, "moved_at": func.now()}
            )
        )

    async def trade_ids_from(self, account_id: int, symbol: str, first_id: int) -> set[int]:
        ours = select(col(FillRow.trade_id)).where(
            col(FillRow.account_id) == account_id, col(FillRow.symbol) == symbol, col(FillRow.trade_id) >= first_id
        )
        named = select(col(BalanceAdjustment.reference)).where(
            col(BalanceAdjustment.account_id) == account_id,
            col(BalanceAdjustment.reference).startswith(f"trade:{symbol}:", autoescape=True),
        )
        elsewhere = (int(name.rsplit(":", 1)[1]) for name in await self.session.scalars(named) if name)
        return {*await self.session.scalars(ours), *(number for number in elsewhere if number >= first_id)}

    async def adjust(self, adjustment: Adjustment) -> bool:
        return await book_adjustment(
            self.session,
            account_id=adjustment.account_id,
            asset=adjustment.asset,
            change=adjustment.change,
            reason=adjustment.reason,
            kind=AdjustmentKind(adjustment.kind),
            reference=adjustment.reference,
            occurred_ms=adjustment.occurred_ms,
        )

    async def adjustments(self, account_id: int, reference: str) -> Sequence[Adjustment]:
        mine = (col(BalanceAdjustment.account_id) == account_id, col(BalanceAdjustment.reference) == reference)
        found = await self.session.scalars(
            select(BalanceAdjustment).where(*mine).order_by(col(BalanceAdjustment.asset))
        )
        return [
            Adjustment(
                account_id=row.account_id,
                asset=row.asset,
                change=row.change,
                kind=row.kind,
                reason=row.reason,
                reference=reference,
                occurred_ms=None if row.occurred_at is None else to_ms(row.occurred_at),
            )
            for row in found
        ]

    async def orders_named(self, account_id: int, client_order_ids: Collection[str]) -> Mapping[str, Order]:
        named = (col(OrderRow.account_id) == account_id, col(OrderRow.client_order_id).in_(list(client_order_ids)))
        fresh = select(OrderRow).where(*named).execution_options(populate_existing=True)
        return {row.client_order_id: order_of(row) for row in await self.session.scalars(fresh)}

    async def books_begin_ms(self, account_id: int) -> int:
        when = func.coalesce(col(BalanceAdjustment.occurred_at), col(BalanceAdjustment.recorded_at))
        opening = select(func.min(when)).where(
            col(BalanceAdjustment.account_id) == account_id,
            col(BalanceAdjustment.kind) == AdjustmentKind.OPENING.value,
        )
        begun = await self.session.scalar(opening)
        if begun is None:
            begun = await self.session.scalar(select(col(Account.created_at)).where(col(Account.id) == account_id))
        return 0 if begun is None else to_ms(begun)

    async def symbols_between(self, account_id: int, assets: Collection[str]) -> Sequence[str]:
        kind = select(col(Account.kind)).where(col(Account.id) == account_id).scalar_subquery()
        names = [col(SymbolRow.rules)[name].astext.in_(list(assets)) for name in ("base_asset", "quote_asset")]
        statement = select(col(SymbolRow.symbol)).where(col(SymbolRow.kind) == kind, *names)
        return sorted(await self.session.scalars(statement))

    async def runs_holding(self, account_id: int) -> Sequence[RunHolding]:
        held = (
            col(PositionRow.run_id),
            col(PositionRow.symbol),
            col(PositionRow.base_asset),
            col(PositionRow.quantity),
        )
        mine = (col(PositionRow.account_id) == account_id, col(PositionRow.run_id) > 0, col(PositionRow.quantity) > 0)
        statement = select(*held).where(*mine).order_by(col(PositionRow.run_id).desc(), col(PositionRow.symbol))
        return [RunHolding(*row) for row in (await self.session.execute(statement)).all()]

    async def in_doubt(self, account_id: int, since_ms: int) -> bool:
        unconfirmed = select(col(OrderRow.id)).where(
            col(OrderRow.account_id) == account_id,
            col(OrderRow.exchange_order_id).is_(None),
            col(OrderRow.signed_timestamp_ms).is_not(None),
            or_(
                col(OrderRow.status).in_([s.value for s in IN_FLIGHT]),
                and_(col(OrderRow.status) == OrderStatus.EXPIRED.value, col(OrderRow.signed_timestamp_ms) >= since_ms),
            ),
        )
        return (await self.session.execute(unconfirmed.limit(1))).first() is not None

    async def take_from_run(
        self, account_id: int, holding: RunHolding, quantity: Decimal, *, reason: str, at_ms: int
    ) -> None:
        await book_taken(
            self.session,
            account_id=account_id,
            run_id=holding.run_id,
            symbol=holding.symbol,
            quantity=quantity,
            reason=reason,
            at_ms=at_ms,
        )

    async def pause_run(self, run_id: int, reason: str) -> bool:
        values = {
            "state": RunState.STOPPING.value,
            "stop_mode": StopMode.KEEP_PROTECTED.value,
            "stop_reason": reason[:500],
        }
        active = col(Run.state).in_([RunState.STARTING.value, RunState.RUNNING.value])
        statement = update(Run).where(col(Run.id) == run_id, active).values(values).returning(col(Run.user_id))
        user_id = (await self.session.execute(statement)).scalar_one_or_none()
        if user_id is None:
            return False
        await wake_worker(self.session, "runs")
        await tell_browsers(self.session, "run", run_id, user_id=user_id)
        return True

    async def close_incidents(self, kind: str, *, account_id: int | None = None, key: str) -> None:
        statement = update(Incident).where(
            col(Incident.kind) == kind,
            col(Incident.account_id).is_not_distinct_from(account_id),
            col(Incident.key) == key,
            col(Incident.closed_at).is_(None),
        )
        healed = statement.values(closed_at=func.now(), closed_by="worker").returning(col(Incident.id))
        if (await self.session.execute(healed)).first() is not None:
            await tell_browsers(self.session, "service", user_id=None)

    async def incident_keys(self, account_id: int) -> set[tuple[str, str]]:
        mine = (col(Incident.account_id) == account_id, col(Incident.closed_at).is_(None), col(Incident.key) != "")
        found = await self.session.execute(select(col(Incident.kind), col(Incident.key)).where(*mine))
        return {(kind, key) for kind, key in found.all()}

    async def hold_accounts(self) -> Sequence[int]:
        statement = update(Account).where(col(Account.state).in_(_IN_USE))
        values = {"state": AccountState.RECOVERING.value, "state_reason": "the worker has started"}
        return sorted(await self.session.scalars(statement.values(values).returning(col(Account.id))))

    async def set_account_state(self, account_id: int, state: str, reason: str) -> None:
        statement = update(Account).where(col(Account.id) == account_id, col(Account.state).in_(_IN_USE))
        await self.session.execute(statement.values(state=state, state_reason=reason))
        await self._tell_account(account_id)

    async def record_pass(self, result: PassResult) -> None:
        finished_at = to_datetime(result.finished_ms)
        await self.session.execute(
            insert(ReconciliationPass).values(
                account_id=result.account_id,
                trigger=result.trigger,
                started_at=to_datetime(result.started_ms),
                finished_at=finished_at,
                checked=result.checked,
                repaired=result.repaired,
                unresolved=result.unresolved,
                agrees=result.agrees,
                differences=result.differences,
                error=result.error,
                covered=result.covered,
            )
        )
        if result.agrees:
            agree = update(Account).where(col(Account.id) == result.account_id).values(books_agree_at=finished_at)
            await self.session.execute(agree)
        await self._tell_account(result.account_id)

    async def _tell_account(self, account_id: int) -> None:
        user_id = await self.session.scalar(select(col(Account.user_id)).where(col(Account.id) == account_id))
        await tell_browsers(self.session, "account", account_id, user_id=user_id)


def _difference_of(row: Difference) -> DifferenceRecord:
    return DifferenceRecord(**{name: getattr(row, name) for name in _DIFFERENCE_FIELDS})
