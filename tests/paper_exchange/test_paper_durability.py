"""What has been acknowledged survives SIGKILL, and start-up says clearly what is wrong."""

from __future__ import annotations

import asyncio
import resource
import socket
import stat
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from kill_kit import RICH, Told, campaign, check_books
from paper_kit import PaperProcess, flat_candles, running, until

from app.paper_exchange.errors import StartError

KILLS = 5  # `make paper-kills` has a hundred


async def test_acknowledged_orders_fills_and_balances_survive_being_killed(tmp_path: Path) -> None:
    process = PaperProcess(tmp_path, limits="off", symbols="BTCUSDT,BNBUSDT")
    result = await campaign(process, KILLS, seed=7)
    assert result.kills == KILLS
    assert result.orders > 50
    assert result.trades > 50


async def test_open_orders_stand_after_a_kill_and_can_be_filled_and_cancelled(tmp_path: Path) -> None:
    process = PaperProcess(tmp_path)
    paper = process.start()
    keys = await paper.open_account(RICH, ed25519=False)
    await paper.replay("BTCUSDT", flat_candles(10_000, "50000"), start=2000)
    limit = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    _, resting = await paper.signed("POST", "/api/v3/order", keys, **limit, price="49000", newClientOrderId="rests")
    stop = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_LOSS", "quantity": "0.01", "stopPrice": "49500"}
    _, waiting = await paper.signed("POST", "/api/v3/order", keys, **stop)
    before = await paper.books(keys.account_id)
    process.kill()
    paper = process.start()
    assert await paper.books(keys.account_id) == before
    _, open_orders = await paper.signed("GET", "/api/v3/openOrders", keys)
    assert [o["orderId"] for o in open_orders] == [resting["orderId"], waiting["orderId"]]
    _, twice = await paper.signed("POST", "/api/v3/order", keys, **limit, price="49000", newClientOrderId="rests")
    assert twice["msg"] == "Duplicate order sent."
    _, canceled = await paper.signed("DELETE", "/api/v3/openOrders", keys, symbol="BTCUSDT")
    assert [o["status"] for o in canceled] == ["CANCELED"] * 2
    process.kill()


async def test_a_replay_goes_on_where_it_was_and_the_time_in_between_is_a_gap(tmp_path: Path) -> None:
    process = PaperProcess(tmp_path)
    paper = process.start()
    rows = [[n, str(50_000 + n), str(50_001 + n), str(50_000 + n), str(50_001 + n), "1"] for n in range(5000)]
    begun = await paper.replay("BTCUSDT", rows, start=2000, label="kept")

    async def three_played() -> bool:
        return (await paper.status_of("BTCUSDT"))["progress"]["played"] >= 2004

    await until(three_played)
    _, before, _ = await paper.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1s&limit=1000")
    process.kill()
    await asyncio.sleep(2.1)
    paper = process.start()
    status = await paper.status_of("BTCUSDT")
    assert (status["label"], status["market_id"], status["start"]) == ("kept", begun["market_id"], 2000)
    _, after, _ = await paper.raw("GET", "/api/v3/klines", "symbol=BTCUSDT&interval=1s&limit=1000")
    opens = {row[0]: row for row in after}
    closed_before = [row for row in before if row[0] in opens and row[6] < before[-1][0]]
    assert len(closed_before) > 900
    assert all(opens[row[0]] == row for row in closed_before)
    steps = [(b[0] - a[0], float(b[1]) - float(a[1])) for a, b in pairwise(after)]
    gaps = [step for step in steps if step[0] != 1000]
    assert len(gaps) == 1
    assert gaps[0][0] >= 2000
    assert all(moved == 1 for _, moved in steps)
    process.kill()


async def test_the_file_is_private_and_used_by_one_process_only(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "paper.db"
    async with running(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with pytest.raises(StartError, match="Another paper exchange is using"):
            async with running(file):
                pass


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        from app.paper_exchange.main import serve
        from app.paper_exchange.settings import PaperSettings

        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}.*in use"):
            await serve(PaperSettings(tmp_path / "paper.db", port=port))


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "paper.db"
    file.write_text("these are not the books you are looking for")
    with pytest.raises(StartError, match="cannot open its file"):
        async with running(file):
            pass


async def test_when_the_file_cannot_be_written_nothing_is_acknowledged_and_the_process_ends(tmp_path: Path) -> None:
    process = PaperProcess(tmp_path, limits="off")
    paper = process.start(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)))
    keys = await paper.open_account(RICH, ed25519=False)
    told = Told(keys)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
    refused = None
    try:
        while refused is None:
            status, answer = await paper.signed("POST", "/api/v3/order", keys, **order)
            if status == 200:
                told.note(answer)
            else:
                refused = (status, answer["code"])
    except (aiohttp.ClientError, ConnectionError):
        refused = (0, 0)
    assert refused in ((500, -1000), (0, 0))
    assert process.wait(10) == 1
    assert "cannot write its file" in (tmp_path / "stderr").read_text()
    paper = process.start()
    check_books(await paper.books(keys.account_id), told)
    process.kill()
