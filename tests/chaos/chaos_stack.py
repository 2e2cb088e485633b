"""The installation that is maltreated: real processes, with the means to hit each of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
from api_client import Api
from stack import ROOT, Stack

from tests.chaos import launch, mutants, points
from tests.chaos.worker import WEIGHT_LIMIT

#: All of the death bound in a few seconds. The exchange's delays stay below it (see `draw.WEATHER`).
SCALED = {"RECV_WINDOW_MS": "1500", "ENGINE_TIMEOUT_MS": "500", "VISIBILITY_MARGIN_MS": "1500", "LEASE_TTL_S": "5"}
SCALED_BOUND_S, REAL_BOUND_S = 3.5, 75.0
#: A small market, limits wide enough for a worker that is started again every few seconds.
PAPER_OPTIONS = f"--faults --symbols BTCUSDT,ETHUSDT --history-days 3 --weight-limit {WEIGHT_LIMIT} --order-limit 1000"


class ChaosStack(Stack):
    """`plumbline up`, its worker with crash points, its exchange with faults; see `launch`."""

    command: Sequence[str] = (sys.executable, "-m", "tests.chaos.launch")

    def __init__(self, home: Path | None = None, *, real_bound: bool = False, mutant: str = "") -> None:
        super().__init__(home, **({} if real_bound else SCALED))
        self.bound_s = REAL_BOUND_S if real_bound else SCALED_BOUND_S
        self.api: Api | None = None
        self.blows = points.BlowFile(self.home / "blow.json")
        self.environment |= {
            points.FILE_VARIABLE: str(self.blows.path),
            launch.PAPER_VARIABLE: PAPER_OPTIONS,
            mutants.VARIABLE: mutant,
            mutants.MARKS_VARIABLE: str(self.home / "marks"),
            "PYTHONPATH": str(ROOT),
        }

    # --- processes -------------------------------------------------------------------------------------

    def child(self, command: str) -> psutil.Process:
        """The supervised process `worker`, `paper` or `web`; AssertionError when it does not run now."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if command in process.cmdline()[2:5] and process.status() != psutil.STATUS_ZOMBIE:
                    return process
        raise AssertionError(f"no {command} runs")

    def send(self, command: str, number: signal.Signals) -> psutil.Process | None:
        """Send a signal to a child, if it runs now."""
        with contextlib.suppress(AssertionError, psutil.NoSuchProcess):
            process = self.child(command)
            process.send_signal(number)
            return process
        return None

    def postgres(self) -> list[psutil.Process]:
        """The database's processes, the postmaster first; none while it is down."""
        try:
            pid = int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children()]
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return []

    def awake(self) -> None:
        """SIGCONT for whatever is stopped."""
        for name in ("paper", "worker", "web"):
            self.send(name, signal.SIGCONT)
        for process in self.postgres():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def second_worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Another worker with the environment of the first, as after a failover; ended by SIGTERM."""
        environment = self.child("worker").environ() | {"PLUMBLINE_PARENT_PID": str(os.getpid())}
        with (self.home / "logs" / "second-worker.log").open("ab") as log:
            command = [sys.executable, "-m", "tests.chaos.worker", "worker"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # --- the exchange ----------------------------------------------------------------------------------

    def fault(self, body: dict[str, Any] | None) -> bool:
        """Ask the exchange for a fault; None takes all away. False when it does not run now."""
        token = (self.home / "secrets" / "paper.token").read_text().strip()
        method = "POST" if body is not None else "DELETE"
        url, headers = f"{self.paper_url}/paper/faults", {"Authorization": f"Bearer {token}"}
        try:
            answer = httpx.request(method, url, json=body, headers=headers, timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        assert answer.status_code == 200, f"{body}: {answer.text}"
        return True

    def price(self, symbol: str) -> float:
        """The exchange's last price."""
        url = f"{self.paper_url}/api/v3/ticker/price"
        return float(httpx.get(url, params={"symbol": symbol}, timeout=10, trust_env=False).json()["price"])

    # --- the database ----------------------------------------------------------------------------------

    def superuser(self) -> psycopg.Connection[dict[str, Any]]:
        """A connection that sees everything, rows as dicts, no transaction of its own."""
        its, ours = (
            urlsplit((self.home / "secrets" / f"{n}.url").read_text().strip()) for n in ("postgres", "migrator")
        )
        url = f"postgresql://{its.username}:{its.password}@{ours.hostname}:{ours.port}{ours.path}"
        return psycopg.connect(url, autocommit=True, connect_timeout=5, row_factory=psycopg.rows.dict_row)

    def cut_connections(self, like: str = "plumbline-%") -> int:
        """End every connection of the database whose application is named so; how many there were."""
        try:
            with self.superuser() as database:
                ended = database.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
                    " AND pid <> pg_backend_pid()", (like,)
                )  # fmt: skip
                return ended.rowcount
        except psycopg.Error:
            return 0

    def compare_now(self) -> None:
        """Have every account compared with the exchange, as the button does; if nobody answers, another time."""
        if self.api is None:
            self.api = Api(self.url)
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            self.api.send("POST", "/reconciliation", json={})

    def wait_until_healthy(self, *, within_s: float) -> None:
        """Until orders are accepted again. AssertionError with the reason given when they are not."""
        deadline = time.monotonic() + within_s
        while not self.healthy():
            if time.monotonic() > deadline:
                raise AssertionError(f"not healthy within {within_s:g} s: {self.health()[1]}")
            time.sleep(0.1)
