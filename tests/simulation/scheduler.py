"""An event loop without real time: which runnable task goes next, and how late it wakes, is drawn from the seed.

Everything that runs belongs to a `Life`: a process of ours that can be killed or stopped between any two awaits, or
the world outside (the network, the exchange, people), which goes on whatever happens to us.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any


class Life:
    """One process. Dead: everything it had in memory is dropped. Stopped: it wakes later and knows of nothing."""

    def __init__(self, name: str, *, oversleep_s: float = 0.0) -> None:
        self.name = name
        self.oversleep_s = oversleep_s  # a busy machine wakes up to this much late
        self.alive = True
        self.stopped = False
        self.slices_left: int | None = None  # set: it dies after so many slices
        self.tasks: list[asyncio.Task[Any]] = []
        self.failures: list[BaseException] = []
        self.parked: list[Handle] = []


OUTSIDE = Life("outside")
_LIFE: ContextVar[Life] = ContextVar("life", default=OUTSIDE)


class Handle:
    """A callback to run: `asyncio.Handle` and `TimerHandle`, as far as asyncio uses them, and whose it is."""

    __slots__ = ("args", "callback", "context", "gone", "life")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, life: Life) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.life = life
        self.gone = False

    def cancel(self) -> None:
        """It is passed over when its turn comes."""
        self.gone = True


class SimLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that asyncio's own tasks, futures, sleeps, events and time-outs need."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now_s = 0.0
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self.slices = 0
        self.on_death: Callable[[Life], None] = lambda life: None
        self.outside = Context()  # where the network and the exchange run

    # --- what asyncio asks -----------------------------------------------------------------------------

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def time(self) -> float:
        """Virtual seconds since the world began."""
        return self._now_s

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        context = copy_context() if context is None else context
        life = context.get(_LIFE, OUTSIDE)
        handle = Handle(callback, args, context, life)
        if life.alive:  # what a dead process's memory still says while it is swept is not heard
            self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        context = copy_context() if context is None else context
        life = context.get(_LIFE, OUTSIDE)
        if life.oversleep_s:
            when += self._rng.random() * life.oversleep_s
        handle = Handle(callback, args, context, life)
        if life.alive:
            self._count += 1
            heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None) -> Any:
        life = _LIFE.get()
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        life.tasks.append(task)
        task.add_done_callback(_ended)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback raised: the simulation's own fault. What becomes of a killed process's tasks is nobody's."""
        if "task" in context or "future" in context:
            return
        raise context.get("exception") or RuntimeError(context["message"])

    # --- lives -----------------------------------------------------------------------------------------

    def start(self, life: Life, work: Coroutine[Any, Any, Any]) -> None:
        """Begin a process with this as its main task."""
        context = copy_context()
        context.run(_LIFE.set, life)
        context.run(self.create_task, work)

    def kill(self, life: Life) -> None:
        """Drop everything the process has in memory, at once."""
        life.alive = False
        for task in life.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._ready = [h for h in self._ready if h.life is not life]
        self._timers = [t for t in self._timers if t[2].life is not life]
        heapq.heapify(self._timers)
        for task in life.tasks:
            if not task.done():
                task.get_coro().close()  # type: ignore[union-attr]
        life.tasks.clear()
        life.parked.clear()

    def resume(self, life: Life) -> None:
        """Let a stopped process go on where it was."""
        life.stopped = False
        self._ready.extend(life.parked)
        life.parked.clear()

    # --- running ---------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Run everything that is due until `seconds` from now."""
        until_s = self._now_s + seconds
        while True:
            self.settle()
            if not self._timers or self._timers[0][0] > until_s:
                break
            self._now_s = max(self._now_s, self._timers[0][0])
            while self._timers and self._timers[0][0] <= self._now_s:
                timer = heapq.heappop(self._timers)[2]
                if not timer.gone:
                    self._ready.append(timer)
        self._now_s = until_s

    def settle(self) -> None:
        """Run until nobody can go on without time passing: one slice between two awaits at a time."""
        draw = self._rng.random
        while ready := self._ready:  # a death replaces the list
            at = int(draw() * len(ready))
            handle = ready[at]
            ready[at] = ready[-1]
            ready.pop()
            if handle.gone:
                continue
            life = handle.life
            if life.stopped:
                life.parked.append(handle)
                continue
            self.slices += 1
            handle.context.run(handle.callback, *handle.args)
            if life.slices_left is not None:
                life.slices_left -= 1
                if life.slices_left <= 0:
                    life.slices_left = None
                    self.on_death(life)

    def __enter__(self) -> SimLoop:
        events._set_running_loop(self)
        return self

    def __exit__(self, *_: object) -> None:
        events._set_running_loop(None)


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _LIFE.get().failures.append(error)
