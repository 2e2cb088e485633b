"""A running paper exchange for tests: inside the test's loop with a clock to move, or as a process to kill."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from binance import AsyncClient, BinanceSocketManager
from binance.ws.constants import WSListenerState
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from app.domain.clock import Clock
from app.paper_exchange.main import serve
from app.paper_exchange.settings import PaperSettings

TOKEN = "control-token-of-a-test"
ROOT = Path(__file__).resolve().parent.parent
#: Two symbols and three days: enough for most tests, and made at once.
SMALL: dict[str, Any] = {"symbols": ("BTCUSDT", "ETHUSDT"), "history_days": 3}


class ManualClock:
    """Time that stands until it is moved."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self._now_ms

    def exchange_now_ms(self) -> int:
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_ms + round(seconds * 1000), waker))
        await waker

    async def advance(self, seconds: float) -> None:
        """Move on, waking every sleeper at its time."""
        target_ms = self._now_ms + round(seconds * 1000)
        while due := [s for s in self._sleepers if s[0] <= target_ms]:
            at_ms, waker = min(due, key=lambda s: s[0])
            self._sleepers.remove((at_ms, waker))
            self._now_ms = max(self._now_ms, at_ms)
            if not waker.done():
                waker.set_result(None)
            for _ in range(3):
                await asyncio.sleep(0)
        self._now_ms = target_ms

    async def jump(self, seconds: float) -> None:
        """Move on at once, as for a process that was stopped meanwhile."""
        self._now_ms += round(seconds * 1000)
        await self.advance(0)


@dataclass(frozen=True)
class Keys:
    """An account and the means to sign for it."""

    account_id: int
    api_key: str
    secret: str | None = None  # HMAC
    private_pem: str | None = None  # Ed25519


class Paper:
    """Calls to one exchange at a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def control(self, method: str, path: str, body: Any = None, token: str | None = TOKEN) -> tuple[int, Any]:
        """A control endpoint: (status, body)."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as response,
        ):
            return response.status, await response.json()

    async def status_of(self, symbol: str) -> dict[str, Any]:
        """One symbol of /paper/status."""
        _, status = await self.control("GET", "/paper/status", token=None)
        return next(s for s in status["symbols"] if s["symbol"] == symbol)

    async def open_account(self, balances: dict[str, str], *, ed25519: bool = True) -> Keys:
        """A fresh account."""
        private_pem, body = None, {"label": "test", "balances": balances}
        if ed25519:
            private_pem, body["public_key_pem"] = make_pair()
        status, answer = await self.control("POST", "/paper/accounts", body)
        assert status == 200, answer
        return Keys(answer["account_id"], answer["api_key"], answer.get("secret"), private_pem)

    async def replay(self, symbol: str, candles: list[list[Any]], **options: Any) -> dict[str, Any]:
        """Let a symbol replay candles."""
        body = {"source": "replay", "candles": candles, **options}
        status, answer = await self.control("POST", f"/paper/markets/{symbol}", body)
        assert status == 200, answer
        return answer

    async def books(self, account_id: int) -> dict[str, Any]:
        """Order and trade books of an account."""
        status, answer = await self.control("GET", f"/paper/books/{account_id}")
        assert status == 200, answer
        return answer

    async def raw(
        self, method: str, path: str, query: str = "", body: str = "", keys: Keys | str | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """A request sent exactly as written: (status, JSON, headers)."""
        api_key = keys.api_key if isinstance(keys, Keys) else keys
        headers = {"X-MBX-APIKEY": api_key} if api_key else {}
        target = URL(f"{self.url}{path}{'?' + query if query else ''}", encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, target, data=body or None, headers=headers) as response,
        ):
            return response.status, await response.json(content_type=None), dict(response.headers)

    async def signed(self, method: str, path: str, keys: Keys, **params: Any) -> tuple[int, Any]:
        """A request signed with an HMAC key: (status, JSON)."""
        params.setdefault("timestamp", int(time.time() * 1000))
        query = "&".join(f"{k}={v}" for k, v in params.items() if v is not None)
        status, answer, _ = await self.raw(method, path, f"{query}&signature={hmac_of(keys, query)}", keys=keys)
        return status, answer

    async def client(self, keys: Keys) -> AsyncClient:
        """python-binance, unmodified but for its base addresses."""

        class Client(AsyncClient):
            API_URL = f"{self.url}/api"
            MARGIN_API_URL = f"{self.url}/sapi"
            WS_API_URL = f"ws://127.0.0.1:{self.port}/ws-api/v3"

        return await Client.create(keys.api_key, keys.secret, private_key=keys.private_pem)

    def sockets(self, client: AsyncClient) -> BinanceSocketManager:
        """python-binance's socket manager at this exchange."""

        class Sockets(BinanceSocketManager):
            STREAM_URL = f"ws://127.0.0.1:{self.port}/"

        return Sockets(client)


async def close(client: AsyncClient) -> None:
    """Close a client without the ten seconds its idle read loop would wait for."""
    client.ws_api.ws_state = WSListenerState.EXITING
    if client.ws_api.ws is not None:
        await client.ws_api.ws.close()
    await client.session.close()


def hmac_of(keys: Keys, payload: str) -> str:
    """HMAC-SHA256 in hex."""
    assert keys.secret is not None
    return hmac.new(keys.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def make_pair() -> tuple[str, str]:
    """(private, public) Ed25519 key in PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@contextlib.asynccontextmanager
async def running(data_file: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Paper]:
    """An exchange inside this loop."""
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    wanted = PaperSettings(data_file=data_file, **{"port": 0, "control_token": TOKEN, **SMALL, **settings})
    task = asyncio.create_task(serve(wanted, clock=clock, on_ready=ready.set_result))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield Paper(ready.result())
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class PaperProcess:
    """An exchange as a process of its own."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder = folder
        self.data_file = folder / "paper.db"
        given = {"symbols": "BTCUSDT,ETHUSDT", "history_days": "3", **options}
        named = [(f"--{name.replace('_', '-')}", value) for name, value in given.items()]
        self._options = [part for option in named for part in option if part]  # "" stands for a flag without a value
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, before: Callable[[], None] | None = None) -> Paper:
        """Start and wait until it listens. `before` runs in the child before the program."""
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "app.paper_exchange", "--data", str(self.data_file), "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--port-file", str(port_file), *self._options],
            cwd=ROOT,
            env={**os.environ, "PAPER_CONTROL_TOKEN": TOKEN},
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("ab"),
            preexec_fn=before,
        )
        deadline = time.monotonic() + 20
        while not (port_file.exists() and port_file.read_text()):
            assert self._process.poll() is None, (self.folder / "stderr").read_text()
            assert time.monotonic() < deadline, "the exchange does not listen"
            time.sleep(0.02)
        return Paper(int(port_file.read_text()))

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=10)

    def wait(self, timeout_s: float) -> int:
        """Wait for it to end by itself; the exit code."""
        assert self._process is not None
        return self._process.wait(timeout=timeout_s)


async def until(condition: Callable[[], Awaitable[Any]], timeout_s: float = 10.0) -> Any:
    """Poll until `condition` gives something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def flat_candles(
    count: int, price: str, volume: str = "10", from_ms: int = 0, step_ms: int = 60_000
) -> list[list[Any]]:
    """Candles that do not move."""
    return [[from_ms + n * step_ms, price, price, price, price, volume] for n in range(count)]
