"""One seed: three accounts on three exchanges, people, strategies, a worker that dies, and a nemesis."""

from __future__ import annotations

import random
import warnings
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from unittest import mock

from app.domain.symbols import SymbolRules
from app.jobs import order_lanes
from app.services.exchange.fake import FakeExchange
from app.services.execution.store import AccountFacts
from app.services.runtime import SystemClock
from tests.simulation.database import Database, Run
from tests.simulation.ears import swallowed
from tests.simulation.invariants import OURS, Monitor
from tests.simulation.nemesis import Nemesis
from tests.simulation.people import People
from tests.simulation.scheduler import Life, SimLoop
from tests.simulation.strategies import Strategies
from tests.simulation.trace import Trace
from tests.simulation.trouble import Trouble
from tests.simulation.wire import Fate, Line, StreamFate, _at_once
from tests.simulation.worker import MAY_END_A_WORKER, Parts, SimWorker

D = Decimal
START_MS = 1_700_000_000_000
ACCOUNTS = (1, 2, 3)
STEPS, LEAST_INTENTS = 200, 30
PRICES = {"BTCUSDT": D(100), "ETHUSDT": D(20), "BNBUSDT": D(8)}
OPENING = {"USDT": D(3000), "BTC": D(10), "ETH": D(40), "BNB": D(20)}
#: Fees are paid in BNB until there is none left; drawn for each account. The first: in what is received.
FEE_STOCKS = (None, None, D("0.004"), D(30))
DRIFTS_PPM = (0, 0, 50, -300, 6_000, -6_000)
#: How often a worker looks without a hint: as the real one does, and as one that is short of time.
LOOKS_S = (1.0, 4.0, 4.0)
MOST_TO_END_S = 20.0
#: After the last fault: the first look at books and exchange comes after every bound and a pass, the last one here.
QUIET_S = (150, 70, 70, 70, 70)


@dataclass(frozen=True)
class Outcome:
    """What came of a seed. `violations` is empty when all is well."""

    seed: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    used: dict[str, int]
    orders: int
    intents: int
    steps: int
    slices: int
    virtual_s: float


class Ids:
    """Client order ids that never repeat, drawn from nothing but their number."""

    def __init__(self) -> None:
        self._n = 0

    def client_order_id(self) -> str:
        self._n += 1
        return f"{OURS}{self._n}"


class TrueClock:
    """The exchange's own clock."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000)

    exchange_now_ms = now_ms

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the exchange does not sleep")


class World:
    """Everything of one seed. Nothing in here knows real time or draws from anything but the seed."""

    def __init__(self, seed: int, parts: Parts, trace: Trace) -> None:
        self.rng = random.Random(seed)
        self.loop = SimLoop(self.rng)
        self.trace = trace
        self.parts = parts
        self.symbols, self.accounts = tuple(PRICES), ACCOUNTS
        self.clock = TrueClock(self.loop)
        self.skew_ms = self.rng.choice((0, 0, 40, -300, 1_500))
        self.drift_ppm = self.rng.choice(DRIFTS_PPM)
        self.look_every_s = self.rng.choice(LOOKS_S)
        self.web_clock = self._machine_clock()
        self.ids = Ids()
        self.nemesis = Nemesis(self.rng, self.loop.time)
        self.database = Database()
        self.lines = {n: self._line(n) for n in ACCOUNTS}
        self._fill_books()
        self.monitor = Monitor(self.database, self.lines, dict(self.database.books.totals))
        self.database.notify = self.notify
        self.people, self.strategies = People(self, self.rng), Strategies(self, self.rng)
        self.web = Life("web")
        self.life, self.worker = Life("worker"), None  # type: Life, SimWorker | None
        self.stopped: list[Life] = []
        self.terminated_at_s, self.steps = 0.0, 0
        self.trouble = Trouble(self)
        self.loop.on_death = self._crashed

    # --- building --------------------------------------------------------------------------------------

    def _machine_clock(self) -> SystemClock:
        def steady_ms() -> int:
            return int(self.loop.time() * 1000)

        return SystemClock(
            wall_ms=lambda: self.now_ms() + self.skew_ms, steady_ms=steady_ms, running_ms=steady_ms
        )

    def _line(self, account_id: int) -> Line:
        rules = [
            SymbolRules(
                symbol, symbol[:3], "USDT", tick_size=D("0.01"), step_size=D("0.00001"), min_qty=D("0.00001"),
                max_qty=D(9000), min_notional=D(5),
            )
            for symbol in PRICES
        ]  # fmt: skip
        stock = self.rng.choice(FEE_STOCKS)
        opening = OPENING if stock is None else OPENING | {"BNB": stock}
        exchange = FakeExchange(self.clock, rules, balances=opening)
        exchange.pay_fees_in(None if stock is None else "BNB")
        for symbol, price in PRICES.items():
            exchange.set_price(symbol, price)
        return Line(account_id, exchange, self.loop, self._fate, self._stream_fate, self.say)

    def _fill_books(self) -> None:
        books = self.database.books
        books.rules = dict(_at_once(self.lines[1].exchange.symbol_rules()))
        books.prices = {symbol: (price, START_MS) for symbol, price in PRICES.items()}
        for n, line in self.lines.items():
            books.accounts[n] = AccountFacts(n, n, "PAPER", "ACTIVE", f"account {n}")
            books.totals.update({(n, asset): total for asset, total in line.exchange.totals().items()})
            for symbol in PRICES:
                run_id = len(self.database.runs) + 1
                self.database.runs[run_id] = Run(run_id, n, symbol)

    def _fate(self, account_id: int, call: str) -> Fate:
        fate = self.nemesis.fate(account_id, call)
        if call == "place" and fate.visible_after_ms > 60_000:
            self.monitor.may_surface |= self.lines[account_id].last_sent
        return fate

    def _stream_fate(self, account_id: int) -> StreamFate:
        return self.nemesis.stream_fate(account_id)

    # --- for everybody ---------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """True time."""
        return self.clock.now_ms()

    def price(self, symbol: str) -> Decimal:
        """Newest price in the books."""
        return self.database.books.prices[symbol][0]

    def say(self, who: str, what: str, outcome: object = "") -> None:
        """One line of the trace."""
        self.trace.say(self.loop.time(), who, what, str(outcome))

    @property
    def works(self) -> bool:
        """Whether the worker in office runs."""
        return self.worker is not None and self.life.alive and not self.life.stopped

    def begin(self, who: str, work: Coroutine[Any, Any, Any]) -> None:
        """Start something at the web."""
        self.loop.start(self.web, work)

    def begin_in_worker(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start something in the worker in office."""
        self.loop.start(self.life, work)

    def notify(self, hints: list[str]) -> None:
        """Tell the worker when to look; now and then nobody hears it."""
        if self.worker is not None and self.works and self.rng.random() < 0.9:
            for hint in hints:
                self.worker.hint(hint)

    # --- the worker's lives ----------------------------------------------------------------------------

    def start_worker(self) -> None:
        """A worker takes the lease."""
        if self.works:
            return
        oversleep_s = self.rng.choice((0.5, 3.0, 6.0))
        self.life = Life("worker", oversleep_s=oversleep_s)
        self.worker_clock = self._machine_clock()
        self.worker = SimWorker(self.database, self.lines, self.worker_clock, self.ids, self.parts, self.say)
        self.say("worker", "starts", f"epoch {self.worker.epoch}")
        self.loop.start(self.life, self.worker.run())

    def _crashed(self, life: Life) -> None:
        self.say("worker", "dies between two awaits")
        self._bury(life, self.rng.uniform(0.5, 12))

    def _bury(self, life: Life, pause_s: float) -> None:
        self.loop.kill(life)
        if life is self.life:
            for line in self.lines.values():
                line.hang_up()
            self.loop.call_later(pause_s, self.start_worker, context=self.loop.outside)

    def terminate_worker(self) -> None:
        """SIGTERM: it ends what is on the wire and goes."""
        if self.worker is not None and not self.worker.stopping.is_set():
            self.say("worker", "is asked to stop")
            self.terminated_at_s = self.loop.time()
            self.worker.stopping.set()

    def stop_everything(self) -> None:
        """Every process of ours ends at once; the worker comes back after a while."""
        for life in (self.web, *self.stopped):
            self.loop.kill(life)
        self.stopped, self.web = [], Life("web")
        self._bury(self.life, self.rng.uniform(1, 10))

    def wake(self, life: Life) -> None:
        """SIGCONT."""
        if life.alive:
            self.say("worker", "wakes")
            self.loop.resume(life)

    def _look_after_processes(self) -> None:
        """What died of itself: fenced and transient ends are in order, all others are not."""
        for life in [self.life, *self.stopped]:
            for failure in life.failures:
                if not _in_order(failure):
                    self.monitor.violations.append(f"crash: {type(failure).__name__}: {failure}")
            life.failures.clear()
            if life.alive and life.tasks and life.tasks[0].done():
                self.say("worker", "ends")
                self._bury(life, 1.0)
        late = self.loop.time() - self.terminated_at_s - MOST_TO_END_S
        if late > 0 and self.works and self.worker is not None and self.worker.stopping.is_set():
            self.monitor.violations.append(f"stop: the worker runs {MOST_TO_END_S + late:.0f} s after SIGTERM")
        for failure in self.web.failures:
            self.monitor.violations.append(f"web: {type(failure).__name__}: {failure}")
        self.web.failures.clear()
        self.monitor.violations += [f"swallowed: {words}" for words in swallowed()]
        self.stopped = [life for life in self.stopped if life.alive]

    # --- one step --------------------------------------------------------------------------------------

    def step(self) -> None:
        """Something is wanted, something goes wrong, time passes, and everything is checked."""
        self._somebody_acts()
        self.trouble.strike()
        drawn = self.rng.random()
        low, high = (0.02, 0.5) if drawn < 0.6 else (0.5, 4) if drawn < 0.92 else (4, 25)
        self.advance(self.rng.uniform(low, high))

    def advance(self, seconds: float) -> None:
        """Let time pass, then check."""
        self.loop.advance(seconds)
        self._look_after_processes()
        worker = self.worker
        in_contact = worker is not None and self.works and worker.healthy
        cut_off = self.database.is_down or self.nemesis.cuts_off()
        self.monitor.stepped(self.loop.time(), in_contact=in_contact and not cut_off)
        self.monitor.unknown_for_too_long(self.loop.time(), START_MS)
        self.monitor.exposed_for_too_long(self.loop.time())

    def _somebody_acts(self) -> None:
        drawn = self.rng.random()
        if drawn < 0.22:
            self.people.trade_by_hand()
        elif drawn < 0.36 and self.worker is not None and self.works:
            self.strategies.tick(self.worker)
        elif drawn < 0.44:
            self.people.cancel()
        elif drawn < 0.46:
            self.people.replace_order()
        elif drawn < 0.80:
            self._market_moves()
        elif drawn < 0.83:
            self.people.flip_switch()
        elif drawn < 0.88:
            self.people.start_runs()
        elif drawn < 0.94 and self.worker is not None and self.works:
            self.strategies.trail(self.worker)

    def _market_moves(self) -> None:
        symbol = self.rng.choice(self.symbols)
        price = (self.price(symbol) * D(self.rng.randrange(985, 1016)) / 1000).quantize(D("0.01"))
        available = self.rng.choice((None, None, D("0.05"), D("0.7")))
        self.say("market", f"{symbol} {price}", "" if available is None else f"{available} to be had")
        for line in self.lines.values():
            line.exchange.set_price(symbol, price, available=available)
        if self.rng.random() < 0.9:
            self.database.edit(lambda books: books.prices.__setitem__(symbol, (price, self.now_ms())))

    # --- what a person puts in order, and what is refreshed ---------------------------------------------

    def refresh_rules(self) -> None:
        """Our books learn the exchange's filters."""
        rules = {r.symbol: replace(r, status="TRADING") for r in self.lines[1].exchange.rules().values()}
        self.database.edit(lambda books: books.rules.update(rules))

    def set_status(self, symbol: str, status: str) -> None:
        """Trading of a symbol is halted, or goes on."""
        self.say("exchange", symbol, status)
        for line in self.lines.values():
            line.exchange.set_status(symbol, status)

    def thaw(self, account_id: int) -> None:
        """A person has put the key in order."""
        account = self.database.books.accounts[account_id]
        if account.state == "FROZEN":
            self.say("user", f"puts account {account_id} in order")
            self.database.edit(lambda books: books.accounts.__setitem__(account_id, replace(account, state="ACTIVE")))

    # --- the whole -------------------------------------------------------------------------------------

    def run(self) -> None:
        """All steps, then quiet until books and exchange agree."""
        self.start_worker()
        self.advance(3)
        while not self.monitor.violations and (self.steps < STEPS or self.intents < LEAST_INTENTS):
            self.step()
            self.steps += 1
        if not self.monitor.violations:
            self._quiet_down()

    @property
    def intents(self) -> int:
        """What people and strategies have wanted so far."""
        return self.people.intents + self.strategies.entries

    def _quiet_down(self) -> None:
        self.say("nemesis", "calm")
        self.nemesis.calm = True
        self.nemesis.open_until_s.clear()
        self.database.is_down, self.database.lost_answers = False, 0
        for symbol in self.symbols:
            self.set_status(symbol, "TRADING")
            for line in self.lines.values():
                line.exchange.set_price(symbol, self.price(symbol))
        for line in self.lines.values():
            line.set_stream(down=False)
        self.refresh_rules()
        self.life.slices_left, self.skew_ms, self.life.oversleep_s = None, 0, 8.0
        differences = ["not looked at"]
        for seconds in QUIET_S:
            for account_id in self.accounts:
                self.thaw(account_id)
            self.advance(seconds)
            hidden = any(o.visible_at_ms > self.now_ms() for x in self.lines.values() for o in x.exchange.book())
            differences = ["an order is still hidden"] if hidden else self.monitor.differences()
            if not differences or self.monitor.violations:
                return
        self.monitor.violations += [f"I12: {words}" for words in differences]


def simulate(seed: int, parts: Parts | None = None, *, keep_trace: bool = False) -> Outcome:
    """Run one seed. The same seed gives the same world, step by step."""
    # What a killed process had not begun yet is nothing to warn about.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    trace = Trace(keep_trace)
    swallowed()  # by the world before
    parts = parts or Parts()
    world = World(seed, parts, trace)
    with world.loop, ExitStack() as changed:
        changed.enter_context(mock.patch.object(order_lanes, "LOOK_EVERY_S", world.look_every_s))
        for module, name, instead in parts.instead:
            changed.enter_context(mock.patch.object(module, name, instead))
        world.run()
    for life in (world.life, world.web, *world.stopped):
        world.loop.kill(life)
    return Outcome(
        seed,
        tuple(world.monitor.violations),
        tuple(trace.lines),
        world.nemesis.used,
        len(world.database.books.orders),
        world.intents,
        world.steps,
        world.loop.slices,
        world.loop.time(),
    )


def _in_order(failure: BaseException) -> bool:
    if isinstance(failure, BaseExceptionGroup):
        return all(_in_order(inner) for inner in failure.exceptions)
    return isinstance(failure, MAY_END_A_WORKER)
