"""The English reading says everything that is in the strategy, unambiguously."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_kit import example, strategy

from app.services.strategy import read_aloud, validate
from app.services.strategy.reading import say_condition

CLOSE_OVER = {"op": ">", "left": "close", "right": 1}
VOLUME_OVER = {"op": ">=", "left": "volume", "right": 2.5}
SERIES = {
    "fast": {"fn": "ema", "len": 9},
    "rsi": {"fn": "rsi"},
    "calm": {"fn": "sma", "src": "rsi", "len": 5},
    "top": {"fn": "highest", "len": 20},
    "band": {"fn": "bb_upper"},
    "busy": {"fn": "volume_sma", "len": 20},
    "day": {"fn": "vwap"},
    "trend": {"fn": "ema", "src": "hlc3", "len": 50, "tf": "4h"},
    "hist": {"fn": "macd_hist"},
}


def test_the_worked_example_reads_as_it_should() -> None:
    made = validate(example("ema_rsi_atr")).strategy
    assert made is not None
    assert read_aloud(made) == (
        "On BTCUSDT 1h, buy when EMA 12 crosses above EMA 26 and RSI 14 is between 45 and 70 and the close is above "
        "the last closed 4h EMA 50. Sell when EMA 12 crosses below EMA 26 or RSI 14 is above 80. "
        "Stop 2 × ATR 14 below entry; at 2 R above entry sell half; once 1 R up trail 3 × ATR 14 below the highest "
        "price; leave after 96 candles. Limit order 0.05 % below the close, 1 candle to fill. "
        "Risk 1 % of equity, never spending over 25 % of it. "
        "Wait 3 candles between trades, enter at most 3 times a UTC day."
    )


def test_what_is_not_there_is_said_or_left_out() -> None:
    made = validate(example("golden_ema_12_26")).strategy
    assert made is not None
    assert read_aloud(made) == (
        "On BTCUSDT 1h, buy when EMA 12 crosses above EMA 26. Sell when EMA 12 crosses below EMA 26. No stop. "
        "Market orders. Spend 100 % of equity on each entry."
    )


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            {"all": [CLOSE_OVER, {"any": [VOLUME_OVER, CLOSE_OVER]}]},
            "the close is above 1 and (the volume is at or above 2.5 or the close is above 1)",
        ),
        ({"not": CLOSE_OVER}, "it is not so that the close is above 1"),
        (
            {"not": {"any": [CLOSE_OVER, VOLUME_OVER]}},
            "it is not so that (the close is above 1 or the volume is at or above 2.5)",
        ),
        (
            {"at_least": 1, "of": [CLOSE_OVER, VOLUME_OVER]},
            "at least 1 of these 2 hold: the close is above 1; the volume is at or above 2.5",
        ),
        ({**CLOSE_OVER, "for": 3}, "the close is above 1 for 3 candles in a row"),
        ({**CLOSE_OVER, "within": 5}, "the close is above 1, at least once in the last 5 candles,"),
        ({"op": "outside", "left": "rsi", "low": 30, "high": 70}, "RSI 14 is outside 30 to 70"),
        ({"op": "falling", "left": "calm"}, "SMA 5 of the RSI 14 is falling"),
        ({"op": "rising", "left": "fast", "for": 3}, "EMA 9 has been rising for 3 candles in a row"),
        ({"op": "<", "left": "close", "right": {"ref": "top", "ago": 1}},
         "the close is below the highest high of 20 candles as of 1 candle ago"),
        ({"op": "<=", "left": {"ref": "close", "ago": 2}, "right": "band"},
         "the close 2 candles ago is at or below the upper Bollinger band 20/2"),
        ({"op": ">", "left": "volume", "right": {"mul": ["busy", 1.5]}},
         "the volume is above (the average volume of 20 candles × 1.5)"),
        ({"op": ">", "left": "day", "right": {"ref": "trend", "ago": 2}},
         "VWAP of the UTC day is above the 4h EMA 50 of the typical price (high, low, close) "
         "of 2 candles before the last closed one"),
        ({"op": ">", "left": {"min": ["open", "close"]}, "right": {"sub": ["hist", "$p"]}},
         "the least of the open and the close is above (MACD histogram 12/26/9 − 7)"),
    ],
)  # fmt: skip
def test_each_form_of_condition_reads_plainly(condition: dict[str, Any], words: str) -> None:
    params = {"p": {"default": 7, "min": 1, "max": 9, "step": 1}}
    made = strategy(entry=condition, series=SERIES, params=params)
    assert say_condition(made, made.entry) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizing": {"mode": "fixed_quote", "quote": "150.50"}}, "Spend 150.5 of the quote asset on each entry."),
        ({"protect": {"stop": {"pct": "2.50"}, "time_stop_bars": 1}}, "Stop 2.5 % below entry; leave after 1 candle."),
        ({"protect": {"stop": {"pct": "2"}, "trail": {"pct": "1"}}}, "trail 1 % below the highest price."),
        ({"order": {"type": "limit"}}, "Limit order 0 % below the close, until cancelled."),
        ({"limits": {"max_open": 3}}, "At most 3 open positions."),
        ({"market": {"symbols": ["BTCUSDT", "ETHUSDT"], "timeframe": "5m"}}, "On BTCUSDT and ETHUSDT 5m, buy when"),
    ],
)
def test_the_other_parts_read_plainly(changes: dict[str, Any], words: str) -> None:
    assert words in read_aloud(strategy(**changes))
