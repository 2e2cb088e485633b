"""I1–I12: what must hold after every commit, after every step, and once all is quiet."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.orders import FINAL, KILL_SALE, EventKind, Order, OrderStatus, Side, is_legal
from app.domain.positions import FLAT, Position, apply_fill, balance_changes
from app.services.execution.bookkeeping import FINAL_WORDS
from app.services.execution.store import PlanRecord
from app.services.execution.store_memory import Books
from tests.simulation.database import Database
from tests.simulation.switches import not_carried_out
from tests.simulation.wire import Line

OURS = "pl-"
#: I11: the longest death bound, a pass every 60 s, what a busy worker oversleeps and a request that goes unanswered.
BOUND_S, PASS_S, SLACK_S = 75.0, 60.0, 35.0
#: So long may coins of a run lie unprotected, in contact with an exchange that is well, before somebody is told.
EXPOSED_S = 120.0
#: A plan that makes so many orders in a minute is out of its mind.
STORM_ORDERS = 40
TELLS_OF_EXPOSURE = frozenset({"UNPROTECTED", "POSITION_NOT_COVERED", "PROTECTION_REFUSED", "LATE_FILL", "RESURRECTED"})
#: What the monitor has read out of the books.
_OF_THE_BOOKS = (
    "_totals", "_positions", "_cash", "_by_client_id", "_seen_incidents", "_seen_adjustments", "_dust",
    "_exposed_since_s",
)  # fmt: skip
S = OrderStatus


@dataclass
class Monitor:
    """Looks at the books with its own arithmetic, and at the wire and the exchange from outside."""

    database: Database
    lines: Mapping[int, Line]
    opening: dict[tuple[int, str], Decimal]
    violations: list[str] = field(default_factory=list)
    may_surface: set[str] = field(default_factory=set)  # client ids that the exchange hides for longer than the bound
    external: dict[tuple[int, str], Decimal] = field(default_factory=dict)
    contact_since_s: dict[int, float] = field(default_factory=dict)
    _totals: dict[tuple[int, str], Decimal] = field(default_factory=dict)
    _positions: dict[tuple[int, int, str], Position] = field(default_factory=dict)
    _cash: dict[tuple[int, int, str], Decimal] = field(default_factory=dict)
    _by_client_id: dict[tuple[int, str], int] = field(default_factory=dict)
    _seen_sent: dict[int, int] = field(default_factory=dict)
    _seen_orders: dict[int, int] = field(default_factory=dict)
    _seen_incidents: int = 0
    _seen_adjustments: int = 0
    _exposed_since_s: dict[tuple[int, int, str], float] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)  # client ids that were sent after the dump that was restored
    _dust: dict[int, Decimal] = field(default_factory=dict)  # what a plan left unsold when it closed, if that was dust

    def __post_init__(self) -> None:
        self._totals = dict(self.opening)
        self.database.watch = self.committed

    def _fail(self, rule: str, words: str) -> None:
        self.violations.append(f"{rule}: {words}")

    # --- after every commit ----------------------------------------------------------------------------

    def committed(self, touched: Mapping[int, int], epoch: int | None) -> None:
        """I1–I6 and I8–I10 for what this commit has changed."""
        after = self.database.books
        if touched and epoch is not None and epoch != after.epoch:
            self._fail("fence", f"epoch {epoch} wrote although {after.epoch} is in office")
        for order_id, known_events in touched.items():
            order = after.orders[order_id]
            self._by_client_id[order.account_id, order.client_order_id] = order_id
            self._history(order, after)
            self._amounts(order, after, known_events)
            if order.intent_key.startswith(KILL_SALE) and order.status not in FINAL:
                self._flattened_once(order, after)
        for plan_id in {after.orders[order_id].plan_id for order_id in touched}:
            if plan_id is not None:
                self._sold_once(plan_id, after)
                self._no_storm(plan_id, after)
        for place in list(after.adjustments)[self._seen_adjustments :]:
            key, change = place[:2], after.adjustments[place].change
            self._totals[key] = self._totals.get(key, ZERO) + change
        self._seen_adjustments = len(after.adjustments)
        if len(after.incidents) != self._seen_incidents:
            for kind, words, _, order_id in after.incidents[self._seen_incidents :]:
                self._incident(kind, words, after.orders.get(order_id or 0))
            self._seen_incidents = len(after.incidents)

    def _history(self, order: Order, books: Books) -> None:
        """I4, I5."""
        events = books.events[order.id]
        if len(events) != order.version or events[-1].to_status is not order.status:
            self._fail("I4", f"order {order.id} is {order.status} v{order.version} after {len(events)} events")
        status = None
        for event in events:
            if event.from_status is not status:
                self._fail("I4", f"order {order.id}: {event.kind} starts from {event.from_status}, not {status}")
            start, end, resurrects = event.from_status, event.to_status, event.kind is EventKind.RESURRECTED
            if start not in (None, end) and not is_legal(start, end, resurrecting=resurrects):
                self._fail("I5", f"order {order.id}: {start} → {end}")
            status = event.to_status
        if sum(e.kind is EventKind.ATTEMPT_SENT for e in events) > 1:
            self._fail("I7", f"order {order.id} has two attempts")

    def _amounts(self, order: Order, books: Books, known_events: int) -> None:
        """I1, I2, I3, I6, I8, I9, I10."""
        new = [e for e in books.events[order.id][known_events:] if "trade_id" in e.payload]
        if new or order.status is S.REJECTED:
            fills = [fill for owner, fill in books.fills.values() if owner == order.id]
            if sum((f.quantity for f in fills), ZERO) != order.filled:
                self._fail("I1", f"order {order.id} says {order.filled} filled, its fills say otherwise")
            if order.status is S.REJECTED and fills:
                self._fail("I3", f"order {order.id} is REJECTED and has fills")
        if order.quantity is not None and order.filled > order.quantity:
            self._fail("I1", f"order {order.id} has filled {order.filled} of {order.quantity}")
        if (order.status is S.FILLED) != (order.quantity is not None and order.filled == order.quantity):
            self._fail("I2", f"order {order.id} is {order.status} with {order.filled} of {order.quantity}")
        if order.reserved < 0 or (order.status in FINAL and order.reserved != 0):
            self._fail("I10", f"order {order.id} is {order.status} and reserves {order.reserved}")
        for event in new:
            self._fill(order, books, event.payload["trade_id"])

    def _flattened_once(self, order: Order, books: Books) -> None:
        """A kill switch has one sale at work for what a run, or a person, holds of a symbol."""
        place = (order.account_id, order.run_id, order.symbol)
        known = (o for o in books.working.values() if o.client_order_id not in self.may_surface)
        sales = (o for o in known if o.intent_key.startswith(KILL_SALE))
        if sum((o.account_id, o.run_id, o.symbol) == place for o in sales) > 1:
            self._fail("flatten", f"two orders flatten what {order.run_id or 'a person'} holds of {order.symbol}")

    def _sold_once(self, plan_id: int, books: Books) -> None:
        """The working sales of a plan sell no more than its run holds; of a pair one leg cancels the other."""
        orders = [books.orders[order_id] for order_id in books.of_plan[plan_id]]
        sells = [o for o in orders if o.side is Side.SELL and o.client_order_id not in self.may_surface]
        pairs: dict[str, list[Order]] = {}
        for order in sells:
            pairs.setdefault(order.list_client_order_id or order.client_order_id, []).append(order)
        still = sum(
            (max(o.quantity or ZERO for o in legs) - sum((o.filled for o in legs), ZERO) for legs in pairs.values()
             if any(o.status not in FINAL for o in legs)), ZERO,
        )  # fmt: skip
        plan = books.plans[plan_id]
        run = (plan.account_id, plan.run_id, plan.symbol)
        held = self._positions.get(run, FLAT).quantity
        if still > held and not self._is_upset(run, books):
            self._fail("plan", f"orders that sell {still} work for plan {plan_id}, whose run holds {held}")

    def _no_storm(self, plan_id: int, books: Books) -> None:
        """What is refused again and again is tried again ever more slowly."""
        newest = [books.orders[order_id].created_at_ms for order_id in books.of_plan[plan_id][-STORM_ORDERS:]]
        if len(newest) == STORM_ORDERS and 0 <= newest[-1] - newest[0] < 60_000:
            self._fail("storm", f"plan {plan_id} made {STORM_ORDERS} orders in {(newest[-1] - newest[0]) / 1000:.0f} s")

    def _is_upset(self, run: tuple[int, int, str], books: Books) -> bool:
        """Whether a run may have fewer coins than its plan can know: late fills, sales elsewhere, fees in its coin."""
        told = any(kind in ("LATE_FILL", "RESURRECTED") and a == run[0] for kind, _, a, _ in books.incidents)
        return told or books.rules[run[2]].base_asset == "BNB" or any(tuple(p) == run for *p, _ in books.taken)

    def _fill(self, order: Order, books: Books, trade_id: int) -> None:
        """I6 against the exchange's own book, I8 and I9 with the monitor's own arithmetic."""
        place = (order.account_id, order.symbol, trade_id)
        if place not in books.fills or order.exchange_order_id is None:
            self._fail("I6", f"trade {trade_id} of order {order.id} has an event and no fill")
            return
        _, fill = books.fills[place]
        theirs = self.lines[order.account_id].exchange.book()[order.exchange_order_id - 1]
        if fill not in theirs.fills or theirs.client_order_id != order.client_order_id:
            self._fail("I6", f"trade {trade_id} of order {order.id} is not the exchange's")
        rules = books.rules[order.symbol]
        sign = 1 if order.side is Side.BUY else -1
        base, quote = sign * fill.quantity, -sign * fill.quantity * fill.price
        changes = [(rules.base_asset, base), (rules.quote_asset, quote), (fill.commission_asset, -fill.commission)]
        if fill.commission_asset == rules.quote_asset:
            quote -= fill.commission
        for asset, change in changes:
            key = (order.account_id, asset)
            self._totals[key] = self._totals.get(key, ZERO) + change
        run = (order.account_id, order.run_id or 0, order.symbol)
        position = apply_fill(
            self._positions.get(run, FLAT),
            side=order.side,
            fill=fill,
            base_asset=rules.base_asset,
            quote_asset=rules.quote_asset,
            commission_price=None,
        )
        self._positions[run] = position
        self._cash[run] = self._cash.get(run, ZERO) + quote
        if run[1] and position.quantity < 0 and order.side is Side.SELL and not self._is_upset(run, books):
            self._fail("oversold", f"run {run[1]} of account {run[0]} sold what it does not hold: {position.quantity}")
        if position.realised - position.cost != self._cash[run]:
            self._fail("I9", f"position {run}: realised {position.realised} − cost {position.cost} ≠ {self._cash[run]}")

    def _incident(self, kind: str, words: str, order: Order | None) -> None:
        """Incidents that mean that we were wrong, not the world."""
        expected = order is not None and order.client_order_id in self.may_surface
        if kind == "REJECTED_BUT_EXISTS" or (kind in ("RESURRECTED", "CONFIRMED_NOT_VISIBLE") and not expected):
            self._fail("incident", f"{kind}: {words}")
        if kind == "ACCOUNT_FROZEN" and "contradict" in words:
            self._fail("incident", words)

    # --- after every step ------------------------------------------------------------------------------

    def stepped(self, now_s: float, *, in_contact: bool) -> None:
        """I7 on the wire and at the exchange, I8 for all balances, I11."""
        books = self.database.books
        for account_id, line in self.lines.items():
            self._wire(account_id, line, books)
            active = books.accounts[account_id].state == "ACTIVE"
            if not in_contact or not active:
                self.contact_since_s[account_id] = now_s
        for plan in books.plans.values():
            if plan.state != "CLOSED":
                self._dust.pop(plan.id, None)
            elif plan.id not in self._dust:
                held = self._positions.get((plan.account_id, plan.run_id, plan.symbol), FLAT).quantity
                is_dust = _worth(held, plan.symbol, books) < books.rules[plan.symbol].min_notional
                self._dust[plan.id] = held if is_dust else ZERO
        for key, total in self._totals.items():
            if books.totals.get(key, ZERO) != total:
                self._fail("I8", f"account {key[0]}: {books.totals.get(key, ZERO)} {key[1]} booked, fills say {total}")

    def _wire(self, account_id: int, line: Line, books: Books) -> None:
        for request in line.sent[self._seen_sent.get(account_id, 0) :]:
            order_id = self._by_client_id.get((account_id, request.client_order_id))
            if order_id is None or order_id not in books.attempts:
                self._fail("I7", f"{request.client_order_id} was sent without an attempt on record")
            if sum(r.client_order_id == request.client_order_id for r in line.sent) > 1:
                self._fail("I7", f"{request.client_order_id} was sent twice")
        self._seen_sent[account_id] = len(line.sent)
        book = line.exchange.book()
        for theirs in book[self._seen_orders.get(account_id, 0) :]:
            if not theirs.client_order_id.startswith(OURS) or theirs.client_order_id in self.forgotten:
                continue
            if (account_id, theirs.client_order_id) not in self._by_client_id:
                self._fail("I7", f"the exchange has {theirs.client_order_id}, of which our books know nothing")
            if sum(o.client_order_id == theirs.client_order_id for o in book) > 1:
                self._fail("I7", f"the exchange has {theirs.client_order_id} twice")
        self._seen_orders[account_id] = len(book)

    def unknown_for_too_long(self, now_s: float, start_ms: int) -> None:
        """I11: nobody knows of an order although the bound and a pass went by in contact with the exchange."""
        for order in self.database.books.working.values():
            if order.exchange_order_id is not None or order.status not in (S.SUBMITTED, S.CANCELING):
                continue
            bound_s = ((order.signed_timestamp_ms or 0) - start_ms) / 1000 + BOUND_S
            since_s = max(bound_s, self._undisturbed_since_s(order.account_id))
            if now_s - since_s > PASS_S + SLACK_S:
                words = f"order {order.id} is {order.status} without an answer, {now_s - since_s:.0f} s in contact"
                self._fail("I11", words)

    def exposed_for_too_long(self, now_s: float) -> None:
        """A run holds coins, all is well with the exchange, and nothing protects or sells them and nobody was told."""
        books = self.database.books
        told = {account_id for kind, _, account_id, _ in books.incidents if kind in TELLS_OF_EXPOSURE}
        for run, position in self._positions.items():
            account_id, run_id, symbol = run
            held = position.quantity - (_taken(run, books) if books.taken else ZERO)
            if not run_id or not self._is_exposed(run, held, books) or account_id in told:
                self._exposed_since_s.pop(run, None)
                continue
            since_s = max(self._exposed_since_s.setdefault(run, now_s), self._undisturbed_since_s(account_id))
            if now_s - since_s > EXPOSED_S + SLACK_S:
                words = f"run {run_id} of account {account_id} holds {position.quantity} {symbol}"
                self._fail("exposed", f"{words} and nothing protects or sells it, {now_s - since_s:.0f} s in contact")

    def _is_exposed(self, run: tuple[int, int, str], held: Decimal, books: Books) -> bool:
        if _worth(held, run[2], books) < books.rules[run[2]].min_notional:
            return False
        plans = [p for p in books.plans.values() if (p.account_id, p.run_id, p.symbol) == run]
        if held <= max((self._dust.get(plan.id, ZERO) for plan in plans), default=ZERO):
            return False
        on_purpose = any(plan.state == "PROTECTED" and plan.stop_price is None for plan in plans)
        working = (o for o in books.working.values() if (o.account_id, o.run_id, o.symbol) == run)
        return not on_purpose and next(working, None) is None

    def _undisturbed_since_s(self, account_id: int) -> float:
        return max(self.lines[account_id].disturbed_at_s, self.contact_since_s.get(account_id, 0.0))

    # --- a dump ----------------------------------------------------------------------------------------

    def remember(self) -> dict[str, object]:
        """What is known of the books now, to be known again when they are restored."""
        return {name: copy(getattr(self, name)) for name in _OF_THE_BOOKS}

    def forget_since(self, remembered: Mapping[str, object]) -> None:
        """The books are those of a dump: what was sent since is at the exchange, and nothing here knows of it."""
        for name, value in remembered.items():
            setattr(self, name, copy(value))
        for account_id, line in self.lines.items():
            sent = {r.client_order_id for r in line.sent}
            self.forgotten |= {c for c in sent if (account_id, c) not in self._by_client_id}
            new = (o for o in self.database.books.working.values() if o.status is S.NEW)
            self.may_surface |= {o.client_order_id for o in new} & sent  # somebody may cancel it as if it were unsent

    # --- once all is quiet -----------------------------------------------------------------------------

    def differences(self) -> list[str]:
        """I12: how books and exchange still differ; empty when they agree and every position is protected."""
        books, found = self.database.books, []
        for account_id, line in self.lines.items():
            found += self._orders_differ(account_id, line, books)
            theirs = line.exchange.totals()
            for asset in sorted({*theirs} | {a for owner, a in books.totals if owner == account_id}):
                ours = books.totals.get((account_id, asset), ZERO)
                if ours != theirs.get(asset, ZERO):
                    found.append(f"account {account_id}: {ours} {asset} in our books, {theirs.get(asset, ZERO)} there")
        came = dict(self.external)
        for account_id, line in self.lines.items():
            found += self._not_adopted(account_id, line, books, came)
        return found + self._external_differ(books, came) + self._unprotected(books) + not_carried_out(books)

    def _not_adopted(
        self, account_id: int, line: Line, books: Books, came: dict[tuple[int, str], Decimal]
    ) -> list[str]:
        """Orders sent after the dump that was restored, which are not in our books again.

        Where they left no coins behind in a symbol that the books do not know, nothing leads to them: what they
        moved is booked as having come from elsewhere.
        """
        found, moved = [], dict[str, dict[str, Decimal]]()
        known = {o.client_order_id for o in books.orders.values() if o.account_id == account_id}
        for theirs in line.exchange.book():
            if theirs.client_order_id not in self.forgotten - known or (theirs.is_final and not theirs.fills):
                continue
            rules, changes = books.rules[theirs.request.symbol], moved.setdefault(theirs.request.symbol, {})
            for fill in theirs.fills:
                for asset, change in balance_changes(
                    theirs.request.side, fill, rules.base_asset, rules.quote_asset
                ).items():
                    changes[asset] = changes.get(asset, ZERO) + change
            if not theirs.is_final:
                found.append(f"{theirs.client_order_id} is open, was sent after the dump and is not in our books again")
        for symbol, changes in moved.items():
            if changes.get(books.rules[symbol].base_asset, ZERO):
                found.append(f"orders of {symbol} were sent after the dump and are not in our books again")
            for asset, change in changes.items():
                came[account_id, asset] = came.get((account_id, asset), ZERO) + change
        return found

    def _external_differ(self, books: Books, external: Mapping[tuple[int, str], Decimal]) -> list[str]:
        """I8: what happened elsewhere is booked as that, and nothing else is."""
        booked: dict[tuple[int, str], Decimal] = {}
        for (account_id, asset, _), adjustment in books.adjustments.items():
            key = (account_id, asset)
            booked[key] = booked.get(key, ZERO) + adjustment.change
        pairs = {key: (booked.get(key, ZERO), external.get(key, ZERO)) for key in {*booked, *external}}
        return [
            f"account {account_id}: {came} {asset} came from elsewhere, {ours} is booked"
            for (account_id, asset), (ours, came) in sorted(pairs.items())
            if ours != came
        ]

    def _orders_differ(self, account_id: int, line: Line, books: Books) -> list[str]:
        found = []
        ours = {o.client_order_id: o for o in books.orders.values() if o.account_id == account_id}
        for theirs in line.exchange.book():
            order = ours.pop(theirs.client_order_id, None)
            if order is None:
                continue  # foreign: I7 has looked at ours
            trades = {f.trade_id for owner, f in books.fills.values() if owner == order.id}
            status = FINAL_WORDS.get(theirs.status)
            same = order.status is status if status else order.status in (S.OPEN, S.PARTIALLY_FILLED)
            # Given up, rightly: it showed itself after the bound only, and had ended there without a trade.
            same = same or (order.status is S.EXPIRED and status is S.CANCELED and order.exchange_order_id is None)
            if not same or order.filled != theirs.executed or trades != {f.trade_id for f in theirs.fills}:
                found.append(
                    f"order {order.id} is {order.status} {order.filled} in our books,"
                    f" {theirs.status} {theirs.executed} at the exchange"
                )
        missing = (o for o in ours.values() if o.status not in FINAL or o.filled)
        return found + [f"order {o.id} is {o.status}, and the exchange does not have it" for o in missing]

    def _unprotected(self, books: Books) -> list[str]:
        """Runs that hold coins which no plan of theirs protects, sells or has left as dust."""
        found = []
        told = {(kind, account_id) for kind, _, account_id, _ in books.incidents}
        by_run: dict[tuple[int, int, str], list[PlanRecord]] = {}
        for plan in books.plans.values():
            by_run.setdefault((plan.account_id, plan.run_id, plan.symbol), []).append(plan)
        for run, plans in by_run.items():
            held = self._positions.get(run, FLAT).quantity - _taken(run, books)
            if any(_protects(plan, books) for plan in plans) or ("POSITION_NOT_COVERED", run[0]) in told:
                continue
            worth, least = _worth(held, run[2], books), books.rules[run[2]].min_notional
            if worth < least or held <= max(self._dust.get(plan.id, ZERO) for plan in plans):
                continue
            if worth < 2 * least and ("PROTECTION_REFUSED", run[0]) in told:
                continue  # worth selling, but a stop for it would be worth too little
            states = ", ".join(f"plan {plan.id} {plan.state}" for plan in plans)
            found.append(f"run {run[1]} of account {run[0]} holds {held} {run[2]} without a stop ({states})")
        return found


def _taken(run: tuple[int, int, str], books: Books) -> Decimal:
    """What was taken from a run because somebody sold or withdrew it elsewhere."""
    return sum((quantity for *place, quantity in books.taken if tuple(place) == run), ZERO)


def _worth(held: Decimal, symbol: str, books: Books) -> Decimal:
    """What as much of it as an order may sell is worth: on the step of the quantity."""
    rules = books.rules[symbol]
    step = max(rules.step_size, rules.market_step_size)
    return (held // step * step if step else held) * books.prices[symbol][0]


def _protects(plan: PlanRecord, books: Books) -> bool:
    """Whether every part that the plan wants rests, as its state says; without a stop there may be none to rest."""
    orders = [books.orders[order_id] for order_id in books.of_plan.get(plan.id, ())]
    rests = any(o.side is Side.SELL and o.status in (S.OPEN, S.PARTIALLY_FILLED) for o in orders)
    return plan.state == "PROTECTED" and (rests or plan.stop_price is None)
