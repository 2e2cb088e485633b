"""A market that follows another exchange: a second paper exchange stands in for Binance."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from paper_kit import Paper, running, until

from app.domain.errors import InvalidInput
from app.paper_exchange.mirror import Mirror, Upstream
from app.paper_exchange.rules import KNOWN
from app.paper_exchange.units import Units

UNITS = Units.of(KNOWN["BTCUSDT"])


def upstream_of(paper: Paper) -> Upstream:
    return Upstream(paper.url, f"ws://127.0.0.1:{paper.port}")


async def klines(paper: Paper, interval: str, **more: Any) -> list[list[Any]]:
    query = "&".join(f"{k}={v}" for k, v in {"symbol": "SOLUSDT", "interval": interval, "limit": 1000, **more}.items())
    return (await paper.raw("GET", "/api/v3/klines", query))[1]


async def test_a_mirror_shows_the_upstreams_history_rules_spread_and_seconds(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "one.db", symbols=("SOLUSDT",), half_spread_bps=Decimal(8)) as upstream,
        running(tmp_path / "two.db", symbols=("SOLUSDT",), source="mirror", upstream=upstream_of(upstream)) as mirror,
    ):
        began_ms = int((await klines(mirror, "1s"))[-1][0])
        rules = [(await p.raw("GET", "/api/v3/exchangeInfo", "symbol=SOLUSDT"))[1]["symbols"][0]["filters"][:2]
                 for p in (upstream, mirror)]  # fmt: skip
        assert rules[0] == rules[1]
        minutes = [await klines(p, "1m", endTime=began_ms - 120_000) for p in (upstream, mirror)]
        assert len(minutes[1]) == 1000
        assert [row[:6] for row in minutes[0]] == [row[:6] for row in minutes[1]]

        async def eight_seconds() -> Any:
            rows = await klines(mirror, "1s", startTime=began_ms + 1000)
            return rows if len(rows) >= 9 else None

        played = [row[1:6] for row in (await until(eight_seconds, 30))[:-1]]
        shown = [row[1:6] for row in await klines(upstream, "1s")]
        assert any(shown[n : n + len(played)] == played for n in range(len(shown)))
        _, ticker, _ = await mirror.raw("GET", "/api/v3/ticker/bookTicker", "symbol=SOLUSDT")
        spread_bps = (Decimal(ticker["askPrice"]) / Decimal(ticker["bidPrice"]) - 1) * 10_000
        assert spread_bps > 12  # the upstream's 16, where this exchange's own preset has 1
        status = await mirror.status_of("SOLUSDT")
        assert (status["source"], status["label"]) == ("mirror", f"mirror of 127.0.0.1:{upstream.port}")
        assert (status["halted"], status["trouble"]) == (False, "")


async def test_when_the_upstream_falls_silent_the_symbol_halts_and_says_so_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.paper_exchange.mirror.SILENCE_S", 2)
    monkeypatch.setattr("app.paper_exchange.mirror._WAITS_S", (0.2,))
    order = {"symbol": "SOLUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.5"}
    file = tmp_path / "two.db"
    async with running(tmp_path / "one.db", symbols=("SOLUSDT",)) as upstream:
        address = {"symbols": ("SOLUSDT",), "source": "mirror", "upstream": upstream_of(upstream)}
        mirror_running = running(file, **address)
        mirror = await mirror_running.__aenter__()
        keys = await mirror.open_account({"USDT": "10000"}, ed25519=False)
        assert (await mirror.signed("POST", "/api/v3/order", keys, **order))[0] == 200

    async def halted() -> Any:
        status = await mirror.status_of("SOLUSDT")
        return status if status["halted"] else None

    async def going() -> bool:
        return not (await mirror.status_of("SOLUSDT"))["halted"]

    try:
        assert f"127.0.0.1:{upstream.port}" in (await until(halted, 20))["trouble"]
        _, info, _ = await mirror.raw("GET", "/api/v3/exchangeInfo", "symbol=SOLUSDT")
        assert info["symbols"][0]["status"] == "BREAK"
        assert (await mirror.signed("POST", "/api/v3/order", keys, **order))[1]["code"] == -1013
        async with running(tmp_path / "one.db", symbols=("SOLUSDT",), port=upstream.port):
            await until(going, 20)
            assert (await mirror.signed("POST", "/api/v3/order", keys, **order))[0] == 200
    finally:
        await mirror_running.__aexit__(None, None, None)
    # Started again without its upstream it keeps its history and waits.
    async with running(file, **address) as mirror:
        assert (await mirror.status_of("SOLUSDT"))["halted"]
        assert len(await klines(mirror, "1m")) == 1000
        assert (await mirror.control("POST", "/paper/markets/SOLUSDT", {"source": "synthetic"}))[0] == 200
        await until(going)


async def test_an_upstream_that_cannot_be_reached_or_has_no_such_symbol_is_named(tmp_path: Path) -> None:
    async with running(tmp_path / "one.db", symbols=("SOLUSDT",)) as upstream:
        address = upstream_of(upstream)
        async with running(tmp_path / "two.db", upstream=address) as mirror:
            status, answer = await mirror.control("POST", "/paper/markets/XRPUSDT", {"source": "mirror"})
            assert (status, answer["field"]) == (400, "source")
            assert answer["error"].endswith("cannot be mirrored for XRPUSDT: Invalid symbol.")
    with pytest.raises(InvalidInput, match="cannot be mirrored for SOLUSDT: it cannot be reached"):
        async with running(tmp_path / "three.db", symbols=("SOLUSDT",), source="mirror", upstream=address):
            pass


def test_a_burst_becomes_one_second_and_nothing_is_taken_in_twice() -> None:
    mirror = Mirror("BTCUSDT", UNITS, Upstream("http://x", "ws://x"))
    mirror.take_in((1000, 10, 12, 9, 11, 5))
    mirror.take_in((1000, 99, 99, 99, 99, 9))
    mirror.take_in((2000, 11, 15, 11, 14, 5))
    mirror.take_in((3000, 14, 14, 8, 13, 5))
    assert mirror.next() == (10, 15, 8, 13, 15)
    assert mirror.next() is None
    mirror.take_in((2000, 11, 15, 11, 14, 5))
    assert mirror.next() is None


async def test_a_candle_file_is_replayed_from_the_command(tmp_path: Path) -> None:
    file = tmp_path / "SOLUSDT.csv"
    rows = [f"{1_735_689_600_000_000 + n * 60_000_000},{100 + n},{101 + n},{99 + n},{100 + n},5,0" for n in range(50)]
    file.write_text("\n".join(["open_time,open,high,low,close,volume,a,b,c", *rows]))
    async with running(tmp_path / "one.db", symbols=("SOLUSDT",), source="replay", replay_file=file) as paper:
        status = await paper.status_of("SOLUSDT")
        assert (status["source"], status["label"], status["loop"]) == ("replay", "SOLUSDT.csv", True)
        assert status["progress"]["of"] == 50
    file.write_text("\n".join([*rows, "what"]))
    with pytest.raises(InvalidInput, match="line 51: this is no candle"):
        async with running(tmp_path / "two.db", symbols=("SOLUSDT",), source="replay", replay_file=file):
            pass
