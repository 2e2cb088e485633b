"""Live runs: asked for and asked to stop here; the worker warms them up, decides and trades."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers, wake_worker
from app.domain.clock import Clock, to_datetime
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.models.execution import Account, AccountState, KillSwitch, Plan, PlanState, SymbolRow
from app.models.strategy import Decision, Run, RunState, StopMode, StrategyRow, StrategyVersion
from app.services.ownership import owned_account
from app.services.real_money import refuse_unconfirmed
from app.services.strategy.library import VersionView, owned_strategy, valid_strategy, version_view
from app.services.strategy.live import unsupported_live
from app.services.strategy.rules import Strategy

_ACTIVE = [state.value for state in RunState if state is not RunState.STOPPED]
_DECISIONS_SHOWN = 50
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class RunView:
    """A run of a strategy version on one account and symbol."""

    id: int
    strategy_id: int
    strategy_name: str
    version_id: int
    version_number: int
    account_id: int
    account_label: str
    symbol: str
    timeframe: str
    state: str  # RunState
    stop_mode: str | None  # StopMode
    stop_reason: str
    venue: str  # of the candles it decides on; "" until it is warmed up
    last_decided_ms: int | None  # open time of the newest candle decided
    created_at: datetime | None
    started_at: datetime | None
    stopped_at: datetime | None
    account_kind: str = ""


@dataclass(frozen=True, slots=True)
class PlanView:
    """A run's entry, protection and exit as one thing."""

    id: int
    state: str  # PlanState
    entry_order_id: int | None
    stop_order_id: int | None
    exit_order_id: int | None
    stop_price: Decimal | None
    time_stop_ms: int | None
    entry_price: Decimal | None  # average; None while the entry still buys
    highest: Decimal | None  # since the entry, as far as it was trailed
    trail: dict[str, Any]  # the distance of the trail and `after_r`; {} without one
    entry_until_ms: int | None
    unprotected_since_ms: int | None
    exit_reason: str
    opened_at: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DecisionView:
    """What a run decided at a closed candle. `entry`, `exit`: 1 true, 0 false, -1 not known."""

    run_id: int
    open_time_ms: int
    action: str  # none | enter | exit | refused
    reason: str
    entry: int
    exit: int
    close: str
    order_id: int | None
    trace: dict[str, Any]
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run with the version it trades, its open (else newest) plan and its newest decisions, newest first."""

    run: RunView
    version: VersionView
    plan: PlanView | None
    decisions: list[DecisionView]


async def start_run(
    session: AsyncSession,
    *,
    user_id: int,
    strategy_id: int,
    account_id: int,
    version_number: int | None = None,
    symbol: str | None = None,
    confirm_no_stop: bool = False,
    confirm_live: bool = False,
    clock: Clock,
) -> RunView:
    """Ask for a run of a version (the newest by default) of the user's strategy. The worker starts it.

    Whether the execution service is healthy is for the caller to ask. Raises NotFound; InvalidInput with `field`
    symbol, version_number, confirm_no_stop, confirm_live or strategy_id (`facts["problems"]`: what a live run cannot
    do); Conflict for an archived strategy, an account that cannot trade, an engaged kill switch, or when the strategy
    runs there already.
    """
    # The account is held, so that of two starts at once the second sees the first.
    account = await owned_account(session, user_id=user_id, account_id=account_id, lock=True)
    row = await owned_strategy(session, user_id=user_id, strategy_id=strategy_id)
    if row.archived_at is not None:
        raise Conflict(f"“{row.name}” is archived.")
    version = await _version(session, row, version_number)
    strategy = valid_strategy(version.document)
    chosen = _symbol(strategy, symbol)
    _refuse_unsupported(strategy, chosen_symbol=symbol is not None)
    if strategy.protect.stop is None and not confirm_no_stop:
        raise InvalidInput(
            "This strategy holds positions without a stop. Say that you mean it, or give it a stop.",
            field="confirm_no_stop",
        )
    _refuse_account(account)
    refuse_unconfirmed(account.kind, account.label, confirm_live=confirm_live, does="run trades real money by itself")
    await _refuse_unknown_symbol(session, account, chosen)
    await _refuse_killed(session, account, row)
    await _refuse_second(session, row, account, chosen)
    run = Run(
        user_id=user_id,
        account_id=account_id,
        version_id=version.id or 0,
        symbol=chosen,
        timeframe=strategy.timeframe,
        created_at=to_datetime(clock.now_ms()),
    )
    session.add(run)
    await session.flush()
    await _tell(session, user_id, run.id or 0)
    return await _run_view(session, user_id, run.id or 0)


async def stop_run(
    session: AsyncSession, *, user_id: int, run_id: int, mode: StopMode, reason: str = "", clock: Clock
) -> RunView:
    """Ask the run to stop; `mode` says what becomes of its position, and the worker sees to it.

    While it is stopping, asking again changes the mode. A run that has not begun stops at once. A stopped run whose
    position is still protected can be asked to close it, or its owner takes it over. Raises NotFound, Conflict when
    there is nothing to stop.
    """
    query = select(Run).where(col(Run.id) == run_id, col(Run.user_id) == user_id)
    locked = query.with_for_update().execution_options(populate_existing=True)
    run = (await session.execute(locked)).scalar_one_or_none()
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    about_position = StopMode(mode) is not StopMode.KEEP_PROTECTED and await _open_plan_of(session, run_id) is not None
    if run.state == RunState.STOPPED.value and not about_position:
        raise Conflict("This run is stopped already.")
    if run.state == RunState.STARTING.value:
        run.state, run.stopped_at = RunState.STOPPED.value, to_datetime(clock.now_ms())
    else:
        run.state = RunState.STOPPING.value
    run.stop_mode, run.stop_reason = StopMode(mode).value, reason.strip()[:_LONGEST_REASON]
    await session.flush()
    await _tell(session, user_id, run_id)
    return await _run_view(session, user_id, run_id)


async def list_runs(
    session: AsyncSession, *, user_id: int, active_only: bool = False, limit: int = 50
) -> list[RunView]:
    """The user's runs, newest first; `active_only` leaves out stopped ones."""
    query = _runs_of(user_id).order_by(col(Run.id).desc()).limit(limit)
    if active_only:
        query = query.where(col(Run.state).in_(_ACTIVE))
    found = (await session.execute(query)).all()
    return [_view(run, version, strategy, account) for run, version, strategy, account in found]


async def run_detail(
    session: AsyncSession, *, user_id: int, run_id: int, decisions: int = _DECISIONS_SHOWN
) -> RunDetail:
    """One of the user's runs. Raises NotFound."""
    run = await _run_view(session, user_id, run_id)
    version = await session.get_one(StrategyVersion, run.version_id)
    open_first = (col(Plan.state) == PlanState.CLOSED.value, col(Plan.id).desc())
    plans = select(Plan).where(col(Plan.run_id) == run_id).order_by(*open_first).limit(1)
    plan = (await session.execute(plans.execution_options(populate_existing=True))).scalar_one_or_none()
    newest = select(Decision).where(col(Decision.run_id) == run_id).order_by(col(Decision.open_time_ms).desc())
    rows = (await session.execute(newest.limit(decisions).execution_options(populate_existing=True))).scalars()
    return RunDetail(
        run=run,
        version=version_view(version),
        plan=None if plan is None else _plan_view(plan),
        decisions=[_decision_view(row) for row in rows],
    )


async def decision(session: AsyncSession, *, user_id: int, run_id: int, open_time_ms: int) -> DecisionView:
    """What the user's run decided at a candle, with the trace that says why. Raises NotFound."""
    query = (
        select(Decision)
        .join(Run, col(Run.id) == col(Decision.run_id))
        .where(col(Run.user_id) == user_id, col(Decision.run_id) == run_id, col(Decision.open_time_ms) == open_time_ms)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"Run {run_id} has no decision at that candle.")
    return _decision_view(row)


async def _version(session: AsyncSession, row: StrategyRow, number: int | None) -> StrategyVersion:
    query = select(StrategyVersion).where(col(StrategyVersion.strategy_id) == row.id)
    if number is not None:
        query = query.where(col(StrategyVersion.number) == number)
    found = (await session.execute(query.order_by(col(StrategyVersion.number).desc()).limit(1))).scalar_one_or_none()
    if found is None:
        raise InvalidInput(f"“{row.name}” has no version {number}.", field="version_number")
    return found


def _symbol(strategy: Strategy, symbol: str | None) -> str:
    if symbol is None:
        return strategy.symbols[0]
    symbol = symbol.strip().upper()
    if symbol not in strategy.symbols:
        raise InvalidInput(f"This strategy trades {', '.join(strategy.symbols)}, not {symbol[:20]}.", field="symbol")
    return symbol


def _refuse_unsupported(strategy: Strategy, *, chosen_symbol: bool) -> None:
    # Several symbols are no obstacle once one of them was chosen for this run.
    problems = [p for p in unsupported_live(strategy) if not (chosen_symbol and p.path == "market.symbols")]
    if problems:
        raise InvalidInput(
            f"This strategy cannot run live: {'; '.join(p.message for p in problems)}.",
            field="strategy_id",
            problems=[{"path": p.path, "message": p.message} for p in problems],
        )


def _refuse_account(account: Account) -> None:
    if account.state == AccountState.ACTIVE.value:
        return
    words = {
        AccountState.REQUESTED.value: "is still being set up",
        AccountState.RECOVERING.value: "is still being compared with the exchange",
        AccountState.FROZEN.value: "is frozen",
        AccountState.FAILED.value: "could not be set up",
        AccountState.DISABLED.value: "is switched off",
        AccountState.REMOVED.value: "is removed",
    }[account.state]
    because = f" ({account.state_reason})" if account.state_reason else ""
    raise Conflict(f"The account “{account.label}” {words}{because}, so nothing can be traded on it.")


async def _refuse_unknown_symbol(session: AsyncSession, account: Account, symbol: str) -> None:
    if await session.get(SymbolRow, (account.kind, symbol)) is None:
        raise InvalidInput(f"The {account.kind.lower()} exchange has no symbol {symbol}.", field="symbol")


async def _refuse_killed(session: AsyncSession, account: Account, strategy: StrategyRow) -> None:
    of_account = and_(col(KillSwitch.scope) == "account", col(KillSwitch.scope_id) == account.id)
    of_strategy = and_(col(KillSwitch.scope) == "strategy", col(KillSwitch.scope_id) == strategy.id)
    query = select(KillSwitch).where(
        or_(col(KillSwitch.scope) == "global", of_account, of_strategy), col(KillSwitch.released_at).is_(None)
    )
    if engaged := (await session.execute(query.execution_options(populate_existing=True))).scalars().first():
        names = {"account": f"the account “{account.label}”", "strategy": f"the strategy “{strategy.name}”"}
        of = names.get(engaged.scope, "everything")
        raise Conflict(f"The kill switch for {of} is engaged ({engaged.reason}). Release it first.")


async def _refuse_second(session: AsyncSession, row: StrategyRow, account: Account, symbol: str) -> None:
    query = (
        select(col(Run.id))
        .join(StrategyVersion, col(StrategyVersion.id) == col(Run.version_id))
        .where(
            col(StrategyVersion.strategy_id) == row.id,
            col(Run.account_id) == account.id,
            col(Run.symbol) == symbol,
            col(Run.state).in_(_ACTIVE),
        )
        .limit(1)
    )
    if (run_id := await session.scalar(query)) is not None:
        raise Conflict(f"“{row.name}” runs on {symbol} in “{account.label}” already (run {run_id}).", run_id=run_id)
    holding = (
        select(col(Run.id))
        .join(StrategyVersion, col(StrategyVersion.id) == col(Run.version_id))
        .join(Plan, col(Plan.run_id) == col(Run.id))
        .where(
            col(StrategyVersion.strategy_id) == row.id,
            col(Run.account_id) == account.id,
            col(Run.symbol) == symbol,
            col(Plan.state) != PlanState.CLOSED.value,
        )
        .limit(1)
    )
    if (run_id := await session.scalar(holding)) is not None:
        raise Conflict(
            f"Run {run_id} of “{row.name}” is stopped but still holds a position in {symbol}, which its stop protects. "
            "Close that position first, or wait for its stop.",
            run_id=run_id,
        )


async def _open_plan_of(session: AsyncSession, run_id: int) -> int | None:
    open_plan = select(col(Plan.id)).where(col(Plan.run_id) == run_id, col(Plan.state) != PlanState.CLOSED.value)
    return await session.scalar(open_plan.limit(1))


def _runs_of(user_id: int) -> Select[Run, StrategyVersion, StrategyRow, Account]:
    return (
        select(Run, StrategyVersion, StrategyRow, Account)
        .join(StrategyVersion, col(StrategyVersion.id) == col(Run.version_id))
        .join(StrategyRow, col(StrategyRow.id) == col(StrategyVersion.strategy_id))
        .join(Account, col(Account.id) == col(Run.account_id))
        .where(col(Run.user_id) == user_id)
        .execution_options(populate_existing=True)
    )


async def _run_view(session: AsyncSession, user_id: int, run_id: int) -> RunView:
    found = (await session.execute(_runs_of(user_id).where(col(Run.id) == run_id))).first()
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    run, version, strategy, account = found
    return _view(run, version, strategy, account)


def _view(run: Run, version: StrategyVersion, strategy: StrategyRow, account: Account) -> RunView:
    return RunView(
        id=run.id or 0,
        strategy_id=strategy.id or 0,
        strategy_name=strategy.name,
        version_id=run.version_id,
        version_number=version.number,
        account_id=run.account_id,
        account_label=account.label,
        account_kind=account.kind,
        symbol=run.symbol,
        timeframe=run.timeframe,
        state=run.state,
        stop_mode=run.stop_mode,
        stop_reason=run.stop_reason,
        venue=run.venue,
        last_decided_ms=run.last_decided_ms,
        created_at=run.created_at,
        started_at=run.started_at,
        stopped_at=run.stopped_at,
    )


def _plan_view(plan: Plan) -> PlanView:
    return PlanView(
        id=plan.id or 0,
        state=plan.state,
        entry_order_id=plan.entry_order_id,
        stop_order_id=plan.stop_order_id,
        exit_order_id=plan.exit_order_id,
        stop_price=plan.stop_price,
        time_stop_ms=plan.time_stop_ms,
        entry_price=plan.entry_price,
        highest=plan.highest,
        trail=_trail_of(plan),
        entry_until_ms=plan.entry_until_ms,
        unprotected_since_ms=plan.unprotected_since_ms,
        exit_reason=plan.exit_reason,
        opened_at=plan.opened_at,
        closed_at=plan.closed_at,
    )


def _trail_of(plan: Plan) -> dict[str, Any]:
    protect = dict(plan.protect or {})
    return dict(protect["trail"]) | {"after_r": protect.get("trail_after_r", "0")} if "trail" in protect else {}


def _decision_view(row: Decision) -> DecisionView:
    return DecisionView(
        run_id=row.run_id,
        open_time_ms=row.open_time_ms,
        action=row.action,
        reason=row.reason,
        entry=row.entry,
        exit=row.exit,
        close=row.close,
        order_id=row.order_id,
        trace=row.trace,
        decided_at=row.decided_at,
    )


async def _tell(session: AsyncSession, user_id: int, run_id: int) -> None:
    await wake_worker(session, "runs")
    await tell_browsers(session, "run", run_id, user_id=user_id)
