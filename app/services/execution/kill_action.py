"""What a kill switch does.

`decide` is pure: from what works and what is held within its scope, to deeds in words. The same function is the drill,
the progress shown, and what the worker carries out: at each look it decides anew from the rows and does what is
still to be done. So a crash in between changes nothing, and a deed that had to wait is done when it can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from app.domain.clock import Clock, Ids
from app.domain.errors import Conflict, InvalidInput, PlumblineError
from app.domain.money import ZERO, plain
from app.domain.orders import FINAL, KILL_SALE, EventSource, Order, OrderStatus, OrderType, Side
from app.domain.symbols import market_part
from app.models.execution import AccountState, KillAction, KillScope, PlanState
from app.services.execution.intents import OrderDraft, Owner, commit_intent, describe, request_cancel
from app.services.execution.store import AccountFacts, PlanRecord, Store, Transaction
from app.services.execution.store_switches import Holding, Scope, Switch

#: From mild to strong. An engaged switch only ever goes to the right.
STRENGTH = (KillAction.HALT, KillAction.CANCEL_ALL, KillAction.FLATTEN)
#: Why a plan leaves its position when a kill switch says so.
EXIT_REASON = "kill_switch"
#: A sale that sold nothing is tried again after this long.
SELL_AGAIN_MS = 5_000
_STOPS = frozenset({OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT})


class DeedKind(StrEnum):
    """What is done, or why not."""

    CANCEL = "cancel"  # an order
    LEAVE = "leave"  # a plan's position: its protection is cancelled as the sale replaces it
    SELL = "sell"  # a position that no plan looks after
    WAIT = "wait"  # for something that is on its way, or in the way
    KEEP = "keep"  # stays as it is


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that a switch does, in words. A SELL waits until the orders of `after` are gone."""

    kind: DeedKind
    words: str
    account_id: int
    order: Order | None = None
    plan: PlanRecord | None = None
    holding: Holding | None = None
    quantity: Decimal | None = None
    after: tuple[int, ...] = ()

    @property
    def is_due(self) -> bool:
        """Whether it can be done now."""
        return self.kind in (DeedKind.CANCEL, DeedKind.LEAVE, DeedKind.SELL) and not self.after


@dataclass(frozen=True, slots=True)
class ScopeFacts:
    """What a switch is decided on: all that works and is held within its scope."""

    orders: Sequence[Order]  # not final
    plans: Sequence[PlanRecord]  # not CLOSED
    holdings: Sequence[Holding]
    accounts: Mapping[int, AccountFacts]
    now_ms: int  # exchange time
    until_order_id: int
    sales: Sequence[Order] = ()  # what this switch has sold already, or tried to


@dataclass(slots=True)
class _Free:
    """Coins that can still be sold, by account and base asset, as one deed after another takes of them."""

    taken: dict[tuple[int, str], Decimal] = field(default_factory=dict)

    def take(self, holding: Holding, freed: Decimal) -> Decimal:
        """How much of a holding may be sold, given what cancels free."""
        place = (holding.account_id, holding.rules.base_asset if holding.rules else holding.symbol)
        left = holding.free + freed - self.taken.get(place, ZERO)
        quantity = max(ZERO, min(holding.quantity, left))
        self.taken[place] = self.taken.get(place, ZERO) + quantity
        return quantity


def decide(action: str, facts: ScopeFacts) -> list[Deed]:
    """Everything that `action` has still to do, and what stays or waits and why. Orders first, then positions."""
    deeds = [deed for order in facts.orders if (deed := _about_order(action, order, facts)) is not None]
    deeds += [_about_plan(action, plan, facts) for plan in facts.plans]
    if action == KillAction.FLATTEN:
        looked_after = {(plan.account_id, plan.run_id, plan.symbol) for plan in facts.plans}
        free = _Free()
        for holding in facts.holdings:
            if (holding.account_id, holding.run_id, holding.symbol) not in looked_after:
                deeds.append(_about_holding(holding, facts, deeds, free))
    return deeds


def _about_order(action: str, order: Order, facts: ScopeFacts) -> Deed | None:
    """None: the order is told of with what it sells. One whose plan a person took over is like one by hand."""
    what = f"order {order.id} ({describe(order)})"
    of_plan = any(plan.id == order.plan_id for plan in facts.plans)
    if order.is_exit and (of_plan or order.plan_id is None):
        return None
    if order.status is OrderStatus.CANCELING:
        return Deed(DeedKind.WAIT, f"{what} is being cancelled{_why_not_yet(order, facts)}", order.account_id, order)
    keeps = _why_kept(action, order, facts)
    if keeps:
        return Deed(DeedKind.KEEP, f"{what} {keeps}", order.account_id, order)
    if order.status is OrderStatus.NEW:
        return Deed(DeedKind.CANCEL, f"{what} is taken back before it is sent", order.account_id, order)
    blocked = _blocked(order.account_id, facts)
    if blocked:
        return Deed(DeedKind.WAIT, f"{what} cannot be cancelled: {blocked}", order.account_id, order)
    known = "" if order.exchange_order_id is not None else ", as soon as the exchange says whether it has it"
    return Deed(DeedKind.CANCEL, f"{what} is cancelled{known}", order.account_id, order)


def _why_kept(action: str, order: Order, facts: ScopeFacts) -> str:
    is_sale = order.side is Side.SELL
    if action == KillAction.HALT:
        return "goes on" if is_sale or order.status is not OrderStatus.NEW else ""
    if is_sale and order.type is OrderType.MARKET:
        return "sells at market and goes on"
    if action == KillAction.CANCEL_ALL and is_sale:
        if is_stop(order):
            return "stays: it protects what is held"
        if order.id > facts.until_order_id:
            return "stays: it was placed after the switch was engaged, and a sale is never refused"
    return ""


def is_stop(order: Order) -> bool:
    """Whether a sale protects what is held, by itself or as a leg of a pair, which the exchange ends together."""
    return order.side is Side.SELL and (order.type in _STOPS or order.list_client_order_id is not None)


def _why_not_yet(order: Order, facts: ScopeFacts) -> str:
    if order.exchange_order_id is None:
        return "; the exchange has not said yet whether it has it"
    blocked = _blocked(order.account_id, facts)
    return f", which waits: {blocked}" if blocked else ""


def _blocked(account_id: int, facts: ScopeFacts) -> str:
    account = facts.accounts.get(account_id)
    if account is None or account.state == AccountState.ACTIVE.value:
        return ""
    return f"the account “{account.label}” is {account.state.lower()}, so nothing can be sent with its key"


def _about_plan(action: str, plan: PlanRecord, facts: ScopeFacts) -> Deed:
    place = (plan.account_id, plan.run_id, plan.symbol)
    holding = next((h for h in facts.holdings if (h.account_id, h.run_id, h.symbol) == place), None)
    held = f"{plain(holding.quantity)} {plan.symbol}" if holding else f"what it buys of {plan.symbol}"
    whose = f"run {plan.run_id}"
    if action != KillAction.FLATTEN:
        stop = f" under its stop at {plain(plan.stop_price)}" if plan.stop_price is not None else ""
        words = f"{whose} keeps {held}{stop}; its exit goes on as planned"
        return Deed(DeedKind.KEEP, words, plan.account_id, plan=plan, holding=holding)
    if blocked := _blocked(plan.account_id, facts):
        words = f"{held} of {whose} cannot be sold: {blocked}"
        return Deed(DeedKind.WAIT, words, plan.account_id, plan=plan, holding=holding)
    if plan.exit_reason or plan.state == PlanState.EXITING.value:
        words = f"{held} of {whose} is on its way out{_exit_step(plan, facts)}"
        return Deed(DeedKind.WAIT, words, plan.account_id, plan=plan, holding=holding)
    first = ", after its protection is cancelled" if _resting(plan, facts) else ""
    quantity = None
    if holding is not None and holding.rules is not None:
        quantity = market_part(holding.rules, holding.quantity, holding.price)
        held = f"{plain(quantity)} {plan.symbol}"
    words = f"{whose} leaves: {held} is sold at market{first}"
    return Deed(DeedKind.LEAVE, words, plan.account_id, plan=plan, holding=holding, quantity=quantity)


def _resting(plan: PlanRecord, facts: ScopeFacts) -> list[Order]:
    return [o for o in facts.orders if o.plan_id == plan.id and o.side is Side.SELL and o.type is not OrderType.MARKET]


def _exit_step(plan: PlanRecord, facts: ScopeFacts) -> str:
    if resting := _resting(plan, facts):
        return f": order {resting[0].id}, its protection, is being cancelled first"
    sale = next((o for o in facts.orders if o.plan_id == plan.id and o.side is Side.SELL), None)
    return f": order {sale.id} sells it" if sale else ""


def _about_holding(holding: Holding, facts: ScopeFacts, deeds: Sequence[Deed], free: _Free) -> Deed:
    whose = f"run {holding.run_id} still has it" if holding.run_id else "held by hand"
    what = f"{plain(holding.quantity)} {holding.symbol} ({whose})"

    def told(kind: DeedKind, words: str, **more: Any) -> Deed:
        return Deed(kind, f"{what} {words}", holding.account_id, holding=holding, **more)

    if blocked := _blocked(holding.account_id, facts):
        return told(DeedKind.WAIT, f"cannot be sold: {blocked}")
    if holding.rules is None:
        return told(DeedKind.WAIT, "cannot be sold: the exchange's rules for it are not known yet")
    if any(_sells(order, holding) and order.status not in FINAL for order in [*facts.orders, *facts.sales]):
        return told(DeedKind.WAIT, "is being sold")
    refused = next((o for o in reversed(facts.sales) if _sells(o, holding)), None)
    if refused is not None and refused.filled == 0 and facts.now_ms - refused.created_at_ms < SELL_AGAIN_MS:
        why = refused.reject_reason or refused.status.lower()
        return told(DeedKind.WAIT, f"could not be sold ({why}); tried again in a moment")
    going = [d.order for d in deeds if d.order is not None and _frees(d, holding)]
    quantity = free.take(holding, sum((order.reserved for order in going), ZERO))
    part = market_part(holding.rules, quantity, holding.price)
    if part == 0:
        if market_part(holding.rules, holding.quantity, holding.price) > 0:
            return told(DeedKind.WAIT, "cannot be sold yet: other orders still reserve these coins")
        return told(DeedKind.KEEP, "stays: it is too little for an order")
    needs_them = holding.free < quantity
    after = tuple(order.id for order in going if needs_them)
    then = f" once {_numbers(after)} {'are' if len(after) > 1 else 'is'} cancelled" if after else ""
    return told(DeedKind.SELL, f"is sold: {plain(part)} at market{then}", quantity=part, after=after)


def _sells(order: Order, holding: Holding) -> bool:
    place = (holding.account_id, holding.run_id, holding.symbol)
    return order.intent_key.startswith(KILL_SALE) and (order.account_id, order.run_id or 0, order.symbol) == place


def _frees(deed: Deed, holding: Holding) -> bool:
    """Whether the deed takes away an order that holds back coins of this holding."""
    order, rules = deed.order, holding.rules
    if order is None or rules is None or deed.kind not in (DeedKind.CANCEL, DeedKind.WAIT):
        return False
    place = (order.account_id, order.side, order.reserved_asset)
    return place == (holding.account_id, Side.SELL, rules.base_asset)


def _numbers(order_ids: Sequence[int]) -> str:
    names = [str(number) for number in order_ids]
    return f"order {names[0]}" if len(names) == 1 else f"orders {', '.join(names[:-1])} and {names[-1]}"


# --- driver ------------------------------------------------------------------------------------------------


async def facts_of(tx: Transaction, scope: Scope, *, clock: Clock, switch: Switch | None = None) -> ScopeFacts:
    """What works and is held within a scope now. Reads only, locks nothing; without a switch it is a drill."""
    orders = await tx.unfinished(scope)
    open_plans = await tx.plans_open(scope.id if scope.kind == KillScope.ACCOUNT.value else None)
    plans = [plan for plan in open_plans if scope.covers(plan.account_id, plan.run_id)]
    holdings = await tx.holdings(scope, now_ms=clock.now_ms())
    accounts = {}
    involved = {o.account_id for o in orders} | {p.account_id for p in plans} | {h.account_id for h in holdings}
    for account_id in sorted(involved):
        account = await tx.account(account_id)
        if account is not None:
            accounts[account_id] = account
    return ScopeFacts(
        orders=orders,
        plans=plans,
        holdings=holdings,
        accounts=accounts,
        now_ms=clock.exchange_now_ms(),
        until_order_id=switch.until_order_id if switch else await tx.newest_order_id(),
        sales=await tx.orders_by_id(switch.sales) if switch else (),
    )


async def engage(
    tx: Transaction, *, kind: str, scope_id: int, action: str, reason: str, actor: str, clock: Clock
) -> tuple[Switch, bool]:
    """Engage a switch, or make an engaged one stronger: it is never weakened. Orders not sent yet end at once.

    Returns the switch as it is now, and whether this changed it. Raises InvalidInput (scope, action, reason).
    """
    _check(kind, scope_id, reason, action)
    current = await tx.switch(kind, scope_id)
    if current is not None and STRENGTH.index(KillAction(action)) <= STRENGTH.index(KillAction(current.action)):
        return current, False
    fresh = Switch(await tx.scope(kind, scope_id), action, reason.strip(), actor, clock.now_ms(), 0)
    switch = replace(
        fresh if current is None else replace(current, action=action, reason=fresh.reason, engaged_by=actor),
        engaged_ms=fresh.engaged_ms,
        until_order_id=await tx.newest_order_id(),
    )
    await tx.save_switch(switch)
    unsent = [d for d in decide(action, await facts_of(tx, switch.scope, clock=clock, switch=switch)) if _is_unsent(d)]
    for deed in unsent:
        await _cancel(tx, deed, switch, clock)
    ended = tuple(deed.order.id for deed in unsent if deed.order is not None)
    switch = replace(switch, orders=(*switch.orders, *ended))
    await tx.save_switch(switch)
    await tx.wake("kill")
    return switch, True


async def release(tx: Transaction, *, kind: str, scope_id: int, reason: str, actor: str, clock: Clock) -> None:
    """Allow entries again; needs a reason. Raises InvalidInput; Conflict when the switch is not engaged."""
    _check(kind, scope_id, reason)
    switch = await tx.switch(kind, scope_id)
    if switch is None:
        raise Conflict("this kill switch is not engaged")
    await tx.release_switch(switch, by=actor, reason=reason.strip(), at_ms=clock.now_ms())
    await tx.wake("kill")


async def obey(store: Store, *, clock: Clock, ids: Ids) -> int:
    """Do what engaged switches have still to do, a deed a transaction. Returns how many deeds were done."""
    async with store.transaction() as tx:
        switches = await tx.switches()
    done = 0
    for switch in switches:
        if switch.action == KillAction.HALT:
            continue  # what was not sent ended with its engaging, and what was made at that moment is refused unsent
        async with store.transaction() as tx:
            deeds = decide(switch.action, await facts_of(tx, switch.scope, clock=clock, switch=switch))
        for deed in deeds:
            if deed.is_due:
                async with store.transaction() as tx:
                    done += await _carry_out(tx, switch, deed, clock=clock, ids=ids)
    return done


async def _carry_out(tx: Transaction, decided_for: Switch, deed: Deed, *, clock: Clock, ids: Ids) -> bool:
    """One deed, unless the switch or what it is about has changed since it was decided."""
    switch = await tx.switch(decided_for.scope.kind, decided_for.scope.id)
    if switch is None or (switch.engaged_ms, switch.action) != (decided_for.engaged_ms, decided_for.action):
        return False
    if deed.kind is DeedKind.CANCEL:
        about = await _cancel(tx, deed, switch, clock)
        switch = replace(switch, orders=(*switch.orders, about))
        did, what = "kill_switch.order_cancelled", f"order:{about}"
    elif deed.kind is DeedKind.LEAVE:
        about = await _leave(tx, deed)
        switch = replace(switch, plans=(*switch.plans, about))
        did, what = "kill_switch.position_left", f"plan:{about}"
    else:
        about = await _sell(tx, deed, switch, clock=clock, ids=ids)
        switch = replace(switch, sales=(*switch.sales, about))
        did, what = "kill_switch.position_sold", f"order:{about}"
    if not about:
        return False
    await tx.save_switch(switch)
    details = {"switch": switch.name, "action": switch.action, "reason": switch.reason, "words": deed.words}
    await tx.audit("worker", did, what, details, at_ms=clock.now_ms())
    return True


async def _cancel(tx: Transaction, deed: Deed, switch: Switch, clock: Clock) -> int:
    order = await tx.order(deed.order.id) if deed.order else None
    if order is None or order.status in FINAL or order.status is OrderStatus.CANCELING:
        return 0
    await request_cancel(tx, order.id, source=EventSource.OPERATOR, clock=clock, reason=_because(switch))
    return order.id


async def _leave(tx: Transaction, deed: Deed) -> int:
    plan = await tx.plan(deed.plan.id) if deed.plan else None
    if plan is None or plan.exit_reason or plan.state in (PlanState.EXITING.value, PlanState.CLOSED.value):
        return 0
    await tx.save_plan(replace(plan, exit_reason=EXIT_REASON))
    await tx.wake("plans")
    return plan.id


async def _sell(tx: Transaction, deed: Deed, switch: Switch, *, clock: Clock, ids: Ids) -> int:
    holding, quantity = deed.holding, deed.quantity
    if holding is None or quantity is None:
        return 0
    draft = OrderDraft(holding.account_id, holding.symbol, Side.SELL, OrderType.MARKET, quantity=quantity)
    owner = Owner(EventSource.OPERATOR, run_id=holding.run_id or None)
    key = f"{KILL_SALE}{switch.name}:{switch.engaged_ms}:{len(switch.sales)}"
    try:
        order = await commit_intent(tx, draft, intent_key=key, owner=owner, clock=clock, ids=ids)
    except PlumblineError as refusal:
        words = f"the kill switch could not sell {plain(quantity)} {holding.symbol}: {refusal.message}"
        await tx.add_incident("KILL_SWITCH_REFUSED", words, account_id=holding.account_id)
        return 0
    return order.id


def _is_unsent(deed: Deed) -> bool:
    return deed.kind is DeedKind.CANCEL and deed.order is not None and deed.order.status is OrderStatus.NEW


def _because(switch: Switch) -> str:
    return f"kill switch: {switch.reason}"


def _check(kind: str, scope_id: int, reason: str, action: str = KillAction.HALT.value) -> None:
    if kind not in list(KillScope) or (kind == KillScope.GLOBAL.value) != (scope_id == 0):
        raise InvalidInput("a kill switch is global, or for one account, one strategy or one run", field="scope")
    if action not in list(KillAction):
        raise InvalidInput("a kill switch halts, cancels all or flattens", field="action")
    if not 3 <= len(reason.strip()) <= 300:
        raise InvalidInput("say why, in 3 to 300 characters", field="reason")
