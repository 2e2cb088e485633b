"""What breaks, and for how long: the acts of the nemesis on processes, accounts, symbols, clocks and books."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from app.domain.orders import OrderType, Side, TimeInForce
from app.domain.positions import balance_changes
from app.services.exchange.protocol import OrderRequest
from app.services.execution.store_memory import Books
from tests.simulation.database import Run
from tests.simulation.invariants import OURS
from tests.simulation.wire import Line, _at_once

if TYPE_CHECKING:
    from tests.simulation.world import World

D = Decimal
LEASE_TTL_S = 15.0
CLOCK_JUMPS_MS = (700, 3_000, -4_000, 20_000, -20_000, 3_600_000, -3_600_000)
#: A dump is restored no sooner than this after it was made: what it holds as NEW has passed its deadline by then.
YOUNGEST_DUMP_S = 35.0
DUMP_EVERY_S = 60.0


@dataclass(frozen=True)
class Dump:
    """What a database was at a time, and what the monitor had read in it."""

    at_s: float
    books: Books
    runs: dict[int, Run]
    remembered: dict[str, object]


class Trouble:
    """One draw a step of everything that is not the fate of one request or event."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._foreign = 0
        self._dumps: list[Dump] = []

    def strike(self) -> None:
        """Whatever comes now."""
        world, wants = self._world, self._world.nemesis.wants
        for name in ("no connection", "maintenance", "too many requests"):
            if wants(name):
                world.say("nemesis", name, f"for {world.nemesis.open(name):.1f} s")
        self._at_an_account(self._rng.choice(world.accounts))
        self._at_a_symbol(self._rng.choice(world.symbols))
        if wants("database away"):
            world.database.is_down = True
            lasts_s = world.nemesis.open("database away")
            world.say("nemesis", "database away", f"for {lasts_s:.1f} s")
            self._later(lasts_s, self._database_returns)
        if wants("clock set"):
            self._set_clock(self._rng.choice(CLOCK_JUMPS_MS))
            self._later(world.nemesis.open("clock set"), self._set_clock, 0)
        self._keep_dumps()
        if world.works:
            self._at_the_worker()

    def _later(self, seconds: float, act: object, *args: object) -> None:
        self._world.loop.call_later(seconds, act, *args, context=self._world.loop.outside)  # type: ignore[arg-type]

    # --- the worker ------------------------------------------------------------------------------------

    def _at_the_worker(self) -> None:
        world, wants = self._world, self._world.nemesis.wants
        if wants("commit unanswered"):
            world.nemesis.count("commit unanswered")
            world.database.lost_answers = 1
        if wants("crash"):
            world.nemesis.count("crash")
            world.life.slices_left = self._rng.randrange(1, 40)
        elif wants("stopped process"):
            world.nemesis.count("stopped process")
            self._stop_process()
        elif wants("restored dump") and self._dumps[0].at_s < world.loop.time() - YOUNGEST_DUMP_S:
            world.nemesis.count("restored dump")
            self._restore(self._dumps[0])
        elif wants("sigterm"):
            world.nemesis.count("sigterm")
            world.terminate_worker()

    def _keep_dumps(self) -> None:
        """Every now and then the books are dumped; the older of two dumps is at hand."""
        now_s = self._world.loop.time()
        if not self._dumps or now_s - self._dumps[-1].at_s > DUMP_EVERY_S:
            world = self._world
            runs = {run_id: replace(run) for run_id, run in world.database.runs.items()}
            dump = Dump(now_s, world.database.books.copy(), runs, world.monitor.remember())
            self._dumps = [*self._dumps[-1:], dump]

    def _restore(self, dump: Dump) -> None:
        """F61: somebody stops everything and restores the database of a while ago; the exchange has gone on."""
        world = self._world
        world.say("nemesis", "the database is restored", f"as it was at {dump.at_s:.0f} s")
        world.stop_everything()
        world.database.books = dump.books.copy()
        world.database.runs = {run_id: replace(run) for run_id, run in dump.runs.items()}
        world.monitor.forget_since(dump.remembered)
        self._dumps = []

    def _stop_process(self) -> None:
        """SIGSTOP: the lease runs out, another worker takes over, and the old one wakes in the middle of something."""
        world = self._world
        life = world.life
        life.stopped = True
        world.stopped.append(life)
        world.say("worker", "is stopped")
        self._later(LEASE_TTL_S, world.start_worker)
        self._later(self._rng.uniform(1, 60), world.wake, life)

    def _database_returns(self) -> None:
        if not self._world.nemesis.is_open("database away"):
            self._world.database.is_down = False

    def _set_clock(self, skew_ms: int) -> None:
        self._world.skew_ms = skew_ms
        self._world.say("nemesis", "somebody sets the machine's clock", f"{skew_ms} ms off")

    # --- a symbol --------------------------------------------------------------------------------------

    def _at_a_symbol(self, symbol: str) -> None:
        world, wants = self._world, self._world.nemesis.wants
        if wants("halt"):
            world.set_status(symbol, self._rng.choice(("HALT", "BREAK")))
            self._later(world.nemesis.open("halt"), world.set_status, symbol, "TRADING")
        if wants("filters changed"):
            world.nemesis.count("filters changed")
            self._change_filters(symbol)

    def _change_filters(self, symbol: str) -> None:
        """The rules change at once; our books learn it from a refusal, a restart, or when they are next read."""
        world, rng = self._world, self._rng
        old = next(iter(world.lines.values())).exchange.rules()[symbol]
        step, tick = rng.choice((D("0.00001"), D("0.0001"), D("0.001"))), rng.choice((D("0.01"), D("0.1")))
        rules = replace(old, step_size=step, min_qty=step, tick_size=tick, min_notional=rng.choice((D(5), D(10))))
        for line in world.lines.values():
            line.exchange.set_rules(replace(rules, status=line.exchange.rules()[symbol].status))
        world.say("exchange", f"changes the filters of {symbol}", f"step {step}, least value {rules.min_notional}")
        self._later(rng.uniform(1, 300), world.refresh_rules)

    # --- an account ------------------------------------------------------------------------------------

    def _at_an_account(self, account_id: int) -> None:
        world, wants = self._world, self._world.nemesis.wants
        line = world.lines[account_id]
        if wants("key refused"):
            lasts_s = world.nemesis.open("key refused", account_id)
            world.say("nemesis", f"key of account {account_id} refused", f"for {lasts_s:.1f} s")
            self._later(lasts_s + 20, world.thaw, account_id)
        if wants("stream down"):
            line.set_stream(down=True)
            world.say("nemesis", f"stream of account {account_id} down")
            self._later(world.nemesis.open("stream down", account_id), self._stream_returns, line)
        if wants("stream silent"):
            world.nemesis.open("stream silent", account_id)
        if wants("ended by the exchange"):
            self._end_an_order(line)
        if wants("late fill"):
            self._fill_late(line)
        if wants("foreign activity"):
            self._foreign_activity(account_id)

    def _stream_returns(self, line: Line) -> None:
        if not self._world.nemesis.is_open("stream down", line.account_id):
            line.set_stream(down=False)

    def _end_an_order(self, line: Line) -> None:
        mine = [o for o in line.exchange.book() if not o.is_final]
        if mine:
            order, status = self._rng.choice(mine), self._rng.choice(("EXPIRED", "CANCELED", "EXPIRED_IN_MATCH"))
            self._world.nemesis.count("ended by the exchange")
            self._world.say("exchange", f"ends {order.client_order_id}", status)
            line.exchange.cancel_by_exchange(order.client_order_id, status=status)

    def _fill_late(self, line: Line) -> None:
        world = self._world
        ours = (o for o in line.exchange.book() if o.client_order_id.startswith(OURS))
        ended = [o for o in ours if o.status in ("CANCELED", "EXPIRED") and o.remaining > 0]
        if not ended:
            return
        order = self._rng.choice(ended)
        quantity = (order.remaining / 3).quantize(D("0.00001"))
        price = world.price(order.request.symbol)
        if quantity > 0 and line.exchange.late_fill(order.client_order_id, quantity, price):
            world.nemesis.count("late fill")
            world.say("exchange", f"late fill of {order.client_order_id}", quantity)

    def _foreign_activity(self, account_id: int) -> None:
        """Somebody deposits or withdraws, or another program leaves an order or trades."""
        world = self._world
        world.nemesis.count("foreign activity")
        exchange, drawn = world.lines[account_id].exchange, self._rng.random()
        if drawn < 0.5:
            amount = D(self._rng.randrange(1, 50)) * (1 if drawn < 0.3 else -1)
            if _at_once(exchange.balances())["USDT"].free + amount < 0:
                return
            exchange.deposit("USDT", amount)
            self._came(account_id, "USDT", amount)
            world.say("foreign", f"moves money of account {account_id}", amount)
            return
        self._foreign += 1
        name, symbol = f"other-{self._foreign}", self._rng.choice(world.symbols)
        if drawn < 0.7:
            request = OrderRequest(name, symbol, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, D(1), price=D("5.00"))
        else:
            side = self._rng.choice((Side.BUY, Side.SELL))
            request = OrderRequest(name, symbol, side, OrderType.MARKET, quantity=D("0.6"))
        now_ms = world.now_ms()
        _at_once(exchange.place(request, signed_timestamp_ms=now_ms, recv_window_ms=5_000))
        made = [order for order in exchange.book() if order.client_order_id == name]
        for fill in (fill for order in made for fill in order.fills):
            for asset, change in balance_changes(request.side, fill, symbol[:3], "USDT").items():
                self._came(account_id, asset, change)
        world.say("foreign", f"{request.side} {request.type} on account {account_id}", name)

    def _came(self, account_id: int, asset: str, change: Decimal) -> None:
        external, key = self._world.monitor.external, (account_id, asset)
        external[key] = external.get(key, D(0)) + change
