"""What the market streams say, and that it agrees with what REST says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from paper_kit import ManualClock, Paper, running

from app.paper_exchange.depth import DepthFeed
from app.paper_exchange.feeds import aggregated
from app.paper_exchange.model import Print
from app.paper_exchange.timeunit import in_microseconds

HOUR_MS = 3_600_000
BEFORE_A_DAY_IN_CHINA = 1_800_028_800_000 // (24 * HOUR_MS) * 24 * HOUR_MS + 16 * HOUR_MS - 5_000

D = Decimal


# -- a book of one's own ---------------------------------------------------------------------------------


def test_every_change_of_a_book_has_an_id_and_no_change_has_none() -> None:
    feed = DepthFeed(100)
    feed.watch("100ms", wanted=True)
    assert feed.look([(D(9), D(1))], [(D(10), D(2))]) == 101
    assert feed.look([(D(9), D(1))], [(D(10), D(2))]) == 101
    assert feed.look([(D(8), D(3))], [(D(10), D(2))]) == 102
    event = feed.take("100ms")
    assert event == {
        "U": 101, "u": 102, "b": [["9.00000000", "0.00000000"], ["8.00000000", "3.00000000"]],
        "a": [["10.00000000", "2.00000000"]],
    }  # fmt: skip
    assert feed.take("100ms") is None
    assert feed.look([], [(D(10), D(5))]) == 103
    after = feed.take("100ms")
    assert after is not None
    assert (after["U"], after["u"], after["a"]) == (103, 103, [["10.00000000", "5.00000000"]])


def test_who_starts_to_watch_later_begins_at_the_next_id() -> None:
    feed = DepthFeed(0)
    feed.look([(D(1), D(1))], [])
    feed.watch("1000ms", wanted=True)
    assert feed.take("1000ms") is None
    feed.look([(D(1), D(2))], [])
    event = feed.take("1000ms")
    assert event is not None
    assert (event["U"], event["u"]) == (2, 2)
    feed.watch("1000ms", wanted=False)
    feed.look([], [])
    assert feed.take("1000ms") is None


@pytest.mark.parametrize("speed", ["@100ms", "@1000ms", ""])
async def test_a_local_book_kept_from_the_differences_is_the_book(
    evening: tuple[Paper, ManualClock], speed: str
) -> None:
    """The procedure of the documentation, to the letter. The snapshot comes in the middle of a second."""
    paper, clock = evening
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{paper.url}/ws/btcusdt@depth{speed}") as socket,
    ):
        await clock.advance(1.5)
        events = await collect(socket, clock, bool)
        await clock.advance(0.2)
        snapshot = await depth_of(paper)
        await clock.advance(2.8 - (clock.now_ms() % 1000) / 1000 + 0.2)
        events += await collect(socket, clock, lambda frames: clock.now_ms() % 1000 == 0)
        now = await depth_of(paper)
    assert snapshot["lastUpdateId"] >= events[0]["U"]
    last, book = snapshot["lastUpdateId"], {side: dict(snapshot[side]) for side in ("bids", "asks")}
    later = [event for event in events if event["u"] > last]
    assert len(later) > (5 if speed == "@100ms" else 1)
    for event in later:
        assert event["U"] <= last + 1 <= event["u"]
        for side, key in (("bids", "b"), ("asks", "a")):
            book[side] |= dict(event[key])
            book[side] = {price: quantity for price, quantity in book[side].items() if D(quantity)}
        last = event["u"]
    assert last == now["lastUpdateId"] > snapshot["lastUpdateId"]
    assert book == {side: dict(now[side]) for side in ("bids", "asks")}


async def depth_of(paper: Paper) -> Any:
    return (await paper.raw("GET", "/api/v3/depth", "symbol=BTCUSDT&limit=5000"))[1]


async def test_partial_books_come_at_both_speeds(paper: Paper) -> None:
    names = [f"btcusdt@depth{levels}{speed}" for levels in (5, 10, 20) for speed in ("", "@100ms", "@1000ms")]
    seen = await first_of(paper, names)
    for name, book in seen.items():
        levels = int(name.split("depth")[1].split("@")[0])
        assert (len(book["bids"]), len(book["asks"])) == (levels, levels)
        assert D(book["bids"][0][0]) < D(book["asks"][0][0])
        assert book["bids"] == sorted(book["bids"], key=lambda row: D(row[0]), reverse=True)


async def test_the_book_ticker_speaks_only_of_changes(paper: Paper) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws/btcusdt@bookTicker") as socket:
        told = [await socket.receive_json(timeout=5) for _ in range(6)]
    best = [(t["b"], t["B"], t["a"], t["A"]) for t in told]
    assert all(one != after for one, after in pairwise(best))
    ids = [t["u"] for t in told]
    assert ids == sorted(set(ids))


# -- trades and tickers ----------------------------------------------------------------------------------


def test_trades_of_one_taker_at_one_price_are_one_aggregate() -> None:
    prints = [
        Print("A", 1, D(10), D(1), 5, False), Print("A", 2, D(10), D(2), 5, False),
        Print("A", 3, D(11), D(1), 5, False), Print("A", 4, D(11), D(1), 5, True), Print("B", 1, D(11), D(1), 5, True),
    ]  # fmt: skip
    assert [[p.id for p in together] for _, together in aggregated(prints)] == [[1, 2], [3], [4], [1]]


async def first_of(paper: Paper, names: list[str], query: str = "") -> dict[str, Any]:
    """The first payload of each stream."""
    seen: dict[str, Any] = {}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{paper.url}/stream?streams={'/'.join(names)}{query}") as socket,
    ):
        while set(seen) != set(names):
            message = await socket.receive_json(timeout=5)
            seen.setdefault(message["stream"], message["data"])
    return seen


async def test_every_ticker_has_the_fields_of_its_kind(paper: Paper) -> None:
    windows = [f"btcusdt@ticker_{w}" for w in ("1h", "4h", "1d")]
    arrays = ["!miniTicker@arr", *(f"!ticker_{w}@arr" for w in ("1h", "4h", "1d"))]
    others = ["btcusdt@ticker", "btcusdt@miniTicker", "btcusdt@avgPrice", "btcusdt@aggTrade", "btcusdt@trade"]
    seen = await first_of(paper, [*windows, *arrays, *others])
    day = seen["btcusdt@ticker"]
    assert set(day) == set("e E s p P w x c Q b B a A o h l v q O C F L n".split())  # noqa: SIM905
    assert D(day["p"]) == D(day["c"]) - D(day["o"])
    assert D(day["l"]) <= D(day["w"]) <= D(day["h"])
    assert day["C"] - day["O"] == 24 * HOUR_MS
    hour = seen["btcusdt@ticker_1h"]
    assert set(hour) == set("e E s p P o h l c w v q O C F L n".split())  # noqa: SIM905
    assert (hour["e"], hour["O"] % 60_000) == ("1hTicker", 0)
    assert HOUR_MS <= hour["C"] - hour["O"] < HOUR_MS + 60_000
    assert set(seen["btcusdt@miniTicker"]) == set("eEscohlvq")
    for array in arrays:
        assert {t["s"] for t in seen[array]} == {"BTCUSDT", "ETHUSDT"}
    average = seen["btcusdt@avgPrice"]
    assert (average["e"], average["i"], set(average)) == ("avgPrice", "5m", set("eEsiwT"))
    aggregate, trade = seen["btcusdt@aggTrade"], seen["btcusdt@trade"]
    assert set(aggregate) == set("eEsapqflTmM")
    assert set(trade) == set("eEstpqTmM")
    assert aggregate["f"] <= aggregate["l"]


# -- candles ---------------------------------------------------------------------------------------------


@pytest.fixture
async def evening(tmp_path: Path) -> AsyncIterator[tuple[Paper, ManualClock]]:
    """Five seconds before a day begins at UTC+8 (16:00 UTC)."""
    clock = ManualClock(BEFORE_A_DAY_IN_CHINA)
    async with running(tmp_path / "paper.db", clock, symbols=("BTCUSDT",)) as paper:
        yield paper, clock


async def collect(
    socket: aiohttp.ClientWebSocketResponse, clock: ManualClock, is_enough: Callable[[list[Any]], bool]
) -> list[Any]:
    """Frames, while the clock is moved on by tenths of seconds."""
    frames: list[Any] = []
    for _ in range(200):
        await clock.advance(0.1)
        while True:
            try:
                frames.append(json.loads((await socket.receive(timeout=0.02)).data))
            except TimeoutError:
                break
        if is_enough(frames):
            return frames
    raise AssertionError(frames[-3:])


async def test_candles_of_the_other_time_zone_begin_and_end_with_its_days(evening: tuple[Paper, ManualClock]) -> None:
    paper, clock = evening
    midnight = BEFORE_A_DAY_IN_CHINA + 5_000
    names = "btcusdt@kline_1d@+08:00/btcusdt@kline_1d/btcusdt@kline_1h@+08:00/btcusdt@kline_1M@+08:00"
    async with aiohttp.ClientSession() as session, session.ws_connect(paper.url + "/stream?streams=" + names) as socket:

        def has_begun(frames: list[Any]) -> bool:
            return any(f["data"]["k"]["t"] == midnight and "1d@+08" in f["stream"] for f in frames)

        frames = await collect(socket, clock, has_begun)
    zoned = [f["data"]["k"] for f in frames if f["stream"] == "btcusdt@kline_1d@+08:00"]
    closed = [k for k in zoned if k["x"]]
    assert [(k["t"], k["T"]) for k in closed] == [(midnight - 24 * HOUR_MS, midnight - 1)]
    assert zoned[-1]["t"] == midnight
    assert {f["data"]["k"]["x"] for f in frames if f["stream"] == "btcusdt@kline_1d"} == {False}
    hours = [f["data"]["k"] for f in frames if f["stream"] == "btcusdt@kline_1h@+08:00" and f["data"]["k"]["x"]]
    assert [k["t"] for k in hours] == [midnight - HOUR_MS]
    month = next(f["data"]["k"] for f in frames if "1M" in f["stream"])
    begins, ends = (datetime.fromtimestamp((ms + 8 * HOUR_MS) / 1000, UTC) for ms in (month["t"], month["T"] + 1))
    assert (begins.day, begins.hour, ends.day, ends.hour, ends.month) == (1, 0, 1, 0, begins.month % 12 + 1)
    query = f"symbol=BTCUSDT&interval=1h&startTime={midnight - 24 * HOUR_MS}&endTime={midnight - 1}"
    rows = (await paper.raw("GET", "/api/v3/klines", query))[1]
    assert (len(rows), rows[0][1], rows[-1][4]) == (24, closed[0]["o"], closed[0]["c"])
    assert max(D(r[2]) for r in rows) == D(closed[0]["h"])
    assert sum(D(r[5]) for r in rows) == D(closed[0]["v"])


async def test_forming_candles_come_every_second_or_two_and_closed_ones_at_once(
    evening: tuple[Paper, ManualClock],
) -> None:
    paper, clock = evening
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{paper.url}/stream?streams=btcusdt@kline_1s/btcusdt@kline_1m") as socket,
    ):

        def minute_is_over(frames: list[Any]) -> bool:
            return sum(f["data"]["k"]["x"] for f in frames if f["stream"].endswith("1m")) == 1

        frames = await collect(socket, clock, minute_is_over)
    seconds = [f["data"]["k"] for f in frames if f["stream"].endswith("1s")]
    for_one = [k["x"] for k in seconds if k["t"] == BEFORE_A_DAY_IN_CHINA + 2_000]
    assert for_one == [False, True]
    minutes = [f["data"] for f in frames if f["stream"].endswith("1m")]
    assert [m["k"]["x"] for m in minutes] == [False] * (len(minutes) - 1) + [True]
    assert all(after["E"] - one["E"] >= 1_900 for one, after in pairwise(minutes[:-1]))


# -- times and names -------------------------------------------------------------------------------------


async def test_times_come_in_microseconds_to_those_who_ask(paper: Paper) -> None:
    names = ["btcusdt@kline_1s", "btcusdt@trade", "btcusdt@ticker", "btcusdt@depth@100ms"]
    micro, milli = await asyncio.gather(first_of(paper, names, "&timeUnit=MICROSECOND"), first_of(paper, names))
    for name in names:
        assert len(str(micro[name]["E"])) == 16
        assert len(str(milli[name]["E"])) == 13
    candle = micro["btcusdt@kline_1s"]["k"]
    assert candle["T"] - candle["t"] == 1_000_000 - 1
    assert set(micro["btcusdt@ticker"]) == set(milli["btcusdt@ticker"])


async def test_rest_answers_in_microseconds_when_a_header_asks(paper: Paper) -> None:
    async with aiohttp.ClientSession() as session:
        for unit, digits in (("MICROSECOND", 16), ("microsecond", 16), ("MILLISECOND", 13)):
            async with session.get(f"{paper.url}/api/v3/time", headers={"X-MBX-TIME-UNIT": unit}) as response:
                assert len(str((await response.json())["serverTime"])) == digits
        async with session.get(f"{paper.url}/api/v3/time", headers={"X-MBX-TIME-UNIT": "HOUR"}) as response:
            assert (response.status, (await response.json())["code"]) == (400, -1194)


def test_only_times_are_scaled() -> None:
    value = {
        "E": 1_800_000_000_000,
        "u": 180_000_000_001,
        "ok": True,
        "p": "1800000000000",
        "n": [1, 1_700_000_000_000],
    }
    assert in_microseconds(value) == {**value, "E": 1_800_000_000_000_000, "n": [1, 1_700_000_000_000_000]}


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT@trade", "btcusdt@kline_7m", "btcusdt@depth7", "btcusdt@depth@50ms", "btcusdt@ticker_2h",
        "!ticker@arr", "btcusdt@kline_1m@+09:00", "!bookTicker", "btcusdt", "",
    ],
)  # fmt: skip
async def test_names_that_are_no_streams_are_refused(paper: Paper, name: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": [name], "id": "6f6a8e0e-4ea9-4a52-a34c-3b1bd5d3b6a0"})
        answer = await socket.receive_json(timeout=5)
        assert (answer["code"], answer["id"]) == (2, "6f6a8e0e-4ea9-4a52-a34c-3b1bd5d3b6a0")


async def test_a_connection_has_at_most_1024_streams(paper: Paper) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{paper.url}/ws") as socket:
        names = [f"s{n}@trade" for n in range(1025)]
        await socket.send_json({"method": "SUBSCRIBE", "params": names[:1024], "id": 1})
        assert await socket.receive_json(timeout=5) == {"result": None, "id": 1}
        await socket.send_json({"method": "SUBSCRIBE", "params": [names[0]], "id": 2})
        assert (await socket.receive_json(timeout=5))["result"] is None
        await socket.send_json({"method": "SUBSCRIBE", "params": names[1024:], "id": 3})
        assert "more than 1024" in (await socket.receive_json(timeout=5))["msg"]


async def test_a_stream_client_may_send_five_messages_a_second(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "paper.db", symbols=("BTCUSDT",)) as paper,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{paper.url}/ws") as socket,
    ):
        for n in range(6):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": n})
        for n in range(5):
            assert (await socket.receive_json(timeout=5))["id"] == n
        ended = await socket.receive(timeout=5)
        assert (ended.type, ended.data, ended.extra) == (aiohttp.WSMsgType.CLOSE, 1008, "Too many requests")
