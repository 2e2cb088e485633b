"""Candles, data sets and paper market requests on real PostgreSQL, with the roles' own rights."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from app.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound
from app.services.exchange.protocol import KlineEvent
from app.services.market.candles import (
    Gap,
    ParsedCandles,
    candle_gaps,
    delete_dataset,
    get_dataset,
    import_candles,
    list_datasets,
    parse_candles,
    read_candles,
    store_candles,
)
from app.services.market.paper_market import latest_request, paper_markets, request_paper_market
from app.services.market.prices import prices, store_prices
from tests.conftest import Sessions
from tests.postgres.books import Books, insert

START_MS = 1_704_067_200_000
MINUTE = 60_000
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def parsed(
    count: int = 200, *, leave_out: Sequence[int] = (), price: float = 100.0, first: int = 0, symbol: str = "BTCUSDT"
) -> ParsedCandles:
    lines = [
        f"{START_MS + i * MINUTE},{price},{price + 2},{price - 2},{price + i % 2},{i % 5}.5"
        for i in range(first, first + count)
        if i not in leave_out
    ]
    return parse_candles(io.BytesIO("\n".join(lines).encode()), filename="x.csv", symbol=symbol, timeframe="1m")


@dataclass(frozen=True)
class Market:
    web: Sessions
    worker: Sessions
    user_id: int
    books: Books

    async def load(self, candles: ParsedCandles, name: str = "mine", **options: object) -> int:
        async with self.web.begin() as session:
            view = await import_candles(session, user_id=self.user_id, parsed=candles, name=name, **options)  # type: ignore[arg-type]
            return view.id


@pytest.fixture
def market(web_sessions: Sessions, worker_sessions: Sessions, own_books: Books) -> Market:
    return Market(web_sessions, worker_sessions, own_books.user_id, own_books)


async def test_an_import_stores_every_candle_exactly_and_shows_gaps(market: Market) -> None:
    candles = parsed(200, leave_out=[7, 8, 50])
    told: list[tuple[int, int]] = []
    async with market.web.begin() as session:
        view = await import_candles(
            session, user_id=market.user_id, parsed=candles, name=" My file ", progress=lambda *at: told.append(at)
        )
    assert (view.name, view.rows, view.gaps, view.missing) == ("My file", 197, 2, 3)
    assert view.venue == f"file:{view.id}"
    assert view.gap_list == (Gap(START_MS + 7 * MINUTE, 2), Gap(START_MS + 50 * MINUTE, 1))
    assert told == [(197, 197)]
    async with market.worker.begin() as session:
        stored = await read_candles(session, venue=view.venue, symbol="BTCUSDT", timeframe="1m")
        assert await get_dataset(session, view.id) == view
        assert [each.id for each in await list_datasets(session)] == [view.id]
    for name in ("open_time_ms", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(stored, name), getattr(candles.candles, name)), name


async def test_reading_takes_a_range_a_limit_or_the_newest(market: Market) -> None:
    venue = f"file:{await market.load(parsed(10))}"

    async def times(**options: int | bool) -> list[int]:
        async with market.web.begin() as session:
            found = await read_candles(session, venue=venue, symbol="BTCUSDT", timeframe="1m", **options)  # type: ignore[arg-type]
        return [(int(at) - START_MS) // MINUTE for at in found.open_time_ms]

    assert await times() == list(range(10))
    assert await times(start_ms=START_MS + 2 * MINUTE, end_ms=START_MS + 5 * MINUTE) == [2, 3, 4]
    assert await times(limit=3) == [0, 1, 2]
    assert await times(limit=3, newest=True) == [7, 8, 9]
    assert await times(limit=2, newest=True, end_ms=START_MS + 5 * MINUTE) == [3, 4]
    assert await times(start_ms=START_MS + 99 * MINUTE) == []


async def test_the_same_candles_twice_are_refused_by_name_however_packed(market: Market) -> None:
    first = await market.load(parsed(), name="January")
    with pytest.raises(Conflict, match=rf"as “January” \(data set {first}\)"):
        await market.load(parsed(), name="again")
    other_symbol = parsed(symbol="ETHUSDT")
    assert await market.load(other_symbol) != first


async def test_two_imports_of_the_same_file_at_once_make_one_data_set(market: Market) -> None:
    results = await asyncio.gather(*(market.load(parsed()) for _ in range(4)), return_exceptions=True)
    assert [isinstance(result, Conflict) for result in results].count(True) == 3, results
    async with market.web.begin() as session:
        assert len(await list_datasets(session)) == 1


async def test_a_failed_import_leaves_nothing(market: Market) -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError("the browser went away")

    with pytest.raises(RuntimeError):
        await market.load(parsed(), progress=fail)
    async with market.web.begin() as session:
        assert await list_datasets(session) == []
        assert await session.scalar(text("SELECT count(*) FROM analytics.candles")) == 0


async def test_prices_of_another_scale_than_a_known_data_set_need_confirmation(market: Market) -> None:
    await market.load(parsed(price=100.0), name="real BTC")
    with pytest.raises(InvalidInput) as caught:
        await market.load(parsed(price=4000.0, first=50), name="ETH by mistake")
    assert caught.value.facts["confirm"] == "accept_scale"
    assert "do not look like BTCUSDT" in caught.value.message
    assert "“real BTC” says" in caught.value.message
    assert await market.load(parsed(price=4000.0, first=50), name="meant", accept_scale=True)


async def test_growth_over_time_is_no_mix_up(market: Market) -> None:
    rising = "\n".join(
        f"{START_MS + i * MINUTE},{p},{p},{p},{p},1" for i, p in enumerate(100 * 1.05**n for n in range(100))
    )
    first = parse_candles(io.BytesIO(rising.encode()), filename="a.csv", symbol="BTCUSDT", timeframe="1m")
    await market.load(first)
    assert await market.load(parsed(price=100 * 1.05**100, first=120))


async def test_without_a_data_set_the_market_tells_the_scale(market: Market) -> None:
    async with market.worker.begin() as session:
        await store_prices(session, kind="PAPER", prices={"BTCUSDT": Decimal(60_000)}, now=NOW)
    with pytest.raises(InvalidInput, match=r"the paper market now says 60000"):
        await market.load(parsed(price=100.0))
    assert await market.load(parsed(price=30_000.0))


async def test_deleting_a_data_set_is_for_its_owner_and_removes_its_candles(market: Market) -> None:
    dataset_id = await market.load(parsed(leave_out=[5]))
    other = insert(
        market.books.owner, "auth.users", {"email": "bob@example.org", "password_hash": "x", "role": "trader"}, "id"
    )
    async with market.web.begin() as session:
        with pytest.raises(NotAllowed):
            await delete_dataset(session, user_id=other, dataset_id=dataset_id)
        await delete_dataset(session, user_id=market.user_id, dataset_id=dataset_id)
    async with market.web.begin() as session:
        assert await session.scalar(text("SELECT count(*) FROM analytics.candles")) == 0
        assert await session.scalar(text("SELECT count(*) FROM analytics.candle_gaps")) == 0
        with pytest.raises(NotFound):
            await get_dataset(session, dataset_id)


def kline(i: int, close: float = 100.0) -> KlineEvent:
    return KlineEvent("BTCUSDT", "1m", START_MS + i * MINUTE, 100.0, 101.0, 99.0, close, 1.0, True)


async def test_stored_candles_replace_themselves_and_gaps_follow(market: Market) -> None:
    key = {"venue": "paper:1", "symbol": "BTCUSDT", "timeframe": "1m"}

    async def store(*numbers: int, close: float = 100.0) -> list[tuple[int, int]]:
        async with market.worker.begin() as session:
            await store_candles(session, **key, rows=[kline(i, close) for i in numbers])
        async with market.worker.begin() as session:
            gaps = await candle_gaps(session, **key)
        return [((gap.from_ms - START_MS) // MINUTE, gap.missing) for gap in gaps]

    assert await store(10) == []
    assert await store(14, 20) == [(11, 3), (15, 5)]
    assert await store(2) == [(3, 7), (11, 3), (15, 5)]
    assert await store(12) == [(3, 7), (11, 1), (13, 1), (15, 5)]
    assert await store(11, 13) == [(3, 7), (15, 5)]
    assert await store(11, close=100.5) == [(3, 7), (15, 5)]
    async with market.worker.begin() as session:
        stored = await read_candles(session, **key)
    assert len(stored) == 7
    assert stored.close[list(stored.open_time_ms).index(START_MS + 11 * MINUTE)] == 100.5


async def test_an_older_price_never_replaces_a_newer_one(market: Market) -> None:
    async with market.worker.begin() as session:
        await store_prices(session, kind="PAPER", prices={"BTCUSDT": Decimal(2), "ETHUSDT": Decimal(1)}, now=NOW)
        earlier = NOW - timedelta(seconds=1)
        await store_prices(session, kind="PAPER", prices={"BTCUSDT": Decimal(9)}, now=earlier)
        await store_prices(session, kind="LIVE", prices={"BTCUSDT": Decimal(7)}, now=NOW)
        await store_prices(session, kind="PAPER", prices={}, now=NOW)
    async with market.web.begin() as session:
        known = await prices(session, kind="PAPER")
    assert {symbol: view.price for symbol, view in known.items()} == {"BTCUSDT": Decimal(2), "ETHUSDT": Decimal(1)}
    assert known["BTCUSDT"].priced_at == NOW


async def test_a_replay_is_asked_for_by_data_set(market: Market) -> None:
    dataset_id = await market.load(parsed(), name="January")
    async with market.web.begin() as session:
        asked = await request_paper_market(
            session,
            user_id=market.user_id,
            symbol="btcusdt",
            source="replay",
            dataset_id=dataset_id,
            start=20,
            loop=True,
        )
    assert (asked.symbol, asked.state, asked.options) == ("BTCUSDT", "REQUESTED", {"loop": True, "start": 20})
    async with market.web.begin() as session:
        assert await latest_request(session, "BTCUSDT") == asked
        assert await latest_request(session, "ETHUSDT") is None
        with pytest.raises(Conflict, match="The paper market of BTCUSDT replays “January”"):
            await delete_dataset(session, user_id=market.user_id, dataset_id=dataset_id)


WISHES: list[tuple[dict[str, object], str, str]] = [
    ({"source": "replay"}, "dataset_id", "Choose the data set"),
    ({"source": "replay", "symbol": "ETHUSDT", "dataset_id": 1}, "dataset_id", "candles of BTCUSDT, not of ETH"),
    ({"source": "replay", "dataset_id": 1, "start": 200}, "start", "candle 0 to 199"),
    ({"source": "replay", "dataset_id": 1, "start": -1}, "start", "candle 0 to 199"),
    ({"source": "synthetic", "symbol": "XRPUSDT"}, "symbol", "has no symbol 'XRPUSDT'; it has BTCUSDT"),
    ({"source": "synthetic", "seed": -1}, "seed", "whole number from 0"),
    ({"source": "live"}, "source", "“replay”, “synthetic” or “mirror”"),
]


async def test_a_wish_that_cannot_be_met_is_refused(market: Market) -> None:
    insert(market.books.owner, "execution.symbols", {"kind": "PAPER", "symbol": "BTCUSDT", "refreshed_at": NOW})
    dataset_id = await market.load(parsed())
    for given, field, words in WISHES:
        wish = {"symbol": "BTCUSDT"} | given | ({"dataset_id": dataset_id} if "dataset_id" in given else {})
        async with market.web.begin() as session:
            with pytest.raises(InvalidInput) as caught:
                await request_paper_market(session, user_id=market.user_id, **wish)  # type: ignore[arg-type]
        assert caught.value.field == field, given
        assert words in caught.value.message, given
    async with market.web.begin() as session:
        with pytest.raises(NotFound):
            await request_paper_market(
                session, user_id=market.user_id, symbol="BTCUSDT", source="replay", dataset_id=dataset_id + 1
            )
        assert await latest_request(session, "BTCUSDT") is None


async def test_a_paper_market_is_shown_as_the_exchange_told_it(market: Market) -> None:
    status = (
        '{"source": "replay", "label": "January", "progress": {"played": 30, "of": 200}, "loop": true, '
        '"gaps_closed": 2, "halted": false, "preset": "realistic"}'
    )
    row = {"symbol": "BTCUSDT", "venue": "paper:3", "status": status, "seen_at": NOW}
    insert(market.books.owner, "execution.paper_markets", row)
    async with market.web.begin() as session:
        (view,) = await paper_markets(session)
    assert (view.progress, view.total, view.gaps_closed, view.venue, view.loop) == (30, 200, 2, "paper:3", True)


SHARED = Path(os.environ.get("PLUMBLINE_SHARED", Path(__file__).parents[3] / "shared")) / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real candles are not here")
async def test_real_hourly_candles_are_imported_with_their_28_gaps(market: Market) -> None:
    packed = SHARED / "BTCUSDT-1h.csv.gz"
    with packed.open("rb") as stream:
        candles = parse_candles(stream, filename=packed.name, symbol="BTCUSDT", timeframe="1h")
    async with market.web.begin() as session:
        view = await import_candles(session, user_id=None, parsed=candles, name="real")
    assert (view.rows, view.gaps, view.missing, len(view.gap_list)) == (58_419, 28, 128, 28)
    unpacked = io.BytesIO(gzip.decompress(packed.read_bytes()))
    again = parse_candles(unpacked, filename="same.csv", symbol="BTCUSDT", timeframe="1h")
    with pytest.raises(Conflict, match="real"):
        await market.load(again)
