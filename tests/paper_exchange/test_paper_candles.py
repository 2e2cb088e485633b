"""Candles: folding, gaps, what a reader gets, and what the file gives back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from app.domain.intrabar import Preset, path
from app.paper_exchange.candles import Candle, Candles, Columns, History
from app.paper_exchange.intervals import INTERVALS_MS, MINUTE_MS, SECOND_MS

START_MS = 1_700_000_000_000 // (INTERVALS_MS["1d"]) * INTERVALS_MS["1d"]


def second(open_ms: int, price: int, volume: int = 5) -> Candle:
    return Candle(open_ms, price, price + 2, price - 2, price + 1, volume, float(volume), 4)


def random_seconds(count: int, from_ms: int, seed: int = 1) -> list[Candle]:
    random = Random(seed)
    return [second(from_ms + n * SECOND_MS, random.randint(1000, 2000), random.randint(0, 9)) for n in range(count)]


def columns_of(candles: list[Candle]) -> Columns:
    columns = Columns()
    for candle in candles:
        columns.append(candle)
    return columns


def opened(interval: str, at_ms: int) -> int:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if interval == "1M":
        return int(at.replace(day=1).timestamp() * 1000)
    if interval == "1w":
        return int((at - timedelta(days=at.weekday())).timestamp() * 1000)
    return at_ms // INTERVALS_MS[interval] * INTERVALS_MS[interval]


def by_hand(candles: list[Candle], interval: str) -> list[Candle]:
    folded: list[Candle] = []
    for candle in candles:
        open_ms = opened(interval, candle.open_ms)
        if folded and folded[-1].open_ms == open_ms:
            folded[-1].absorb(candle)
        else:
            folded.append(replace(candle, open_ms=open_ms))
    return folded


def feed(candles: Candles, source: list[Candle]) -> list[tuple[str, Candle]]:
    closed = []
    for s in source:
        for price in (s.open, s.high, s.low, s.close):
            candles.print(s.open_ms, price, 0, 0.0)
        assert candles.second is not None
        candles.second.volume, candles.second.quote, candles.second.prints = s.volume, s.quote, s.prints
        closed += candles.close_second()
    return closed


@pytest.mark.parametrize("interval", list(INTERVALS_MS))
def test_live_candles_of_every_interval_are_the_seconds_folded(interval: str) -> None:
    # From the middle of a minute on, with an outage that spans several minutes.
    source = random_seconds(700, START_MS + 17_000) + random_seconds(900, START_MS + 17_000 + 1_100_000, seed=2)
    history = History(seconds=columns_of(source[:400]))
    candles = Candles(history)
    closed = feed(candles, source[400:])
    length = INTERVALS_MS[interval]
    expected = by_hand(source, interval)
    assert candles.read(interval, None, None, 10_000) == expected
    told = [candle for name, candle in closed if name == interval]
    assert told == [c for c in expected if c.open_ms + length > source[399].open_ms + SECOND_MS][: len(told)]
    assert len({c.open_ms for c in told}) == len(told)


def test_an_outage_leaves_a_gap() -> None:
    candles = Candles()
    feed(candles, [second(START_MS, 10), second(START_MS + 5 * MINUTE_MS, 20)])
    candles.close_passed(START_MS + 6 * MINUTE_MS)
    assert [c.open_ms for c in candles.read("1m", None, None, 10)] == [START_MS, START_MS + 5 * MINUTE_MS]
    assert len(candles.read("1s", None, None, 10)) == 2


def test_a_halted_market_closes_its_last_candles_when_their_time_is_over() -> None:
    candles = Candles()
    feed(candles, [second(START_MS, 10)])
    assert candles.close_passed(START_MS + MINUTE_MS - 1) == []
    assert [name for name, _ in candles.close_passed(START_MS + 5 * MINUTE_MS)] == ["1m", "3m", "5m"]
    assert candles.close_passed(START_MS + 5 * MINUTE_MS) == []


def test_the_forming_candle_comes_last_and_knows_only_what_has_been_printed() -> None:
    candles = Candles()
    feed(candles, random_seconds(65, START_MS))
    candles.print(START_MS + 65_000, 5_000, 7, 1.0)
    minute = candles.read("1m", None, None, 10)[-1]
    assert (minute.open_ms, minute.high, minute.close) == (START_MS + MINUTE_MS, 5_000, 5_000)
    assert candles.read("1s", None, None, 1)[0].open_ms == START_MS + 65_000


@pytest.mark.parametrize(
    ("start", "end", "limit", "expected"),
    [
        (None, None, 3, [8, 9, 10]),
        (2, None, 3, [2, 3, 4]),
        (None, 5, 3, [3, 4, 5]),
        (2, 3, 500, [2, 3]),
        (4, 4, 500, [4]),
        (9, None, 500, [9, 10]),
        (11, None, 500, []),
    ],
)
def test_reading_is_inclusive_and_newest_first_unless_a_start_is_given(
    start: int | None, end: int | None, limit: int, expected: list[int]
) -> None:
    candles = Candles()
    feed(candles, random_seconds(10, START_MS))
    candles.print(START_MS + 10_000, 1, 1, 1.0)  # the forming one

    def at(n: int | None) -> int | None:
        return None if n is None else START_MS + n * SECOND_MS

    found = candles.read("1s", at(start), at(end), limit)
    assert [(c.open_ms - START_MS) // SECOND_MS for c in found] == expected


def test_history_survives_the_file_and_minutes_speak_for_dropped_seconds() -> None:
    minutes = columns_of([second(START_MS + n * MINUTE_MS, 100) for n in range(3)])
    seconds = columns_of(random_seconds(120, START_MS + 3 * MINUTE_MS))
    history = History.unpack(History(minutes, seconds).packed())
    assert (len(history.minutes), len(history.seconds)) == (3, 120)
    live = random_seconds(90, START_MS + 3 * MINUTE_MS + 120_000, seed=3)
    whole = history.continued(columns_of(live), columns_of(by_hand(live[:60], "1m")))
    assert (len(whole.minutes), len(whole.seconds)) == (3, 210)
    assert Candles(whole).read("1m", None, None, 100) == [
        *(minutes.at(n) for n in range(3)),
        *by_hand([seconds.at(n) for n in range(120)] + live, "1m"),
    ]


def test_when_seconds_are_too_many_the_file_gives_minutes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.paper_exchange.candles.KEPT_SECONDS", 100)
    old = random_seconds(120, START_MS)
    live = random_seconds(240, START_MS + 120_000, seed=3)
    history = History(seconds=columns_of(old))
    whole = history.continued(columns_of(live[100:]), columns_of(by_hand(live, "1m")))
    assert whole.seconds.open_ms[0] % MINUTE_MS == 0
    assert Candles(whole).read("1m", None, None, 100) == by_hand(old + live, "1m")


@pytest.mark.parametrize(
    ("candle", "realistic"),
    [
        ((100, 103, 90, 95), (100, 103, 90, 95)),
        ((100, 120, 98, 110), (100, 98, 120, 110)),
        ((100, 105, 95, 101), (100, 95, 105, 101)),
        ((100, 105, 95, 99), (100, 105, 95, 99)),
        ((100, 100, 100, 100), (100, 100, 100, 100)),
    ],
)
def test_the_path_goes_to_the_nearer_extreme_first_and_harsh_to_the_farther(
    candle: tuple[int, int, int, int], realistic: tuple[int, int, int, int]
) -> None:
    o, first, second_, c = realistic
    assert path(Preset.REALISTIC, *candle) == path(Preset.OPTIMISTIC, *candle) == realistic
    assert path(Preset.HARSH, *candle) == (o, second_, first, c)
