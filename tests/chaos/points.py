"""Named places in the worker at which it can be ended (SIGKILL) or stopped (SIGSTOP).

The product knows nothing of them: `install` wraps functions of a worker that the campaign has started itself, and
an order (`Blow`) in a file says at which of them this process is to hit itself. A place whose function is gone is
an AttributeError at once, so that a renamed function cannot make a point silently disappear.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.domain.orders import EventSource

FILE_VARIABLE = "CHAOS_BLOW_FILE"
#: How long after the call began a request counts as "on the wire".
ON_THE_WIRE_S = 0.0015

#: What a transaction may have written; each gives a point before and one after its commit.
WRITTEN = (
    "created", "attempt_sent", "acknowledged", "fill_applied", "rejected", "outcome_unknown", "cancel_requested",
    "canceled", "expired", "plan ENTERING", "plan PROTECTING", "plan PROTECTED", "plan EXITING", "plan CLOSED", "pass",
)  # fmt: skip
#: Calls to the exchange; each gives a point before it, while it is on the wire, and when the answer is there.
CALLS = (
    "place", "place_oco", "cancel", "query", "open_orders", "trades_of", "trades_from", "trades_since", "orders_since",
    "orders_from", "balances",
)  # fmt: skip
STEPS = ("event received", "lease taken", "recovery begins", "accounts held", "books compared", "runs stopped")
#: Points that only a starting worker passes.
OF_RECOVERY = ("lease taken", "recovery begins", "accounts held", "books compared", "runs stopped")

POINTS = (
    *(f"{what} written" for what in WRITTEN),
    *(f"{what} committed" for what in WRITTEN),
    *(f"{call} before" for call in CALLS),
    *(f"{call} on the wire" for call in CALLS),
    *(f"{call} answered" for call in CALLS),
    *STEPS,
)

Reach = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Blow:
    """Hit the worker at a point, after `skip` passes of it; `times` workers one after the other."""

    point: str
    signal: str = "SIGKILL"
    skip: int = 0
    times: int = 1


class BlowFile:
    """The order and, beside it, what came of it. The campaign writes the order, the worker the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._struck = path.with_suffix(".struck")

    def order(self, blow: Blow) -> None:
        """From now on the worker that reaches the point is hit."""
        self._struck.unlink(missing_ok=True)
        self._write(blow)

    def withdraw(self) -> None:
        """Nobody is hit any more."""
        self.path.unlink(missing_ok=True)

    @property
    def struck(self) -> int:
        """How often the worker was hit since the order."""
        return len(self._struck.read_text().splitlines()) if self._struck.exists() else 0

    def reach(self, point: str) -> None:
        """The worker is at this point."""
        try:
            blow = Blow(**json.loads(self.path.read_text()))
        except (FileNotFoundError, ValueError):  # none, or withdrawn or replaced just now
            return
        if blow.point != point:
            return
        if blow.skip:
            self._write(Blow(point, blow.signal, blow.skip - 1, blow.times))
            return
        if blow.times > 1:
            self._write(Blow(point, blow.signal, 0, blow.times - 1))
        else:
            self.path.unlink(missing_ok=True)
        with self._struck.open("a") as file:
            file.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.Signals[blow.signal])

    def _write(self, blow: Blow) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(asdict(blow)))
        new.replace(self.path)


def install(path: Path) -> None:
    """Put the points into this process. Call it before the worker is made."""
    reach = BlowFile(path).reach
    _into_transactions(reach)
    _into_calls(reach)
    _into_steps(reach)


# --- transactions ------------------------------------------------------------------------------------------


def _into_transactions(reach: Reach) -> None:
    from app.services.execution.store_postgres import PostgresStore, PostgresTransaction

    def noting(method: str, names: Callable[[Any], list[str]]) -> None:
        original = getattr(PostgresTransaction, method)

        async def wrapped(tx: Any, what: Any, *args: Any, **kwargs: Any) -> Any:
            result = await original(tx, what, *args, **kwargs)
            tx.__dict__.setdefault("_written", []).extend(names(what))
            return result

        setattr(PostgresTransaction, method, wrapped)

    noting("add_order", lambda step: [step.event.kind.value])
    noting("write", lambda steps: [step.event.kind.value for step in steps])
    noting("save_plan", lambda plan: [f"plan {plan.state}"])
    noting("record_pass", lambda result: ["pass"])
    transaction = PostgresStore.transaction

    @asynccontextmanager
    async def watched(store: PostgresStore) -> AsyncIterator[PostgresTransaction]:
        async with transaction(store) as tx:
            yield tx
            for what in tx.__dict__.get("_written", []):
                reach(f"{what} written")
        for what in tx.__dict__.get("_written", []):
            reach(f"{what} committed")

    PostgresStore.transaction = watched  # type: ignore[method-assign]


# --- the wire ----------------------------------------------------------------------------------------------


def _into_calls(reach: Reach) -> None:
    from app.services.exchange.binance import BinanceSession

    for name in CALLS:
        setattr(BinanceSession, name, _call(getattr(BinanceSession, name), name, reach))


def _call(original: Callable[..., Awaitable[Any]], name: str, reach: Reach) -> Callable[..., Awaitable[Any]]:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        reach(f"{name} before")
        timer = asyncio.get_running_loop().call_later(ON_THE_WIRE_S, reach, f"{name} on the wire")
        try:
            result = await original(*args, **kwargs)
        finally:
            timer.cancel()
        reach(f"{name} answered")
        return result

    return wrapped


# --- other steps -------------------------------------------------------------------------------------------


def _into_steps(reach: Reach) -> None:
    from app.jobs import worker
    from app.jobs.recovery import Recovery
    from app.services.execution.lease import Lease
    from app.services.execution.submit import Submitter

    def wrap(owner: Any, name: str, *, before: Callable[..., str] | None = None, after: str = "") -> None:
        original = getattr(owner, name)

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before is not None and (point := before(*args, **kwargs)):
                reach(point)
            result = await original(*args, **kwargs)
            if after and result is not False:
                reach(after)
            return result

        setattr(owner, name, wrapped)

    def from_stream(_self: Any, _account: int, _report: Any, source: EventSource) -> str:
        return "event received" if source is EventSource.EXCHANGE else ""

    wrap(Submitter, "apply", before=from_stream)
    wrap(Lease, "acquire", after="lease taken")
    wrap(Recovery, "hold", before=lambda *_: "recovery begins", after="accounts held")
    wrap(worker, "stop_runs_after_recovery", before=lambda *_, **__: "books compared", after="runs stopped")


def point_file() -> Path | None:
    """The file named in the environment, if any."""
    with contextlib.suppress(KeyError):
        return Path(os.environ[FILE_VARIABLE])
    return None


__all__ = ["FILE_VARIABLE", "OF_RECOVERY", "POINTS", "Blow", "BlowFile", "install", "point_file"]
