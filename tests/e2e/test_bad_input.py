"""What people get wrong, and what they are told."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from api_client import Api, error_of
from candle_files import FIRST_MS, HOUR_MS, candle_rows, csv, large_file
from stack import COMMAND, ROOT, Stack, clean_environment
from strategies import hold

from app.os_processes import free_port

MB = 1024 * 1024


def upload(api: Api, content: bytes, *, symbol: str = "BTCUSDT", **fields: str) -> Any:
    form = {"symbol": symbol, "timeframe": "1h", "name": "bad", **fields}
    return api.send("POST", "/datasets", data=form, files={"file": ("bad.csv", content)})


# --- files ---------------------------------------------------------------------------------------------


def with_a_bad_price() -> bytes:
    rows = candle_rows(50)
    rows[30] = rows[30].replace(rows[30].split(",")[4], "n/a")
    return csv(rows)


def with_a_time_twice() -> bytes:
    rows = candle_rows(50)
    return csv([*rows[:21], rows[20], *rows[21:]])


def with_another_symbol_in_the_middle() -> bytes:
    return csv(candle_rows(30) + candle_rows(30, price=3_000, first_ms=FIRST_MS + 30 * HOUR_MS))


@pytest.mark.parametrize(
    ("make", "row", "column", "words"),
    [
        (with_a_bad_price, 32, "close", "'n/a' is not a number"),
        (with_a_time_twice, 23, "open_time", "stands in row 22 already"),
        (with_another_symbol_in_the_middle, 32, "close", "looks like two symbols or two units in one file"),
    ],
)
def test_a_bad_row_is_named(api: Api, make: Callable[[], bytes], row: int, column: str, words: str) -> None:
    error = error_of(upload(api, make()), 422)

    assert error["field"] == "file"
    assert (error["row"], error["column"]) == (row, column)
    assert f"Row {row}" in error["message"]
    assert words in error["message"]


def test_prices_of_another_symbol_are_noticed_until_confirmed(api: Api) -> None:
    content = csv(candle_rows(48, price=0.9))  # the paper market says about 100,000

    error = error_of(upload(api, content, name="not bitcoin"), 422)
    assert "do not look like BTCUSDT" in error["message"]

    imported = upload(api, content, name="not bitcoin", accept_scale="true")
    assert imported.status_code == 201, imported.text
    api.delete(f"/datasets/{imported.json()['id']}")


def test_an_empty_file_is_refused_in_words(api: Api) -> None:
    assert "empty" in error_of(upload(api, b""), 422)["message"]


def test_the_wrong_timeframe_is_noticed(api: Api) -> None:
    error = error_of(upload(api, csv(candle_rows(50, step_ms=60_000))), 422)

    assert error["field"] == "timeframe"
    assert "spaced like 1m candles" in error["message"]


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "chunked"])
def test_a_file_of_200_mb_is_refused_without_taking_it_into_memory(
    api: Api, shared_stack: Stack, announced: bool
) -> None:
    head = (
        b'--cut\r\nContent-Disposition: form-data; name="symbol"\r\n\r\nBTCUSDT\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="timeframe"\r\n\r\n1h\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="huge.csv"\r\n\r\n'
    )
    tail, size = b"\r\n--cut--\r\n", 200 * MB

    def body() -> Iterator[bytes]:
        yield head
        yield from large_file(size)
        yield tail

    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    if announced:
        headers["Content-Length"] = str(len(head) + size + len(tail))
    with Memory(shared_stack) as memory:
        error = error_of(api.send("POST", "/datasets", content=body(), headers=headers), 413)

    assert error["message"] == "The file is larger than 50 MB, the most that is taken."
    assert memory.grown_mb() < 60


class Memory:
    """How much more memory the web process had at its peak than before."""

    def __init__(self, stack: Stack) -> None:
        web = stack.child("web")
        self._processes = [web, *web.children(recursive=True)]
        self._over = threading.Event()
        self._before = self._peak = self._now()
        self._watch = threading.Thread(target=self._look)

    def __enter__(self) -> Memory:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def grown_mb(self) -> float:
        return (self._peak - self._before) / MB

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self._peak = max(self._peak, self._now())

    def _now(self) -> int:
        return sum(int(process.memory_info().rss) for process in self._processes if process.is_running())


# --- orders and strategies -----------------------------------------------------------------------------


def test_a_quantity_below_the_lot_size_is_refused_beside_its_field(api: Api, account_id: int) -> None:
    order = {"account_id": account_id, "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.000001"}

    error = error_of(api.send("POST", "/orders", json=order), 422)

    assert error["field"] == "quantity"
    assert "0.00001" in error["message"]
    assert api.get("/orders", account_id=account_id, symbol="BTCUSDT", open_only=True)["orders"] == []


def test_more_than_the_balance_is_a_rejected_order_with_a_reason(api: Api, account_id: int) -> None:
    order = {"account_id": account_id, "symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "50"}

    answer = api.post("/orders", order)

    assert answer["status"] == "REJECTED"
    assert answer["reject_code"].startswith("RISK_")
    assert "BTC" in answer["reject_reason"]


def test_a_strategy_that_names_an_unknown_series_is_refused_with_its_place(api: Api) -> None:
    document = hold()
    document["entry"] = {"all": [{"op": ">", "left": "ema_fats", "right": 0}]}

    error = error_of(api.send("POST", "/strategies", json={"name": "Typo", "document": document}), 422)

    assert [problem["path"] for problem in error["problems"]] == ["entry.all[0].left"]
    assert "ema_fats" in error["problems"][0]["message"]
    assert "Typo" not in [strategy["name"] for strategy in api.get("/strategies")["strategies"]]


# --- starting ------------------------------------------------------------------------------------------


def start_in_vain(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), "up"],
        cwd=ROOT,
        env=clean_environment(DATA_DIR=str(tmp_path / "data"), **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = time.monotonic()
        result = start_in_vain(tmp_path, PORT=str(port))

    assert result.returncode == 2
    assert f"PORT {port} on 127.0.0.1 is taken by another program" in result.stderr
    assert "Traceback" not in result.stderr
    assert time.monotonic() - started < 20, "it should look at the port before anything else"


def test_a_database_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://someone:dont-show-me@127.0.0.1:{free_port()}/nothing"

    result = start_in_vain(tmp_path, PORT=str(free_port()), DATABASE_URL=url)

    assert result.returncode == 1
    assert "The database does not answer" in result.stderr
    assert "Check DATABASE_URL" in result.stderr
    assert "dont-show-me" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not [process for process in psutil.process_iter() if str(tmp_path) in _words(process)]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
