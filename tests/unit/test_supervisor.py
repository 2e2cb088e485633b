"""Children are started again with growing pauses, stopped when asked, and never outlive us."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from app.config import Settings
from app.database.urls import url_file
from app.domain.errors import Conflict
from app.os_processes import PARENT_VARIABLE
from app.secret_files import write_secret
from app.supervisor.child import Child, Program
from app.supervisor.data_dir import locked, make_data_dir
from app.supervisor.log_file import LogFile, loud_line
from app.supervisor.up import programs

STAYS = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


async def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.02)


class Told(list[str]):
    def has(self, part: str) -> bool:
        return any(part in line for line in self)


@asynccontextmanager
async def running(code: str, tmp_path: Path, told: Told, *, stop_within_s: float = 5) -> AsyncIterator[Child]:
    program = Program("worker", [sys.executable, "-c", code], dict(os.environ), stop_within_s)
    child = Child(program, tmp_path, told.append, first_pause_s=0.05)
    task = asyncio.create_task(child.keep_running())
    try:
        yield child
    finally:
        await child.stop()
        await asyncio.wait_for(task, 10)


def log_of(tmp_path: Path) -> str:
    path = tmp_path / "worker.log"
    return path.read_text() if path.exists() else ""


async def test_a_child_that_dies_is_started_again_and_we_are_told_how_it_died(tmp_path: Path) -> None:
    told = Told()
    async with running(STAYS, tmp_path, told) as child:
        await eventually(lambda: log_of(tmp_path) == "up\n", "first start")
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: log_of(tmp_path) == "up\nup\n", "second start")

    assert told.has("worker ended unexpectedly (killed by SIGKILL); starting it again in 0.05 s")


async def test_pauses_grow_and_the_same_last_words_are_told_once(tmp_path: Path) -> None:
    told = Told()
    async with running("raise SystemExit('no luck')", tmp_path, told) as child:
        await eventually(lambda: child.restarts >= 3, "three restarts")

    for pause in ("0.05 s", "0.1 s", "0.2 s"):
        assert told.has(f"(exit code 1); starting it again in {pause}")
    assert sum("no luck" in line for line in told) == 1


async def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    told = Told()
    async with running(STUBBORN, tmp_path, told, stop_within_s=0.2) as child:
        await eventually(lambda: log_of(tmp_path) == "up\n", "start")

    assert told == ["worker did not stop within 0.2 s and was killed"]
    assert child.pid is not None
    assert not psutil.pid_exists(child.pid)


async def test_warnings_reach_the_terminal_and_everything_the_file(tmp_path: Path) -> None:
    code = """import json, time
for level in ("info", "warning"):
    print(json.dumps({"event": "clock drifts", "level": level, "drift_ms": 1200, "logger": "x"}), flush=True)
time.sleep(60)"""
    told = Told()
    async with running(code, tmp_path, told):
        await eventually(lambda: bool(told), "a warning")

    assert told == ["worker: warning: clock drifts drift_ms=1200"]
    assert log_of(tmp_path).count("clock drifts") == 2


async def test_what_a_dead_child_left_behind_is_ended_before_the_next_start(tmp_path: Path) -> None:
    code = f"""import subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.DEVNULL)
print(left.pid, flush=True)
time.sleep(60)"""
    told = Told()
    async with running(code, tmp_path, told) as child:
        await eventually(lambda: log_of(tmp_path).endswith("\n"), "a grandchild")
        grandchild = psutil.Process(int(log_of(tmp_path)))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: child.restarts == 1, "second start")

        assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_children_do_not_outlive_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, sys
from pathlib import Path
from app.supervisor.child import Child, Program
program = Program("worker", [sys.executable, "-c", {STAYS!r}], dict(os.environ), 5)
child = Child(program, Path({str(tmp_path)!r}), print)
async def main():
    asyncio.create_task(child.keep_running())
    while child.pid is None:
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()

    child.wait(5)  # raises if it is still there


def test_a_process_notices_by_itself_that_its_parent_is_gone() -> None:
    """The way that does not depend on the kernel: the child sees that it was adopted."""
    child_code = "from app.os_processes import end_with_parent; end_with_parent(); import time; time.sleep(60)"
    code = f"""
import os, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", {child_code!r}], env={{**os.environ, {PARENT_VARIABLE!r}: str(os.getpid())}}
)
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()

    child.wait(10)


def test_a_log_file_stays_within_its_size(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "web.log", max_bytes=100)
    for number in range(100):
        log.write(f"line {number:04}".encode())
    log.close()

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["web.log", "web.log.1", "web.log.2", "web.log.3"]
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 110
    assert (tmp_path / "web.log").read_text().endswith("line 0099\n")


@pytest.mark.parametrize("line", [b"not json", b"[1]", b'{"event": "fine", "level": "info"}'])
def test_quiet_lines_stay_off_the_terminal(line: bytes) -> None:
    assert loud_line(line) is None


def test_an_error_is_told_with_the_last_line_of_its_traceback() -> None:
    line = json.dumps({"event": "job failed", "level": "error", "exception": "Traceback ...\n  x\nValueError: no"})

    assert loud_line(line.encode()) == "error: job failed ValueError: no"


def test_one_data_dir_serves_one_installation(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    make_data_dir(settings)

    with locked(settings):
        second = locked(settings)
        with pytest.raises(Conflict, match=f"already running on DATA_DIR .*process {os.getpid()}"):
            second.__enter__()
    with locked(settings):
        pass  # the first has let go


def test_every_process_is_handed_its_own_secrets_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://everything@h/d")
    settings = Settings(data_dir=tmp_path)
    make_data_dir(settings)
    for role in ("web", "worker"):
        write_secret(url_file(settings, role), f"postgresql://{role}@h/d")

    handed = {program.name: program.environment for program in programs(settings, tmp_path)}

    secrets = ("DATABASE_URL", "MASTER_KEY_FILE", "JWT_KEY_FILE", "PAPER_CONTROL_TOKEN_FILE")
    assert {name: {key for key in env if key.startswith(secrets)} for name, env in handed.items()} == {
        "paper": {"PAPER_CONTROL_TOKEN_FILE"},
        "worker": {"DATABASE_URL_WORKER", "MASTER_KEY_FILE", "PAPER_CONTROL_TOKEN_FILE"},
        "web": {"DATABASE_URL_WEB", "JWT_KEY_FILE"},
    }


def test_a_paper_exchange_elsewhere_is_not_started_here(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        paper_url="http://paper.internal:9000",
        database_url_web="postgresql://web@h/d",
        database_url_worker="postgresql://worker@h/d",
    )

    assert [program.name for program in programs(settings, tmp_path)] == ["worker", "web"]
