"""The commands beside `up`, on an installation that runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from api_client import EMAIL, Api
from candle_files import candle_rows, csv
from stack import COMMAND, ROOT, Stack, clean_environment


def plumbline(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *arguments],
        cwd=ROOT,
        env=clean_environment(**stack.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_file_of_candles_can_be_imported_and_listed(shared_stack: Stack, api: Api, tmp_path: Path) -> None:
    rows = candle_rows(500)
    del rows[100:103]
    file = tmp_path / "hours.csv"
    file.write_bytes(csv(rows))

    imported = plumbline(shared_stack, "candles", "import", str(file), "--symbol", "BTCUSDT", "--timeframe", "1h")
    assert imported.returncode == 0, imported.stderr
    assert "497 candles of BTCUSDT 1h" in imported.stdout
    assert "3 candles missing" in imported.stdout
    assert "hours.csv" in plumbline(shared_stack, "candles", "list").stdout

    again = plumbline(shared_stack, "candles", "import", str(file), "--symbol", "BTCUSDT", "--timeframe", "1h")
    assert again.returncode == 1
    assert "are here already" in again.stderr

    for dataset in api.get("/datasets")["datasets"]:
        api.delete(f"/datasets/{dataset['id']}")


def test_a_bad_file_is_told_without_a_traceback(shared_stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(csv(["1700000000000,1,2,3"]))

    result = plumbline(shared_stack, "candles", "import", str(file), "--symbol", "BTCUSDT", "--timeframe", "1h")

    assert result.returncode == 2
    assert "Row 2" in result.stderr
    assert "Traceback" not in result.stderr


def test_users_are_listed(shared_stack: Stack) -> None:
    assert f"{EMAIL}" in plumbline(shared_stack, "user", "list").stdout


def test_the_doctor_finds_nothing_wrong(shared_stack: Stack) -> None:
    result = plumbline(shared_stack, "doctor")

    assert result.returncode == 0, result.stdout + result.stderr
