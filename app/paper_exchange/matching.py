"""The matching engine: pure, exact, without I/O, clock or randomness.

Orders meet the synthetic liquidity around the market's price and the resting orders of other accounts, in
price-time order. Every public method validates before it changes anything: a refusal (`ApiError`) leaves
no trace. What changed since the last `drain()` is handed over in order, to be stored and then told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.errors import require
from app.domain.intrabar import PresetRules
from app.domain.money import ZERO, floor_to_step
from app.domain.orders import OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules
from app.paper_exchange import errors, reports
from app.paper_exchange.book import Liquidity
from app.paper_exchange.checks import MAX_NUM_ORDER_LISTS, check_filters, check_trigger
from app.paper_exchange.fees import Commissions
from app.paper_exchange.fees import Fees as Fees
from app.paper_exchange.ledger import Ledger
from app.paper_exchange.lists import OrderLists
from app.paper_exchange.model import (
    MARKET_TYPES,
    NO_LIST,
    PENDING,
    STOP_TYPES,
    Changes,
    NewOrder,
    Order,
    PreventedMatch,
    Print,
    Trade,
)
from app.paper_exchange.orderbook import Market, Match


@dataclass(frozen=True, slots=True)
class Intake:
    """What an order would do at once: take `plan`, meet its account's `own` orders, and lock `lock` of `asset`."""

    plan: list[Match]
    own: list[Order]
    lock: Decimal
    asset: str

    def unlocked(self) -> Intake:
        """The same for an order whose funds another one holds."""
        return replace(self, lock=ZERO)


class Engine:
    """All books of the exchange. Times are exchange milliseconds given by the caller."""

    def __init__(self, preset: PresetRules, fees: Fees, make_id: Callable[[], str]) -> None:
        self.preset = preset
        self.fees = fees
        self.ledger = Ledger()
        self.markets: dict[str, Market] = {}
        self.commissions = Commissions(fees, self.ledger, self.markets)
        self.lists = OrderLists(self)
        self.execution_id = 0
        self.sequence = 0
        self.make_id = make_id
        self._positions: dict[int, list[str]] = {}  # account -> assets to report, in order of change

    # -- set-up ------------------------------------------------------------------------------------------

    def add_market(self, rules: SymbolRules, *, next_order_id: int = 1, next_trade_id: int = 1) -> Market:
        """Make a symbol known."""
        market = Market(rules, Liquidity(rules, self.preset), True, next_order_id, next_trade_id)
        self.markets[rules.symbol] = market
        return market

    def restore(self, order: Order) -> None:
        """Put a stored open order back on the book; its funds are locked in the restored balances already."""
        market = self.markets[order.symbol]
        market.open_orders[order.id] = order
        self.sequence = max(self.sequence, order.sequence)
        if not order.waits_for_trigger and order.status != PENDING:
            market.rest(order)

    def drain(self, now_ms: int) -> Changes:
        """Hand over what changed, closed by one outboundAccountPosition for each account concerned."""
        changes = self.ledger.changes
        for account_id, assets in self._positions.items():
            event = reports.account_position(self.ledger.accounts[account_id], assets, now_ms)
            changes.events.append((account_id, event))
        self._positions = {}
        self.ledger.changes = Changes()
        return changes

    # -- commands ----------------------------------------------------------------------------------------

    def deposit(self, account_id: int, asset: str, amount: Decimal, now_ms: int) -> None:
        """Credit an account; a negative amount is a withdrawal and needs free funds."""
        if self.ledger.free(account_id, asset) + amount < 0:
            raise errors.rejected("Account has insufficient balance for requested action.")
        self.ledger.add(account_id, asset, amount)
        self.ledger.changes.events.append((account_id, reports.balance_update(asset, amount, now_ms)))
        self._report_position(account_id, asset)

    def check(self, account_id: int, new: NewOrder) -> Market:
        """All that is refused before or by the engine, funds apart. Raises ApiError."""
        market = self.check_request(account_id, new)
        self.check_id(market, account_id, new.client_id)
        self.check_prices(market, new)
        return market

    def check_request(
        self, account_id: int, new: NewOrder, *, more_orders: int = 0, more_algo: int = 0, more_lists: int = 0
    ) -> Market:
        """What is refused before the engine: unknown or closed markets, filters. The counts are of orders that come
        with this one. Raises -1121 or -1013.
        """
        market = self.markets.get(new.symbol)
        if market is None:
            raise errors.bad_symbol()
        last = market.liquidity.price
        if not market.is_open or last is None:
            raise errors.invalid("Market is closed.")
        mine = market.orders_of(account_id)
        held = self.ledger.balance(account_id, market.rules.base_asset)
        average = market.average_price or last
        check_filters(
            market.rules, new, average, mine, held.free + held.locked, more_orders=more_orders, more_algo=more_algo
        )
        if more_lists and self.lists.count(account_id, new.symbol) >= MAX_NUM_ORDER_LISTS:
            raise errors.filter_failure("MAX_NUM_ORDER_LISTS")
        return market

    def check_id(self, market: Market, account_id: int, client_id: str) -> None:
        """-2010 when an open order of the account has that client id."""
        if client_id and any(o.client_id == client_id for o in market.orders_of(account_id)):
            raise errors.rejected("Duplicate order sent.")

    def check_prices(self, market: Market, new: NewOrder) -> None:
        """-2010 when a stop would be triggered, or a LIMIT_MAKER matched, at once."""
        if new.type in STOP_TYPES:
            assert market.liquidity.price is not None
            check_trigger(new, market.liquidity.price)
        if new.type is OrderType.LIMIT_MAKER and market.would_take(new):
            raise errors.rejected("Order would immediately match and take.")

    def place(self, account_id: int, new: NewOrder, now_ms: int) -> Order:
        """Accept an order, lock its funds and match it. Returns it as it stands then."""
        market = self.check(account_id, new)
        intake = self.weigh(market, account_id, new)
        self.check_funds(account_id, intake)
        order = self.make(market, account_id, new, now_ms)
        self.admit(market, order, intake, now_ms)
        self.work(market, order, intake, now_ms)
        self.lists.release(now_ms)
        return order

    def cancel(self, order: Order, now_ms: int, cancel_id: str = "") -> str:
        """End an open order, and the other orders of its list, at its owner's wish. Returns the id of the cancel."""
        cancel_id = cancel_id or self.make_id()
        for one in self.lists.open_orders(order) or [order]:
            self.end(one, "CANCELED", now_ms, cancel_id=cancel_id)
        return cancel_id

    def expire_all(self, symbol: str, now_ms: int) -> None:
        """End every open order of a symbol because the exchange says so."""
        for order in list(self.markets[symbol].open_orders.values()):
            if not order.is_final:  # by an order of the same list, just now
                self.end(order, "EXPIRED", now_ms, reason="EXCHANGE_CANCELED")

    def step(
        self, symbol: str, price: Decimal, volume: Decimal, typical: Decimal, now_ms: int, *, jumped: bool
    ) -> None:
        """The path reaches `price`, `volume` having been printed on the way.

        Stops on the way are triggered in the order in which the path meets them: at their own price when
        the path moved there, at `price` when it `jumped` (a gap). Then resting orders fill.
        """
        market = self.markets[symbol]
        falls = market.liquidity.price is not None and price < market.liquidity.price
        for order in market.triggered(price):
            if order.is_final:  # by what a stop before it did
                continue
            at = price if jumped or market.liquidity.price is None else order.stop_price
            market.liquidity.move(at, typical)
            self._activate(market, order, now_ms)
        market.liquidity.move(price, typical)
        if volume > 0:
            self._print(market, price, volume, now_ms, buyer_is_maker=falls)
        self._fill_resting(market, price, volume, is_buy=True, now_ms=now_ms)
        self._fill_resting(market, price, volume, is_buy=False, now_ms=now_ms)
        self.lists.release(now_ms)

    # -- accepting ---------------------------------------------------------------------------------------

    def weigh(self, market: Market, account_id: int, new: NewOrder) -> Intake:
        """What the order would do at once. Changes nothing."""
        plan, own = market.plan(account_id, new)
        asset = market.rules.quote_asset if new.side is Side.BUY else market.rules.base_asset
        return Intake(plan, own, _amount_to_lock(new, plan), asset)

    def check_funds(self, account_id: int, intake: Intake) -> None:
        """-2010 when the account has not what the order must lock."""
        if intake.lock > self.ledger.free(account_id, intake.asset):
            raise errors.rejected("Account has insufficient balance for requested action.")

    def make(
        self,
        market: Market,
        account_id: int,
        new: NewOrder,
        now_ms: int,
        *,
        list_id: int = NO_LIST,
        status: str = "NEW",
    ) -> Order:
        """An open order that has locked nothing yet and stands on no side of the book."""
        self.sequence += 1
        waits = new.type in STOP_TYPES or status == PENDING
        order = Order(
            id=market.next_order_id, account_id=account_id, symbol=new.symbol,
            client_id=new.client_id or self.make_id(), side=new.side, type=new.type,
            time_in_force=new.time_in_force, price=new.price, quantity=new.quantity,
            quote_quantity=new.quote_quantity, stop_price=new.stop_price, stp_mode=new.stp_mode,
            strategy_id=new.strategy_id, strategy_type=new.strategy_type, status=status, executed=ZERO,
            executed_quote=ZERO, locked=ZERO, lock_asset=market.lock_asset(new.side), created_ms=now_ms,
            updated_ms=now_ms, working_ms=0 if waits else now_ms, sequence=self.sequence, list_id=list_id,
        )  # fmt: skip
        market.next_order_id += 1
        market.open_orders[order.id] = order
        self.ledger.changes.counters.add(market.rules.symbol)
        return order

    def admit(self, market: Market, order: Order, intake: Intake, now_ms: int) -> None:
        """Lock the order's funds and tell of it."""
        self.ledger.lock(order.account_id, order.lock_asset, intake.lock)
        order.locked += intake.lock
        if order.quote_quantity:
            order.quantity = sum((m.quantity for m in intake.plan), ZERO)
        self.report(order, "NEW", now_ms)

    def work(self, market: Market, order: Order, intake: Intake, now_ms: int) -> None:
        """Match an admitted order, unless it is a stop, which waits."""
        if order.type not in STOP_TYPES:
            self._take(market, order, intake.plan, intake.own, now_ms)

    def _activate(self, market: Market, order: Order, now_ms: int) -> None:
        """A stop has been triggered: from now on it is a limit or a market order."""
        self.lists.before_work(order, now_ms)
        self.sequence += 1
        order.sequence, order.working_ms, order.updated_ms = self.sequence, now_ms, now_ms
        self._touch(order)
        plan, own = market.plan(order.account_id, _as_new(order))
        if order.type in MARKET_TYPES and order.is_buy:
            cost = sum((m.price * m.quantity for m in plan), ZERO)
            self.ledger.release(order.account_id, order.lock_asset, order.locked)
            order.locked = ZERO
            if cost > self.ledger.free(order.account_id, order.lock_asset):
                self.end(order, "EXPIRED", now_ms, reason="REJECTED")
                return
            self.ledger.lock(order.account_id, order.lock_asset, cost)
            order.locked = cost
        self.report(order, "NEW", now_ms)
        self._take(market, order, plan, own, now_ms)

    # -- taking ------------------------------------------------------------------------------------------

    def _take(self, market: Market, order: Order, plan: list[Match], own: list[Order], now_ms: int) -> None:
        prevented = self._prevent(market, order, plan, own, now_ms)
        for match in plan:
            trade_id = self._print(market, match.price, match.quantity, now_ms, buyer_is_maker=not order.is_buy)
            if match.maker is None:
                market.liquidity.take(match.price, match.quantity)
            else:
                self._fill(market, match.maker, match.price, match.quantity, trade_id, now_ms, is_maker=True)
            self._fill(market, order, match.price, match.quantity, trade_id, now_ms, is_maker=False)
        if order.is_final:
            return
        if prevented is not None and prevented.taker_quantity:
            order.prevented, order.prevented_match_id = order.remaining, prevented.id
            self.end(order, "EXPIRED_IN_MATCH", now_ms, prevented=prevented)
        elif order.type in MARKET_TYPES:
            self.end(order, "EXPIRED", now_ms, reason="INSUFFICIENT_LIQUIDITY")
        elif order.time_in_force is TimeInForce.IOC:
            self.end(order, "EXPIRED", now_ms, reason="UNFILLED_IOC_QUANTITY_EXPIRED")
        elif order.time_in_force is TimeInForce.FOK:
            self.end(order, "EXPIRED", now_ms, reason="UNFILLED_FOK_ORDER_EXPIRED")
        else:
            order.queue_ahead = market.liquidity.displayed_at(order.price, is_bid=order.is_buy)
            market.rest(order)

    def _prevent(
        self, market: Market, taker: Order, plan: list[Match], own: list[Order], now_ms: int
    ) -> PreventedMatch | None:
        """Record what the taker would have traded with its own account, and end the makers if its mode says so."""
        match = None
        left = taker.remaining - sum((m.quantity for m in plan), ZERO)
        for maker in own:
            match = PreventedMatch(
                market.rules.symbol, market.next_prevented_id, taker.account_id, taker.id, maker.id, taker.stp_mode,
                maker.price, ZERO if taker.stp_mode == "EXPIRE_MAKER" else left,
                ZERO if taker.stp_mode == "EXPIRE_TAKER" else maker.remaining, now_ms,
            )  # fmt: skip
            market.next_prevented_id += 1
            self.ledger.changes.prevented.append(match)
            if match.maker_quantity:
                maker.prevented, maker.prevented_match_id = maker.remaining, match.id
                self.end(maker, "EXPIRED_IN_MATCH", now_ms, prevented=match)
        return match

    # -- resting -----------------------------------------------------------------------------------------

    def _fill_resting(self, market: Market, price: Decimal, volume: Decimal, *, is_buy: bool, now_ms: int) -> None:
        """Fill what the path reached, in price-time order, within the share of the printed volume."""
        preset = self.preset
        step = market.rules.step_size
        budget = None if preset.volume_share is None else volume * preset.volume_share
        for order in market.resting(is_buy=is_buy):
            if order.is_final:
                continue
            is_touched = order.price == price
            if not is_touched and ((order.price < price) if is_buy else (order.price > price)):
                break
            quantity = order.remaining
            if is_touched:
                if not preset.fills_on_touch:
                    break
                if preset.waits_in_queue and volume > 0:
                    served = min(order.queue_ahead, volume)
                    quantity = min(quantity, floor_to_step(volume - served, step))
                    if served:
                        order.queue_ahead -= served
                        self._touch(order)
            if budget is not None:
                quantity = min(quantity, floor_to_step(budget, step))
                budget -= max(quantity, ZERO)
            if quantity <= 0:
                if budget is not None and budget < step:
                    break
                continue
            trade_id = self._print(market, order.price, quantity, now_ms, buyer_is_maker=order.is_buy)
            self._fill(market, order, order.price, quantity, trade_id, now_ms, is_maker=True)

    def _fill(
        self,
        market: Market,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        trade_id: int,
        now_ms: int,
        *,
        is_maker: bool,
    ) -> None:
        require(ZERO < quantity <= order.remaining, "a fill exceeds its order", order=order.id, quantity=quantity)
        self.lists.before_work(order, now_ms)
        base, quote = market.rules.base_asset, market.rules.quote_asset
        cost = price * quantity
        received, asset = (quantity, base) if order.is_buy else (cost, quote)
        held = quantity if not order.is_buy else cost if order.type in MARKET_TYPES else order.price * quantity
        self.ledger.spend(order.account_id, order.lock_asset, held, cost if order.is_buy else quantity)
        self.ledger.add(order.account_id, asset, received)
        paid, paid_in = self.commissions.charge(order.account_id, received, asset, is_maker=is_maker)
        order.locked -= held
        order.executed += quantity
        order.executed_quote += cost
        order.updated_ms = now_ms
        order.status = "FILLED" if order.remaining == 0 else "PARTIALLY_FILLED"
        trade = Trade(
            order.symbol, trade_id, order.id, order.account_id, price, quantity, cost, paid, paid_in,
            order.is_buy, is_maker, now_ms,
        )  # fmt: skip
        self.ledger.changes.trades.append(trade)
        if order.is_final:
            self._leave_book(market, order)
        self.report(order, "TRADE", now_ms, trade=trade)
        if order.is_final:
            self.lists.ended(order, now_ms)

    # -- ending and telling ------------------------------------------------------------------------------

    def end(
        self,
        order: Order,
        status: str,
        now_ms: int,
        *,
        reason: str = "",
        cancel_id: str = "",
        prevented: PreventedMatch | None = None,
    ) -> None:
        """End an open order, free what it locked, tell of it, and do what its list then asks for."""
        require(not order.is_final, "an order that has ended cannot end again", order=order.id, status=order.status)
        order.status, order.updated_ms, order.expiry_reason = status, now_ms, reason
        self._leave_book(self.markets[order.symbol], order)
        kind = {"CANCELED": "CANCELED", "EXPIRED_IN_MATCH": "TRADE_PREVENTION"}.get(status, "EXPIRED")
        self.report(order, kind, now_ms, cancel_id=cancel_id, prevented=prevented)
        self.lists.ended(order, now_ms)

    def _leave_book(self, market: Market, order: Order) -> None:
        market.remove(order)
        if order.locked:
            self.ledger.release(order.account_id, order.lock_asset, order.locked)
            order.locked = ZERO

    def _touch(self, order: Order) -> None:
        self.ledger.changes.orders[order.symbol, order.id] = order

    def report(
        self,
        order: Order,
        kind: str,
        now_ms: int,
        *,
        trade: Trade | None = None,
        cancel_id: str = "",
        prevented: PreventedMatch | None = None,
    ) -> None:
        """Note the order as changed and tell of it on the user stream."""
        self.execution_id += 1
        self._touch(order)
        event = reports.execution_report(
            order, kind, now_ms, self.execution_id, trade=trade, cancel_id=cancel_id, prevented=prevented
        )
        self.ledger.changes.events.append((order.account_id, event))
        rules = self.markets[order.symbol].rules
        self._report_position(order.account_id, rules.base_asset)
        self._report_position(order.account_id, rules.quote_asset)
        if trade is not None:
            self._report_position(order.account_id, trade.commission_asset)

    def _report_position(self, account_id: int, asset: str) -> None:
        self.ledger.balance(account_id, asset)
        assets = self._positions.setdefault(account_id, [])
        if asset not in assets:
            assets.append(asset)

    def _print(self, market: Market, price: Decimal, quantity: Decimal, now_ms: int, *, buyer_is_maker: bool) -> int:
        trade_id = market.next_trade_id
        market.next_trade_id += 1
        changes = self.ledger.changes
        changes.prints.append(Print(market.rules.symbol, trade_id, price, quantity, now_ms, buyer_is_maker))
        changes.counters.add(market.rules.symbol)
        return trade_id


def _as_new(order: Order) -> NewOrder:
    """A triggered stop seen as the order it has become."""
    kind = OrderType.MARKET if order.type in MARKET_TYPES else OrderType.LIMIT
    return NewOrder(
        order.symbol, order.side, kind, order.time_in_force, order.remaining, price=order.price, stp_mode=order.stp_mode
    )


def _amount_to_lock(new: NewOrder, plan: list[Match]) -> Decimal:
    if new.side is Side.SELL:
        return new.quantity or sum((m.quantity for m in plan), ZERO)
    if new.type is OrderType.MARKET:
        return sum((m.price * m.quantity for m in plan), ZERO)
    return (new.price or new.stop_price) * new.quantity
