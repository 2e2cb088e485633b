"""Balances, positions, portfolios and snapshots on real PostgreSQL, as the worker writes and the web reads them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import text

from app.domain.clock import to_datetime
from app.domain.errors import NotFound
from app.domain.money import ZERO
from app.domain.orders import Fill, Order, OrderStatus, OrderType, Side
from app.services.market.prices import store_prices
from app.services.portfolio.projection import book_adjustment, book_fill, rebuild
from app.services.portfolio.snapshots import snapshots, take_snapshots
from app.services.portfolio.views import portfolio_of
from tests.conftest import Sessions
from tests.postgres.books import Books, insert

D = Decimal
NOW = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC)
START_MS = 1_763_000_000_000


@dataclass
class Desk:
    """Orders of one account, filled by hand."""

    worker: Sessions
    web: Sessions
    books: Books

    @property
    def account_id(self) -> int:
        return int(self.books.account_id)

    def new_run(self) -> int:
        owner = self.books.owner
        strategy = insert(owner, "strategy.strategies", {"user_id": self.books.user_id, "name": "EMA cross"}, "id")
        version = {"strategy_id": strategy, "number": 1, "hash": f"h{strategy}", "document": Jsonb({})}
        version_id = insert(owner, "strategy.strategy_versions", version, "id")
        run = {"user_id": self.books.user_id, "account_id": self.account_id, "version_id": version_id}
        return int(insert(owner, "strategy.runs", run | {"symbol": "BTCUSDT", "timeframe": "1m"}, "id"))

    def order(self, side: Side, run_id: int | None = None) -> Order:
        order_id = self.books.open_order(side=side.value, quantity="1000", run_id=run_id)
        return Order(
            id=order_id,
            account_id=self.account_id,
            run_id=run_id,
            plan_id=None,
            client_order_id="",
            intent_key="",
            symbol="BTCUSDT",
            side=side,
            type=OrderType.LIMIT,
            time_in_force=None,
            quantity=D(1000),
            quote_quantity=None,
            price=None,
            stop_price=None,
            status=OrderStatus.PARTIALLY_FILLED,
            version=1,
            filled=ZERO,
            filled_quote=ZERO,
            exchange_order_id=None,
            created_at_ms=0,
            deadline_ms=0,
            signed_timestamp_ms=None,
            recv_window_ms=None,
            outcome_unknown_since_ms=None,
            cancel_requested_at_ms=None,
            last_report_ms=0,
            reserved_asset="",
            reserved=ZERO,
            reject_code="",
            reject_reason="",
        )

    async def book(self, order: Order, fill: Fill, commission_price: Decimal | None = None) -> None:
        row = self.books.fill_row(
            order.id,
            side=order.side.value,
            run_id=order.run_id,
            trade_id=fill.trade_id,
            quantity=fill.quantity,
            price=fill.price,
            quote_quantity=fill.quote_quantity,
            commission=fill.commission,
            commission_asset=fill.commission_asset,
            commission_price=commission_price,
            traded_at=to_datetime(fill.traded_at_ms),
        )
        self.books.step(order.id, "fill_applied", "PARTIALLY_FILLED", fill=row)
        async with self.worker.begin() as session:
            await book_fill(
                session,
                order=order,
                fill=fill,
                base_asset="BTC",
                quote_asset="USDT",
                commission_price=commission_price,
            )

    async def adjust(self, asset: str, change: str) -> None:
        async with self.worker.begin() as session:
            await book_adjustment(
                session, account_id=self.account_id, asset=asset, change=D(change), reason="opening balance"
            )

    def projections(self) -> list[tuple[object, ...]]:
        """Balances and positions, every digit of them, as text."""
        rows = self.books.owner.execute(
            "SELECT asset, total::text FROM portfolio.balances WHERE account_id = %s ORDER BY asset", [self.account_id]
        ).fetchall()
        return rows + self.books.owner.execute(
            "SELECT run_id, symbol, quantity::text, cost::text, realised::text, fees_quote::text, last_traded_at, "
            "last_trade_id FROM portfolio.positions WHERE account_id = %s ORDER BY run_id, symbol",
            [self.account_id],
        ).fetchall()  # fmt: skip

    async def rebuild(self) -> list[str]:
        async with self.worker.begin() as session:
            return await rebuild(session, self.account_id)


@pytest.fixture
def desk(worker_sessions: Sessions, web_sessions: Sessions, own_books: Books) -> Desk:
    rules = {"base_asset": "BTC", "quote_asset": "USDT"}
    row = {"kind": "PAPER", "symbol": "BTCUSDT", "rules": Jsonb(rules), "refreshed_at": NOW}
    insert(own_books.owner, "execution.symbols", row)
    return Desk(worker_sessions, web_sessions, own_books)


def fill(trade_id: int, quantity: str, price: str, fee: str = "0", asset: str = "USDT", *, at: int = 0) -> Fill:
    value = D(quantity) * D(price)
    return Fill(trade_id, D(quantity), D(price), value, D(fee), asset, False, START_MS + at)


async def test_fills_move_balances_and_the_position_together(desk: Desk) -> None:
    await desk.adjust("USDT", "10000")
    await desk.book(desk.order(Side.BUY), fill(1, "2", "100", "0.002", "BTC", at=1))
    await desk.book(desk.order(Side.SELL), fill(2, "0.5", "120", "0.06", at=2))
    balances, (position,) = desk.projections()[:2], desk.projections()[2:]
    assert {asset: D(str(total)) for asset, total in balances} == {"BTC": D("1.498"), "USDT": D("9859.94")}
    assert (position[0], D(str(position[2])), D(str(position[5]))) == (0, D("1.498"), D("0.26"))
    removed = D("50.050050050050")
    assert D(str(position[3])) == 200 - removed
    assert D(str(position[4])) == D("59.94") - removed


async def test_each_run_has_a_position_of_its_own(desk: Desk) -> None:
    run_id = desk.new_run()
    await desk.book(desk.order(Side.BUY, run_id), fill(1, "2", "100"))
    await desk.book(desk.order(Side.BUY), fill(2, "1", "110"))
    rows = {row[0]: (D(str(row[2])), D(str(row[3]))) for row in desk.projections() if len(row) > 2}
    assert rows == {run_id: (D(2), D(200)), 0: (D(1), D(110))}


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_order_of_arrival_ends_in_the_same_bytes_and_a_rebuild_too(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    await desk.adjust("USDT", "100000.00")
    await desk.adjust("BNB", "5")
    run_id = desk.new_run()
    orders = [desk.order(side, run) for side in Side for run in (None, run_id)]
    happened = []
    for trade_id in range(1, 25):
        order = chance.choice(orders)
        asset = chance.choice(["BTC", "USDT", "BNB"])
        price = "612.5" if asset == "BNB" else None
        quantity = str(D(chance.randint(1, 10**6)).scaleb(-5))
        one = fill(trade_id, quantity, str(chance.randint(90, 110)), "0.00712", asset, at=trade_id // 3)
        happened.append((order, one, D(price) if price else None))
    arrived = happened[:]
    chance.shuffle(arrived)
    for order, one, commission_price in arrived:
        await desk.book(order, one, commission_price)
    booked = desk.projections()
    assert await desk.rebuild() == []
    assert desk.projections() == booked
    desk.books.owner.execute("DELETE FROM portfolio.positions")
    desk.books.owner.execute("DELETE FROM portfolio.balances")
    assert len(await desk.rebuild()) == 5  # three balances, two positions
    assert desk.projections() == booked


async def test_a_rebuild_says_what_was_wrong_and_mends_it(desk: Desk) -> None:
    await desk.adjust("USDT", "1000")
    await desk.book(desk.order(Side.BUY), fill(1, "2", "100"))
    right = desk.projections()
    desk.books.owner.execute("UPDATE portfolio.balances SET total = 999 WHERE asset = 'USDT'")
    desk.books.owner.execute("UPDATE portfolio.positions SET cost = 1")
    assert await desk.rebuild() == [
        "USDT: the balance stood at 999, fills and adjustments give 800",
        "BTCUSDT, run 0: the position stood at 2 at a cost of 1, realised 0, its fills give 2 at a cost of 200, "
        "realised 0",
    ]
    assert desk.projections() == right


async def test_a_late_fill_is_folded_in_at_its_place(desk: Desk) -> None:
    buy, sell = desk.order(Side.BUY), desk.order(Side.SELL)
    await desk.book(buy, fill(1, "1", "100", at=1))
    await desk.book(sell, fill(3, "1", "130", at=3))
    await desk.book(buy, fill(2, "1", "120", at=2))
    (position,) = (row for row in desk.projections() if len(row) > 2)
    assert (D(str(position[2])), D(str(position[3])), D(str(position[4]))) == (D(1), D(110), D(20))
    assert (position[6], position[7]) == (to_datetime(START_MS + 3), 3)


async def test_a_portfolio_adds_up_at_the_newest_prices(desk: Desk) -> None:
    run_id = desk.new_run()
    await desk.adjust("USDT", "10000")
    await desk.book(desk.order(Side.BUY, run_id), fill(1, "2", "100", "0.2"))
    for _ in range(2):
        desk.books.open_order(reserved_asset="USDT", reserved=150)
    priced_at = NOW - timedelta(seconds=4)
    async with desk.worker.begin() as session:
        await store_prices(session, kind="PAPER", prices={"BTCUSDT": D(110)}, now=priced_at)
    async with desk.web.begin() as session:
        view = await portfolio_of(session, user_id=desk.books.user_id, account_id=desk.account_id, now=NOW)
    assert (view.cash, view.equity, view.unrealised, view.realised) == (D("9799.8"), D("10019.8"), D("19.8"), D(0))
    assert (view.as_of, view.quote_asset, view.fees_quote) == (priced_at, "USDT", D("0.2"))
    usdt = next(each for each in view.balances if each.asset == "USDT")
    assert (usdt.total, usdt.reserved, usdt.free, usdt.agrees) == (D("9799.8"), D(300), D("9499.8"), None)
    (position,) = view.positions
    assert (position.run_name, position.average_cost, position.value) == ("EMA cross", D("100.1"), D(220))
    assert view.equity - 10_000 == view.realised + (view.unrealised or ZERO)


async def test_what_has_no_price_is_not_guessed(desk: Desk) -> None:
    await desk.adjust("USDT", "1000")
    await desk.adjust("BTC", "1")
    async with desk.web.begin() as session:
        view = await portfolio_of(session, user_id=desk.books.user_id, account_id=desk.account_id, now=NOW)
        with pytest.raises(NotFound):
            await portfolio_of(session, user_id=desk.books.user_id + 1, account_id=desk.account_id, now=NOW)
    assert (view.equity, view.cash, view.as_of) == (None, D(1000), NOW)


async def test_a_balance_says_whether_the_exchange_agrees(desk: Desk) -> None:
    await desk.adjust("USDT", "1000")
    await desk.adjust("BTC", "1")
    desk.books.owner.execute("UPDATE portfolio.balances SET exchange_total = 1000.00 WHERE asset = 'USDT'")
    desk.books.owner.execute("UPDATE portfolio.balances SET exchange_total = 2 WHERE asset = 'BTC'")
    async with desk.web.begin() as session:
        view = await portfolio_of(session, user_id=desk.books.user_id, account_id=desk.account_id, now=NOW)
    assert {each.asset: each.agrees for each in view.balances} == {"USDT": True, "BTC": False}


async def test_one_snapshot_an_hour_stands_and_keeps_its_prices(desk: Desk) -> None:
    await desk.adjust("USDT", "1000")
    await desk.adjust("BTC", "0.5")

    async def take(minutes: int, price: int) -> int:
        async with desk.worker.begin() as session:
            now = NOW + timedelta(minutes=minutes)
            await store_prices(session, kind="PAPER", prices={"BTCUSDT": D(price)}, now=now)
            return await take_snapshots(session, now=now)

    assert [await take(0, 100), await take(5, 200), await take(180, 300)] == [1, 0, 1]
    async with desk.web.begin() as session:
        taken = await snapshots(
            session, user_id=desk.books.user_id, account_id=desk.account_id, since=NOW.min.replace(tzinfo=UTC)
        )
        kept = (
            (await session.execute(text("SELECT prices->'BTCUSDT'->>'price' FROM portfolio.equity_snapshots")))
            .scalars()
            .all()
        )
    assert [(each.hour_at.hour, each.equity) for each in taken] == [(12, D(1050)), (15, D(1150))]
    assert sorted(kept) == ["100", "300"]


async def test_a_snapshot_without_a_price_has_no_equity(desk: Desk) -> None:
    await desk.adjust("DOGE", "5")
    async with desk.worker.begin() as session:
        assert await take_snapshots(session, now=NOW) == 1
    async with desk.web.begin() as session:
        (taken,) = await snapshots(
            session, user_id=desk.books.user_id, account_id=desk.account_id, since=NOW - timedelta(hours=1)
        )
    assert taken.equity is None
