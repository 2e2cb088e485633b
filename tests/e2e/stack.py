"""The real thing: `plumbline up` as a child process with a DATA_DIR and ports of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg

from app.config import Settings
from app.os_processes import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.prefix) / "bin" / "plumbline"
#: A first start may have to build the browser app.
READY_WITHIN_S = 240.0
STOPPED_WITHIN_S = 30.0

READY = re.compile(r"Plumbline is ready at (\S+)")
SETUP_LINK = re.compile(r"https?://\S+/setup\S*")
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, *, within_s: float = 30.0, every_s: float = 0.05) -> Found:
    """Look until there is something; AssertionError naming `what` when there is not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)
    return found


def clean_environment(**own: str) -> dict[str, str]:
    """This process's environment without any setting of Plumbline's, plus `own`."""
    settings = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in settings} | own


class Stack:
    """One installation. Everything it prints is kept in `lines`."""

    #: What is started; it stands for `plumbline up`.
    command: Sequence[str] = (str(COMMAND), "up")

    def __init__(self, home: Path | None = None, **environment: str) -> None:
        self.home = home or Path(tempfile.mkdtemp(prefix="plumbline-e2e-"))
        self._own_folder = home is None
        self.port, self.paper_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.paper_url = f"http://127.0.0.1:{self.paper_port}"
        self.environment = {
            "PORT": str(self.port),
            "PAPER_PORT": str(self.paper_port),
            "DATA_DIR": str(self.home),
            **environment,
        }
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._read_to = 0
        self._seen: dict[int, psutil.Process] = {}

    # --- life ----------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start `plumbline up` without waiting for anything."""
        self.process = subprocess.Popen(
            list(self.command),
            cwd=ROOT,
            env=clean_environment(**self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C of the tests is not its; we stop it
        )
        self._reader = threading.Thread(target=self._keep_output, args=(self.process,), daemon=True)
        self._reader.start()

    def start(self, *, within_s: float = READY_WITHIN_S) -> Stack:
        """Start it and return when it says that it is ready."""
        self.launch()
        self.wait_for(READY, within_s=within_s)
        self._remember_children()
        return self

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; the exit code. AssertionError when it does not, or when anything it started is left."""
        if self.process is None:
            return 0
        self._remember_children()
        if self.process.poll() is None:
            self.process.send_signal(stop_signal)
        try:
            code = self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = None
        left = self._end_the_rest()
        self.process = None
        assert code is not None, f"it did not stop within {STOPPED_WITHIN_S:g} s\n{self.output()}"
        assert not left, f"left running after a stop: {left}\n{self.output()}"
        return code

    def remove(self) -> None:
        """Delete its folder, if it was made here."""
        if self._own_folder:
            shutil.rmtree(self.home, ignore_errors=True)

    # --- looking in ----------------------------------------------------------------------------------

    def wait_for(self, pattern: re.Pattern[str], *, within_s: float = 30.0) -> str:
        """The first group of the next line that matches; fails with all that was printed."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            while self._read_to < len(self.lines):
                self._read_to += 1
                if match := pattern.search(self.lines[self._read_to - 1]):
                    return match[1] if match.groups() else match[0]
            if self.process is not None and self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"no line like {pattern.pattern!r} within {within_s:g} s\n{self.output()}")

    def setup_link(self) -> str:
        """The one-time link for the first admin."""
        found = (match[0] for line in list(self.lines) if (match := SETUP_LINK.search(line)))
        return next(found, "") or self.wait_for(SETUP_LINK, within_s=10)

    def output(self) -> str:
        """What it printed, and the end of each log."""
        parts = ["--- printed", *self.lines]
        for path in sorted((self.home / "logs").glob("*.log")):
            parts += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-25:]]
        return "\n".join(parts)

    def descendants(self) -> list[psutil.Process]:
        """Every process that belongs to it now."""
        assert self.process is not None
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, command: str) -> psutil.Process:
        """The child that runs `plumbline <command>`."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            if process.cmdline()[-1:] == [command]:
                return process
        raise AssertionError(f"no child runs {command}")

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /health; (0, {}) when nobody answers."""
        try:
            answer = httpx.get(f"{self.url}/health", timeout=5, trust_env=False)
            return answer.status_code, answer.json()
        except (httpx.HTTPError, ValueError):
            return 0, {}

    def healthy(self) -> bool:
        """Whether orders are accepted."""
        return self.health()[0] == 200

    def database(self, role: str = "web") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to its embedded database as one of the roles (autocommit)."""
        return psycopg.connect((self.home / "secrets" / f"{role}.url").read_text().strip(), autocommit=True)

    def paper_books(self, exchange_account_id: int) -> dict[str, Any]:
        """What the paper exchange itself has in its books about an account (it counts them from 1)."""
        token = (self.home / "secrets" / "paper.token").read_text().strip()
        answer = httpx.get(
            f"{self.paper_url}/paper/books/{exchange_account_id}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        books: dict[str, Any] = answer.json()
        return books

    # --- inside --------------------------------------------------------------------------------------

    def _keep_output(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))

    def _remember_children(self) -> None:
        if self.process is not None and self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[child.pid] = child

    def _end_the_rest(self) -> list[str]:
        """Kill what is left of those seen (psutil compares start times: a pid used anew is somebody else)."""
        left = []
        for process in self._seen.values():
            try:
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
                    process.kill()
            except psutil.NoSuchProcess:
                continue
        self._seen.clear()
        return left


@contextmanager
def new_stack(**environment: str) -> Iterator[Stack]:
    """A stack in a fresh folder, not started; stopped and removed afterwards."""
    stack = Stack(None, **environment)
    try:
        yield stack
    finally:
        try:
            stack.stop()
        finally:
            stack.remove()
