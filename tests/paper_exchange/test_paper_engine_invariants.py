"""Whatever users and the market do, the books add up."""

from __future__ import annotations

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
from app.paper_exchange.amends import amend
from app.paper_exchange.errors import ApiError
from app.paper_exchange.model import FINAL_STATUSES, NO_LIST, STOP_TYPES, STP_MODES, NewList, NewOrder, Order, Trade

ACCOUNTS = (1, 2, 3)
TICK, LOT = Decimal("0.01"), Decimal("0.00001")
near = st.integers(-400, 400).map(lambda n: n * Decimal("0.5"))  # distance from the last price
quantities = st.integers(1, 300_000).map(lambda n: n * LOT)
volumes = st.integers(0, 500_000).map(lambda n: n * LOT)


class Books(RuleBasedStateMachine):
    """Three accounts, one symbol, any preset."""

    @initialize(preset=st.sampled_from(Preset))
    def open(self, preset: Preset) -> None:
        self.engine = make_engine(preset, accounts=len(ACCOUNTS))
        self.deposits = {(a, asset): amount for a in ACCOUNTS for asset, amount in
                         (("USDT", Decimal(1_000_000)), ("BTC", Decimal(10)))}  # fmt: skip
        self.orders: dict[int, Order] = {}
        self.ended: dict[int, Order] = {}
        self.trades: list[Trade] = []
        self.statuses: dict[int, list[str]] = defaultdict(list)
        self.events_seen = 0

    @property
    def market(self):  # type: ignore[no-untyped-def]
        return self.engine.markets[SYMBOL]

    def settle(self) -> None:
        changes = self.engine.drain(NOW_MS)
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
        try:
            placed = self.engine.place(account, new, NOW_MS)
        except ApiError:
            assert not self.engine.ledger.changes, "a refusal left a trace"
            return
        self.orders[placed.id] = placed
        self.settle()

    @precondition(lambda self: self.market.open_orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        placed = data.draw(st.sampled_from(sorted(self.market.open_orders.values(), key=lambda o: o.id)))
        self.engine.cancel(placed, NOW_MS)
        self.settle()

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
        self.engine.step(SYMBOL, price, volume, Decimal("0.5"), NOW_MS, jumped=jumped)
        self.settle()

    @rule()
    def change_market(self) -> None:
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


Books.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestBooks = Books.TestCase
