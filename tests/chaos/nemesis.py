"""Carries out what a round has drawn: signals, cut connections, faults of the exchange."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Mapping

import psutil
from stack import wait_for

from tests.chaos.chaos_stack import ChaosStack
from tests.chaos.draw import Draw
from tests.chaos.points import OF_RECOVERY, Blow

STOP, CONT, KILL, TERM = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL, signal.SIGTERM
#: How long a worker may need until it comes past an ordered point, s.
REACHED_WITHIN_S = 8.0
Say = Callable[[str], None]


class Nemesis:
    """One round's. `missed` is the point that nobody came past."""

    def __init__(self, stack: ChaosStack, draw: Draw, say: Say) -> None:
        self._stack = stack
        self._draw = draw
        self._say = say
        self.missed = ""

    def strike(self) -> None:
        """Weather first, then the nemesis at its time; returns when it is over and everything may go on."""
        for fault in self._draw.weather:
            self._stack.fault(fault)
        if self._draw.point:
            self._at_point()
        elif self._draw.kind in _ACTS:
            time.sleep(self._draw.at_s)
            self._say(self._draw.kind)
            _ACTS[self._draw.kind](self)
        else:  # the weather is all there is
            time.sleep(self._draw.at_s + self._draw.lasts_s)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self._stack.blows.withdraw()
        self._stack.awake()
        wait_for(lambda: self._stack.fault(None), "the exchange answers", within_s=30, every_s=0.2)
        self._stack.awake()

    # --- at a point ------------------------------------------------------------------------------------

    def _at_point(self) -> None:
        draw, stack = self._draw, self._stack
        name = "SIGSTOP" if draw.stops else "SIGKILL"
        recovers = draw.point in OF_RECOVERY
        stack.blows.order(Blow(draw.point, name, draw.skip, times=2 if recovers and not draw.stops else 1))
        if recovers:
            time.sleep(draw.at_s)
            stack.send("worker", KILL)
        deadline = time.monotonic() + REACHED_WITHIN_S + draw.at_s
        compare_at = time.monotonic()
        while not stack.blows.struck:
            if time.monotonic() > deadline:
                self.missed = draw.point
                self._say(f"nobody came past '{draw.point}'")
                return
            if time.monotonic() >= compare_at:  # so that a pass is among what can be hit
                stack.compare_now()
                compare_at += 2
            time.sleep(0.1)
        self._say(f"{name} at '{draw.point}'")
        if draw.stops:
            time.sleep(draw.lasts_s)
            stack.send("worker", CONT)

    # --- processes -------------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        """SIGKILL."""
        self._stack.send("worker", KILL)

    def kill_worker_twice(self) -> None:
        """Again while it starts, or soon after."""
        first = self._stack.send("worker", KILL)
        self._next("worker", first)
        time.sleep(self._draw.lasts_s)
        self._stack.send("worker", KILL)

    def stop_worker(self) -> None:
        """SIGSTOP, then SIGCONT."""
        self._pause("worker")

    def two_workers(self) -> None:
        """The worker is stopped until another has taken over and trades; then it wakes."""
        stack = self._stack
        epoch = int(stack.health()[1].get("epoch", 0))
        stopped = stack.send("worker", STOP)
        with stack.second_worker() as second:
            try:
                wait_for(lambda: int(stack.health()[1].get("epoch", 0)) > epoch and stack.healthy(),
                         "the second worker takes over", within_s=90, every_s=0.2)  # fmt: skip
                self._say("the second worker trades; the first wakes")
            finally:
                if stopped is not None:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        stopped.send_signal(CONT)
            time.sleep(self._draw.lasts_s)
            assert second.poll() is None, "the second worker ended by itself"

    def kill_exchange(self) -> None:
        """SIGKILL."""
        self._stack.send("paper", KILL)

    def stop_exchange(self) -> None:
        """SIGSTOP, then SIGCONT."""
        self._pause("paper")

    def kill_worker_and_exchange(self) -> None:
        """Both, one after the other."""
        self._stack.send("paper", KILL)
        time.sleep(self._draw.lasts_s / 20)
        self._stack.send("worker", KILL)

    def kill_web(self) -> None:
        """SIGKILL."""
        self._stack.send("web", KILL)

    def kill_everything(self) -> None:
        """All but the supervisor."""
        for name in ("worker", "paper", "web"):
            self._stack.send(name, KILL)
        self.crash_database()

    def restart(self) -> None:
        """SIGTERM for all of it, and a new start."""
        self._stack.stop()
        self._stack.start()

    # --- the database ----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Every connection, once."""
        self._say(f"{self._stack.cut_connections()} connections cut")

    def cut_again_and_again(self) -> None:
        """The worker's, four times a second."""
        until = time.monotonic() + self._draw.lasts_s
        while time.monotonic() < until:
            self._stack.cut_connections("plumbline-worker%")
            time.sleep(0.25)

    def stop_database(self) -> None:
        """SIGSTOP for every process of it, then SIGCONT."""
        stopped = self._stack.postgres()
        _send(stopped, STOP)
        time.sleep(self._draw.lasts_s)
        _send(stopped, CONT)

    def stop_postmaster(self) -> None:
        """Nobody gets a new connection, and everybody needs one."""
        stopped = self._stack.postgres()[:1]
        with self._stack.superuser() as database:
            _send(stopped, STOP)
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'plumbline-%'"
            )
        time.sleep(self._draw.lasts_s)
        _send(stopped, CONT)

    def crash_database(self) -> None:
        """A backend is killed: the postmaster ends all others and recovers from its log."""
        with contextlib.suppress(StopIteration):
            _send([next(p for p in self._stack.postgres()[1:] if "worker" in " ".join(p.cmdline()))], KILL)

    # --- helpers ---------------------------------------------------------------------------------------

    def _pause(self, name: str) -> None:
        self._stack.send(name, STOP)
        time.sleep(self._draw.lasts_s)
        self._stack.send(name, CONT)

    def _next(self, name: str, last: psutil.Process | None) -> None:
        def another() -> bool:
            with contextlib.suppress(AssertionError):
                return last is None or self._stack.child(name).pid != last.pid
            return False

        wait_for(another, f"another {name}", within_s=20)


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


_ACTS: Mapping[str, Callable[[Nemesis], None]] = {
    "worker killed": Nemesis.kill_worker,
    "worker killed twice": Nemesis.kill_worker_twice,
    "worker stopped": Nemesis.stop_worker,
    "two workers": Nemesis.two_workers,
    "exchange killed": Nemesis.kill_exchange,
    "exchange stopped": Nemesis.stop_exchange,
    "worker and exchange killed": Nemesis.kill_worker_and_exchange,
    "connections cut": Nemesis.cut,
    "connections cut again and again": Nemesis.cut_again_and_again,
    "database stopped": Nemesis.stop_database,
    "postmaster stopped": Nemesis.stop_postmaster,
    "database crashes": Nemesis.crash_database,
    "everything killed": Nemesis.kill_everything,
    "web killed": Nemesis.kill_web,
    "plumbline stopped and started": Nemesis.restart,
}
