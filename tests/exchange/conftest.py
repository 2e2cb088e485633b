"""A paper exchange in a process of its own, once for the run."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class PaperProcess:
    """Where it listens and the token that opens its control endpoints."""

    url: str
    token_file: Path


@pytest.fixture(scope="session")
def paper_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperProcess]:
    """Started on a port the system picks, ended by its id."""
    folder = tmp_path_factory.mktemp("paper")
    port_file, token_file, log_file = folder / "port", folder / "token", folder / "log"
    token_file.write_text("control-token-of-the-test\n")
    options = ["--data", folder / "paper.sqlite", "--port", "0", "--port-file", port_file]
    command = [sys.executable, "-m", "app.paper_exchange", *map(str, options), "--control-token-file", str(token_file)]
    with log_file.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield PaperProcess(f"http://127.0.0.1:{_port(process, port_file, log_file)}", token_file)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()


def _port(process: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and (text := port_file.read_text().strip()):
            return text
        time.sleep(0.05)
    raise RuntimeError(f"the paper exchange did not start:\n{log_file.read_text()}")
