"""The command says what is wrong in one clear line and with an exit code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.os_processes import free_port


def plumbline(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if name not in ("PORT", "DATA_DIR", "DATABASE_URL")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env={**base, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command() -> None:
    result = plumbline("--help")

    assert result.returncode == 0
    for command in ("up", "web", "worker", "paper", "migrate", "doctor", "backtest", "candles", "user"):
        assert f" {command} " in result.stdout


@pytest.mark.parametrize("command", ["up", "web"])
def test_a_taken_port_is_named(tmp_path: Path, command: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = plumbline(command, PORT=str(port), DATA_DIR=str(tmp_path))

    assert result.returncode == 2
    assert f"PORT {port} on 127.0.0.1 is taken" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_setting_is_named() -> None:
    result = plumbline("doctor", PORT="eighty")

    assert result.returncode == 2
    assert result.stderr.startswith("plumbline: PORT: input should be a valid integer")


@pytest.mark.parametrize("command", [("up",), ("migrate",), ("user", "list"), ("candles", "list")])
def test_a_database_that_does_not_answer_is_said_so(tmp_path: Path, command: tuple[str, ...]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"postgresql://plumbline:hunter2@127.0.0.1:{nobody.getsockname()[1]}/plumbline"
        result = plumbline(*command, DATABASE_URL=url, DATA_DIR=str(tmp_path), PORT=str(free_port()))

    assert result.returncode == 1
    assert "The database does not answer" in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr
