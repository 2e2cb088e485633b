"""The command's options, by both of its names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from paper_kit import ROOT, Paper

from app.domain.intrabar import Preset
from app.paper_exchange.options import read_options
from app.paper_exchange.settings import NO_LIMITS, PaperSettings


def test_without_options_the_settings_are_their_own_defaults() -> None:
    assert read_options(["--data", "x.db"], "p") == PaperSettings(Path("x.db"))


def test_what_is_given_from_outside_is_a_default_that_options_win_over() -> None:
    given = {"data": Path("mine.db"), "port": 9000, "control_token_file": Path("token")}
    assert read_options([], "p", **given).port == 9000
    wanted = read_options(["--port", "9001", "--seed", "7"], "p", **given)
    assert (wanted.data_file, wanted.port, wanted.seed) == (Path("mine.db"), 9001, 7)
    assert wanted.control_token_file == Path("token")


def test_every_option_reaches_its_setting() -> None:
    line = (
        "--data x.db --symbols BTCUSDT,ETHUSDT --history-days 9 --preset harsh --half-spread-bps 2.5 --maker-fee 0 "
        "--taker-fee 0.002 --weight-limit 100 --order-limit 10 --first-ban 5 --connection-life 60 --faults"
    )
    wanted = read_options(line.split(), "p")
    assert wanted == PaperSettings(
        Path("x.db"),
        symbols=("BTCUSDT", "ETHUSDT"),
        history_days=9,
        preset=Preset.HARSH,
        half_spread_bps=Decimal("2.5"),
        maker_fee=Decimal(0),
        taker_fee=Decimal("0.002"),
        weight_limit_per_minute=100,
        order_limit_per_10_s=10,
        first_ban_s=5.0,
        connection_life_s=60.0,
        faults=True,
    )


def test_all_limits_go_away_together() -> None:
    wanted = read_options(["--data", "x.db", "--limits", "off"], "p")
    assert {name: getattr(wanted, name) for name in NO_LIMITS} == dict.fromkeys(NO_LIMITS, 0)


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("", "required: --data"),
        ("--data x --fee 1", "unrecognized arguments: --fee 1"),
        ("--data x --maker-fee 2", "a fee is a share of the trade"),
        ("--data x --taker-fee much", "--taker-fee"),
        ("--data x --connection-life 0", "--connection-life"),
        ("--data x --preset cruel", "--preset"),
        ("--data x --source replay", "go together"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(line: str, about: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(line.split(), "plumbline paper")
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert about in told
    assert "plumbline paper: error:" in told


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Paper]:
    """`plumbline paper` with options, on a machine where nothing of Plumbline has run yet."""
    port_file = tmp_path / "port"
    line = f"--port 0 --port-file {port_file} --symbols BTCUSDT --history-days 1 --preset harsh --faults"
    named = ("DATA_DIR", "DATABASE_URL", "PORT", "PAPER_PORT", "PAPER_URL", "PAPER_CONTROL_TOKEN")
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "paper", *line.split()],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k not in named}, "DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "stderr").open("wb"),
    )
    try:
        deadline = time.monotonic() + 30
        while not (port_file.exists() and port_file.read_text()):
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Paper(int(port_file.read_text()))
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


async def test_plumbline_paper_takes_the_same_options_and_needs_nothing_else(alone: Paper, tmp_path: Path) -> None:
    _, status = await alone.control("GET", "/paper/status", token=None)
    assert (status["preset"], status["faults"]) == ("harsh", 0)
    assert [s["symbol"] for s in status["symbols"]] == ["BTCUSDT"]
    assert (tmp_path / "data" / "paper-exchange.db").exists()
    token = (tmp_path / "data" / "secrets" / "paper.token").read_text().strip()
    assert (await alone.control("GET", "/paper/faults", token=token))[1] == {"faults": []}
