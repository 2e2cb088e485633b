"""The matching engine: pure, exact, without I/O, clock or randomness.

Orders meet the synthetic liquidity around the market's price and the resting orders of other accounts, in
price-time order. Every public method validates before it changes anything: a refusal (`ApiError`) leaves
no trace. What changed since the last `drain()` is handed over in order, to be stored and then told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from app.domain.errors import require
from app.domain.intrabar import PresetRules
from app.domain.money import ZERO, floor_to_step
from app.domain.orders import OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules
from app.paper_exchange import errors, reports
from app.paper_exchange.book import Liquidity
from app.paper_exchange.checks import check_filters, check_trigger
from app.paper_exchange.ledger import Ledger
from app.paper_exchange.model import ASSET_QUANTUM, MARKET_TYPES, STOP_TYPES, Changes, NewOrder, Order, Print, Trade
from app.paper_exchange.orderbook import Market, Match


@dataclass(frozen=True, slots=True)
class Fees:
    """Commission rates, taken from the asset that is received."""

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")


class Engine:
    """All books of the exchange. Times are exchange milliseconds given by the caller."""

    def __init__(self, preset: PresetRules, fees: Fees, make_id: Callable[[], str]) -> None:
        self.preset = preset
        self.fees = fees
        self.ledger = Ledger()
        self.markets: dict[str, Market] = {}
        self.execution_id = 0
        self.sequence = 0
        self._make_id = make_id
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
        if not order.waits_for_trigger:
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
        market = self.markets.get(new.symbol)
        if market is None:
            raise errors.bad_symbol()
        last = market.liquidity.price
        if not market.is_open or last is None:
            raise errors.invalid("Market is closed.")
        mine = [o for o in market.open_orders.values() if o.account_id == account_id]
        average = market.average_price or last
        held = self.ledger.balance(account_id, market.rules.base_asset)
        check_filters(market.rules, new, average, mine, held.free + held.locked)
        if new.client_id and any(o.client_id == new.client_id for o in mine):
            raise errors.rejected("Duplicate order sent.")
        if new.type in STOP_TYPES:
            check_trigger(new, last)
        if new.type is OrderType.LIMIT_MAKER and market.would_take(new):
            raise errors.rejected("Order would immediately match and take.")
        return market

    def place(self, account_id: int, new: NewOrder, now_ms: int) -> Order:
        """Accept an order, lock its funds and match it. Returns it as it stands then."""
        market = self.check(account_id, new)
        plan, expired_makers = market.plan(account_id, new)
        lock = self._amount_to_lock(new, plan)
        asset = market.rules.quote_asset if new.side is Side.BUY else market.rules.base_asset
        if lock > self.ledger.free(account_id, asset):
            raise errors.rejected("Account has insufficient balance for requested action.")
        order = self._accept(market, account_id, new, lock, asset, now_ms)
        if new.quote_quantity:
            order.quantity = sum((m.quantity for m in plan), ZERO)
        self._report(order, "NEW", now_ms)
        if not order.waits_for_trigger:
            self._take(market, order, plan, expired_makers, now_ms)
        return order

    def cancel(self, order: Order, now_ms: int, cancel_id: str = "") -> str:
        """End an open order at its owner's wish. Returns the id of the cancel."""
        cancel_id = cancel_id or self._make_id()
        self._end(order, "CANCELED", now_ms, cancel_id=cancel_id)
        return cancel_id

    def expire_all(self, symbol: str, now_ms: int) -> None:
        """End every open order of a symbol because the exchange says so."""
        for order in list(self.markets[symbol].open_orders.values()):
            self._end(order, "EXPIRED", now_ms, reason="EXCHANGE_CANCELED")

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
            at = price if jumped or market.liquidity.price is None else order.stop_price
            market.liquidity.move(at, typical)
            self._activate(market, order, now_ms)
        market.liquidity.move(price, typical)
        if volume > 0:
            self._print(market, price, volume, now_ms, buyer_is_maker=falls)
        self._fill_resting(market, price, volume, is_buy=True, now_ms=now_ms)
        self._fill_resting(market, price, volume, is_buy=False, now_ms=now_ms)

    # -- accepting ---------------------------------------------------------------------------------------

    def _accept(self, market: Market, account_id: int, new: NewOrder, lock: Decimal, asset: str, now_ms: int) -> Order:
        self.sequence += 1
        is_stop = new.type in STOP_TYPES
        client_id = new.client_id or self._make_id()
        order = Order(
            id=market.next_order_id, account_id=account_id, symbol=new.symbol, client_id=client_id, side=new.side,
            type=new.type, time_in_force=new.time_in_force, price=new.price, quantity=new.quantity,
            quote_quantity=new.quote_quantity, stop_price=new.stop_price, stp_mode=new.stp_mode,
            strategy_id=new.strategy_id, strategy_type=new.strategy_type, status="NEW", executed=ZERO,
            executed_quote=ZERO, locked=lock, lock_asset=asset, created_ms=now_ms, updated_ms=now_ms,
            working_ms=0 if is_stop else now_ms, sequence=self.sequence,
        )  # fmt: skip
        market.next_order_id += 1
        market.open_orders[order.id] = order
        self.ledger.lock(account_id, asset, lock)
        self.ledger.changes.counters.add(market.rules.symbol)
        self._report_position(account_id, market.rules.base_asset)
        self._report_position(account_id, market.rules.quote_asset)
        return order

    def _amount_to_lock(self, new: NewOrder, plan: list[Match]) -> Decimal:
        if new.side is Side.SELL:
            return new.quantity or sum((m.quantity for m in plan), ZERO)
        if new.type is OrderType.MARKET:
            return sum((m.price * m.quantity for m in plan), ZERO)
        return (new.price or new.stop_price) * new.quantity

    def _activate(self, market: Market, order: Order, now_ms: int) -> None:
        """A stop has been triggered: from now on it is a limit or a market order."""
        self.sequence += 1
        order.sequence, order.working_ms, order.updated_ms = self.sequence, now_ms, now_ms
        self._touch(order)
        plan, expired_makers = market.plan(order.account_id, _as_new(order))
        if order.type in MARKET_TYPES and order.is_buy:
            cost = sum((m.price * m.quantity for m in plan), ZERO)
            self.ledger.release(order.account_id, order.lock_asset, order.locked)
            order.locked = ZERO
            if cost > self.ledger.free(order.account_id, order.lock_asset):
                self._end(order, "EXPIRED", now_ms, reason="REJECTED")
                return
            self.ledger.lock(order.account_id, order.lock_asset, cost)
            order.locked = cost
        self._report(order, "NEW", now_ms)
        self._take(market, order, plan, expired_makers, now_ms)

    # -- taking ------------------------------------------------------------------------------------------

    def _take(self, market: Market, order: Order, plan: list[Match], own: list[Order], now_ms: int) -> None:
        for maker in own:
            if order.stp_mode in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
                self._end(maker, "EXPIRED_IN_MATCH", now_ms)
        for match in plan:
            trade_id = self._print(market, match.price, match.quantity, now_ms, buyer_is_maker=not order.is_buy)
            if match.maker is None:
                market.liquidity.take(match.price, match.quantity)
            else:
                self._fill(market, match.maker, match.price, match.quantity, trade_id, now_ms, is_maker=True)
            self._fill(market, order, match.price, match.quantity, trade_id, now_ms, is_maker=False)
        if order.is_final:
            return
        if own and order.stp_mode != "EXPIRE_MAKER":
            self._end(order, "EXPIRED_IN_MATCH", now_ms)
        elif order.type in MARKET_TYPES:
            self._end(order, "EXPIRED", now_ms, reason="INSUFFICIENT_LIQUIDITY")
        elif order.time_in_force is TimeInForce.IOC:
            self._end(order, "EXPIRED", now_ms, reason="UNFILLED_IOC_QUANTITY_EXPIRED")
        elif order.time_in_force is TimeInForce.FOK:
            self._end(order, "EXPIRED", now_ms, reason="UNFILLED_FOK_ORDER_EXPIRED")
        else:
            order.queue_ahead = market.liquidity.displayed_at(order.price, is_bid=order.is_buy)
            market.rest(order)

    # -- resting -----------------------------------------------------------------------------------------

    def _fill_resting(self, market: Market, price: Decimal, volume: Decimal, *, is_buy: bool, now_ms: int) -> None:
        """Fill what the path reached, in price-time order, within the share of the printed volume."""
        preset = self.preset
        step = market.rules.step_size
        budget = None if preset.volume_share is None else volume * preset.volume_share
        for order in market.resting(is_buy=is_buy):
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
        base, quote = market.rules.base_asset, market.rules.quote_asset
        cost = price * quantity
        rate = self.fees.maker if is_maker else self.fees.taker
        received, asset = (quantity, base) if order.is_buy else (cost, quote)
        commission = (received * rate).quantize(ASSET_QUANTUM, ROUND_DOWN)
        held = quantity if not order.is_buy else cost if order.type in MARKET_TYPES else order.price * quantity
        self.ledger.spend(order.account_id, order.lock_asset, held, cost if order.is_buy else quantity)
        self.ledger.add(order.account_id, asset, received - commission)
        order.locked -= held
        order.executed += quantity
        order.executed_quote += cost
        order.updated_ms = now_ms
        order.status = "FILLED" if order.remaining == 0 else "PARTIALLY_FILLED"
        trade = Trade(
            order.symbol, trade_id, order.id, order.account_id, price, quantity, cost, commission, asset,
            order.is_buy, is_maker, now_ms,
        )  # fmt: skip
        self.ledger.changes.trades.append(trade)
        if order.is_final:
            self._leave_book(market, order)
        self._report(order, "TRADE", now_ms, trade=trade)

    # -- ending and telling ------------------------------------------------------------------------------

    def _end(self, order: Order, status: str, now_ms: int, *, reason: str = "", cancel_id: str = "") -> None:
        require(not order.is_final, "an order that has ended cannot end again", order=order.id, status=order.status)
        order.status, order.updated_ms, order.expiry_reason = status, now_ms, reason
        self._leave_book(self.markets[order.symbol], order)
        kind = {"CANCELED": "CANCELED", "EXPIRED_IN_MATCH": "TRADE_PREVENTION"}.get(status, "EXPIRED")
        self._report(order, kind, now_ms, cancel_id=cancel_id)

    def _leave_book(self, market: Market, order: Order) -> None:
        market.remove(order)
        if order.locked:
            self.ledger.release(order.account_id, order.lock_asset, order.locked)
            order.locked = ZERO

    def _touch(self, order: Order) -> None:
        self.ledger.changes.orders[order.symbol, order.id] = order

    def _report(self, order: Order, kind: str, now_ms: int, *, trade: Trade | None = None, cancel_id: str = "") -> None:
        self.execution_id += 1
        self._touch(order)
        event = reports.execution_report(order, kind, now_ms, self.execution_id, trade=trade, cancel_id=cancel_id)
        self.ledger.changes.events.append((order.account_id, event))
        rules = self.markets[order.symbol].rules
        self._report_position(order.account_id, rules.base_asset)
        self._report_position(order.account_id, rules.quote_asset)

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
