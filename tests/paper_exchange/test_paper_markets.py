"""Sources and running markets, without a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from paper_kit import flat_candles

from app.domain.errors import InvalidInput
from app.domain.intrabar import Preset
from app.paper_exchange.candles import Candles
from app.paper_exchange.intervals import SECOND_MS
from app.paper_exchange.markets import LiveMarket
from app.paper_exchange.replay import Replay, read_tape, typical_price, unpack
from app.paper_exchange.rules import KNOWN, rules_for
from app.paper_exchange.synthetic import State, Synthetic
from app.paper_exchange.units import Units

RULES = KNOWN["BTCUSDT"]
UNITS = Units.of(RULES)
LIVE_MS = 1_700_000_030_000


def synthetic(seed: int = 1) -> Synthetic:
    return Synthetic("BTCUSDT", seed, UNITS, 100_000.0, days=3)


def test_a_synthetic_market_goes_on_from_its_stored_state_as_if_never_interrupted() -> None:
    whole = synthetic()
    history = whole.history(LIVE_MS)
    candles = [whole.next() for _ in range(150)]
    part = synthetic()
    part.history(LIVE_MS)
    for _ in range(70):
        part.next()
    facts = part.describe()
    resumed = Synthetic("BTCUSDT", 1, UNITS, 100_000.0, State(**part.snapshot()), days=3, live_ms=facts["live_ms"])
    assert [resumed.next() for _ in range(80)] == candles[70:]
    assert candles[0][0] == history.seconds.close[-1]


def test_a_tape_counts_the_gaps_it_closes() -> None:
    rows = [
        *flat_candles(5, "100"),
        *flat_candles(5, "101", from_ms=8 * 60_000),
        *flat_candles(2, "1", from_ms=3_600_000),
    ]
    tape = read_tape(rows, UNITS)
    assert (len(tape), tape.base_ms, tape.gaps, tape.missing) == (12, 60_000, 2, 3 + 47)
    assert unpack(tape.packed()) == tape.values


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([], "at least 2"),
        ([[0, "1", "1", "1", "1", "1"]], "at least 2"),
        ([*flat_candles(2, "1"), [1, "1"]], "candle 2 must be"),
        ([*flat_candles(2, "1"), *flat_candles(1, "1")], "candle 2: its open time is not later"),
        ([*flat_candles(1, "1"), [60_000, "1", "0.5", "0.5", "1", "1"]], "candle 1: open and close"),
        ([*flat_candles(1, "1"), [60_000, "1", "2", "NaN", "1", "1"]], "candle 1"),
        ([*flat_candles(1, "1"), [60_000, "1", "2", "0", "1", "1"]], "candle 1 must be above zero"),
        ([*flat_candles(1, "1"), [60_000, 1.0, "2", "1", "1", "1"]], "candle 1 must be a number written as text"),
        ([*flat_candles(1, "1"), ["60000", "1", "2", "1", "1", "1"]], "candle 1: the open time"),
        ([*flat_candles(1, "1"), [60_000, "1", "2", "1", "1", "-1"]], "candle 1"),
    ],
)
def test_a_bad_candle_is_named(rows: list[Any], word: str) -> None:
    def read() -> None:
        typical_price(rows)
        read_tape(rows, UNITS)

    with pytest.raises(InvalidInput) as caught:
        read()
    assert word in caught.value.message


def replay(count: int, **options: Any) -> Replay:
    rows = [[n * 60_000, str(100 + n), str(102 + n), str(99 + n), str(101 + n), "4"] for n in range(count)]
    settings: dict[str, Any] = {"label": "x", "start": None, "loop": False, **options}
    return Replay(read_tape(rows, UNITS), UNITS, **settings)


def market(source: Replay | Synthetic, preset: Preset = Preset.REALISTIC) -> LiveMarket:
    return LiveMarket(RULES, 1, source, Candles(source.history(LIVE_MS)), preset)


def test_a_replay_shows_what_came_before_its_start_as_seconds_that_end_now() -> None:
    source = replay(100, start=40)
    seconds = source.history(LIVE_MS).seconds
    assert len(seconds) == 40
    assert (seconds.open_ms[0], seconds.open_ms[-1]) == (LIVE_MS - 40_000, LIVE_MS - 1_000)
    assert (seconds.open[0], seconds.close[-1]) == (10_000, 14_000)
    assert source.next() == (14_000, 14_200, 13_900, 14_100, 400_000)
    assert source.progress == (41, 100)


@pytest.mark.parametrize("start", [-1, 100])
def test_a_start_outside_the_tape_is_refused(start: int) -> None:
    with pytest.raises(InvalidInput, match="from 0 to 99"):
        replay(100, start=start)


def test_a_replay_ends_or_loops() -> None:
    once = replay(5, start=3)
    assert [once.next() is None for _ in range(3)] == [False, False, True]
    loop = replay(5, start=3, loop=True)
    assert [loop.next() for _ in range(7)][2:] == [loop.tape.at(n) for n in range(5)]


@pytest.mark.parametrize(
    ("preset", "seen"),
    [
        (Preset.REALISTIC, [["104"], ["105"], ["102"], ["103"], []]),
        (Preset.HARSH, [["104"], ["102"], ["105"], ["103"], []]),
        (Preset.OPTIMISTIC, [["104"], [], [], [], ["105", "102", "103"]]),
    ],
)
def test_a_second_is_walked_in_its_presets_steps(preset: Preset, seen: list[list[str]]) -> None:
    tape = read_tape([*flat_candles(1, "100"), [60_000, "104", "105", "102", "103", "0.00010"]], UNITS)
    running = market(Replay(tape, UNITS, label="x", start=1, loop=False), preset)
    assert running.begin_second(LIVE_MS)
    steps = [running.due(LIVE_MS + offset) for offset in (0, 250, 500, 999)]
    last, closed = running.end_second()
    assert [[str(s.price.normalize()) for s in part] for part in [*steps, last]] == seen
    every = [s for part in [*steps, last] for s in part]
    assert sum(s.volume for s in every) == Decimal("0.00010")
    assert [s.jumped for s in every] == [True, False, False, False]
    name, candle = closed[0]
    assert (name, candle.open, candle.high, candle.low, candle.close) == ("1s", 10_400, 10_500, 10_200, 10_300)


def test_at_the_end_of_its_source_a_market_halts() -> None:
    running = market(replay(5, start=4))
    assert running.begin_second(LIVE_MS)
    running.end_second()
    assert not running.begin_second(LIVE_MS + SECOND_MS)
    assert running.wire_rules.status == "BREAK"
    assert running.status()["halted"]


@pytest.mark.parametrize(
    ("symbol", "price", "tick", "step"),
    [
        ("BTCUSDT", "100000", "0.01", "0.00001"),
        ("FILUSDT", "5.5", "0.0001", "0.1"),
        ("DOGEUSDT", "0.2", "0.00001", "1"),
        ("ETHBTC", "0.05", "0.000001", "1"),
    ],
)
def test_a_symbol_gets_a_tick_and_a_lot_that_fit_its_price(symbol: str, price: str, tick: str, step: str) -> None:
    rules = rules_for(symbol, Decimal(price))
    assert (rules.tick_size, rules.step_size) == (Decimal(tick), Decimal(step))
    assert rules.max_price > Decimal(price) * 100 or symbol == "BTCUSDT"
    assert (rules.tick_size * rules.step_size).normalize().as_tuple().exponent >= -8


@pytest.mark.parametrize("symbol", ["", "USDT", "btcusdt", "BTC/USDT", "NONSENSE"])
def test_a_name_that_is_no_symbol_is_refused(symbol: str) -> None:
    with pytest.raises(InvalidInput, match="is not a symbol"):
        rules_for(symbol, Decimal(1))


@pytest.mark.parametrize(("units", "text"), [(1, "0.01000000"), (123_456, "1234.56000000"), (100, "1.00000000")])
def test_units_print_with_eight_decimals(units: int, text: str) -> None:
    assert UNITS.price_text(units) == text
    assert UNITS.price(units) == Decimal(text)
