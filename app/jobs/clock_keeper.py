"""One exchange's time as this worker knows it: measured each minute, and at once when there is reason to doubt it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.logs import get_logger
from app.services.exchange.clock import ClockVerdict, OffsetSample, verdict
from app.services.runtime import SystemClock

log = get_logger(__name__)

#: A refusal for the time asks for a measurement, but not one refusal after the other: a slow way is no wrong clock.
REFUSALS_EVERY_S = 5.0
#: Between two measurements that doubt asks for.
DOUBTS_EVERY_S = 1.0


class ClockKeeper:
    """Measures, judges, and says when no order may be signed. `measure` raises AskingFailed, `told` hears of each."""

    def __init__(
        self,
        clock: SystemClock,
        measure: Callable[[], Awaitable[OffsetSample]],
        told: Callable[[OffsetSample], Awaitable[None]],
        *,
        refusals_every_s: float = REFUSALS_EVERY_S,
        doubts_every_s: float = DOUBTS_EVERY_S,
    ) -> None:
        self._clock = clock
        self._measure = measure
        self._told = told
        self._verdict = verdict(None)
        self._doubt = ""  # why the offset may be wrong; "" once it has been measured again
        self._tried = True  # whether it was asked for since
        self._tried_s = float("-inf")  # loop time of the last measurement, whatever came of it
        self._refusals_every_s, self._doubts_every_s = refusals_every_s, doubts_every_s
        self._doubted = asyncio.Event()

    async def sync(self) -> None:
        """Measure the offset to the exchange and go by it. Raises AskingFailed; the last one then stays."""
        self._tried_s = asyncio.get_running_loop().time()
        try:
            sample = await self._measure()
        finally:
            self._tried = True
        self._clock.offset_ms = sample.offset_ms
        self._verdict, self._doubt = verdict(sample.offset_ms), ""
        drift_s = sample.offset_ms / 1000
        match self._verdict:
            case ClockVerdict.BLOCK:
                log.error("the clock is off: new orders are blocked", time_drift_seconds=drift_s)
            case ClockVerdict.WARN:
                log.warning("the clock drifts", time_drift_seconds=drift_s)
            case ClockVerdict.FINE:
                log.info("clock checked", time_drift_seconds=drift_s)
        await self._told(sample)

    async def sync_on_doubt(self) -> None:
        """Wait until there is reason to doubt the offset, then measure it; called again and again."""
        await self._doubted.wait()
        wait_s = self._tried_s + self._doubts_every_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if self._doubt:
            await self.sync()
        self._doubted.clear()

    def was_refused(self) -> None:
        """The exchange refused a request for its timestamp (-1021). Measured just now, the offset is not to blame."""
        if asyncio.get_running_loop().time() - self._tried_s > self._refusals_every_s:
            self._distrust("the exchange refused a request for its time")

    def why_not(self) -> str:
        """Why no new order may be signed now; "" when one may."""
        if self._clock.has_jumped:
            self._distrust("this machine slept, or its clock was set")
        if self._doubt:
            return f"{self._doubt}; its offset to the exchange is being measured"
        if self._verdict is ClockVerdict.BLOCK:
            return "the clock differs from the exchange's by more than 5 s"
        return ""

    def may_exit(self) -> bool:
        """Whether an exit may be signed: drift does not matter, for signing is corrected, and doubt only until the
        exchange has been asked for its time, whatever came of that."""
        self.why_not()
        return self._tried

    def _distrust(self, reason: str) -> None:
        if not self._doubt:
            log.warning("the clock is doubted", reason=reason)
            self._doubt, self._tried = reason, False
            self._doubted.set()
