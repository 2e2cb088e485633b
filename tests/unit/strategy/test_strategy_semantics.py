"""The ten semantic rules of the language, one section each."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from strategy_kit import MONDAY_MS, candles, closes, document, example, run, strategy, truths

from app.domain.errors import InvalidInput
from app.services.strategy import evaluate, validate, version_hash, warmup_candles
from app.services.strategy.candles import aggregate, last_closed, opening_of

T, F, U = 1, 0, -1
HOUR_MS = 3_600_000
UP: dict[str, Any] = {"op": ">", "left": "close", "right": {"ref": "close", "ago": 1}}
NEVER_KNOWN: dict[str, Any] = {"op": ">", "left": {"div": ["close", 0]}, "right": 0}


def over(level: float, **more: Any) -> dict[str, Any]:
    return {"op": ">", "left": "close", "right": level, **more}


# 1. Only closed candles; what a bar says depends on it and earlier bars only.


def test_later_candles_change_nothing_said_before() -> None:
    given = candles(300)
    example_strategy = validate(example("ema_rsi_atr")).strategy
    assert example_strategy is not None
    whole, part = evaluate(example_strategy, given), evaluate(example_strategy, given.window(0, 250))
    assert part.entry.tolist() == whole.entry[:250].tolist()
    assert part.exit.tolist() == whole.exit[:250].tolist()


def test_candles_of_another_timeframe_are_refused() -> None:
    with pytest.raises(InvalidInput, match="decides on 1h candles, these are 1m"):
        evaluate(strategy(), candles(10, tf="1m"))


def test_candles_out_of_order_or_not_finite_are_refused() -> None:
    with pytest.raises(InvalidInput, match="in order of time"):
        closes(1, 2, 3, times=[0, 2, 1])
    with pytest.raises(InvalidInput, match="column open"):
        closes(1, float("nan"))


# 2. Crossing: at or on the other side one bar ago, beyond it now.


def test_a_cross_above_needs_at_or_below_before_and_above_now() -> None:
    given = closes(9, 10, 11, 12, 10, 10, 11)
    assert truths({"op": "crosses_above", "left": "close", "right": 10}, given) == [U, F, T, F, F, F, T]


def test_a_cross_below_mirrors_it() -> None:
    given = closes(11, 10, 9, 8, 10, 10, 9)
    assert truths({"op": "crosses_below", "left": "close", "right": 10}, given) == [U, F, T, F, F, F, T]


# 3. A higher timeframe shows its last closed candle, aligned by timestamp.

HIGHER = {"slow": {"fn": "sma", "src": "close", "len": 1, "tf": "4h"}}


def test_a_higher_timeframe_is_seen_from_the_bar_that_closes_it() -> None:
    seen = run(closes(*range(1, 11)), series=HIGHER).series["slow"]
    assert np.isnan(seen[:3]).all()
    assert seen[3:].tolist() == [4, 4, 4, 4, 8, 8, 8]


def test_a_first_higher_candle_whose_beginning_is_unknown_is_left_out() -> None:
    seen = run(closes(*range(2, 11), start_ms=MONDAY_MS + HOUR_MS), series=HIGHER).series["slow"]
    assert np.isnan(seen[:6]).all()
    assert seen[6:].tolist() == [8, 8, 8]


def test_alignment_goes_by_timestamp_across_a_gap() -> None:
    # Hours 0-3, then nothing until hour 6: the candle 4-8 is made of two and closes at 8, not after four more bars.
    seen = run(closes(1, 2, 3, 4, 7, 8, 9, 10, times=[0, 1, 2, 3, 6, 7, 8, 9]), series=HIGHER).series["slow"]
    assert seen[3:].tolist() == [4, 4, 8, 8, 8]


def test_a_higher_candle_that_never_got_its_last_bar_counts_as_closed_once_its_time_is_over() -> None:
    seen = run(closes(1, 2, 3, 9, 10, times=[0, 1, 2, 8, 9]), series=HIGHER).series["slow"]
    assert np.isnan(seen[:3]).all()
    assert seen[3:].tolist() == [3, 3]


def test_weeks_open_on_monday_and_days_at_midnight_utc() -> None:
    times = np.array([MONDAY_MS - 1, MONDAY_MS, MONDAY_MS + 6 * 24 * HOUR_MS + 1])
    assert opening_of(times, "1w").tolist() == [MONDAY_MS - 7 * 24 * HOUR_MS, MONDAY_MS, MONDAY_MS]
    assert opening_of(times, "1d").tolist() == [MONDAY_MS - 24 * HOUR_MS, MONDAY_MS, MONDAY_MS + 6 * 24 * HOUR_MS]


def test_an_aggregated_candle_has_the_first_open_the_extremes_the_last_close_and_all_volume() -> None:
    base = candles(8)
    higher = aggregate(base, "4h")
    assert higher.open.tolist() == [base.open[0], base.open[4]]
    assert higher.high.tolist() == [base.high[:4].max(), base.high[4:].max()]
    assert higher.low.tolist() == [base.low[:4].min(), base.low[4:].min()]
    assert higher.close.tolist() == [base.close[3], base.close[7]]
    assert higher.volume == pytest.approx([base.volume[:4].sum(), base.volume[4:].sum()])
    assert last_closed(base, higher).tolist() == [-1, -1, -1, 0, 0, 0, 0, 1]


def test_ago_and_rising_count_candles_of_the_series_own_timeframe() -> None:
    given = closes(1, 1, 1, 5, 1, 1, 1, 9, 1, 1, 1, 2)
    rising = truths({"op": "rising", "left": "slow"}, given, series=HIGHER)
    assert rising == [U] * 7 + [T, T, T, T, F]
    grown = truths({"op": ">", "left": "slow", "right": {"ref": "slow", "ago": 1}}, given, series=HIGHER)
    assert grown == rising


def test_a_series_may_be_computed_from_a_series_of_the_same_higher_timeframe() -> None:
    series = {**HIGHER, "mean": {"fn": "sma", "src": "slow", "len": 2, "tf": "4h"}}
    seen = run(closes(*range(1, 13)), series=series).series["mean"]
    assert np.isnan(seen[:7]).all()
    assert seen[7:].tolist() == [6, 6, 6, 6, 10]


# 4. Missing before the warm-up; three values; only true trades.


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"not": NEVER_KNOWN}, U),
        ({"all": [over(0), NEVER_KNOWN]}, U),
        ({"all": [over(99), NEVER_KNOWN]}, F),
        ({"any": [over(0), NEVER_KNOWN]}, T),
        ({"any": [over(99), NEVER_KNOWN]}, U),
        ({"not": over(99)}, T),
        ({"at_least": 2, "of": [over(0), over(1), NEVER_KNOWN]}, T),
        ({"at_least": 2, "of": [over(0), over(99), NEVER_KNOWN]}, U),
        ({"at_least": 2, "of": [over(99), over(99), NEVER_KNOWN]}, F),
        ({"at_least": 2, "of": [over(0), over(99), over(99)]}, F),
    ],
)
def test_unknown_stays_unknown_unless_the_rest_decides(condition: dict[str, Any], expected: int) -> None:
    assert truths(condition, closes(10)) == [expected]


def test_a_negation_over_a_value_that_is_not_there_yet_does_not_trade() -> None:
    series = {"mean": {"fn": "sma", "src": "close", "len": 3}}
    condition = {"not": {"op": ">", "left": "close", "right": "mean"}}
    assert truths(condition, closes(3, 2, 1), series=series) == [U, U, T]


def test_an_entry_without_a_value_for_its_stop_is_unknown() -> None:
    result = run(
        candles(20), series={"atr": {"fn": "atr", "len": 5}}, protect={"stop": {"series": "atr", "mult": "2"}}
    )
    assert result.entry.tolist() == [U] * 5 + [T] * 15


def test_an_entry_whose_stop_would_reach_zero_is_unknown() -> None:
    series = {"wide": {"fn": "stddev", "len": 2}}
    result = run(closes(1, 9, 9), series=series, protect={"stop": {"series": "wide", "mult": "4"}})
    assert result.entry.tolist() == [U, U, U]  # missing; 4 x 4 is above 9; no distance at all


@pytest.mark.parametrize("name", ["ema_rsi_atr", "golden_ema_12_26"])
def test_with_the_stated_warm_up_the_last_bar_is_known_wherever_the_window_starts(name: str) -> None:
    made = validate(example(name)).strategy
    assert made is not None
    needed = warmup_candles(made)
    for offset in range(4):
        given = candles(needed, start_ms=MONDAY_MS + offset * HOUR_MS)
        result = evaluate(made, given)
        assert result.entry[-1] != U
        assert result.exit[-1] != U
        assert not any(np.isnan(values[-1]) for values in result.series.values())


# 5. The future cannot be written; division by zero is missing.


def test_a_negative_shift_is_refused() -> None:
    bad = validate(document(entry={"op": ">", "left": {"ref": "close", "ago": -1}, "right": 1}))
    assert [(problem.path, problem.message) for problem in bad.errors] == [
        ("entry.left.ago", "'ago' cannot be negative: that would look into the future")
    ]


def test_a_division_by_zero_is_missing() -> None:
    condition = {"op": ">", "left": {"div": [1, {"sub": ["close", 2]}]}, "right": 0}
    assert truths(condition, closes(1, 2, 3)) == [F, U, T]


def test_a_number_beyond_a_double_is_missing() -> None:
    big = {"mul": [1e15, 1e15, 1e15, 1e15]}
    for _ in range(3):
        big = {"mul": [big, big]}
    assert truths({"op": ">", "left": big, "right": 0}, closes(1)) == [U]


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        ({"add": ["close", 1, 2]}, 13.0),
        ({"sub": ["close", 1, 2]}, 7.0),
        ({"mul": ["close", 2, 3]}, 60.0),
        ({"div": ["close", 2, 5]}, 1.0),
        ({"min": ["close", 2, 30]}, 2.0),
        ({"max": ["close", 2, 30]}, 30.0),
        ({"add": [{"ref": "close", "ago": 1}, {"mul": ["$p", 10]}]}, 29.0),
    ],
)
def test_computed_values_fold_from_the_left(computed: dict[str, Any], expected: float) -> None:
    params = {"p": {"default": 2, "min": 1, "max": 3, "step": 1}}
    result = run(closes(9, 10), exit={"op": ">", "left": computed, "right": 0}, params=params)
    assert result.trace(1)["exit"]["operands"][0]["value"] == expected


# 6. Order of exits within a bar belongs to the runner; the stop itself is stated here, exactly.


def test_a_stop_in_per_cent_is_exact() -> None:
    assert run(closes(10), protect={"stop": {"pct": "2.5"}}).stop_price(0, Decimal("100")) == Decimal("97.5")


def test_a_stop_by_a_series_uses_its_value_at_the_decision() -> None:
    result = run(
        closes(1, 2, 4), series={"sd": {"fn": "stddev", "len": 2}}, protect={"stop": {"series": "sd", "mult": "1.5"}}
    )
    assert result.stop_price(1, Decimal("10")) == Decimal("9.25")
    assert result.stop_price(2, Decimal("10")) == Decimal("8.5")
    with pytest.raises(InvalidInput, match="no value at this candle"):
        result.stop_price(0, Decimal("10"))
    with pytest.raises(InvalidInput, match="between zero and the entry price"):
        result.stop_price(2, Decimal("1"))


def test_no_stop_said_on_purpose_gives_none() -> None:
    assert run(closes(10), protect={"stop": "none"}).stop_price(0, Decimal("100")) is None


# 7. The version is the hash of the canonical JSON.


def test_the_version_does_not_depend_on_the_order_of_keys_blanks_or_how_a_whole_number_is_written() -> None:
    one = example("ema_rsi_atr")
    other = json.loads(json.dumps(dict(reversed(one.items())), indent=4).replace("14", "14.0"))
    assert version_hash(one) == version_hash(other)


def test_the_version_of_the_example_never_changes() -> None:
    assert version_hash(example("ema_rsi_atr")) == "d38252481a9ab04f761be99307efa22efa4d3a9a901330cb964a564e9e2b4b7a"


def test_any_change_of_meaning_is_another_version() -> None:
    changed = example("ema_rsi_atr")
    changed["series"]["rsi"]["len"] = 15
    assert version_hash(changed) != version_hash(example("ema_rsi_atr"))


def test_a_strategy_keeps_its_document_and_cannot_be_changed_through_it() -> None:
    given = example("ema_rsi_atr")
    made = validate(given).strategy
    assert made is not None
    made.document["name"] = "other"
    given["name"] = "third"
    assert made.document == example("ema_rsi_atr")
    with pytest.raises(AttributeError):
        made.name = "other"  # type: ignore[misc]


# 8-10 (caps, errors in words, checks beyond the schema): test_strategy_validation.py.
# The operators and modifiers that the rules rest on:


def test_between_includes_both_ends_and_outside_is_its_negation() -> None:
    given = closes(1, 2, 3, 4, 5)
    assert truths({"op": "between", "left": "close", "low": 2, "high": 4}, given) == [F, T, T, T, F]
    assert truths({"op": "outside", "left": "close", "low": 2, "high": 4}, given) == [T, F, F, F, T]


def test_one_missing_bound_does_not_hide_that_the_other_fails() -> None:
    series = {"mean": {"fn": "sma", "src": "close", "len": 9}}
    condition = {"op": "between", "left": "close", "low": 5, "high": "mean"}
    assert truths(condition, closes(1, 6), series=series) == [F, U]


@pytest.mark.parametrize(
    ("op", "expected"), [(">", [F, F, T]), (">=", [F, T, T]), ("<", [T, F, F]), ("<=", [T, T, F])]
)
def test_comparisons_differ_at_equality(op: str, expected: list[int]) -> None:
    assert truths({"op": op, "left": "close", "right": 2}, closes(1, 2, 3)) == expected


def test_within_is_true_while_the_last_truth_is_recent_enough() -> None:
    assert truths(over(5, within=3), closes(1, 1, 1, 9, 1, 1, 1)) == [U, U, F, T, T, T, F]


def test_for_needs_every_one_of_the_bars() -> None:
    assert truths(over(5, **{"for": 3}), closes(9, 9, 9, 1, 9, 9, 9)) == [U, U, T, F, F, F, T]


def test_for_is_applied_before_within() -> None:
    assert truths(over(5, **{"for": 2, "within": 2}), closes(1, 9, 9, 1, 1)) == [U, F, T, T, F]


def test_rising_for_n_needs_n_steps_and_equal_is_no_step() -> None:
    given = closes(1, 2, 3, 3, 4, 5)
    assert truths({"op": "rising", "left": "close", "for": 2}, given) == [U, U, T, F, F, T]
    assert truths({"op": "falling", "left": "close"}, closes(3, 2, 2)) == [U, T, F]


def test_without_an_exit_rule_the_exit_is_false() -> None:
    plain = document()
    del plain["exit"]
    made = validate(plain).strategy
    assert made is not None
    assert evaluate(made, closes(1, 2)).exit.tolist() == [F, F]


def test_no_candles_give_no_decisions() -> None:
    made = validate(example("ema_rsi_atr")).strategy
    assert made is not None
    assert evaluate(made, candles(5).window(0, 0)).entry.tolist() == []


# Why, or why not.


def test_a_trace_tells_each_condition_with_its_values_and_is_json() -> None:
    result = run(closes(9, 11), entry={"all": [{"op": "crosses_above", "left": "close", "right": 10, "id": "up"}, UP]})
    told = json.loads(json.dumps(result.trace(-1), allow_nan=False))
    assert told["decision"] == {"entry": "true", "exit": "false"}
    assert told["close_time_ms"] == MONDAY_MS + 2 * HOUR_MS
    assert told["stop"] == {"text": "5 %", "at_close": "10.45", "problem": None}
    cross = told["entry"]["parts"][0]
    assert cross == {
        "path": "entry.all[0]",
        "kind": "crosses_above",
        "text": "the close crosses above 10",
        "truth": "true",
        "now": "true",
        "id": "up",
        "operands": [
            {"name": "left", "text": "the close", "value": 11.0, "before": [9.0]},
            {"name": "right", "text": "10", "value": 10.0, "before": [10.0]},
        ],
    }


def test_a_trace_says_what_was_missing() -> None:
    result = run(closes(9, 11), series={"m": {"fn": "sma", "len": 5}}, entry={"op": ">", "left": "close", "right": "m"})
    told = result.trace(1)
    assert told["decision"]["entry"] == told["entry"]["truth"] == "unknown"
    assert told["entry"]["operands"][1] == {"name": "right", "text": "SMA 5", "value": None, "before": []}
    assert told["series"] == {"m": None}


def test_a_trace_agrees_with_the_decision_at_every_bar() -> None:
    made = validate(example("ema_rsi_atr")).strategy
    assert made is not None
    result = evaluate(made, candles(400, seed=3))
    names = {1: "true", 0: "false", -1: "unknown"}
    assert {names[int(value)] for value in result.entry} == {"true", "false", "unknown"}
    for index in range(400):
        told = result.trace(index)
        assert told["decision"] == {"entry": names[int(result.entry[index])], "exit": names[int(result.exit[index])]}
        assert told["exit"]["truth"] == told["decision"]["exit"]
    with pytest.raises(IndexError):
        result.trace(400)


def test_evaluation_leaves_the_candles_alone() -> None:
    given = candles(100)
    before = copy.deepcopy(given)
    run(given, series=HIGHER)
    for name in ("open_time_ms", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(given, name), getattr(before, name))
