"""What the benchmarks of execution share: the installation, orders committed as by the web process, a table."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "e2e")]

from api_client import Api, use_setup_link  # noqa: E402
from both_books import Ours, compare  # noqa: E402
from stack import Stack, wait_for  # noqa: E402

from app.database.engine import make_engine, session_factory  # noqa: E402
from app.domain.money import use_money_context  # noqa: E402
from app.domain.orders import Order, OrderType, Side, TimeInForce  # noqa: E402
from app.services.execution import OrderDraft, place_order  # noqa: E402
from app.services.runtime import RandomIds, SystemClock  # noqa: E402
from tests.chaos import launch  # noqa: E402

__all__ = [
    "PAPER_OPTIONS", "SYMBOL", "Api", "BenchStack", "Desk", "Heard", "Ours", "bench_stack", "compare", "cpu_s",
    "limit_draft", "owners_rows", "report", "spread", "wait_for",
]  # fmt: skip
SYMBOL = "BTCUSDT"
#: A small market; orders are not what the exchange is to refuse here, so its order limit is out of the way.
PAPER_OPTIONS = f"--symbols {SYMBOL},ETHUSDT --history-days 3 --order-limit 0"


class BenchStack(Stack):
    """`plumbline up` with options for its paper exchange; everything else as always."""

    command: Sequence[str] = (sys.executable, "-m", "tests.chaos.launch")

    def __init__(self, paper_options: str = PAPER_OPTIONS) -> None:
        super().__init__()
        self.environment |= {launch.PAPER_VARIABLE: paper_options, "PYTHONPATH": str(ROOT)}

    def child_named(self, command: str) -> psutil.Process:
        """The supervised process that runs `plumbline <command>`, whatever its options."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if command in child.cmdline()[2:5])


@contextmanager
def bench_stack(paper_options: str = PAPER_OPTIONS) -> Iterator[tuple[BenchStack, Api]]:
    """A running installation with its first admin; removed afterwards."""
    stack = BenchStack(paper_options)
    try:
        use_setup_link(stack.start())
        with Api(stack.url) as api:
            yield stack, api
    finally:
        try:
            stack.stop()
        finally:
            stack.remove()


def owners_rows(stack: Stack, sql: str, *given: Any) -> list[dict[str, Any]]:
    """What a statement of the database's owner gives (committed)."""
    secrets = stack.home / "secrets"
    its, ours = (urlsplit((secrets / f"{name}.url").read_text().strip()) for name in ("postgres", "migrator"))
    url = f"postgresql://{its.username}:{its.password}@{ours.hostname}:{ours.port}{ours.path}"
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as database:
        return database.execute(sql, given).fetchall()


def cpu_s(process: psutil.Process) -> float:
    """Processor time it has taken; unlike time on the wall it does not tell how busy the machine is."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Desk:
    """Commits orders as the web process does, with its role, but without HTTP in between."""

    def __init__(self, stack: Stack, *, connections: int = 8) -> None:
        use_money_context()
        self._url = (stack.home / "secrets" / "web.url").read_text().strip()
        self._engine = make_engine(self._url, application_name="benchmark", pool_size=connections)
        self.sessions: async_sessionmaker[AsyncSession] = session_factory(self._engine)
        self._clock, self._ids = SystemClock(), RandomIds()
        with psycopg.connect(self._url) as database:
            row = database.execute("SELECT user_id FROM execution.accounts LIMIT 1").fetchone()
        assert row is not None
        self._user_id = int(row[0])

    async def commit(self, draft: OrderDraft) -> tuple[Order, float]:
        """T1: the order, and when it was committed (s since 1970)."""
        async with self.sessions.begin() as session:
            order = await place_order(
                session,
                user_id=self._user_id,
                draft=draft,
                intent_key=uuid.uuid4().hex,
                clock=self._clock,
                ids=self._ids,
            )
        return order, time.time()

    async def close(self) -> None:
        await self._engine.dispose()


class Heard:
    """When each order was last said to have changed: what browsers are told, as it is committed."""

    def __init__(self, stack: Stack) -> None:
        self.orders: dict[int, list[float]] = {}
        self._url = (stack.home / "secrets" / "web.url").read_text().strip()
        self._over, self._listens = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._listens.wait(10)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        marker = '"kind": "order", "id": '
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("LISTEN plumbline_ui")
            self._listens.set()
            while not self._over.is_set():
                for note in connection.notifies(timeout=0.2):
                    _, found, rest = note.payload.partition(marker)
                    if found:
                        self.orders.setdefault(int(rest.rstrip("}")), []).append(time.time())


def limit_draft(account_id: int, price: float, *, below: float = 0.08) -> OrderDraft:
    """A small purchase that rests far below the market."""
    at = Decimal(str(round(price * (1 - below), 2)))
    return OrderDraft(
        account_id,
        SYMBOL,
        Side.BUY,
        OrderType.LIMIT,
        quantity=Decimal("0.001"),
        price=at,
        time_in_force=TimeInForce.GTC,
    )


def report(what: str, figure: str, aim: str = "") -> None:
    """One line of the table."""
    print(f"{what:<52} {figure:<46} {aim:<14} load {os.getloadavg()[0]:.1f}", flush=True)


def spread(times_ms: Sequence[float]) -> str:
    """p50 and p95."""
    cut = statistics.quantiles(times_ms, n=20, method="inclusive")
    return f"p50 {cut[9]:.1f} ms, p95 {cut[18]:.1f} ms ({len(times_ms)} times)"
