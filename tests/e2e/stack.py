"""The real thing for tests: `plumbline up` as a user starts it, with a folder and ports of its own."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from app.os_processes import free_port

READY = re.compile(r"Plumbline is ready at (\S+)")
SETUP_LINK = re.compile(r"(https?://\S+/setup\S*)")


class Stack:
    """One installation in `home`. Everything it prints is kept in `lines`."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PORT": str(self.port),
            "PAPER_PORT": str(free_port()),
            "DATA_DIR": str(home),
            **environment,
        }
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._unread: queue.Queue[str] = queue.Queue()

    def launch(self) -> None:
        """Start `plumbline up` without waiting for anything."""
        given = {name: value for name, value in os.environ.items() if not name.startswith("DATABASE_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up"],
            env={**given, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def start(self, *, within_s: float = 240) -> None:
        """Start it and return when it says that it is ready."""
        self.launch()
        self.wait_for(READY, within_s=within_s)

    def wait_for(self, pattern: re.Pattern[str], *, within_s: float) -> str:
        """The first group of the next line that matches; fails with all that was printed."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                line = self._unread.get(timeout=left_s)
            except queue.Empty:
                break
            if match := pattern.search(line):
                return match[1] if match.groups() else match[0]
        raise AssertionError(
            f"no line like {pattern.pattern!r} within {within_s} s; it said:\n" + "\n".join(self.lines)
        )

    def setup_link(self) -> str:
        """The one-time link for the first admin, printed after the ready line."""
        return self.wait_for(SETUP_LINK, within_s=10)

    def descendants(self) -> list[psutil.Process]:
        """Every process that belongs to it now."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, command: str) -> psutil.Process:
        """The child that runs `plumbline <command>`."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            if process.cmdline()[-1:] == [command]:
                return process
        raise AssertionError(f"no child runs {command}")

    def stop(self, *, within_s: float = 30) -> int:
        """Ctrl-C; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(within_s)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._unread.put(line.rstrip("\n"))


@contextmanager
def new_stack(**environment: str) -> Iterator[Stack]:
    """A stack in a fresh folder, not started; stopped and removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="plumbline-e2e-"))
    stack = Stack(home, **environment)
    try:
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)
