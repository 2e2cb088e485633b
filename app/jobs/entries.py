"""The entry of a run: sized, its protection checked, then plan and order in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from app.domain.clock import Clock, Ids
from app.domain.errors import PlumblineError
from app.domain.orders import EventSource, OrderRole, OrderStatus, OrderType, Side
from app.domain.symbols import SymbolRules, round_price, round_quantity
from app.models.execution import PlanState
from app.models.strategy import Run
from app.services.execution.intents import OrderDraft, Owner, commit_intent
from app.services.execution.protection import entry_problem, stop_price
from app.services.execution.store import PlanRecord
from app.services.execution.store_postgres import PostgresTransaction
from app.services.portfolio.views import portfolio_of
from app.services.strategy import Evaluation, size_entry, timeframe_ms
from app.services.strategy.live import PlanSpecs, limit_price, plan_specs


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry that may be made: what to buy, its protection, and how the size came about."""

    draft: OrderDraft
    specs: PlanSpecs
    why: str


async def enter(
    tx: PostgresTransaction,
    run: Run,
    evaluation: Evaluation,
    index: int,
    *,
    clock: Clock,
    ids: Ids,
    stale_price_ms: int,
) -> dict[str, Any]:
    """Make the entry that bar `index` decided, or say why there is none: columns of the decision.

    The filters of every part of its protection are checked before anything is sent.
    """
    open_time_ms = int(evaluation.candles.open_time_ms[index])
    try:
        async with tx.session.begin_nested():
            wanted = await _wanted(tx, run, evaluation, index, clock=clock)
            plan = _plan(run, evaluation, open_time_ms, wanted.specs)
            plan = replace(plan, id=await tx.add_plan(plan))
            order = await commit_intent(
                tx,
                wanted.draft,
                intent_key=f"run:{run.id}:{open_time_ms}:BUY",
                owner=Owner(EventSource.STRATEGY, run_id=run.id, plan_id=plan.id, role=OrderRole.ENTRY),
                clock=clock,
                ids=ids,
                stale_price_ms=stale_price_ms,
            )
            if order.status is OrderStatus.REJECTED:
                refused = replace(plan, state=PlanState.CLOSED.value, entry_order_id=order.id, exit_reason="refused")
                await tx.save_plan(refused)
                return {"action": "refused", "reason": order.reject_reason, "order_id": order.id}
            await tx.save_plan(replace(plan, entry_order_id=order.id))
            return {"action": "enter", "reason": wanted.why, "order_id": order.id}
    except PlumblineError as error:
        return {"action": "refused", "reason": error.message}


def _plan(run: Run, evaluation: Evaluation, open_time_ms: int, specs: PlanSpecs) -> PlanRecord:
    strategy = evaluation.strategy
    length_ms = timeframe_ms(strategy.timeframe)
    close_time_ms = open_time_ms + length_ms
    time_stop, expires = strategy.protect.time_stop_bars, strategy.order.expire_bars
    is_limit = strategy.order.type == "limit"
    return PlanRecord(
        id=0,
        account_id=run.account_id,
        run_id=run.id or 0,
        symbol=run.symbol,
        state=PlanState.ENTERING.value,
        entry_order_id=None,
        stop_order_id=None,
        exit_order_id=None,
        stop_spec=specs.stop,
        stop_price=None,
        time_stop_ms=None if time_stop is None else close_time_ms + time_stop * length_ms,
        exit_reason="",
        tries=0,
        protect=specs.protect,
        trailed_ms=open_time_ms,
        entry_until_ms=close_time_ms + expires * length_ms if is_limit and expires else None,
    )


async def _wanted(tx: PostgresTransaction, run: Run, evaluation: Evaluation, index: int, *, clock: Clock) -> Wanted:
    facts = await tx.trading_facts(run.account_id, run.symbol, run.id, now_ms=clock.now_ms())
    if facts is None or facts.rules is None:
        raise PlumblineError(f"the trading rules of {run.symbol} are not known yet")
    close = Decimal(repr(float(evaluation.candles.close[index])))
    limit = limit_price(evaluation.strategy, close)
    price = close if limit is None else round_price(facts.rules, limit)
    specs = plan_specs(evaluation, index)
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    portfolio = await portfolio_of(tx.session, user_id=run.user_id, account_id=run.account_id, now=now)
    if portfolio.equity is None:
        raise PlumblineError("the account's equity is not known: an asset it holds has no price")
    sized = size_entry(
        evaluation.strategy.sizing,
        equity=portfolio.equity,
        free_quote=facts.quote_total - facts.quote_reserved,
        entry_price=price,
        stop_price=evaluation.stop_price(index, price),
    )
    _check_protection(specs, sized.quote / price, price, facts.rules)
    common = (run.account_id, run.symbol, Side.BUY)
    if limit is None:
        draft = OrderDraft(*common, OrderType.MARKET, quote_quantity=sized.quote)
    else:
        draft = OrderDraft(
            *common, OrderType.LIMIT, quantity=round_quantity(facts.rules, sized.quote / price), price=price
        )
    return Wanted(draft, specs, f"the entry rule is true: {sized.reason}")


def _check_protection(specs: PlanSpecs, quantity: Decimal, price: Decimal, rules: SymbolRules) -> None:
    """Refuse an entry whose protection the exchange would not take: checked before the position exists."""
    stop = stop_price(specs.stop, price, rules)
    if stop is not None and stop <= 0:
        raise PlumblineError("no entry, because its stop would not lie above zero")
    problem = entry_problem(specs.stop, specs.protect, quantity=quantity, entry_price=price, rules=rules)
    if problem is not None:
        raise PlumblineError(f"no entry, because its protection would be refused: {problem}")
