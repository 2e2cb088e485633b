"""The exchange put together: engine, markets, accounts, file and listeners.

Everything that changes something runs to its end on the event loop without waiting, then its changes are
queued for the file; answers and events go out after the commit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import structlog

from app.domain.clock import Clock
from app.domain.errors import NotFound
from app.domain.symbols import SymbolRules
from app.paper_exchange import feeds, rows
from app.paper_exchange.accounts import COLUMNS, Account, make_account, random_text, read_account, with_new_key
from app.paper_exchange.amends import amend
from app.paper_exchange.candles import KEPT_SECONDS, MINUTE_MS, SECOND_MS, Candle, Candles, History
from app.paper_exchange.depth import DepthFeed
from app.paper_exchange.faults import FaultPlan
from app.paper_exchange.history import Books
from app.paper_exchange.hub import StreamHub, UserHub
from app.paper_exchange.limits import Limits
from app.paper_exchange.markets import LiveMarket, Source, Step, bucket_ms
from app.paper_exchange.matching import Engine, Fees
from app.paper_exchange.mirror import Mirror, Mirrors
from app.paper_exchange.model import Amendment, NewList, NewOrder, Order, OrderList, Trade
from app.paper_exchange.orderbook import Market
from app.paper_exchange.public_trades import PublicTrades
from app.paper_exchange.replay import Replay, read_tape, typical_price
from app.paper_exchange.restore import restore_balances, restore_counters, restore_orders
from app.paper_exchange.rights import Rights
from app.paper_exchange.rules import KNOWN, rules_for
from app.paper_exchange.settings import PaperSettings
from app.paper_exchange.store import Statement, Store
from app.paper_exchange.synthetic import DEFAULT_PRICES, Synthetic
from app.paper_exchange.tape_file import read_file
from app.paper_exchange.units import Units

log = structlog.get_logger(__name__)

#: A process that was merely late catches up; beyond this it was down, and the time is a gap.
CATCH_UP_MS = 10 * SECOND_MS
CLIENT_ID_LENGTH = 22
_PUT_ACCOUNT = (
    f"INSERT INTO accounts ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"  # noqa: S608 - names
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS[1:])}"
)


class Exchange:
    """All state of a running exchange. Use on one event loop only."""

    def __init__(self, settings: PaperSettings, clock: Clock, store: Store) -> None:
        self.settings = settings
        self.clock = clock
        self.store = store
        fees = Fees(settings.maker_fee, settings.taker_fee)
        self.engine = Engine(settings.preset_rules(), fees, lambda: random_text(CLIENT_ID_LENGTH))
        self.live: dict[str, LiveMarket] = {}
        self.accounts: dict[int, Account] = {}
        self.accounts_by_key: dict[str, Account] = {}
        self.users = UserHub()
        self.streams = StreamHub()
        self.depths: dict[str, DepthFeed] = {}
        self.faults = FaultPlan() if settings.faults else None
        self.history = Books(store.reader)
        self.public_trades = PublicTrades()
        self.limits = Limits(settings)
        self.mirrors = Mirrors(settings.upstream, clock)
        self.started_ms = clock.now_ms()
        self._live_from_ms = bucket_ms(self.started_ms)
        self._second_ms: int | None = None  # the running second, once the markets move
        self._delisted: dict[str, tuple[LiveMarket, Market]] = {}

    # -- start -------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Take up the books from the file, and make the default markets that are not in it."""
        reader = self.store.reader
        for row in reader.execute("SELECT * FROM accounts"):
            self._know(read_account(dict(row)))
        restore_balances(self.engine, reader)
        for row in reader.execute("SELECT * FROM markets"):
            rules = rows.read_rules(row["rules"])
            stored = reader.execute("SELECT * FROM candles WHERE symbol = ? ORDER BY seconds, open_ms", (rules.symbol,))
            source, history = rows.read_source(row, rules), rows.read_history(row, stored)
            history.archive = source.archive()
            halted = bool(row["halted"]) or isinstance(source, Mirror)  # until its upstream is heard again
            self._go_live(rules, row["market_id"], source, history, halted=halted)
        restore_orders(self.engine, reader)
        for symbol in self.settings.symbols:
            if symbol not in self.live:
                await self._make_default(symbol)
        # Should the clock have gone back, the market waits until time has caught up with its last candle.
        newest_ms = [m.candles.closed["1s"].open_ms[-1] for m in self.live.values() if len(m.candles.closed["1s"])]
        self._live_from_ms = max([self._live_from_ms, *(open_ms + SECOND_MS for open_ms in newest_ms)])

    def _know(self, account: Account) -> None:
        self.accounts[account.id] = account
        self.accounts_by_key[account.api_key] = account
        self.engine.ledger.accounts.setdefault(account.id, {})

    def _go_live(
        self, rules: SymbolRules, market_id: int, source: Source, history: History, *, halted: bool
    ) -> LiveMarket:
        symbol = rules.symbol
        if symbol not in self.engine.markets:
            self.engine.add_market(rules, **restore_counters(self.store.reader, symbol))
        market = LiveMarket(rules, market_id, source, Candles(history), self.settings.preset, halted)
        if isinstance(source, Mirror):
            self.mirrors.follow(source)
        self.live[symbol] = market
        market.candles.close_passed(self.clock.now_ms())
        engine_market = self.engine.markets[symbol]
        engine_market.is_open = not halted
        engine_market.liquidity.half_spread = None
        engine_market.average_price = market.average_price(self.clock.now_ms()) or Decimal(0)
        last = market.candles.last_price
        if last is not None:
            engine_market.liquidity.move(market.units.price(last), market.typical_volume())
        return market

    # -- markets -----------------------------------------------------------------------------------------

    async def set_synthetic(self, symbol: str, seed: int, first_price: Decimal | None = None) -> LiveMarket:
        """Make `symbol` a synthetic market from `seed`. Raises InvalidInput for a name that is no symbol."""
        price = first_price or DEFAULT_PRICES.get(symbol, Decimal(100))
        rules = self.rules_of(symbol, price)
        source = Synthetic(symbol, seed, Units.of(rules), float(price), days=self.settings.history_days)
        await asyncio.to_thread(source.prepare)
        return await self.set_source(rules, source)

    async def set_mirror(self, symbol: str) -> LiveMarket:
        """Let `symbol` follow the upstream of the settings. Raises InvalidInput when that cannot be reached."""
        known = self.live[symbol].rules if symbol in self.live else None
        return await self.set_source(*await self.mirrors.open(symbol, known))

    async def set_replay(
        self, symbol: str, candles: Sequence[Any], *, label: str = "", start: int | None = None, loop: bool = False
    ) -> LiveMarket:
        """Let `symbol` replay candles. Raises InvalidInput that names what is wrong with them."""
        rules = self.rules_of(symbol, typical_price(candles))
        units = Units.of(rules)
        # Checking 300,000 candles takes a while; the market goes on meanwhile.
        tape = await asyncio.to_thread(read_tape, candles, units)
        source = Replay(tape, units, label=label or f"replay of {len(tape)} candles", start=start, loop=loop)
        return await self.set_source(rules, source)

    async def _make_default(self, symbol: str) -> LiveMarket:
        """The market that the settings ask for at the first start."""
        wanted = self.settings
        if wanted.source == "mirror":
            return await self.set_mirror(symbol)
        if wanted.source == "replay" and wanted.replay_file is not None:
            candles = await asyncio.to_thread(read_file, wanted.replay_file)
            return await self.set_replay(symbol, candles, label=wanted.replay_file.name, loop=True)
        return await self.set_synthetic(symbol, wanted.seed)

    def rules_of(self, symbol: str, price: Decimal) -> SymbolRules:
        """The rules a symbol has, or would have at that price. Raises InvalidInput for a name that is no symbol."""
        if symbol in self.live:
            return self.live[symbol].rules
        return KNOWN.get(symbol) or rules_for(symbol, price)

    async def set_source(self, rules: SymbolRules, source: Source) -> LiveMarket:
        """Let `source` make the market from this second on: open orders expire, balances stay, history is new."""
        now_ms = self.clock.now_ms()
        live_ms = self._live_from_ms if self._second_ms is None else self._second_ms
        history = source.history(live_ms)
        self.mirrors.leave(rules.symbol)
        if rules.symbol in self.engine.markets:
            self.engine.expire_all(rules.symbol, now_ms)
        market_id = max((m.market_id for m in self.live.values()), default=0) + 1
        market = self._go_live(rules, market_id, source, history, halted=False)
        stored = rows.market_statements(market, history)
        if self._second_ms is not None:
            self._begin(market, live_ms)
            self._apply(market, market.due(now_ms), now_ms)
        log.info("market changed", symbol=rules.symbol, market_id=market_id, **source.describe())
        await self.commit(now_ms, [*stored, *rows.state_statements(market)])
        return market

    def tick(self, now_ms: int) -> None:
        """Bring all markets up to `now_ms`. Called at least every quarter of a second."""
        second_ms = bucket_ms(now_ms)
        if self._second_ms is None:
            self._start_second(self._live_from_ms, now_ms)
        while self._second_ms is not None and self._second_ms < second_ms:
            late_ms = second_ms - self._second_ms
            next_ms = self._second_ms + SECOND_MS if late_ms <= CATCH_UP_MS else second_ms
            if late_ms > CATCH_UP_MS:
                log.warning("the market stood still", seconds=late_ms // SECOND_MS)
            self._end_second(now_ms)
            self._start_second(next_ms, now_ms)
        for market in self.live.values():
            self._apply(market, market.due(now_ms), now_ms)
        changes = self.engine.drain(now_ms)
        if changes or changes.prints:  # a trade id is on disk before anybody hears of it
            self._store(changes, [], lambda: None)
        feeds.publish_forming(self, now_ms)

    def _start_second(self, second_ms: int, now_ms: int) -> None:
        self._second_ms = second_ms
        for market in self.live.values():
            self._begin(market, second_ms)
            self._apply(market, market.due(now_ms), now_ms)

    def _begin(self, market: LiveMarket, second_ms: int) -> None:
        was_halted = market.halted
        if market.suspended or (was_halted and not market.can_go_on):
            return
        market.begin_second(second_ms)
        engine_market = self.engine.markets[market.rules.symbol]
        if isinstance(market.source, Mirror):
            engine_market.liquidity.half_spread = market.source.half_spread
        if market.halted != was_halted:
            engine_market.is_open = not market.is_still
            what = "symbol halted at its source's end" if market.halted else "symbol goes on"
            log.info(what, symbol=market.rules.symbol, market_id=market.market_id, **market.source.describe())

    def _end_second(self, now_ms: int) -> None:
        """Close the running second of every market and put it into the file; then tell."""
        statements: list[Statement] = []
        closed_by_symbol: list[tuple[LiveMarket, list[tuple[str, Candle]]]] = []
        assert self._second_ms is not None
        end_ms = self._second_ms + SECOND_MS
        for symbol, market in self.live.items():
            steps, closed = market.end_second()
            self._apply(market, steps, now_ms)
            closed += market.candles.close_passed(end_ms)
            kept = [(1 if name == "1s" else 60, candle) for name, candle in closed if name in ("1s", "1m")]
            statements += rows.candle_statements(symbol, kept)
            statements += rows.state_statements(market)
            if end_ms % (60 * MINUTE_MS) == 0:
                statements += rows.forget_statements(symbol, end_ms - (KEPT_SECONDS // 60 + 60) * MINUTE_MS)
            average = market.average_price(end_ms)
            if average is not None:
                self.engine.markets[symbol].average_price = average
            closed_by_symbol.append((market, closed))
        changes = self.engine.drain(now_ms)
        self._store(changes, statements, lambda: feeds.publish_second(self, closed_by_symbol, end_ms))

    def _apply(self, market: LiveMarket, steps: Sequence[Step], now_ms: int) -> None:
        told_ms = self.clock.exchange_now_ms() if steps else now_ms
        for step in steps:
            self.engine.step(
                market.rules.symbol, step.price, step.volume, step.typical_volume, told_ms, jumped=step.jumped
            )

    def suspend(self, symbols: set[str]) -> None:
        """Let exactly these symbols stand still (BREAK): they take no orders, and nothing is filled."""
        for symbol, market in self.live.items():
            if market.suspended != (symbol in symbols):
                market.suspend(wanted=symbol in symbols)
                self.engine.markets[symbol].is_open = not market.is_still

    async def delist(self, symbols: set[str]) -> None:
        """Let exactly these symbols be unknown: open orders expire, balances stay. Others come back."""
        for symbol in symbols & set(self.live):
            now_ms = self.clock.exchange_now_ms()
            self.engine.expire_all(symbol, now_ms)
            stored = self.commit(now_ms)
            self._delisted[symbol] = (self.live.pop(symbol), self.engine.markets.pop(symbol))
            await stored
        for symbol in set(self._delisted) - symbols:
            live, market = self._delisted.pop(symbol)
            if symbol not in self.live:
                self.live[symbol], self.engine.markets[symbol] = live, market

    # -- accounts ----------------------------------------------------------------------------------------

    async def add_account(
        self, label: str, public_key_pem: str | None, deposits: dict[str, Decimal], rights: Rights | None = None
    ) -> Account:
        """A new account with its first balances. Raises InvalidInput for a bad key."""
        now_ms = self.clock.exchange_now_ms()
        account = make_account(max(self.accounts, default=0) + 1, label, public_key_pem, now_ms, rights)
        self._know(account)
        for asset, amount in deposits.items():
            self.engine.deposit(account.id, asset, amount, now_ms)
        await self.commit(now_ms, [(_PUT_ACCOUNT, [account.row()])])
        return account

    async def set_rights(self, account_id: int, rights: Rights) -> None:
        """What the account's key may do from now on."""
        await self._replace(replace(self.accounts[account_id], rights=rights))

    async def set_key(self, account_id: int, public_key_pem: str | None, rights: Rights) -> Account:
        """Another key for the account; the one before works no longer. Raises InvalidInput for a bad key."""
        account = with_new_key(self.accounts[account_id], public_key_pem, rights)
        await self._replace(account)
        return account

    async def _replace(self, account: Account) -> None:
        self.accounts_by_key.pop(self.accounts[account.id].api_key)
        self._know(account)
        await self.commit(self.clock.exchange_now_ms(), [(_PUT_ACCOUNT, [account.row()])])

    async def pay_in_bnb(self, account_id: int, *, wanted: bool) -> None:
        """Let an account pay commission in BNB, or no longer. Raises NotFound."""
        if account_id not in self.accounts:
            raise NotFound(f"there is no account {account_id}")
        payers = self.engine.commissions.bnb_payers
        payers.symmetric_difference_update({account_id} if wanted != (account_id in payers) else ())
        await self.commit(self.clock.now_ms(), [rows.meta_statement("bnb_payers", json.dumps(sorted(payers)))])

    async def deposit(self, account_id: int, asset: str, amount: Decimal) -> None:
        """Credit an account; a negative amount is a withdrawal. Raises NotFound, ApiError when it is not free."""
        if account_id not in self.accounts:
            raise NotFound(f"there is no account {account_id}")
        now_ms = self.clock.exchange_now_ms()
        self.engine.deposit(account_id, asset, amount, now_ms)
        await self.commit(now_ms)

    # -- orders ------------------------------------------------------------------------------------------

    def place(self, account_id: int, new: NewOrder) -> tuple[Order, list[Trade], asyncio.Future[None]]:
        """Place an order. Returns it, its trades so far, and a future that is done when both are on disk.

        The order goes on changing: render the answer before waiting. Raises ApiError.
        """
        now_ms = self.clock.exchange_now_ms()
        order = self.engine.place(account_id, new, now_ms)
        trades = [t for t in self.engine.ledger.changes.trades if t.order_id == order.id and t.symbol == order.symbol]
        return order, trades, self.commit(now_ms)

    def cancel(self, orders: Sequence[Order], cancel_id: str = "") -> tuple[str, asyncio.Future[None]]:
        """Cancel open orders under one cancel id. Returns that id and a future that is done on disk."""
        now_ms = self.clock.exchange_now_ms()
        for order in orders:
            if not order.is_final:  # with an order of its list
                cancel_id = self.engine.cancel(order, now_ms, cancel_id)
        return cancel_id, self.commit(now_ms)

    def place_list(
        self, account_id: int, new: NewList
    ) -> tuple[OrderList, list[Order], list[Trade], asyncio.Future[None]]:
        """Place an order list. Returns it, its orders as they stood before a pending one was started, their trades
        so far, and a future that is done when all is on disk. Raises ApiError.
        """
        now_ms = self.clock.exchange_now_ms()
        one, orders = self.engine.lists.place(account_id, new, now_ms)
        placed, trades = [replace(order) for order in orders], list(self.engine.ledger.changes.trades)
        self.engine.lists.release(now_ms)
        return one, placed, [t for t in trades if t.order_id in one.order_ids], self.commit(now_ms)

    def amend(self, order: Order, quantity: Decimal, client_id: str) -> tuple[Amendment, asyncio.Future[None]]:
        """Reduce an open order. Returns the amendment and a future that is done on disk. Raises ApiError."""
        now_ms = self.clock.exchange_now_ms()
        amendment = amend(self.engine, order, quantity, client_id, now_ms)
        return amendment, self.commit(now_ms)

    def open_orders(self, account_id: int, symbol: str | None = None) -> list[Order]:
        """Open orders of an account, oldest first."""
        markets = [m for m in self.engine.markets.values() if symbol in (None, m.rules.symbol)]
        found = [o for m in markets for o in m.open_orders.values() if o.account_id == account_id]
        return sorted(found, key=lambda o: (o.symbol, o.id))

    # -- file --------------------------------------------------------------------------------------------

    def commit(self, now_ms: int, first: list[Statement] | None = None) -> asyncio.Future[None]:
        """Store what the engine changed, after the statements given; then publish it."""
        return self._store(self.engine.drain(now_ms), first or [], lambda: None)

    def _store(self, changes: Any, first: list[Statement], then: Any) -> asyncio.Future[None]:
        engine = self.engine
        self.limits.note_fills(changes, self.clock.now_ms())
        statements = [*first, *rows.change_statements(changes, engine.ledger, engine.markets, engine.execution_id)]
        now_ms = self.clock.exchange_now_ms()

        def publish() -> None:
            self.users.publish(changes.events)
            self.public_trades.add(changes.prints)
            feeds.publish_prints(self.streams, changes.prints, now_ms)
            then()

        return self.store.write(statements, publish)
