"""Reading candle files: every layout that is understood, and every bad input with its sentence."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.services.market.candle_files import Gap, ParsedCandles, parse_candles

START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
MINUTE = 60_000
HEADER = "open_time,open,high,low,close,volume"
BULK_HEADER = f"{HEADER},close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"


def row(i: int, *, unit: int = 1, bulk: bool = False) -> str:
    price = 100 + i % 7
    time_ms = START_MS + i * MINUTE
    text = f"{time_ms * unit},{price},{price + 2}.5,{price - 2},{price + 1},{i % 3}.25"
    return f"{text},{(time_ms + MINUTE) * unit - 1},0,0,0,0,0" if bulk else text


def rows(count: int = 20, **kind: Any) -> list[str]:
    return [row(i, **kind) for i in range(count)]


def parse(data: bytes | list[str], name: str = "candles.csv", **options: Any) -> ParsedCandles:
    raw = data if isinstance(data, bytes) else "\n".join(data).encode()
    return parse_candles(io.BytesIO(raw), filename=name, **({"symbol": "BTCUSDT", "timeframe": "1m"} | options))


def refusal(data: bytes | list[str], name: str = "candles.csv", **options: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse(data, name, **options)
    return caught.value


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


PLAIN = "\n".join([HEADER, *rows()]).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.csv", PLAIN),
        ("packed.csv.gz", gzip.compress(PLAIN)),
        ("packed.zip", zipped({"inside.csv": PLAIN})),
        ("bulk.csv", "\n".join([BULK_HEADER, *rows(bulk=True)]).encode()),
        ("spot.zip", zipped({"BTCUSDT-1m-2025-07.csv": "\n".join(rows(unit=1000, bulk=True)).encode()})),
        ("windows.csv", b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n") + b"\r\n\r\n"),
        ("names.csv", PLAIN.replace(b"open_time", b"Open time").replace(b"volume", b"Volume")),
        ("misnamed.csv", gzip.compress(PLAIN)),
    ],
)
def test_every_layout_gives_the_same_candles(name: str, data: bytes) -> None:
    parsed = parse(data, name)
    assert len(parsed.candles) == 20
    assert parsed.candles.open_time_ms[0] == START_MS
    assert list(parsed.candles.high[:2]) == [102.5, 103.5]
    assert list(parsed.candles.volume[:3]) == [0.25, 1.25, 2.25]
    assert parsed.sha256 == parse(PLAIN).sha256
    assert parsed.gaps == ()


def test_columns_may_stand_in_any_order_under_a_header() -> None:
    shuffled = ["volume,close,low,high,open,time"] + [",".join(reversed(line.split(","))) for line in rows()]
    assert parse(shuffled).sha256 == parse(PLAIN).sha256


def test_gaps_are_found_with_their_sizes_and_told() -> None:
    parsed = parse([row(i) for i in range(30) if i not in (4, 5, 6, 20)])
    assert parsed.gaps == (Gap(START_MS + 4 * MINUTE, 3), Gap(START_MS + 20 * MINUTE, 1))
    assert parsed.warnings == (
        "4 candles missing in 2 gaps; the longest begins 2024-01-01 00:04 UTC and lacks 3 candles.",
    )


def test_other_content_has_another_hash() -> None:
    changed = rows()
    changed[7] = changed[7].replace(".25", ".26")
    assert parse(changed).sha256 != parse(rows()).sha256


def with_row(i: int, line: str) -> list[str]:
    """A header and 20 rows; data row `i` (spreadsheet row i + 2) replaced."""
    lines = [HEADER, *rows()]
    lines[i + 1] = line
    return lines


T = START_MS + 5 * MINUTE
BAD_ROWS: list[tuple[str, str, str]] = [
    (f"{T},100,oops,98,101,1", "high", "Row 7, column high: 'oops' is not a number."),
    (f"{T},100,102,98,,1", "close", "Row 7, column close: is missing."),
    (f"{T},100,102,98,nan,1", "close", "Row 7, column close: nan is not a finite number."),
    (f"{T},100,inf,98,101,1", "high", "Row 7, column high: inf is not a finite number."),
    (f"{T},-100,102,98,101,1", "open", "Row 7, column open: -100 must be above zero."),
    (f"{T},100,102,0,101,1", "low", "Row 7, column low: 0 must be above zero."),
    (f"{T},100,102,98,101,-1", "volume", "Row 7, column volume: -1 must be at least zero."),
    (f"{T},100,97,98,101,1", "high", "Row 7, column high: the high 97 is below the low 98."),
    (f"{T},100,100.5,98,101,1", "high", "Row 7, column high: the high 100.5 is below the open 100 or the close 101."),
    (f"{T},100,102,100.5,101,1", "low", "Row 7, column low: the low 100.5 is above the open 100 or the close 101."),
    (
        "2024-01-01 00:05,100,102,98,101,1",
        "open_time",
        "Row 7, column open_time: '2024-01-01 00:05' is not a whole number of milliseconds or microseconds since 1970.",
    ),
    (
        f"{T // 1000},100,102,98,101,1",
        "open_time",
        f"Row 7, column open_time: {T // 1000} looks like seconds; milliseconds or microseconds since 1970 are needed.",
    ),
    (
        f"{T + 7000},100,102,98,101,1",
        "open_time",
        f"Row 7, column open_time: the time 2024-01-01 00:05:07 ({T + 7000}) is not the beginning of a 1m candle.",
    ),
    (
        f"{T - MINUTE},100,102,98,101,1",
        "open_time",
        "Row 7, column open_time: the time 2024-01-01 00:04:00 stands in row 6 already.",
    ),
    (
        f"{T - 10 * MINUTE},100,102,98,101,1",
        "open_time",
        "Row 7, column open_time: the time 2023-12-31 23:55:00 is earlier than that of row 6 (2024-01-01 00:04:00); "
        "rows must be in order of time.",
    ),
    (
        f"{T},100,102,98",
        "",
        "Row 7 has 4 columns; 6 are needed: open_time, open, high, low, close, volume.",
    ),
    (f"{T},100,102,98,101,1,7", "", "Row 7 has 7 columns, but the first row has 6."),
    ("", "", "Row 7 is empty."),
    (f"{'9' * 30},100,102,98,101,1", "open_time", "Row 7, column open_time:"),
]


@pytest.mark.parametrize(("line", "column", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_column(line: str, column: str, message: str) -> None:
    error = refusal(with_row(5, line))
    assert error.message.startswith(message)
    assert error.field == "file"
    assert (error.facts["row"], error.facts["column"]) == (7, column)


def test_without_a_header_rows_count_from_one() -> None:
    lines = rows()
    lines[5] = f"{T},100,97,98,101,1"
    assert refusal(lines).facts["row"] == 6


def test_the_first_of_several_bad_rows_is_named_and_the_others_counted() -> None:
    lines = with_row(9, f"{START_MS + 9 * MINUTE},100,102,98,101,-1")
    lines[6] = f"{T},100,97,98,101,1"
    assert refusal(lines).message == (
        "Row 7, column high: the high 97 is below the low 98. (2 rows of this file are wrong.)"
    )


def test_a_repeated_time_far_from_its_first_is_still_called_repeated() -> None:
    lines = [HEADER, *rows(), row(3)]
    assert refusal(lines).message.startswith(
        "Row 22, column open_time: the time 2024-01-01 00:03:00 stands in row 5 already."
    )


def test_newest_first_is_out_of_order() -> None:
    error = refusal([HEADER, *reversed(rows())])
    assert error.message.startswith("Row 3, column open_time: the time 2024-01-01 00:18:00 is earlier than that of")


@pytest.mark.parametrize(("said", "suggestion"), [("1h", "1m"), ("1s", "1m"), ("5m", "1m")])
def test_the_wrong_timeframe_is_told_with_the_right_one(said: str, suggestion: str) -> None:
    error = refusal(rows(), timeframe=said)
    assert error.field == "timeframe"
    assert error.facts["suggestion"] == suggestion
    assert error.message == (
        f"The rows of this file are mostly spaced like 1m candles, but the timeframe chosen is {said}."
    )


def test_a_price_that_jumps_needs_a_confirmed_scale() -> None:
    lines = rows()
    for i in range(10, 20):
        time_ms = START_MS + i * MINUTE
        lines[i] = f"{time_ms},4000,4010,3990,4001,1"
    error = refusal(lines)
    assert error.message.startswith(
        "Row 11, column close: the price jumps from 103 to 4001, a factor of 39, from one candle to the next."
    )
    assert error.facts["confirm"] == "accept_scale"
    assert len(parse(lines, accept_scale=True).candles) == 20


def bomb() -> bytes:
    return gzip.compress(b"0" * 3_000_000)


def lying_zip() -> bytes:
    """A zip whose directory says its file is small."""
    data = bytearray(zipped({"a.csv": b"1" * 3_000_000}))
    for offset in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[offset : offset + 4] = struct.pack("<I", 10)
    return bytes(data)


BAD_FILES: list[tuple[str, Callable[[], bytes], str]] = [
    ("a.csv", lambda: b"", "a.csv is empty."),
    ("a.csv", lambda: b"\n\n", "a.csv has no rows."),
    ("a.csv.gz", lambda: gzip.compress(b""), "a.csv.gz has no rows."),
    ("a.csv", lambda: HEADER.encode(), "a.csv holds a header but no candles."),
    ("a.csv.gz", lambda: PLAIN, "a.csv.gz is named .gz, but it is not a gzip file."),
    ("a.zip", lambda: PLAIN, "a.zip is named .zip, but it is not a zip file."),
    ("a.csv.gz", lambda: gzip.compress(PLAIN)[:-20], "a.csv.gz is damaged and cannot be unpacked completely"),
    ("a.zip", lambda: zipped({"a.csv": PLAIN})[:-30], "a.zip is damaged and cannot be unpacked completely"),
    ("a.zip", lambda: zipped({}), "a.zip holds no file."),
    (
        "a.zip",
        lambda: zipped({"x.csv": PLAIN, "y.csv": PLAIN}),
        "a.zip holds 2 files (x.csv, y.csv). Please import them one by one.",
    ),
    ("a.zip", lambda: zipped({"x.csv": b"0" * 3_000_000}), "a.zip unpacks to more than 1 MB."),
    ("a.csv.gz", bomb, "a.csv.gz unpacks to more than 1 MB."),
    ("a.csv", lambda: b"1,2,3,4,5,6\n" * 200_000, "a.csv unpacks to more than 1 MB."),
    ("a.csv", lambda: bytes(range(256)) * 100, "a.csv is not a text file with comma-separated values."),
    ("a.png", lambda: b"\x89PNG\r\n\x1a\n" + bytes(1000), "a.png is not a text file with comma-separated values."),
    ("a.csv", lambda: b"\x00" * 1000, "a.csv is not a text file with comma-separated values."),
    (
        "a.csv",
        lambda: HEADER.replace(",volume", "").encode() + b"\n1,2,3,4,5",
        "a.csv: the header has no column volume; it says 'open_time, open, high, low, close'.",
    ),
    (
        "a.csv",
        lambda: PLAIN.replace(b",", b";"),
        "a.csv: the header has no column open_time nor open nor high nor low nor close nor volume",
    ),
    ("a.csv", lambda: b"1704067200000,1,2,1,1", "Row 1 has 5 columns; 6 are needed"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD_FILES)
def test_a_file_that_cannot_be_used_is_told_in_words(name: str, make: Callable[[], bytes], message: str) -> None:
    error = refusal(make(), name, max_bytes=1024 * 1024)
    assert error.message.startswith(message)
    assert error.field == "file"


def test_a_zip_that_lies_about_its_size_is_not_unpacked_beyond_the_limit() -> None:
    assert refusal(lying_zip(), "a.zip", max_bytes=1024 * 1024).field == "file"


def test_a_separator_other_than_a_comma_is_pointed_out() -> None:
    assert refusal(PLAIN.replace(b",", b";")).message.endswith("The columns must be separated by commas.")


def test_symbol_and_timeframe_are_checked() -> None:
    assert refusal(PLAIN, symbol="BTC/USDT").field == "symbol"
    assert refusal(PLAIN, timeframe="7m").field == "timeframe"
    assert parse(PLAIN, symbol=" btcusdt ").symbol == "BTCUSDT"


def test_rows_beyond_the_first_chunk_are_counted_right() -> None:
    lines = rows(120_001)
    lines[119_000] = lines[119_000].replace(",", ",x", 1)
    assert refusal(lines).message.startswith("Row 119,001, column open: 'x")


def test_130_000_rows_are_read_whole() -> None:
    data = "\n".join([BULK_HEADER, *rows(130_000, bulk=True)]).encode()
    assert len(parse(data).candles) == 130_000


SHARED = Path(os.environ.get("PLUMBLINE_SHARED", Path(__file__).parents[3] / "shared")) / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real candles are not here")
@pytest.mark.parametrize(
    ("name", "symbol", "timeframe", "count", "gaps", "missing"),
    [
        ("BTCUSDT-1h.csv.gz", "BTCUSDT", "1h", 58_419, 28, 128),
        ("BTCUSDT-1m.csv.gz", "BTCUSDT", "1m", 130_708, 0, 0),
        ("ETHUSDT-1m.csv.gz", "ETHUSDT", "1m", 130_708, 0, 0),
        ("FILUSDT-1m-2023-04.zip", "FILUSDT", "1m", 43_200, 0, 0),
        ("BTCUSDT-1m-2025-07.zip", "BTCUSDT", "1m", 44_640, 0, 0),
    ],
)
def test_real_candles_are_read_whole(
    name: str, symbol: str, timeframe: str, count: int, gaps: int, missing: int
) -> None:
    with (SHARED / name).open("rb") as stream:
        parsed = parse_candles(stream, filename=name, symbol=symbol, timeframe=timeframe)
    assert len(parsed.candles) == count
    assert (len(parsed.gaps), sum(gap.missing for gap in parsed.gaps)) == (gaps, missing)
