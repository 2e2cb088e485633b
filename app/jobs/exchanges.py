"""The exchanges the worker reaches: one a kind of account, each with its own addresses, clock and request budget.

Testnet and live are asked nothing before somebody has an account there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from app.config import Settings
from app.jobs.clock_keeper import ClockKeeper
from app.logs import get_logger
from app.models.execution import AccountKind
from app.services.exchange.binance import BinanceMarketData, BinanceSession
from app.services.exchange.clock import OffsetSample, measure_offset
from app.services.exchange.endpoints import Endpoints, endpoints_of
from app.services.exchange.signing import Signer
from app.services.exchange.weight import WeightBudget
from app.services.runtime import SystemClock

log = get_logger(__name__)

Told = Callable[[OffsetSample], Awaitable[None]]


class Exchange:
    """One exchange. Make it inside a running loop. Every call to it takes from the one `budget`."""

    def __init__(
        self, kind: AccountKind, endpoints: Endpoints, clock: SystemClock, *, jitter: Callable[[], float], told: Told
    ) -> None:
        self.kind = kind
        self.clock = clock
        self._endpoints = endpoints
        self._jitter = jitter
        self.budget = WeightBudget(clock=clock)
        self.market = BinanceMarketData(endpoints, clock=clock, budget=self.budget, jitter=jitter)
        self.keeper = ClockKeeper(clock, lambda: measure_offset(self.market, clock.now_ms), told)

    def open_session(self, api_key: str, key: Signer) -> BinanceSession:
        """A trading session of one key. It lets no order out that this exchange's clock forbids."""
        return BinanceSession(
            self._endpoints,
            api_key,
            key,
            clock=self.clock,
            budget=self.budget,
            jitter=self._jitter,
            may_sign=lambda is_exit: self.keeper.may_exit() if is_exit else not self.keeper.why_not(),
        )


class Exchanges:
    """All of them; `in_use` are those that somebody has an account on. `told` hears the worst offset among them."""

    def __init__(
        self, settings: Settings, paper_clock: SystemClock, *, jitter: Callable[[], float], told: Told
    ) -> None:
        self._told = told
        self._offsets: dict[AccountKind, OffsetSample] = {}
        self._used: set[AccountKind] = set()
        self._all: Mapping[AccountKind, Exchange] = {
            kind: Exchange(
                kind,
                endpoints_of(kind, settings),
                paper_clock if kind is AccountKind.PAPER else SystemClock(),
                jitter=jitter,
                told=self._hearing(kind),
            )
            for kind in AccountKind
        }

    def of(self, kind: str) -> Exchange:
        """The exchange of a kind of account, in use or not."""
        return self._all[AccountKind(kind)]

    @property
    def all(self) -> Iterable[Exchange]:
        """Every exchange, in use or not."""
        return self._all.values()

    @property
    def in_use(self) -> list[Exchange]:
        """Those that may be asked without being told to."""
        return [exchange for kind, exchange in self._all.items() if kind in self._used]

    def use(self, kinds: Iterable[str]) -> None:
        """From now on these kinds are in use, and no others."""
        self._used = {AccountKind(kind) for kind in kinds}
        self._offsets = {kind: sample for kind, sample in self._offsets.items() if kind in self._used}

    def open_session(self, kind: str, api_key: str, key: Signer) -> BinanceSession:
        """A trading session on the exchange of a kind of account."""
        return self.of(kind).open_session(api_key, key)

    async def probe(self, kind: str, api_key: str, key: Signer) -> BinanceSession:
        """A session to ask with once, the exchange's time being known. Raises AskingFailed."""
        await self.of(kind).keeper.sync()
        return self.of(kind).open_session(api_key, key)

    async def each(self, work: Callable[[Exchange], Awaitable[object]]) -> None:
        """Do this with every exchange in use, side by side: one that fails takes nothing from the others.

        Raises the first failure, once all are done.
        """
        exchanges = self.in_use
        results = await asyncio.gather(*(work(exchange) for exchange in exchanges), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for exchange, result in zip(exchanges, results, strict=True):
            if isinstance(result, BaseException) and len(exchanges) > 1:
                log.warning("an exchange failed", exchange=exchange.kind.value, error=str(result))
        if failures:
            raise failures[0]

    def why_not(self) -> str:
        """Why strategies make no entries now: the clock of an exchange in use is off. "" when they may."""
        return next((why for exchange in self.in_use if (why := exchange.keeper.why_not())), "")

    async def sync_clocks(self) -> None:
        """Measure the offset to every exchange in use. Raises AskingFailed, once all were asked."""
        await self.each(lambda exchange: exchange.keeper.sync())

    async def close(self) -> None:
        """Release the connections."""
        for exchange in self._all.values():
            await exchange.market.close()

    def _hearing(self, kind: AccountKind) -> Told:
        async def hear(sample: OffsetSample) -> None:
            self._offsets[kind] = sample
            in_use = [one for of, one in self._offsets.items() if of in self._used]
            await self._told(max(in_use or [sample], key=lambda one: abs(one.offset_ms)))

        return hear
