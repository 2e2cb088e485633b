"""The user stream of the paper exchange with all that goes wrong with streams, the adapter, and books in memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.domain.clock import Clock
from app.domain.money import floor_to_step
from app.domain.orders import FINAL, EventSource, Order, OrderStatus, OrderType, Side
from app.jobs.user_stream import UserStream
from app.services.exchange.binance import BinanceMarketData, BinanceSession
from app.services.exchange.endpoints import Endpoints
from app.services.exchange.protocol import TradingSession
from app.services.exchange.signing import Ed25519Key
from app.services.exchange.weight import WeightBudget
from app.services.execution.intents import OrderDraft, commit_intent, request_cancel
from app.services.execution.reconcile import Reconciler
from app.services.execution.store import AccountFacts
from app.services.execution.store_memory import MemoryStore
from app.services.execution.submit import SubmitSettings, Submitter
from app.services.runtime import RandomIds, SystemClock
from tests.execution.test_stream_gaps import Board
from tests.paper_kit import ManualClock, Paper, running

D = Decimal
OPENING = {"USDT": "5000000", "BTC": "50"}
ROUNDS = 40


@dataclass
class Desk:
    """One account: its session, its books, and its stream's consumer."""

    paper: Paper
    exchange_account: int
    trading: BinanceSession
    elsewhere: BinanceSession  # the same key, used by somebody else
    market: BinanceMarketData
    store: MemoryStore
    clock: Clock
    submitter: Submitter
    reconciler: Reconciler
    board: Board

    async def order(self, key: str, side: Side, price: Decimal | None) -> Order:
        """Committed and sent."""
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        draft = OrderDraft(1, "BTCUSDT", side, kind, quantity=D("0.1"), price=price)
        self.store.books.prices.update({"BTCUSDT": (self.store.books.prices["BTCUSDT"][0], self.clock.now_ms())})
        async with self.store.transaction() as tx:
            await commit_intent(tx, draft, intent_key=key, clock=self.clock, ids=RandomIds())
        claimed = await self.submitter.claim(may_send=True)
        assert claimed is not None
        return await self.submitter.send(claimed)

    async def fault(self, kind: str, **options: Any) -> int:
        status, made = await self.paper.control("POST", "/paper/faults", {"kind": kind, **options})
        assert status == 200, made
        return int(made["id"])

    async def contradictions(self) -> list[str]:
        """Where the two books differ, order by order and fill by fill."""
        theirs = await self.paper.books(self.exchange_account)
        ours = {order.client_order_id: order for order in self.store.books.orders.values()}
        found = []
        for order in theirs["orders"]:
            mine = ours.pop(order["clientOrderId"], None)
            if mine is None:
                found.append(f"{order['clientOrderId']} is unknown to us")
            elif (mine.status, mine.filled) != (_status(order["status"]), D(order["executedQty"])):
                found.append(f"{mine.client_order_id}: {mine.status} {mine.filled}, there {order['status']}")
        trades = {trade["id"] for trade in theirs["trades"]}
        booked = {trade_id for _, _, trade_id in self.store.books.fills}
        totals = {a: D(b["free"]) + D(b["locked"]) for a, b in theirs["balances"].items()}
        ours_held = {a: t for (_, a), t in self.store.books.totals.items() if t}
        found += [] if trades == booked else [f"fills {trades ^ booked}"]
        found += [] if ours_held == {a: t for a, t in totals.items() if t} else [f"{ours_held} != {totals}"]
        return found + [f"{cid} is unknown there" for cid, order in ours.items() if order.status not in FINAL]


def _status(word: str) -> str:
    return {"NEW": "OPEN"}.get(word, word)


@asynccontextmanager
async def desk_at(folder: Path, clock: Clock, paper_clock: Clock | None, **settings: Any) -> AsyncIterator[Desk]:
    """A running exchange, an account on it, and the consumer of its stream at work."""
    async with running(folder / "paper.db", paper_clock, faults=True, **settings) as paper:
        key, endpoints = Ed25519Key.generate(), Endpoints.paper(paper.url)
        body = {"label": "gaps", "public_key_pem": key.public_key_pem, "balances": OPENING}
        _, account = await paper.control("POST", "/paper/accounts", body)
        budget = WeightBudget(clock=clock, limit_per_minute=100_000)
        jitter = random.Random(1).random
        market = BinanceMarketData(endpoints, clock=clock, budget=budget, jitter=jitter)
        first, second = [
            BinanceSession(endpoints, account["api_key"], key, clock=clock, budget=budget, jitter=jitter)
            for _ in range(2)
        ]
        store = MemoryStore(epoch=1)
        store.books.epoch = 1
        store.books.accounts[1] = AccountFacts(1, 1, "PAPER", "ACTIVE", "Paper")
        store.books.rules.update(await market.symbol_rules())
        prices = await market.prices()
        store.books.prices.update({symbol: (price, clock.now_ms()) for symbol, price in prices.items()})
        store.books.totals.update({(1, asset): D(amount) for asset, amount in OPENING.items()})
        sessions: dict[int, TradingSession] = {1: first}
        submitter = Submitter(store, sessions, clock, SubmitSettings())
        reconciler = Reconciler(store, sessions, submitter, clock)
        board = Board()
        desk = Desk(paper, account["account_id"], first, second, market, store, clock, submitter, reconciler, board)
        reader = asyncio.create_task(UserStream(1, first, submitter, reconciler, board).run())
        try:
            await until(lambda: board.seen == ["up"] and len(store.books.passes) == 1)
            yield desk
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            for session in (first, second, market):
                await session.close()


async def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is waited for does not tell
            await asyncio.sleep(0.02)


async def test_copies_shuffles_silences_cuts_and_lost_answers_leave_both_books_equal(tmp_path: Path) -> None:
    """F04, F21, F22, F23, F24, F26 against the paper exchange's own stream."""
    rng = random.Random(4)
    async with desk_at(tmp_path, SystemClock(0), None, connection_life_s=2.0) as desk:
        await desk.fault("duplicate_reports", probability=0.3, seed=1)
        await desk.fault("reorder_reports", probability=0.3, seed=2, hold_ms=200)
        await desk.fault("stream_silence", where={"stream": "user"}, probability=0.15, seed=3)
        await desk.fault("stream_abort", where={"stream": "user"}, at="frame", probability=0.05, seed=4)
        await desk.fault("drop", where={"endpoint": "POST /api/v3/order"}, probability=0.2, seed=5)
        for number in range(ROUNDS):
            price = (await desk.market.prices())["BTCUSDT"]
            away = rng.choice((None, D("0.9998"), D("1.0002"), D("0.99")))
            limit = None if away is None else floor_to_step(price * away, D("0.01"))
            order = await desk.order(str(number), rng.choice((Side.BUY, Side.SELL)), limit)
            if rng.random() < 0.4 and order.exchange_order_id is not None and order.status not in FINAL:
                async with desk.store.transaction() as tx:
                    asked = await request_cancel(tx, order.id, source=EventSource.USER, clock=desk.clock)
                if rng.random() < 0.5:
                    await desk.elsewhere.cancel(
                        "BTCUSDT", client_order_id=order.client_order_id, exchange_order_id=order.exchange_order_id
                    )
                await desk.submitter.cancel(asked)
            await asyncio.sleep(0.05)
        await desk.paper.control("DELETE", "/paper/faults")
        for order in list(desk.store.books.orders.values()):  # so that nothing moves while the books are compared
            if order.status not in FINAL:
                await desk.elsewhere.cancel("BTCUSDT", client_order_id=order.client_order_id, exchange_order_id=None)
        await asyncio.sleep(3.2)  # what was sent just now is left to its own answer
        result = await desk.reconciler.run(1, trigger="schedule")
        assert (result.error, result.unresolved) == ("", 0)
        assert await desk.contradictions() == []
        assert len(desk.store.books.orders) == ROUNDS
        assert desk.board.seen.count("up") >= 3  # it was cut now and then
        assert desk.store.books.incidents == ()


async def test_a_stream_that_answers_pings_and_tells_nothing_is_replaced_when_asking_shows_it(tmp_path: Path) -> None:
    """F25 against the paper exchange: a silence with its pings, and an order that somebody else cancels."""
    clock = ManualClock(1_800_014_400_000)
    async with desk_at(tmp_path, clock, clock, symbols=("BTCUSDT",)) as desk, _going_on(clock):
        low = floor_to_step((await desk.market.prices())["BTCUSDT"] * D("0.9"), D("0.01"))
        order = await desk.order("a", Side.BUY, low)
        await clock.advance(5)
        made = await desk.fault("stream_silence", where={"stream": "user"})
        await desk.elsewhere.cancel("BTCUSDT", client_order_id=order.client_order_id, exchange_order_id=None)
        await clock.advance(5)
        assert (await desk.reconciler.run(1, trigger="stream")).repaired == 1
        assert desk.board.seen == ["up"]  # 5 s: it may still come

        other = await desk.order("b", Side.BUY, low)
        await clock.advance(5)
        await desk.elsewhere.cancel("BTCUSDT", client_order_id=other.client_order_id, exchange_order_id=None)
        await clock.advance(30)
        assert (await desk.reconciler.run(1, trigger="schedule")).repaired == 1
        await until(lambda: desk.board.seen[-1] == "up" and len(desk.board.seen) == 4)
        assert desk.board.seen[1] == "down"
        assert desk.board.seen[2].startswith(f"silent: order {other.client_order_id} changed at ")

        await desk.paper.control("DELETE", f"/paper/faults/{made}")
        third = await desk.order("c", Side.BUY, low)
        await desk.elsewhere.cancel("BTCUSDT", client_order_id=third.client_order_id, exchange_order_id=None)
        await until(lambda: desk.store.books.orders[third.id].status is OrderStatus.CANCELED)
        assert await desk.contradictions() == []


@asynccontextmanager
async def _going_on(clock: ManualClock) -> AsyncIterator[None]:
    """Time passes, slowly, for those who wait for it."""

    async def go_on() -> None:
        while True:
            await asyncio.sleep(0.01)
            await clock.advance(0.01)

    task = asyncio.create_task(go_on())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
