"""Made-up markets: the same from the same seed, shaped like markets, and readable at every interval."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import numpy as np
import pytest

from app.paper_exchange.candles import Candle, Candles, History
from app.paper_exchange.intervals import DAY_MS, INTERVALS_MS, MINUTE_MS, SECOND_MS, end_ms, open_ms
from app.paper_exchange.rules import rules_for
from app.paper_exchange.synthetic import DEFAULT_PRICES, Synthetic
from app.paper_exchange.units import Units

LIVE_MS = 1_700_000_030_000
#: Of all numbers of five symbols' three years from seed 1. Another hash means another market for everyone's seeds.
YEARS_SHA256 = "56d4a34ee399b47c1a7167e0117a6369e850c7d865a39d82e95d2ed171f7b021"


def make(symbol: str = "BTCUSDT", seed: int = 1, days: int = 1095) -> Synthetic:
    price = DEFAULT_PRICES.get(symbol, Decimal(100))
    return Synthetic(symbol, seed, Units.of(rules_for(symbol, price)), float(price), days=days)


@cache
def years(symbol: str = "BTCUSDT") -> tuple[Synthetic, History]:
    source = make(symbol)
    return source, source.history(LIVE_MS)


@cache
def closes(symbol: str) -> np.ndarray:
    archive = years(symbol)[1].archive
    assert archive is not None
    return archive.close.astype(np.float64)


def test_three_years_of_five_symbols_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256()
    for symbol in DEFAULT_PRICES:
        source, history = years(symbol)
        archive = history.archive
        assert archive is not None
        for column in (archive.high, archive.low, archive.close, archive.volume):
            digest.update(column.astype("<i4").tobytes())
        digest.update(history.minutes.packed() + history.seconds.packed())
        digest.update(repr([source.next() for _ in range(100)]).encode())
    assert digest.hexdigest() == YEARS_SHA256


def test_another_seed_makes_another_market() -> None:
    assert make(seed=2, days=1).history(LIVE_MS).packed() != make(seed=1, days=1).history(LIVE_MS).packed()


def test_the_years_are_made_again_after_a_restart() -> None:
    source, history = years()
    again = Synthetic("BTCUSDT", 1, source.units, source.first_price, live_ms=source.describe()["live_ms"]).archive()
    assert again is not None
    assert history.archive is not None
    assert (again.start_ms, len(again)) == (history.archive.start_ms, len(history.archive))
    assert (again.close == history.archive.close).all()


def test_history_is_whole_and_ends_where_the_market_goes_live_at_its_price() -> None:
    source, history = years()
    archive = history.archive
    assert archive is not None
    assert archive.end_ms == history.minutes.open_ms[0]
    assert history.minutes.open_ms[-1] + MINUTE_MS == history.seconds.open_ms[0]
    assert history.seconds.open_ms[-1] + SECOND_MS == LIVE_MS
    assert LIVE_MS - archive.start_ms == pytest.approx(1095 * DAY_MS, abs=2 * MINUTE_MS)
    assert len(history.seconds) >= 3600
    assert history.seconds.close[-1] == pytest.approx(source.units.price_units(Decimal(100_000)), rel=0.005)


def test_candles_are_well_formed_and_join_up() -> None:
    _, history = years()
    archive = history.archive
    assert archive is not None
    parts = [archive.minutes(0, 50_000), archive.minutes(len(archive) - 100, len(archive)), history.minutes,
             archive.seconds(1000, 1100), history.seconds]  # fmt: skip
    for columns in parts:
        times, o, h, low, c, v = (
            np.array(column) for column in (columns.open_ms, columns.open, columns.high, columns.low, columns.close,
                                            columns.volume)
        )  # fmt: skip
        assert len(set(np.diff(times))) == 1
        assert (o[1:] == c[:-1]).all()
        assert (low > 0).all()
        assert (low <= np.minimum(o, c)).all()
        assert (h >= np.maximum(o, c)).all()
        assert (v >= 0).all()
    assert parts[1].close[-1] == history.minutes.open[0]
    assert history.minutes.close[-1] == history.seconds.open[0]


def test_seconds_of_long_ago_fold_to_exactly_their_minutes() -> None:
    archive = years()[1].archive
    assert archive is not None
    folded, minutes = archive.seconds(70_000, 70_200).folded("1m"), archive.minutes(70_000, 70_200)
    for column in ("open_ms", "open", "high", "low", "close", "volume"):
        assert getattr(folded, column) == getattr(minutes, column), column


def test_volatility_comes_in_clusters_and_regimes() -> None:
    moves = np.abs(np.diff(np.log(closes("BTCUSDT"))))
    for lag in (1, 60, 1440):
        assert np.corrcoef(moves[:-lag], moves[lag:])[0, 1] > 0.1, lag
    daily = moves[: len(moves) // 1440 * 1440].reshape(-1, 1440).mean(axis=1)
    assert np.percentile(daily, 95) > 3 * np.percentile(daily, 5)
    squares = np.diff(np.log(closes("BTCUSDT")))
    assert (squares**4).mean() / (squares**2).mean() ** 2 > 5  # fatter tails than chance


def test_volume_grows_with_the_move() -> None:
    archive = years()[1].archive
    assert archive is not None
    moves = np.abs(np.diff(np.log(closes("BTCUSDT"))))
    volume = archive.volume[1:].astype(np.float64)
    wild = moves > np.percentile(moves, 90)
    assert volume[wild].mean() > 2 * volume[~wild].mean()


@pytest.mark.parametrize("symbol", ["ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT"])
def test_symbols_move_together_but_not_alike(symbol: str) -> None:
    one, other = (np.diff(np.log(closes(name)[::60])) for name in ("BTCUSDT", symbol))
    assert 0.4 < np.corrcoef(one, other)[0, 1] < 0.95


def test_live_seconds_move_together_too() -> None:
    sources = [make("BTCUSDT", days=1), make("ETHUSDT", days=1)]
    for source in sources:
        source.history(LIVE_MS)
    paths = [np.log([source.next()[3] for _ in range(3000)]) for source in sources]
    one, other = (np.diff(path[::10]) for path in paths)
    assert 0.4 < np.corrcoef(one, other)[0, 1] < 0.95


def by_hand(history: History, interval: str) -> list[Candle]:
    archive = history.archive
    assert archive is not None
    found: list[Candle] = []
    for columns in (archive.minutes(0, len(archive)), history.minutes, history.seconds):
        for n in range(len(columns)):
            candle = columns.at(n)
            candle.open_ms = open_ms(interval, candle.open_ms)
            if found and found[-1].open_ms == candle.open_ms:
                found[-1].absorb(candle)
            else:
                found.append(candle)
    return found


@cache
def forty_days() -> History:
    return make(days=40).history(LIVE_MS)


@pytest.mark.parametrize("interval", [i for i in INTERVALS_MS if i != "1s"])
def test_every_interval_is_read_across_archive_minutes_and_seconds(interval: str) -> None:
    expected = by_hand(forty_days(), interval)
    candles = Candles(forty_days())
    everything = candles.read(interval, 0, None, len(expected) + 10)
    assert [(c.open_ms, c.open, c.high, c.low, c.close, c.volume) for c in everything] == [
        (c.open_ms, c.open, c.high, c.low, c.close, c.volume) for c in expected
    ]
    assert candles.read(interval, None, None, 7) == everything[-7:]
    middle = len(everything) // 2
    start, end = everything[middle].open_ms, everything[min(middle + 5, len(everything) - 1)].open_ms
    assert candles.read(interval, start, end, 1000) == everything[middle : middle + 6]
    assert candles.read(interval, start, None, 3) == everything[middle : middle + 3]
    assert candles.read(interval, start + 1, None, 1) == everything[middle + 1 : middle + 2]
    assert candles.read(interval, None, end, 4) == everything[: middle + 6][-4:]
    assert candles.read(interval, None, everything[0].open_ms - 1, 5) == []


def test_paging_through_old_seconds_and_minutes_leaves_nothing_out() -> None:
    candles = Candles(forty_days())
    archive = forty_days().archive
    assert archive is not None
    for interval, length in (("1s", SECOND_MS), ("1m", MINUTE_MS), ("15m", 15 * MINUTE_MS)):
        ends_ms = archive.ends_ms(interval)
        start = ends_ms - 700 * length
        rows = []
        for _ in range(3):
            page = candles.read(interval, start, None, 300)
            rows += page
            start = page[-1].open_ms + length
        assert [row.open_ms for row in rows] == [ends_ms + (n - 700) * length for n in range(len(rows))]


def test_days_of_another_zone_begin_at_its_midnight() -> None:
    candles = Candles(forty_days())
    zone_ms = 8 * 3_600_000
    days = candles.read("1d", None, None, 10, zone_ms=zone_ms)
    assert len(days) == 10
    assert {(d.open_ms + zone_ms) % DAY_MS for d in days} == {0}
    minutes = candles.read("1m", days[3].open_ms, days[4].open_ms - 1, 2000)
    assert (days[3].open, days[3].close) == (minutes[0].open, minutes[-1].close)
    assert (days[3].high, days[3].low) == (max(m.high for m in minutes), min(m.low for m in minutes))
    assert days[3].volume == sum(m.volume for m in minutes)
    assert candles.read("1d", days[3].open_ms, days[5].open_ms, 100, zone_ms=zone_ms) == days[3:6]


@pytest.mark.parametrize("at", ["2024-02-29T12:00:01", "2023-12-31T23:59:59", "2024-01-01T00:00:00"])
def test_weeks_open_on_monday_and_months_on_the_first(at: str) -> None:
    when = datetime.fromisoformat(at).replace(tzinfo=UTC)
    midnight = when.replace(hour=0, minute=0, second=0)
    at_ms = int(when.timestamp() * 1000)
    week, month = open_ms("1w", at_ms), open_ms("1M", at_ms)
    assert week == (midnight - timedelta(days=when.weekday())).timestamp() * 1000
    assert month == midnight.replace(day=1).timestamp() * 1000
    assert end_ms("1w", week) == week + 7 * DAY_MS
    following = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    assert end_ms("1M", month) == following.timestamp() * 1000
