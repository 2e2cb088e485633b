"""One supervised process: started, its output kept, started again when it dies, stopped when asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.os_processes import PARENT_VARIABLE, die_with_parent
from app.supervisor.log_file import LogFile, loud_line

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: A child that lived this long has proved itself: its next death starts the back-off anew.
PROVEN_AFTER_S = 60.0
_MAX_LINE_BYTES = 1024 * 1024

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: its name for people, its command, its whole environment, how long it may take to stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_within_s: float


class Child:
    """Keeps `program` running; what it prints goes to `logs_dir/<name>.log`, warnings also to `say`."""

    def __init__(self, program: Program, logs_dir: Path, say: Say, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self.program = program
        self.pid: int | None = None
        self.restarts = 0
        self._log_path = logs_dir / f"{program.name}.log"
        self._say = say
        self._first_pause_s = first_pause_s
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=5)
        self._told: list[str] = []

    async def keep_running(self) -> None:
        """Run it, again and again with growing pauses, until `stop`."""
        pause_s = self._first_pause_s
        log = LogFile(self._log_path)
        try:
            while not self._stopping.is_set():
                started = time.monotonic()
                code = await self._run_once(log)
                if self._stopping.is_set():
                    return
                if time.monotonic() - started > PROVEN_AFTER_S:
                    pause_s = self._first_pause_s
                self._tell_death(code, pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                self.restarts += 1
        finally:
            log.close()

    async def stop(self) -> None:
        """Ask it to end, wait as long as it may take, then end it and all it started the hard way."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.program.stop_within_s)
        except TimeoutError:
            self._say(f"{self.program.name} did not stop within {self.program.stop_within_s:g} s and was killed")
            _kill_group(process.pid)
            await process.wait()

    async def _run_once(self, log: LogFile) -> int:
        # A pipe of our own: asyncio's would make `wait` wait for every grandchild that has inherited it.
        read_end, write_end = os.pipe()
        output = asyncio.create_task(self._keep_output(read_end, log))
        try:
            process = await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env={**self.program.environment, PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,  # Ctrl-C is for us; we stop the children in order
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        finally:
            os.close(write_end)
        self._process, self.pid = process, process.pid
        if self._stopping.is_set():  # asked to stop while starting
            process.terminate()
        code = await process.wait()
        _kill_group(process.pid)  # what it has started and left behind would hold its port
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(output, 1)
        return code

    async def _keep_output(self, read_end: int, log: LogFile) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        rest = b""
        try:
            while chunk := await reader.read(65_536):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in filter(None, lines):
                    self._keep_line(line, log)
            if rest:
                self._keep_line(rest, log)
        finally:
            transport.close()

    def _keep_line(self, line: bytes, log: LogFile) -> None:
        log.write(line)
        if (loud := loud_line(line)) is not None:
            self._say(f"{self.program.name}: {loud}")
        elif not line.startswith(b"{"):
            self._last_lines.append(line.decode("utf-8", "replace"))

    def _tell_death(self, code: int, pause_s: float) -> None:
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        self._say(f"{self.program.name} ended unexpectedly ({how}); starting it again in {pause_s:g} s")
        lines = list(self._last_lines)
        self._last_lines.clear()
        if lines and lines != self._told:  # the same end again needs no second telling
            self._say("\n".join(f"  {line}" for line in [*lines, f"(all of it in {self._log_path})"]))
        self._told = lines


def _kill_group(leader: int) -> None:
    """End whatever is left of a child's session; each child leads one of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
