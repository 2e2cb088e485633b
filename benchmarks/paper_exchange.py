"""How fast the paper exchange is: durable orders, answers, user events, fan-out of candles, memory, start.

    python -m benchmarks.paper_exchange            all figures (about five minutes)
    python -m benchmarks.paper_exchange --quick    a shorter run of each

The client runs on the same machine and takes a good part of its processors; beside each figure stand the load of the
machine and the processor time the exchange itself took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "token-of-the-benchmark"
OPEN_ORDERS = 150  # of the 200 an account may have on a symbol
SYMBOL = "BTCUSDT"


@dataclass(frozen=True, slots=True)
class Keys:
    """An account."""

    api_key: str
    secret: str


class Wire:
    """One HTTP connection that is kept open, as light as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, method: str, path: str, keys: Keys, **params: Any) -> tuple[int, Any]:
        query = "&".join(f"{k}={v}" for k, v in {**params, "timestamp": int(time.time() * 1000)}.items())
        signature = hmac.new(keys.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        head = f"{method} {path}?{query}&signature={signature} HTTP/1.1\r\nHost: paper\r\n"
        self._writer.write(f"{head}X-MBX-APIKEY: {keys.api_key}\r\n\r\n".encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lower = answer.lower()
        at = lower.index(b"content-length:") + 15
        body = await self._reader.readexactly(int(lower[at : lower.index(b"\r", at)]))
        return int(answer[9:12]), json.loads(body)

    def close(self) -> None:
        self._writer.close()


class Server:
    """The exchange as a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.port = 0

    def start(self) -> float:
        """Start it; seconds until it listens."""
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.paper_exchange", "--data", str(self._folder / "paper.db"), "--port", "0",
             "--port-file", str(port_file), "--limits", "off", *self._options],
            cwd=ROOT, env={**os.environ, "PAPER_CONTROL_TOKEN": TOKEN}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while not (port_file.exists() and port_file.read_text()):
            assert self._process.poll() is None, "the exchange has ended"
            time.sleep(0.01)
        took = time.perf_counter() - began
        self.port = int(port_file.read_text())
        self.watch = psutil.Process(self._process.pid)
        return took

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    @property
    def cpu_s(self) -> float:
        times = self.watch.cpu_times()
        return float(times.user + times.system)

    @property
    def memory_mb(self) -> float:
        return float(self.watch.memory_info().rss / 1e6)

    async def account(self, **balances: str) -> Keys:
        async with aiohttp.ClientSession() as session:
            url, headers = f"http://127.0.0.1:{self.port}/paper/accounts", {"Authorization": f"Bearer {TOKEN}"}
            async with session.post(url, json={"balances": balances}, headers=headers) as response:
                body = await response.json()
        return Keys(body["api_key"], body["secret"])

    async def price(self) -> float:
        url = f"http://127.0.0.1:{self.port}/api/v3/ticker/price?symbol={SYMBOL}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return float((await response.json())["price"])


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of them lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def report(what: str, figure: str, target: str = "", cpu: str = "") -> None:
    """One line of the table."""
    print(f"{what:<46} {figure:<44} {target:<16} load {os.getloadavg()[0]:.1f}  {cpu}", flush=True)


@contextlib.contextmanager
def measured(server: Server) -> Iterator[dict[str, float]]:
    """Wall and processor time of what happens inside."""
    taken: dict[str, float] = {}
    wall, cpu = time.perf_counter(), server.cpu_s
    yield taken
    taken["wall_s"], taken["cpu_s"] = time.perf_counter() - wall, server.cpu_s - cpu


def limit(price: float) -> dict[str, Any]:
    """A LIMIT order that rests."""
    return {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001",
            "price": f"{price * 0.9:.2f}"}  # fmt: skip


async def most_orders(server: Server, workers: int, seconds: float) -> None:
    """As many signed LIMIT orders as go through, each answered only when it is on disk."""
    price = await server.price()
    keys = [await server.account(USDT="100000000") for _ in range(workers)]
    waits: list[float] = []
    end = time.perf_counter() + seconds
    cleaning = 0.0

    async def work(mine: Keys) -> None:
        nonlocal cleaning
        wire = await Wire.open(server.port)
        is_open = 0
        while time.perf_counter() < end:
            began = time.perf_counter()
            status, answer = await wire.send("POST", "/api/v3/order", mine, **limit(price))
            waits.append(time.perf_counter() - began)
            assert status == 200, answer
            is_open += 1
            if is_open == OPEN_ORDERS:
                is_open = 0
                await wire.send("DELETE", "/api/v3/openOrders", mine, symbol=SYMBOL)
        wire.close()

    with measured(server) as taken:
        await asyncio.gather(*(work(k) for k in keys))
    rate = len(waits) / taken["wall_s"]
    cpu = f"{taken['cpu_s'] / len(waits) * 1000:.2f} ms of processor an order"
    report(f"durable LIMIT orders, {workers} at a time", f"{rate:.0f} a second", ">= 500", cpu)
    report("  an answer", f"p50 {statistics.median(waits) * 1000:.1f} ms, p95 {percentile(waits, 0.95) * 1000:.1f} ms")


async def steady_orders(server: Server, rate: int, seconds: float) -> None:
    """So many orders a second at fixed times; how long answers and user events take."""
    price = await server.price()
    keys = [await server.account(USDT="100000000") for _ in range(20)]
    wires = [await Wire.open(server.port) for _ in keys]
    free: asyncio.Queue[int] = asyncio.Queue()
    for n in range(len(keys)):
        free.put_nowait(n)
    waits: list[float] = []
    events: list[float] = []
    counts = [0] * len(keys)

    async def listen(mine: Keys) -> None:
        params = {"apiKey": mine.api_key, "timestamp": int(time.time() * 1000)}
        payload = "&".join(f"{k}={params[k]}" for k in sorted(params))
        params["signature"] = hmac.new(mine.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        url = f"ws://127.0.0.1:{server.port}/ws-api/v3"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.send_json({"id": 1, "method": "userDataStream.subscribe.signature", "params": params})
            async for message in socket:
                event = json.loads(message.data).get("event", {})
                if event.get("e") == "executionReport" and event["x"] == "NEW":
                    events.append(time.time() - event["T"] / 1000)

    async def one(due: float) -> None:
        number = await free.get()
        status, answer = await wires[number].send("POST", "/api/v3/order", keys[number], **limit(price))
        waits.append(time.perf_counter() - due)
        assert status == 200, answer
        counts[number] += 1
        if counts[number] % OPEN_ORDERS == 0:
            await wires[number].send("DELETE", "/api/v3/openOrders", keys[number], symbol=SYMBOL)
        free.put_nowait(number)

    listeners = [asyncio.create_task(listen(k)) for k in keys]
    await asyncio.sleep(1)
    began = time.perf_counter()
    tasks = []
    with measured(server) as taken:
        for n in range(int(rate * seconds)):
            due = began + n / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(due)))
        await asyncio.gather(*tasks)
    await asyncio.sleep(0.5)
    for listener in listeners:
        listener.cancel()
    for wire in wires:
        wire.close()
    cpu = f"{taken['cpu_s'] / taken['wall_s'] * 100:.0f} % of a processor"
    report(f"answers at {rate} orders a second", f"p50 {statistics.median(waits) * 1000:.1f} ms, "
           f"p95 {percentile(waits, 0.95) * 1000:.1f} ms", "p95 < 20 ms", cpu)  # fmt: skip
    report(f"  user events ({len(events)} of {len(waits)})", f"p50 {statistics.median(events) * 1000:.1f} ms, "
           f"p95 {percentile(events, 0.95) * 1000:.1f} ms", "p95 < 10 ms")  # fmt: skip


async def fan_out(server: Server, subscribers: int, seconds: float) -> None:
    """Candles of one second to many: from their event time to their arrival."""
    delays: list[float] = []

    async def subscribe(session: aiohttp.ClientSession) -> None:
        url = f"ws://127.0.0.1:{server.port}/ws/{SYMBOL.lower()}@kline_1s"
        async with session.ws_connect(url) as socket:
            async for message in socket:
                at = time.time()
                if '"x":true' in message.data:
                    delays.append(at - json.loads(message.data)["E"] / 1000)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(subscribe(session)) for _ in range(subscribers)]
        await asyncio.sleep(5)
        delays.clear()
        with measured(server) as taken:
            await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    got = len(delays) / seconds
    report(f"closed candles to {subscribers} subscribers", f"p50 {statistics.median(delays) * 1000:.0f} ms, "
           f"p95 {percentile(delays, 0.95) * 1000:.0f} ms, {got:.0f} a second", "",
           f"{taken['cpu_s'] / taken['wall_s'] * 100:.0f} % of a processor")  # fmt: skip


async def memory(server: Server, orders: int) -> None:
    """Memory after many orders that have ended: filled at once, or expired."""
    before = server.memory_mb
    keys = [await server.account(USDT="1000000000") for _ in range(16)]
    price = f"{await server.price() * 1.02:.2f}"
    left = orders

    async def work(mine: Keys) -> None:
        nonlocal left
        wire = await Wire.open(server.port)
        order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "IOC", "quantity": "0.0002"}
        while left > 0:
            left -= 1
            status, answer = await wire.send("POST", "/api/v3/order", mine, **order, price=price)
            assert status == 200, answer
        wire.close()

    with measured(server) as taken:
        await asyncio.gather(*(work(k) for k in keys))
    report(f"memory after {orders:,} more orders", f"{server.memory_mb:.0f} MB, before {before:.0f} MB", "",
           f"{orders / taken['wall_s']:.0f} orders a second with fills")  # fmt: skip


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        took = server.start()
        report("first start, five symbols, three years", f"{took:.2f} s, {server.memory_mb:.0f} MB", "< 10 s",
               f"{server.cpu_s:.2f} s of processor")  # fmt: skip
        server.stop()
        took = server.start()
        report("second start", f"{took:.2f} s", "", f"{server.cpu_s:.2f} s of processor")
        try:
            asyncio.run(most_orders(server, 16, 3 if quick else 15))
            asyncio.run(steady_orders(server, 100, 5 if quick else 20))
            asyncio.run(fan_out(server, 100 if quick else 500, 5 if quick else 15))
            asyncio.run(memory(server, 2_000 if quick else 100_000))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
