"""The kill switch as people see it: engaged, made stronger, released, looked at, and rehearsed.

What it does stands in `kill_action`; the worker does it. Engaging works while prices, streams or the worker are
away: the switch and what it forbids are rows, and whatever is to be sent is sent as soon as somebody can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.clock import Clock, to_datetime
from app.domain.errors import NotAllowed, NotFound
from app.domain.orders import FINAL, OrderStatus
from app.models.auth import User
from app.models.execution import Account, KillAction, KillScope, PlanState
from app.models.strategy import Run, RunState, StopMode, StrategyRow
from app.services.execution import kill_action
from app.services.execution.kill_action import Deed, DeedKind
from app.services.execution.store_postgres import PostgresTransaction
from app.services.execution.store_switches import Scope, Switch
from app.services.identity.audit import audited
from app.services.identity.viewer import Caller
from app.services.ownership import owned_account

ACTIONS = tuple(action.value for action in kill_action.STRENGTH)
_RUNS = (RunState.STARTING.value, RunState.RUNNING.value, RunState.STOPPING.value)


@dataclass(frozen=True, slots=True)
class KillSwitchView:
    """An engaged switch. `covers` names what it stops; `engaged_by` is who chose its present action."""

    scope: str  # KillScope
    scope_id: int
    covers: str
    action: str  # KillAction
    engaged_at: datetime
    engaged_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeedView:
    """One thing that a switch does, or leaves alone, and why. `kind`: cancel, leave, sell, wait or keep."""

    kind: str
    words: str
    account_id: int
    order_id: int | None
    symbol: str
    quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far a switch has come. `waiting` says in words what is still to be done, and why it is not done."""

    words: str
    orders: int
    orders_ended: int
    positions: int
    positions_sold: int
    waiting: list[str]
    is_done: bool


async def engage_kill_switch(
    session: AsyncSession,
    *,
    caller: Caller,
    scope: str,
    scope_id: int = 0,
    action: str = KillAction.HALT.value,
    reason: str,
    clock: Clock,
) -> KillSwitchView:
    """Refuse every new entry in this scope until released, and what `action` does besides.

    An engaged switch keeps its reason when the same or less is asked of it; more makes it stronger. Flattening stops
    the runs of the scope too, for a strategy that went on would buy again at its release. Raises InvalidInput,
    NotFound for what is another's, NotAllowed for the global one.
    """
    await _check_owner(session, caller, scope, scope_id)
    tx = PostgresTransaction(session)
    if action == KillAction.FLATTEN:  # runs before orders, as everybody locks them
        await _stop_runs(session, await tx.scope(scope, scope_id), reason.strip())
    switch, changed = await kill_action.engage(
        tx, kind=scope, scope_id=scope_id, action=action, reason=reason, actor=caller.actor, clock=clock
    )
    if changed:
        await _told(session, caller, "engaged", switch, clock, does=action, reason=switch.reason)
    return (await _views(session, [switch]))[0]


async def release_kill_switch(
    session: AsyncSession, *, caller: Caller, scope: str, scope_id: int = 0, reason: str, clock: Clock
) -> None:
    """Allow entries again; needs a reason. What was stopped stays stopped. Raises Conflict when it is not engaged."""
    await _check_owner(session, caller, scope, scope_id)
    tx = PostgresTransaction(session)
    await kill_action.release(tx, kind=scope, scope_id=scope_id, reason=reason, actor=caller.actor, clock=clock)
    await _told(session, caller, "released", await _scope_alone(tx, scope, scope_id), clock, reason=reason.strip())


async def kill_switches(session: AsyncSession, *, user_id: int | None) -> list[KillSwitchView]:
    """The engaged switches that concern a user (None, for admins: all), oldest first."""
    return await _views(session, await _engaged(session, user_id))


async def kill_switch_progress(
    session: AsyncSession, *, caller: Caller, scope: str, scope_id: int = 0, clock: Clock
) -> ProgressView | None:
    """How far an engaged switch has come; None when it is not engaged. Raises as engaging it does."""
    await _check_owner(session, caller, scope, scope_id)
    tx = PostgresTransaction(session)
    switch = next((s for s in await tx.switches() if (s.scope.kind, s.scope.id) == (scope, scope_id)), None)
    if switch is None:
        return None
    facts = await kill_action.facts_of(tx, switch.scope, clock=clock, switch=switch)
    ended = [order for order in await tx.orders_by_id(switch.orders) if order.status in FINAL]
    left = [plan for plan in await tx.plans_by_id(switch.plans) if plan.state == PlanState.CLOSED.value]
    sold = {(o.account_id, o.run_id, o.symbol) for o in facts.sales if o.status is OrderStatus.FILLED}
    return _progress(switch, kill_action.decide(switch.action, facts), ended, len(left), len(sold))


async def kill_switch_drill(
    session: AsyncSession, *, caller: Caller, scope: str, scope_id: int = 0, clock: Clock
) -> dict[str, list[DeedView]]:
    """What each action would do now, in words, without doing it. Raises as engaging would."""
    await _check_owner(session, caller, scope, scope_id)
    tx = PostgresTransaction(session)
    facts = await kill_action.facts_of(tx, await tx.scope(scope, scope_id), clock=clock)
    return {action: [_deed_view(deed) for deed in kill_action.decide(action, facts)] for action in ACTIONS}


def _progress(
    switch: Switch, deeds: Sequence[Deed], ended: Sequence[object], plans_left: int, sales_done: int
) -> ProgressView:
    known = set(switch.orders)
    cancelling = [d for d in deeds if d.order is not None and d.kind in (DeedKind.CANCEL, DeedKind.WAIT)]
    known |= {d.order.id for d in cancelling if d.order is not None}
    selling = [d for d in deeds if d.order is None and d.kind is not DeedKind.KEEP]
    positions_sold = plans_left + sales_done
    positions = positions_sold + len(selling)
    waiting = [d.words for d in deeds if d.kind is not DeedKind.KEEP]
    parts = [f"{len(ended)} of {len(known)} {_plural('order', len(known))} ended"] if known else []
    if positions:
        parts.append(f"{positions_sold} of {positions} {_plural('position', positions)} sold")
    if waiting:
        parts.append(f"{len(waiting)} still to do")
    return ProgressView(
        words=", ".join(parts) or "nothing had to be cancelled or sold",
        orders=len(known),
        orders_ended=len(ended),
        positions=positions,
        positions_sold=positions_sold,
        waiting=waiting,
        is_done=not waiting,
    )


def _plural(word: str, number: int) -> str:
    return word if number == 1 else word + "s"


def _deed_view(deed: Deed) -> DeedView:
    about = deed.order or deed.plan or deed.holding
    return DeedView(
        kind=deed.kind.value,
        words=deed.words,
        account_id=deed.account_id,
        order_id=deed.order.id if deed.order else None,
        symbol=about.symbol if about else "",
        quantity=deed.quantity if deed.order is None else deed.order.quantity,
    )


# --- whose it is -------------------------------------------------------------------------------------------


async def _check_owner(session: AsyncSession, caller: Caller, scope: str, scope_id: int) -> None:
    """The global switch is an admin's; the others belong to who owns the account, the strategy or the run."""
    if scope == KillScope.GLOBAL:
        if not (caller.viewer and caller.viewer.is_admin):
            raise NotAllowed("Only an admin may use the global kill switch.")
    elif scope == KillScope.ACCOUNT:
        await owned_account(session, user_id=caller.user_id, account_id=scope_id)
    elif scope in (KillScope.STRATEGY, KillScope.RUN):
        row: StrategyRow | Run | None = await session.get(Run, scope_id)
        if scope == KillScope.STRATEGY:
            row = await session.get(StrategyRow, scope_id)
        if row is None or row.user_id != caller.user_id:
            raise NotFound(f"There is no {scope} {scope_id}.")


async def _engaged(session: AsyncSession, user_id: int | None) -> list[Switch]:
    switches = await PostgresTransaction(session).switches()
    if user_id is None:
        return list(switches)
    own = {(KillScope.GLOBAL.value, 0)}
    tables = ((KillScope.ACCOUNT, Account), (KillScope.STRATEGY, StrategyRow), (KillScope.RUN, Run))
    for kind, table in tables:
        named = [switch.scope.id for switch in switches if switch.scope.kind == kind]
        mine = select(col(table.id)).where(col(table.id).in_(named), col(table.user_id) == user_id)
        own |= {(kind.value, number or 0) for number in await session.scalars(mine)}
    return [switch for switch in switches if (switch.scope.kind, switch.scope.id) in own]


async def _views(session: AsyncSession, switches: Sequence[Switch]) -> list[KillSwitchView]:
    people = {s.engaged_by.removeprefix("user:") for s in switches if s.engaged_by.startswith("user:")}
    emails = select(col(User.id), col(User.email)).where(col(User.id).in_([int(p) for p in people]))
    names = {f"user:{number}": email for number, email in (await session.execute(emails)).all()}
    return [
        KillSwitchView(
            scope=switch.scope.kind,
            scope_id=switch.scope.id,
            covers=await _name_of(session, switch.scope),
            action=switch.action,
            engaged_at=to_datetime(switch.engaged_ms),
            engaged_by=names.get(switch.engaged_by, switch.engaged_by),
            reason=switch.reason,
        )
        for switch in switches
    ]


async def _name_of(session: AsyncSession, scope: Scope) -> str:
    if scope.kind == KillScope.GLOBAL:
        return "everything"
    if scope.kind == KillScope.RUN:
        return f"run {scope.id}"
    if scope.kind == KillScope.ACCOUNT:
        account = await session.get(Account, scope.id)
        return f"account “{account.label if account else scope.id}”"
    strategy = await session.get(StrategyRow, scope.id)
    return f"strategy “{strategy.name if strategy else scope.id}”"


async def _scope_alone(tx: PostgresTransaction, scope: str, scope_id: int) -> Switch:
    return Switch(await tx.scope(scope, scope_id), KillAction.HALT.value, "", "", 0, 0)


async def _stop_runs(session: AsyncSession, scope: Scope, reason: str) -> None:
    """Runs of the scope stop; their positions are sold by the switch, through their plans."""
    values = {
        "state": RunState.STOPPING.value,
        "stop_mode": StopMode.KEEP_PROTECTED.value,
        "stop_reason": f"the kill switch sells everything: {reason}",
    }
    statement = update(Run).where(col(Run.state).in_(_RUNS))
    if scope.kind == KillScope.ACCOUNT:
        statement = statement.where(col(Run.account_id) == scope.id)
    elif scope.kind != KillScope.GLOBAL:
        statement = statement.where(col(Run.id).in_(list(scope.runs)))
    stopped = await session.execute(statement.values(values).returning(col(Run.id), col(Run.user_id)))
    for run_id, user_id in stopped.all():
        await tell_browsers(session, "run", run_id, user_id=user_id)
    await wake_worker(session, "runs")


async def _told(session: AsyncSession, caller: Caller, what: str, switch: Switch, clock: Clock, **details: str) -> None:
    await tell_browsers(session, "kill", user_id=None)
    await audited(session, caller, f"kill_switch.{what}", object=switch.name, clock=clock, **details)
