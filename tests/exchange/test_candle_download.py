"""Candles are downloaded page by page; what is there is kept, a torn line is not, and the rest is fetched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import PaperProcess

from app.domain.errors import InvalidInput, Unavailable
from app.services.exchange.protocol import AskingFailed, KlineEvent
from app.services.market import downloads
from app.services.market.candle_files import parse_candles
from app.services.market.downloads import Progress, download_candles, utc_ms

START_MS = 1_704_067_200_000
HOUR_MS = 3_600_000


class Candles:
    """An exchange of candles, one an hour but for the hours in `missing`; the calls numbered in `failing` fail."""

    def __init__(self, *, missing: set[int] = frozenset(), failing: dict[int, AskingFailed] | None = None) -> None:  # type: ignore[assignment]
        self.missing = missing
        self.failing = failing or {}
        self.asked: list[tuple[int, int]] = []

    async def closed_candles(self, symbol: str, timeframe: str, *, start_ms: int, end_ms: int) -> Sequence[KlineEvent]:
        self.asked.append((start_ms, end_ms))
        if len(self.asked) in self.failing:
            raise self.failing[len(self.asked)]
        hours = range((start_ms - START_MS) // HOUR_MS, (end_ms - START_MS) // HOUR_MS)
        return [
            KlineEvent(
                symbol, timeframe, START_MS + h * HOUR_MS, 1.5, 2.25, 0.1 + 0.2, 1.0 + h / 70, 1e-7 * h, closed=True
            )
            for h in hours
            if h not in self.missing
        ]


class Patience:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []

    def now_ms(self) -> int:
        return START_MS

    exchange_now_ms = now_ms

    async def sleep(self, seconds: float) -> None:
        self.waited_s.append(seconds)


def download(source: Candles, path: Path, *, hours: int, clock: Patience | None = None, **changes: Any) -> int:
    told: list[Progress] = []
    wanted = {"symbol": "BTCUSDT", "timeframe": "1h", "start_ms": START_MS, "end_ms": START_MS + hours * HOUR_MS}
    work = download_candles(source, path, clock=clock or Patience(), tell=told.append, **(wanted | changes))  # type: ignore[arg-type]
    rows = asyncio.run(work)
    assert told[-1].reached_ms == told[-1].end_ms
    return rows


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "AT_ONCE", 10)


def test_a_download_is_read_back_bit_for_bit_with_its_gaps(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    assert download(Candles(missing={4, 5}), path, hours=35) == 33
    with path.open("rb") as stream:
        parsed = parse_candles(stream, filename="c.csv", symbol="BTCUSDT", timeframe="1h")
    assert len(parsed.candles) == 33
    assert parsed.candles.low[0] == 0.1 + 0.2
    assert (parsed.candles.close[-1], parsed.candles.volume[-1]) == (1.0 + 34 / 70, 1e-7 * 34)


def test_an_interrupted_download_goes_on_and_drops_only_a_torn_line(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.csv", tmp_path / "torn.csv"
    download(Candles(), whole, hours=50)
    text = whole.read_text()
    torn.write_text(text[: len(text) // 2])
    source = Candles()
    assert download(source, torn, hours=50) == 50
    assert torn.read_text() == text
    assert source.asked[0][0] > START_MS
    assert sum(end - start for start, end in source.asked) < 30 * HOUR_MS


def test_a_question_that_failed_is_asked_again_after_a_pause(tmp_path: Path) -> None:
    source = Candles(failing={2: AskingFailed("429", retry_after_s=40), 3: AskingFailed("cut")})
    clock = Patience()
    assert download(source, tmp_path / "c.csv", hours=30, clock=clock) == 30
    assert clock.waited_s == [40, 10]


def test_an_exchange_that_stays_away_ends_it_and_says_what_is_kept(tmp_path: Path) -> None:
    source = Candles(failing={n: AskingFailed("gone") for n in range(3, 20)})
    with pytest.raises(Unavailable, match="20 candles are in the file; the same command goes on"):
        download(source, tmp_path / "c.csv", hours=40)
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 21


def test_another_file_or_another_range_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("my precious notes\n")
    with pytest.raises(InvalidInput, match="is there already and is not a download"):
        download(Candles(), path, hours=3)
    assert path.read_text() == "my precious notes\n"
    path.unlink()
    download(Candles(), path, hours=3)
    with pytest.raises(InvalidInput, match="another range or timeframe"):
        download(Candles(), path, hours=9, start_ms=START_MS + HOUR_MS)


def test_an_unknown_symbol_and_an_empty_range_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no symbol"):
        download(Candles(failing={1: AskingFailed("Invalid symbol.", code=-1121)}), tmp_path / "c.csv", hours=3)
    with pytest.raises(InvalidInput, match="range is empty"):
        download(Candles(), tmp_path / "c.csv", hours=0)
    with pytest.raises(InvalidInput, match="no date"):
        utc_ms("yesterday", "from")


def test_the_command_downloads_from_the_paper_exchange_and_goes_on(paper_process: PaperProcess, tmp_path: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        given = ["--symbol", "BTCUSDT", "--timeframe", "1h", "--exchange", "paper", "--out", str(tmp_path / "b.csv")]
        return subprocess.run(
            [sys.executable, "-m", "app.cli", "candles", "download", *given, *more],
            env={**os.environ, "PAPER_URL": paper_process.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    first = run("--from", "2026-01-01", "--to", "2026-02-01")
    assert (first.returncode, first.stdout.split(" holds ")[1]) == (0, "744 candles of BTCUSDT 1h.\n"), first.stderr
    more = run("--from", "2026-01-01", "--to", "2026-02-02")
    assert "768 candles" in more.stdout
    wrong = run("--from", "2026-13-01")
    assert wrong.returncode == 2
    assert (
        wrong.stderr.strip()
        == "plumbline: '2026-13-01' is no date; write it like 2024-01-31 or 2024-01-31T12:00 (UTC)."
    )
