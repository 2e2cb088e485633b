"""Whatever users and the market do, the books add up, also after a restart from the file."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

from engine_kit import NOW_MS, SYMBOL, make_engine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.domain.intrabar import Preset
from app.domain.money import ZERO
from app.domain.orders import OrderType, Side, TimeInForce
from app.paper_exchange import rows
from app.paper_exchange.amends import amend
from app.paper_exchange.errors import ApiError
from app.paper_exchange.matching import Engine
from app.paper_exchange.model import FINAL_STATUSES, NO_LIST, STOP_TYPES, STP_MODES, NewList, NewOrder, Order, Trade
from app.paper_exchange.restore import restore_balances, restore_counters, restore_orders
from app.paper_exchange.rules import rules_for
from app.paper_exchange.schema import SCHEMA
from app.paper_exchange.store import Statement

ACCOUNTS = (1, 2, 3)
BNB_PRICE, LITTLE_BNB = Decimal(500), Decimal("0.03")  # enough for a few fills, not for many
TICK, LOT = Decimal("0.01"), Decimal("0.00001")
#: Distance from the last price: often inside the spread, where users meet each other.
near = st.one_of(st.integers(-4, 4), st.integers(-400, 400)).map(lambda n: n * Decimal("0.5"))
quantities = st.integers(1, 300_000).map(lambda n: n * LOT)
volumes = st.integers(0, 500_000).map(lambda n: n * LOT)


class Books(RuleBasedStateMachine):
    """Three accounts, one symbol, any preset; one account pays in BNB. Every change is stored as the exchange does."""

    @initialize(preset=st.sampled_from(Preset))
    def open(self, preset: Preset) -> None:
        self.engine = make_engine(preset, accounts=len(ACCOUNTS))
        self.deposits = {(a, asset): amount for a in ACCOUNTS for asset, amount in
                         (("USDT", Decimal(1_000_000)), ("BTC", Decimal(10)), ("BNB", LITTLE_BNB))}  # fmt: skip
        self.preset = preset
        self.file = sqlite3.connect(":memory:", isolation_level=None)
        self.file.row_factory = sqlite3.Row
        self.file.executescript(SCHEMA)
        self.execution(rows.meta_statement("bnb_payers", "[1]"))
        quote_bnb(self.engine)
        self.engine.commissions.bnb_payers.add(1)
        for account in ACCOUNTS:
            self.engine.deposit(account, "BNB", LITTLE_BNB, NOW_MS)
            for asset in ("USDT", "BTC"):
                self.engine.ledger.changes.balances.add((account, asset))  # the kit has drained these
        self.engine.ledger.changes.counters.add(SYMBOL)
        self.orders: dict[int, Order] = {}
        self.ended: dict[int, Order] = {}
        self.trades: list[Trade] = []
        self.statuses: dict[int, list[str]] = defaultdict(list)
        self.settle()

    @property
    def market(self):  # type: ignore[no-untyped-def]
        return self.engine.markets[SYMBOL]

    def execution(self, statement: Statement) -> None:
        self.file.executemany(*statement)

    def settle(self) -> None:
        changes = self.engine.drain(NOW_MS)
        engine = self.engine
        for statement in rows.change_statements(changes, engine.ledger, engine.markets, engine.execution_id):
            self.execution(statement)
        self.trades += changes.trades
        self.orders |= {o.id: o for o in changes.orders.values()}
        for _, event in changes.events:
            if event["e"] == "executionReport":
                self.statuses[event["i"]].append(event["X"])

    @rule(
        account=st.sampled_from(ACCOUNTS), side=st.sampled_from(Side), kind=st.sampled_from(OrderType),
        tif=st.sampled_from(TimeInForce), quantity=quantities, distance=near, stop_distance=near,
        in_quote=st.booleans(), stp=st.sampled_from(STP_MODES),
    )  # fmt: skip
    def place_any(
        self, account: int, side: Side, kind: OrderType, tif: TimeInForce, quantity: Decimal, distance: Decimal,
        stop_distance: Decimal, in_quote: bool, stp: str,
    ) -> None:  # fmt: skip
        self.place(account, side, kind, tif, quantity, distance, stop_distance, in_quote, stp)

    def place(
        self, account: int, side: Side, kind: OrderType, tif: TimeInForce, quantity: Decimal, distance: Decimal,
        stop_distance: Decimal, in_quote: bool, stp: str,
    ) -> None:  # fmt: skip
        last = self.market.liquidity.price
        is_priced = kind not in (OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT)
        is_quote = kind is OrderType.MARKET and in_quote
        new = NewOrder(
            SYMBOL, side, kind, tif if is_priced and kind is not OrderType.LIMIT_MAKER else TimeInForce.GTC,
            quantity=ZERO if is_quote else quantity,
            quote_quantity=(quantity * last).quantize(TICK) if is_quote else ZERO,
            price=last + distance if is_priced else ZERO,
            stop_price=last + stop_distance if kind in STOP_TYPES else ZERO,
            stp_mode=stp,
        )  # fmt: skip
        offered = dict(self.market.liquidity.levels(is_bid=side is Side.SELL))
        seen = len(self.trades)
        try:
            placed = self.engine.place(account, new, NOW_MS)
        except ApiError:
            assert not self.engine.ledger.changes, "a refusal left a trace"
            return
        self.orders[placed.id] = placed
        self.settle()
        is_buyer = side is Side.BUY
        for price, quantity in from_the_market(self.trades[seen:], is_maker=False, is_buyer=is_buyer).items():
            assert quantity <= offered.get(price, ZERO), "a taker got what nobody offered"

    @precondition(lambda self: self.market.open_orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        placed = data.draw(st.sampled_from(sorted(self.market.open_orders.values(), key=lambda o: o.id)))
        self.engine.cancel(placed, NOW_MS)
        self.settle()

    @precondition(lambda self: any(o.price and not o.waits_for_trigger for o in self.market.open_orders.values()))
    @rule(account=st.sampled_from(ACCOUNTS), data=st.data(), quantity=quantities, stp=st.sampled_from(STP_MODES))
    def meet(self, account: int, data: st.DataObject, quantity: Decimal, stp: str) -> None:
        """An order at the very price of a resting one."""
        resting = [o for o in self.market.open_orders.values() if o.price and not o.waits_for_trigger]
        maker = data.draw(st.sampled_from(sorted(resting, key=lambda o: o.id)))
        side = Side.SELL if maker.is_buy else Side.BUY
        distance = maker.price - self.market.liquidity.price
        self.place(account, side, OrderType.LIMIT, TimeInForce.GTC, quantity, distance, ZERO, False, stp)

    @rule(
        account=st.sampled_from(ACCOUNTS), side=st.sampled_from(Side), quantity=quantities,
        distances=st.lists(st.integers(1, 400).map(lambda n: n * Decimal("0.5")), min_size=3, max_size=3),
        limit_leg=st.sampled_from(("LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")),
        stop_leg=st.sampled_from(("STOP_LOSS", "STOP_LOSS_LIMIT")),
        shape=st.sampled_from(("OCO", "OTO", "OTOCO")), stp=st.sampled_from(STP_MODES),
    )  # fmt: skip
    def place_list(
        self, account: int, side: Side, quantity: Decimal, distances: list[Decimal], limit_leg: str, stop_leg: str,
        shape: str, stp: str,
    ) -> None:  # fmt: skip
        last = self.market.liquidity.price
        sign = 1 if side is Side.SELL else -1
        target, stop = last + sign * distances[0], last - sign * distances[1]
        legs = []
        for kind, at in ((OrderType(stop_leg), stop), (OrderType(limit_leg), target)):
            is_stop = kind in STOP_TYPES
            is_priced = kind not in (OrderType.STOP_LOSS, OrderType.TAKE_PROFIT)
            legs.append(NewOrder(SYMBOL, side, kind, quantity=quantity, price=at if is_priced else ZERO,
                                 stop_price=at if is_stop else ZERO, stp_mode=stp))  # fmt: skip
        if shape != "OCO":
            entry = last + sign * (distances[2] - 100)  # some take at once, some rest
            other_side = Side.BUY if side is Side.SELL else Side.SELL
            working = NewOrder(SYMBOL, other_side, OrderType.LIMIT, quantity=quantity, price=entry, stp_mode=stp)
            legs = [working, *(legs if shape == "OTOCO" else legs[:1])]
        try:
            new = NewList("OCO" if shape == "OCO" else "OTO", tuple(legs))
            _, orders = self.engine.lists.place(account, new, NOW_MS)
            self.engine.lists.release(NOW_MS)
        except ApiError:
            assert not self.engine.ledger.changes, "a refusal left a trace"
            return
        for order in orders:
            self.orders[order.id] = order
        self.settle()

    @precondition(lambda self: self.market.open_orders)
    @rule(data=st.data(), share=st.integers(1, 100))
    def amend(self, data: st.DataObject, share: int) -> None:
        placed = data.draw(st.sampled_from(sorted(self.market.open_orders.values(), key=lambda o: o.id)))
        quantity = max(LOT, (placed.quantity * share / 100) // LOT * LOT)
        try:
            amend(self.engine, placed, quantity, "", NOW_MS)
        except ApiError:
            assert not self.engine.ledger.changes, "a refusal left a trace"
            return
        self.settle()

    @rule(distance=near, volume=volumes, jumped=st.booleans())
    def move(self, distance: Decimal, volume: Decimal, jumped: bool) -> None:
        price = self.market.liquidity.price + distance
        seen, share = len(self.trades), self.engine.preset.volume_share
        self.engine.step(SYMBOL, price, volume, Decimal("0.5"), NOW_MS, jumped=jumped)
        self.settle()
        for is_buyer in (True, False):
            fills = from_the_market(self.trades[seen:], is_maker=True, is_buyer=is_buyer)
            assert share is None or sum(fills.values(), ZERO) <= volume * share, "more was filled than was traded"

    @rule()
    def restart(self) -> None:
        """Everything is forgotten but the file: nothing may have changed."""
        before, rules = self.engine, self.market.rules
        self.engine = engine = Engine(before.preset, before.fees, before.make_id)
        restore_balances(engine, self.file)
        engine.add_market(rules, **restore_counters(self.file, SYMBOL))
        restore_orders(engine, self.file)
        quote_bnb(engine)
        engine.markets[SYMBOL].liquidity.move(before.markets[SYMBOL].liquidity.price, Decimal("0.5"))
        for name in ("open_orders", "next_order_id", "next_trade_id", "next_prevented_id"):
            assert getattr(engine.markets[SYMBOL], name) == getattr(before.markets[SYMBOL], name), name
        for is_buy in (True, False):
            assert engine.markets[SYMBOL].resting(is_buy=is_buy) == before.markets[SYMBOL].resting(is_buy=is_buy)
        assert engine.ledger.accounts == before.ledger.accounts
        assert engine.lists.open == before.lists.open
        assert (engine.execution_id, engine.sequence) == (before.execution_id, before.sequence)
        assert engine.commissions.bnb_payers == before.commissions.bnb_payers
        stored = [rows.read_order(row) for row in self.file.execute("SELECT * FROM orders")]
        assert {o.id: o for o in stored} == self.orders
        trades = {(t.id, t.order_id): t for t in map(rows.read_trade, self.file.execute("SELECT * FROM trades"))}
        assert trades == {(t.id, t.order_id): t for t in self.trades}
        self.orders = {o.id: engine.markets[SYMBOL].open_orders.get(o.id, o) for o in stored}

    @rule(chance=st.integers(0, 5))
    def change_market(self, chance: int) -> None:
        if chance != 5:
            return  # seldom, so that books grow
        self.engine.expire_all(SYMBOL, NOW_MS)
        self.settle()
        assert not self.market.open_orders

    @invariant()
    def balances_follow_from_deposits_and_trades(self) -> None:
        if not hasattr(self, "engine"):
            return
        expected = dict(self.deposits)
        for t in self.trades:
            sign = 1 if t.is_buyer else -1
            expected[t.account_id, "BTC"] += sign * t.quantity
            expected[t.account_id, "USDT"] -= sign * t.quote_quantity
            expected[t.account_id, t.commission_asset] -= t.commission
        locked: dict[tuple[int, str], Decimal] = defaultdict(lambda: ZERO)
        for o in self.market.open_orders.values():
            locked[o.account_id, o.lock_asset] += o.locked
        for (account, asset), amount in expected.items():
            balance = self.engine.ledger.balance(account, asset)
            assert balance.free >= 0
            assert balance.locked == locked[account, asset]
            assert balance.free + balance.locked == amount

    @invariant()
    def orders_are_the_sum_of_their_trades(self) -> None:
        if not hasattr(self, "engine"):
            return
        for placed in self.orders.values():
            mine = [t for t in self.trades if t.order_id == placed.id]
            assert placed.executed == sum((t.quantity for t in mine), ZERO) <= placed.quantity
            assert placed.executed_quote == sum((t.price * t.quantity for t in mine), ZERO)
            is_whole = placed.executed == placed.quantity
            assert is_whole if placed.status == "FILLED" else not is_whole or placed.status == "EXPIRED"  # amended away
            if placed.price:
                assert all(t.price <= placed.price if placed.is_buy else t.price >= placed.price for t in mine)

    @invariant()
    def an_order_that_has_ended_never_changes(self) -> None:
        if not hasattr(self, "engine"):
            return
        for number, as_it_ended in self.ended.items():
            assert self.orders[number] == as_it_ended
        for number, placed in self.orders.items():
            if placed.is_final and number not in self.ended:
                self.ended[number] = replace(placed)
                assert placed.locked == 0
        for statuses in self.statuses.values():
            assert not any(s in FINAL_STATUSES for s in statuses[:-1])

    @invariant()
    def of_an_oco_one_leg_alone_ever_trades_and_a_list_is_open_as_long_as_an_order_of_it(self) -> None:
        if not hasattr(self, "engine"):
            return
        open_lists = {o.list_id for o in self.market.open_orders.values()} - {NO_LIST}
        assert open_lists == set(self.engine.lists.open)
        by_list: dict[int, list[Order]] = defaultdict(list)
        for placed in self.orders.values():
            by_list[placed.list_id].append(placed)
        for number in set(by_list) - {NO_LIST}:
            *before, one, other = sorted(by_list[number], key=lambda o: o.id)
            if before or one.side is other.side:
                assert not (one.executed and other.executed)
            working = before[0] if before else one
            if before or one.side is not other.side:
                assert working.status == "FILLED" or not any(o.executed for o in by_list[number] if o is not working)

    @invariant()
    def both_sides_of_a_trade_between_users_agree(self) -> None:
        if not hasattr(self, "engine"):
            return
        sides: dict[int, list[Trade]] = defaultdict(list)
        for t in self.trades:
            sides[t.id].append(t)
        for pair in sides.values():
            assert len(pair) <= 2
            if len(pair) == 2:
                one, other = pair
                assert (one.price, one.quantity) == (other.price, other.quantity)
                assert one.is_buyer != other.is_buyer
                assert one.order_id != other.order_id


def from_the_market(trades: list[Trade], *, is_maker: bool, is_buyer: bool) -> dict[Decimal, Decimal]:
    """By price, what one side was filled without another user on the other side."""
    sides: dict[int, int] = defaultdict(int)
    for t in trades:
        sides[t.id] += 1
    filled: dict[Decimal, Decimal] = defaultdict(lambda: ZERO)
    for t in trades:
        if sides[t.id] == 1 and (t.is_maker, t.is_buyer) == (is_maker, is_buyer):
            filled[t.price] += t.quantity
    return filled


def quote_bnb(engine: Engine) -> None:
    """BNB has a price, which is all this market is for."""
    engine.add_market(rules_for("BNBUSDT", BNB_PRICE))
    engine.markets["BNBUSDT"].liquidity.move(BNB_PRICE, Decimal(1))


Books.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestBooks = Books.TestCase
