"""`plumbline backtest run`: the numbers as JSON or text, and one clear sentence for each bad input."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from strategy_kit import candles, document, example

from app.cli import main
from app.services.strategy import CandleColumns

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("DATA_DIR", "DATABASE_URL", "PORT")}


@dataclass(frozen=True)
class Ran:
    returncode: int
    stdout: str
    stderr: str


def plumbline(*arguments: str | Path) -> Ran:
    """The command in this process, exit code and all."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["plumbline", "backtest", "run", *map(str, arguments)]
    code: object = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    return Ran(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def rows(data: CandleColumns, *, micro: bool = False) -> str:
    factor = 1000 if micro else 1
    columns = (data.open, data.high, data.low, data.close, data.volume)
    lines = []
    for time_ms, *values in zip(data.open_time_ms.tolist(), *(column.tolist() for column in columns), strict=True):
        lines.append(",".join([str(time_ms * factor), *map(repr, values)]))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strategy and the same candles in every form a file may have."""
    path = tmp_path_factory.mktemp("backtest")
    data = candles(1_500, seed=7)
    header = "open_time,open,high,low,close,volume\n"
    (path / "golden.json").write_text(json.dumps(example("golden_ema_12_26")))
    (path / "plain.csv").write_text(header + rows(data))
    (path / "micro.csv").write_text(rows(data, micro=True))
    (path / "packed.csv.gz").write_bytes(gzip.compress((header + rows(data)).encode()))
    with zipfile.ZipFile(path / "bulk.zip", "w") as packed:
        packed.writestr("BTCUSDT-1h.csv", rows(data))
    return path


def golden(folder: Path, file: str = "plain.csv", *more: str) -> Ran:
    return plumbline(
        "--strategy", folder / "golden.json", "--candles", folder / file, "--symbol", "BTCUSDT", "--timeframe", "1h",
        "--balance", "10000", "--fee-pct", "0.1", "--fee-in", "quote", *more,
    )  # fmt: skip


def test_every_form_of_the_same_candles_prints_the_same_numbers_and_hashes(folder: Path) -> None:
    printed = {}
    for file in ("plain.csv", "micro.csv", "packed.csv.gz", "bulk.zip"):
        result = golden(folder, file, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        printed[file] = json.loads(result.stdout)
    one = printed["plain.csv"]
    assert all(other == one for other in printed.values())
    assert one["trades_count"] == one["metrics"]["trades"] > 20
    assert one["final_equity"] == one["metrics"]["final_equity"]
    assert len(one["candle_data_version"]) == len(one["result_hash"]) == 64
    assert one["inputs"]["settings"]["fee_in"] == "quote"


def test_without_json_it_prints_a_table_and_the_hashes(folder: Path) -> None:
    result = golden(folder, "plain.csv", "--trades")
    machine = json.loads(golden(folder, "plain.csv", "--json", "--trades").stdout)
    assert result.returncode == 0
    assert f"{machine['final_equity']:,.2f} quote" in result.stdout
    assert f"Closed trades {machine['trades_count']:>23}" in result.stdout
    assert machine["result_hash"] in result.stdout
    assert len([line for line in result.stdout.splitlines() if line.endswith(" rule")]) == machine["trades_count"]
    assert machine["trades"][0]["reason"] == "rule"


def test_a_parameter_can_be_given_and_a_start_day_leaves_the_days_before_as_warm_up(folder: Path) -> None:
    base = json.loads(golden(folder, "plain.csv", "--json").stdout)
    other = json.loads(golden(folder, "plain.csv", "--json", "--param", "fast=5", "--start", "2024-01-20").stdout)
    assert other["inputs"]["strategy"]["params"]["fast"]["default"] == 5
    assert other["result_hash"] != base["result_hash"]
    assert other["candle_data_version"] == base["candle_data_version"]
    assert base["metrics"]["candles"] - other["metrics"]["candles"] == 19 * 24


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (("--balance", "a lot"), "--balance is not a number: 'a lot'"),
        (("--balance", "0"), "balance must be above zero"),
        (("--fee-pct", "-1"), "--fee-pct must be at least zero"),
        (("--fee-pct", "11"), "fee_pct is in per cent of a trade; 10 is the most"),
        (("--fee-in", "bnb"), "fee_in must be received or quote, not 'bnb'"),
        (("--preset", "kind"), "--preset must be optimistic, realistic or harsh, not 'kind'"),
        (("--slippage-bps", "x"), "--slippage-bps is not a number: 'x'"),
        (("--symbol", "ETHUSDT"), "the strategy trades BTCUSDT, not ETHUSDT"),
        (("--symbol", "BTC/USDT"), "'BTC/USDT' is not a symbol; one looks like BTCUSDT."),
        (("--timeframe", "1m"), "mostly spaced like 1h candles, but the timeframe chosen is 1m"),
        (("--timeframe", "7m"), "'7m' is not a timeframe; use one of"),
        (("--param", "fast"), "--param is like fast=10, not 'fast'"),
        (("--param", "quick=3"), 'no parameter is called "quick"'),
        (("--param", "fast=999"), "fast must be a number from 5 to 50, not 999"),
        (("--start", "yesterday"), "--start must be a day like 2024-01-01, not 'yesterday'"),
        (("--start", "2030-01-01"), "the run starts after the last candle"),
        (("--strategy", "nowhere.json"), "nowhere.json cannot be read: No such file or directory."),
        (("--strategy", "."), "cannot be read: Is a directory."),
        (("--candles", "nowhere.csv"), "nowhere.csv cannot be read: No such file or directory."),
        (("--detail", "nowhere.csv"), "nowhere.csv cannot be read: No such file or directory."),
        (("--lot", "abc"), "--lot is not a number: 'abc'"),
    ],
)
def test_each_bad_input_is_one_sentence_and_exit_code_2(folder: Path, changed: tuple[str, str], says: str) -> None:
    result = golden(folder, "plain.csv", *changed)
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.startswith("plumbline: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "bad.json is not a valid strategy: this is empty."),
        ("{", "this is not JSON"),
        (json.dumps(document(entry={"op": ">", "left": "cloze", "right": 1})), "entry.left: "),
        (json.dumps(document(limits={"max_open": 2})), "a run holds one position at a time"),
    ],
)
def test_a_strategy_that_cannot_be_used_is_named_with_its_field(folder: Path, content: str, says: str) -> None:
    (folder / "bad.json").write_text(content)
    result = golden(folder, "plain.csv", "--strategy", str(folder / "bad.json"))
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "bad.csv is empty."),
        ("\x00\x01", "bad.csv is not a text file"),
        ("a,b\n1,2\n", "bad.csv: the header has no column"),
        ("1704067200000,1,2,0.5,x,1\n", "Row 1, column close: 'x' is not a number."),
    ],
)
def test_a_candle_file_that_cannot_be_used_is_named(folder: Path, content: str, says: str) -> None:
    (folder / "bad.csv").write_text(content)
    result = golden(folder, "plain.csv", "--candles", str(folder / "bad.csv"))
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_neither_browser_app_nor_database_is_imported(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['plumbline', *sys.argv[1:]]\n"
        "from app.cli import cli\n"
        "cli(standalone_mode=False)\n"
        "print(sorted({'reflex', 'sqlalchemy', 'fastapi', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    arguments = [
        "backtest", "run", "--strategy", folder / "golden.json", "--candles", folder / "plain.csv", "--symbol",
        "BTCUSDT", "--timeframe", "1h",
    ]  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert result.stderr.strip() == "[]"
