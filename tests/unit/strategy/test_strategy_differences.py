"""Two versions side by side: every change in words, and nothing where nothing changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from strategy_kit import example

from app.services.strategy import Change, Strategy, differences, validate


def made(document: dict[str, Any]) -> Strategy:
    strategy = validate(document).strategy
    assert strategy is not None
    return strategy


def changed(**paths: Any) -> Strategy:
    """The worked example with values replaced; `a__b` stands for document["a"]["b"], None takes a key away."""
    document = copy.deepcopy(example("ema_rsi_atr"))
    for path, value in paths.items():
        *way, last = path.split("__")
        place = document
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return made(document)


OLD = changed()


def test_the_same_document_has_no_differences() -> None:
    assert differences(OLD, changed()) == ()


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (changed(market__timeframe="30m"), Change("market.timeframe", "1h", "30m")),
        (changed(protect__stop={"pct": "3"}), Change("protect.stop", "2 × ATR 14", "3 %")),
        (changed(protect__trail_after_r=None), Change("protect.trail_after_r", "1", "")),
        (
            changed(protect__take_profit=[{"at": {"r": "3"}, "close_pct": 50}]),
            Change("protect.take_profit[0]", "at 2 R above entry sell half", "at 3 R above entry sell half"),
        ),
        (
            changed(order={"type": "market"}),
            Change("order", "Limit order 0.05 % below the close, 1 candle to fill", "Market orders"),
        ),
        (
            changed(sizing={"mode": "fixed_quote", "quote": "100"}),
            Change(
                "sizing",
                "Risk 1 % of equity, never spending over 25 % of it",
                "Spend 100 of the quote asset on each entry",
            ),
        ),
        (changed(exit=None), Change("exit", "EMA 12 crosses below EMA 26 or RSI 14 is above 80", "")),
    ],
)
def test_one_change_is_said_once_and_where_it_stands(new: Strategy, expected: Change) -> None:
    assert differences(OLD, new).count(expected) == 1


def test_a_condition_that_came_and_one_that_went_are_told_apart() -> None:
    entry = example("ema_rsi_atr")["entry"]["all"]
    new = changed(entry={"all": [*entry[:2], {"op": ">", "left": "volume", "right": 10}]})
    found = {(change.was, change.now) for change in differences(OLD, new) if change.path.startswith("entry")}
    assert found == {("the close is above the last closed 4h EMA 50", ""), ("", "the volume is above 10")}


def test_all_that_became_any_is_said_as_a_whole() -> None:
    new = changed(entry={"any": example("ema_rsi_atr")["entry"]["all"]})
    (change,) = differences(OLD, new)
    assert change.path == "entry"
    assert " and " in change.was
    assert " or " in change.now


def test_a_parameter_shows_itself_and_what_follows_from_it() -> None:
    document = example("ema_rsi_atr")
    document["params"]["fast"]["default"] = 9
    found = {change.path: (change.was, change.now) for change in differences(OLD, made(document))}
    assert found["params.fast"][0].startswith("12 (5 to 30, step 1")
    assert found["params.fast"][1].startswith("9 (5 to 30, step 1")
    assert found["series.ema_fast"] == ("EMA 12", "EMA 9")
