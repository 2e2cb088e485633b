"""The quick reader gives exactly what the careful one gives, or nothing."""

from __future__ import annotations

import gzip
import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_kit import candles

from app.services.market.candle_files import _read_plain, parse_candles
from app.services.strategy import CandleColumns

DATA = candles(3_000, seed=5)
MOST = 10**9


def line(row: tuple[float, ...], places: int = 8, more: str = "") -> str:
    time_ms, *values = row
    return f"{int(time_ms)}," + ",".join(f"{value:.{places}f}" for value in values) + more


def rows(data: CandleColumns = DATA) -> list[tuple[float, ...]]:
    columns = (data.open_time_ms, data.open, data.high, data.low, data.close, data.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def both(text: bytes) -> tuple[str, str]:
    quick, careful = (
        parse_candles(io.BytesIO(text), filename="f.csv", symbol="BTCUSDT", timeframe="1h", compiled=compiled).sha256
        for compiled in (True, False)
    )
    return quick, careful


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["", "open_time,open,high,low,close,volume", "volume,close,low,high,open,time"])
@pytest.mark.parametrize("last_newline", [True, False])
def test_headers_line_ends_and_orders_of_columns_read_alike(end: str, header: str, last_newline: bool) -> None:
    lines = [line(row) for row in rows()]
    if header.startswith("volume"):
        lines = [",".join(reversed(text.split(","))) for text in lines]
    text = end.join([header, *lines] if header else lines) + (end if last_newline else "")
    assert _read_plain(io.BytesIO(text.encode()), "f.csv", MOST) is not None
    quick, careful = both(text.encode())
    assert quick == careful


def test_the_twelve_columns_of_a_bulk_file_are_read_without_its_other_columns_being_looked_at() -> None:
    text = "\n".join(line(row, more=",1704070799999,0.5,77,0.1,0.2,0") for row in rows())
    assert _read_plain(io.BytesIO(text.encode()), "f.csv", MOST) is not None
    quick, careful = both(text.encode())
    assert quick == careful


def test_a_packed_file_larger_than_a_block_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.services.market import plain_rows

    monkeypatch.setattr(plain_rows, "_BLOCK_BYTES", 1_000)
    text = "\n".join(line(row) for row in rows()).encode()
    found = _read_plain(io.BytesIO(gzip.compress(text)), "f.csv.gz", MOST)
    assert found is not None
    assert found.raw_time.tolist() == DATA.open_time_ms.tolist()
    assert found.columns[3].tolist() == [float(f"{value:.8f}") for value in DATA.close.tolist()]


@settings(max_examples=300, deadline=None)
@given(st.decimals(0, 10**12, places=8), st.integers(0, 8), st.integers(0, 3))
def test_every_number_is_the_one_float_gives_or_none(value: object, places: int, zeros: int) -> None:
    text = f"{value:.{places}f}"
    if "." in text:
        text += "0" * zeros
    found = _read_plain(io.BytesIO(f"1704067200000,{text},1,1,1,1\n".encode()), "f.csv", MOST)
    if found is None:
        assert len(text.replace(".", "").strip("0")) > 15
    else:
        assert float(found.columns[0][0]) == float(text)


@pytest.mark.parametrize(
    "field",
    ["", "-1", "+1", "1e5", "1_0", "0x1", " 1", "1 ", "1.2.3", "nan", "inf", '"1"', ".", "12345678901234567", "１"],
)
def test_anything_out_of_the_ordinary_is_left_to_the_careful_reader(field: str) -> None:
    text = f"1704067200000,1,1,1,1,1\n1704070800000,{field},1,1,1,1\n"
    assert _read_plain(io.BytesIO(text.encode()), "f.csv", MOST) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "1,2\n",
        "1704067200000,1,1,1,1,1\n\n1704070800000,1,1,1,1,1\n",
        "1704067200000,1,1,1,1,1,1\n1,1,1,1,1,1\n",
    ],
)
def test_rows_of_unequal_width_and_blank_lines_are_left_to_it_too(text: str) -> None:
    assert _read_plain(io.BytesIO(text.encode()), "f.csv", MOST) is None


def test_random_bytes_never_break_it() -> None:
    chance = random.Random(3)
    good = ("\n".join(line(row) for row in rows()[:50])).encode()
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        found = _read_plain(io.BytesIO(bytes(broken)), "f.csv", MOST)
        if found is not None:
            texts = [text.split(",")[1] for text in bytes(broken).decode("ascii").split("\n")]
            assert np.array_equal(found.columns[0], [float(text) for text in texts])
