"""What validation refuses and warns about: the path, and the sentence a user reads."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from strategy_kit import document, example

from app.domain.errors import InvalidInput
from app.services.strategy import (
    history_problem,
    parse_text,
    strategy_schema,
    unsupported_live,
    validate,
    version_hash,
    with_params,
)
from app.services.strategy.candles import TIMEFRAMES
from app.services.strategy.conditions import MAX_AGO, MAX_BARS, MAX_CONDITIONS, OPS
from app.services.strategy.functions import FUNCTIONS
from app.services.strategy.parsing import MAX_PARAMS, MAX_SERIES, MAX_SYMBOLS
from app.services.strategy.rules import ARITHMETIC

Document = dict[str, Any]


def errors(given: object) -> list[tuple[str, str]]:
    result = validate(given)
    assert (result.strategy is None) == bool(result.errors)
    return [(problem.path, problem.message) for problem in result.errors]


def warnings(given: object) -> list[tuple[str, str]]:
    result = validate(given)
    assert result.errors == ()
    return [(problem.path, problem.message) for problem in result.warnings]


def changed(change: Callable[[Document], object]) -> Document:
    """The worked example after one change."""
    given = example("ema_rsi_atr")
    change(given)
    return given


def put(path: str, value: object) -> Document:
    """The worked example with the value at a dotted path replaced."""
    given = example("ema_rsi_atr")
    at: Any = given
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in way:
        at = at[key]
    at[last] = value
    return given


def nested(groups: int) -> Document:
    condition: Document = {"op": ">", "left": "close", "right": 1}
    for _ in range(groups):
        condition = {"all": [condition]}
    return document(entry=condition)


def test_the_worked_example_is_valid_without_a_warning() -> None:
    assert warnings(example("ema_rsi_atr")) == []


def test_the_golden_example_is_valid_and_warned_about_its_missing_stop() -> None:
    assert [path for path, _ in warnings(example("golden_ema_12_26"))] == ["protect.stop"]


SERIES = "no series or candle column is called"
REFUSED: list[tuple[Document, str, str]] = [
    (put("entry.all.0.right", "ema_slwo"), "entry.all[0].right", f"{SERIES} \"ema_slwo\"; did you mean 'ema_slow'?"),
    (put("entry.all.0.right", "xyz"), "entry.all[0].right", f'{SERIES} "xyz"'),
    (put("entry.all.1.low", "45"), "entry.all[1].low", "write the number 45 without quotes"),
    (put("entry.all.1.low", "fast"), "entry.all[1].low", "'fast' is a parameter; write it as \"$fast\""),
    (put("entry.all.1.low", "$fats"), "entry.all[1].low", "no parameter is called \"fats\"; did you mean 'fast'?"),
    (
        put("series.trend.tf", "30m"),
        "series.trend.tf",
        "30m is lower than the base timeframe 1h; use 1h or higher",
    ),
    (put("series.trend.tf", "5h"), "series.trend.tf", '"5h" is not a timeframe'),
    (
        put("entry.all.2.right", {"ref": "trend", "ago": -2}),
        "entry.all[2].right.ago",
        "'ago' cannot be negative: that would look into the future",
    ),
    (
        put("entry.all.2.right", {"ref": "trend", "ago": 1.5}),
        "entry.all[2].right.ago",
        "this must be a whole number from 0 to 200, not 1.5",
    ),
    (changed(lambda d: d["protect"].pop("stop")), "protect.stop", "protect needs 'stop'"),
    (changed(lambda d: d.pop("protect")), "protect", "a strategy needs 'protect'"),
    (put("protect.stop", {"r": "1"}), "protect.stop.r", "a stop cannot be in R, because R is the distance to the stop"),
    (put("protect.stop", {"series": "atrr", "mult": "2"}), "protect.stop.series", "did you mean 'atr'?"),
    (put("protect.stop", {"pct": 2}), "protect.stop.pct", 'write this number as text, like "2", so that no digit is'),
    (put("protect.stop", {"pct": "100"}), "protect.stop.pct", "this must be above 0 and at most 99, not 100"),
    (put("protect.stop", "None"), "protect.stop", 'this is a distance: {"pct": "2"}'),
    (put("entry.all.0.op", "eval"), "entry.all[0].op", '"eval" is not an operator'),
    (put("entry.all.0.op", "cross_above"), "entry.all[0].op", "did you mean 'crosses_above'?"),
    (
        put("protect.take_profit", [{"at": {"r": "1"}, "close_pct": 60}, {"at": {"r": "2"}, "close_pct": 41}]),
        "protect.take_profit",
        "the targets close 101 % together; they can close 100 % at most",
    ),
    (put("series.rsi.fn", "rsii"), "series.rsi.fn", "\"rsii\" is not an indicator; did you mean 'rsi'?"),
    (put("series.rsi.len", 0), "series.rsi.len", "rsi needs a whole number from 2 to 1000 here, not 0"),
    (put("series.rsi.len", 14.5), "series.rsi.len", "rsi needs a whole number from 2 to 1000 here, not 14.5"),
    (put("series.rsi.len", "14"), "series.rsi.len", 'this must be a number or a parameter like "$fast", not "14"'),
    (put("series.rsi.length", 3), "series.rsi.length", "rsi has no key \"length\"; did you mean 'len'?"),
    (changed(lambda d: d["series"]["ema_fast"].pop("len")), "series.ema_fast.len", "ema needs 'len'"),
    (put("series.atr.src", "high"), "series.atr.src", "atr is computed from whole candles, so it takes no src"),
    (put("series.ema_fast.src", "clos"), "series.ema_fast.src", "did you mean 'close'?"),
    (put("series.ema_fast.src", "trend"), "series.ema_fast.src", "give both the same tf"),
    (put("series.ema_fast.src", "ema_fast"), "series.ema_fast.src", "'ema_fast' is computed from itself"),
    (put("series.close", {"fn": "obv"}), "series.close", "'close' is a candle column; choose another name"),
    (put("series.Bad", {"fn": "obv"}), "series.Bad", "must be small letters"),
    (put("params.fast.max", 5000), "series.ema_fast.len", "not $fast (max 5000)"),
    (put("params.fast.step", 0.5), "params.fast.step", "ema takes whole numbers only"),
    (put("params.fast.default", 50), "params.fast.default", "50 is not between min (5) and max (30)"),
    (put("params.fast.min", 40), "params.fast.min", "min (40) is above max (30)"),
    (put("params.fast.step", 0), "params.fast.step", "the step must be above 0"),
    (put("market.timeframe", "7m"), "market.timeframe", '"7m" is not a timeframe'),
    (put("market.symbols", []), "market.symbols", "must have 1 to 20 items, not 0"),
    (put("market.symbols", ["btcusdt"]), "market.symbols[0]", "write the symbol in capitals: BTCUSDT"),
    (put("market.symbols", ["BTCUSDT", "BTCUSDT"]), "market.symbols[1]", "BTCUSDT stands twice"),
    (put("schema", 2), "schema", "this reads rule language 1, not 2"),
    (put("schema", True), "schema", "this reads rule language 1, not true"),
    (put("name", ""), "name", "this must be 1 to 80 characters long, not 0"),
    (put("extra", 1), "extra", 'a strategy has no key "extra"'),
    (put("entry", {}), "entry", "exactly one of op, all, any, not or at_least; here is none of them"),
    (put("entry", {"alll": []}), "entry", "here is none of them; did you mean 'all'?"),
    (put("entry", {"all": [], "any": []}), "entry", "here is both 'all' and 'any'"),
    (put("entry.all", []), "entry.all", "a group of conditions must have 1 to 12 items, not 0"),
    (put("entry", {"at_least": 3, "of": [{"op": "rising", "left": "close"}]}), "entry.at_least", "from 1 to 1, not 3"),
    (put("entry.all.0.within", 51), "entry.all[0].within", "this must be a whole number from 1 to 50, not 51"),
    (put("entry.all.0.left", {"pow": [1, 2]}), "entry.all[0].left", '"pow" is not a computation'),
    (put("entry.all.0.left", {"add": [1]}), "entry.all[0].left.add", "'add' must have 2 to 4 items, not 1"),
    (put("sizing", {"mode": "all_in"}), "sizing.mode", '"all_in" is not a sizing mode'),
    (put("sizing.pct", "0"), "sizing.pct", "this must be above 0 and at most 100, not 0"),
    (put("sizing.pct", "1e1"), "sizing.pct", "this must be a decimal number as text"),
    (put("limits.max_open", 0), "limits.max_open", "this must be a whole number from 1 to 20, not 0"),
    (put("order.type", "stop"), "order.type", '"stop" is not an order type; use market or limit'),
    (nested(7), ".".join(["entry", *["all[0]"] * 6]), "conditions are nested deeper than 6 groups"),
]


@pytest.mark.parametrize(("given", "path", "words"), REFUSED, ids=[path for _, path, _ in REFUSED])
def test_a_mistake_is_answered_at_its_field_and_briefly(given: Document, path: str, words: str) -> None:
    found = errors(given)
    assert any(path == where and words in message for where, message in found), found
    assert all(len(message) < 250 for _, message in found)


def test_one_mistake_gives_one_message() -> None:
    assert len(errors(put("params.fast.min", 40))) == 1
    assert len(errors(put("entry.all.0.right", "ema_slwo"))) == 1
    assert len(errors(put("series.rsi.fn", "rsii"))) == 1


def test_several_mistakes_are_told_at_once() -> None:
    given = put("entry.all.0.op", "eval")
    given["sizing"]["pct"] = "-1"
    assert {path for path, _ in errors(given)} == {"entry.all[0].op", "sizing.pct"}


def test_six_groups_deep_is_allowed() -> None:
    assert errors(nested(6)) == []


def test_a_multiple_that_is_not_whole_is_refused() -> None:
    given = document(
        market={"symbols": ["BTCUSDT"], "timeframe": "3d"}, series={"w": {"fn": "ema", "len": 3, "tf": "1w"}}
    )
    assert errors(given) == [("series.w.tf", "1w is not a whole multiple of the base timeframe 3d")]


def test_a_cycle_is_shown_as_the_way_it_goes() -> None:
    series = {name: {"fn": "ema", "src": src, "len": 3} for name, src in (("a", "b"), ("b", "c"), ("c", "a"))}
    assert ("series.a.src", "'a' is computed from itself: a → b → c → a") in errors(document(series=series))


def test_r_needs_a_stop_and_risk_sizing_needs_one_too() -> None:
    given = put("protect.stop", "none")
    paths = [path for path, _ in errors(given)]
    assert paths == ["protect.take_profit[0]", "protect.trail_after_r"]
    given["protect"] = {"stop": "none"}
    assert errors(given) == [("sizing.mode", "risk_pct sizes by the distance to the stop, and there is no stop")]


def test_a_strategy_that_can_never_sell_is_refused() -> None:
    given = document(protect={"stop": "none"})
    del given["exit"]
    assert [path for path, _ in errors(given)] == ["exit"]


def test_caps_on_counts_hold() -> None:
    leaf = {"op": ">", "left": "close", "right": 1}
    assert errors(document(entry={"all": [leaf] * MAX_CONDITIONS})) == []
    assert [p for p, _ in errors(document(entry={"all": [leaf] * 13}))] == ["entry.all"]
    series = {f"s{i}": {"fn": "obv"} for i in range(MAX_SERIES + 1)}
    assert ("series", "there may be at most 24 series, not 25") in errors(document(series=series))
    param = {"default": 1, "min": 1, "max": 2, "step": 1}
    params = {f"p{i}": param for i in range(MAX_PARAMS + 1)}
    assert ("params", "there may be at most 12 params, not 13") in errors(document(params=params))


def test_ids_are_unique() -> None:
    leaf = {"op": ">", "left": "close", "right": 1, "id": "same"}
    assert errors(document(entry={"all": [leaf, copy.deepcopy(leaf)]})) == [
        ("entry.all[1].id", "the id 'same' is used twice")
    ]


WARNED: list[tuple[Document, str, str]] = [
    (put("series.spare", {"fn": "obv"}), "series.spare", "the series 'spare' is not used"),
    (
        put("params.spare", {"default": 1, "min": 1, "max": 2, "step": 1}),
        "params.spare",
        "the parameter 'spare' is not used",
    ),
    (put("params.fast.default", 28), "params.fast", "fast (28) is not below slow (26)"),
    (put("params.slow.default", 27), "params.slow.default", "so a search never tries it"),
    (put("entry.all.1.low", 80), "entry.all[1]", "low (80) is above high (70)"),
    (put("entry.all.2", {"op": ">", "left": 2, "right": 1}), "entry.all[2]", "the same at every candle"),
    (put("protect.stop", {"series": "ema_slow", "mult": "1"}), "protect", "'ema_slow' is used as a distance in price"),
    (put("sizing.pct", "10"), "sizing.pct", "risking 10 % of equity on one trade is a lot"),
    (put("order.type", "market"), "order", "a market order has no offset"),
    (
        put("series.trend", {"fn": "ema", "len": 1000, "tf": "1d"}),
        "series",
        "the first decision needs 24,023 1h candles (24,023 hours) of history",
    ),
]


@pytest.mark.parametrize(("given", "path", "words"), WARNED, ids=[path for _, path, _ in WARNED])
def test_what_is_probably_not_meant_is_warned_about(given: Document, path: str, words: str) -> None:
    found = warnings(given)
    assert any(path == where and words in message for where, message in found), found


def test_too_little_history_is_said_with_both_numbers() -> None:
    made = validate(example("golden_ema_12_26")).strategy
    assert made is not None
    assert history_problem(made, 27) is None
    problem = history_problem(made, 26)
    assert problem is not None
    assert problem.message == "the first decision needs 27 closed 1h candles; there are 26"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is empty"),
        ("{", "a key in double quotes is missing, at line 1, column 2"),
        ('{"a": 1\n "b": 2}', "a comma or a closing bracket is missing, at line 2, column 2"),
        ('{"a": }', "a value is missing, at line 1, column 7"),
        ('{"a": 1} x', "there is something after the end, at line 1, column 10"),
        ('{"a": NaN}', "NaN is not a number JSON knows"),
        ('{"a": 1, "a": 2}', 'the key "a" stands twice in the same object'),
        ('{"a": 1' + "0" * 50 + "}", "is too long"),
        ('{"a": 1e999}', "this must be a finite number"),
        ("[" * 41, "nested deeper than 40 levels"),
        ("[" * 60_000, "nested deeper than 40 levels"),
        ('"' + "[" * 60_000, "a text is not closed"),
        (" " * 65_537, "this is larger than 64 KiB"),
        (b"\xff\xfe", "this is not UTF-8 text: byte 1 cannot be read"),
        ('{"name": "a\\u0000b"}', "this text holds a character that cannot be stored"),
        ('{"name": "\\ud800"}', "this text holds a character that cannot be stored"),
        ("[]", "a strategy is a JSON object, not a list"),
        ("null", "a strategy is a JSON object, not null"),
    ],
)
def test_text_that_cannot_be_a_strategy_is_answered_in_words(text: str | bytes, words: str) -> None:
    result = parse_text(text)
    assert result.strategy is None
    assert len(result.errors) == 1
    assert words in result.errors[0].message


def test_text_and_bytes_with_and_without_a_byte_order_mark_are_read() -> None:
    text = json.dumps(example("ema_rsi_atr"))
    for given in (text, text.encode(), b"\xef\xbb\xbf" + text.encode(), "\ufeff" + text):
        assert parse_text(given).errors == ()


def test_values_no_json_has_are_refused_not_raised() -> None:
    endless: Document = {}
    endless["entry"] = endless
    for given in ({1: 2}, {"a": {1, 2}}, (1, 2), {"a": b"x"}, {"a": 10**5000}, {"a": float("nan")}, endless, object()):
        assert len(errors(given)) == 1


def test_the_number_of_messages_is_capped() -> None:
    assert len(errors({f"key{i}": i for i in range(1000)})) == 50


def test_a_document_full_of_mistakes_is_answered_in_no_time() -> None:
    leaf = {"op": ">", "left": "ema_slwo", "right": "clsoe"}
    full = put("entry", {"any": [{"all": [{"any": [leaf] * 12}] * 12}] * 8})
    began = time.perf_counter()
    assert len(errors(full)) == 50
    assert time.perf_counter() - began < 0.5


# with_params


def test_overridden_parameters_reach_the_series_and_make_another_version() -> None:
    given = example("ema_rsi_atr")
    other = with_params(given, {"fast": 9})
    made = validate(other).strategy
    assert made is not None
    assert made.params == {"fast": 9, "slow": 26}
    assert made.series["ema_fast"].args["len"] == 9
    assert version_hash(other) != version_hash(given)
    assert given == example("ema_rsi_atr")
    assert with_params(given, {}) == given


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"fats": 9}, "no parameter is called \"fats\"; did you mean 'fast'?"),
        ({"fast": 31}, "fast must be a number from 5 to 30, not 31"),
        ({"fast": "9"}, "fast must be a number from 5 to 30"),
        ({"fast": True}, "fast must be a number from 5 to 30"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        with_params(example("ema_rsi_atr"), overrides)
    assert words in caught.value.message
    assert caught.value.field.startswith("params.")


# unsupported_live


def test_what_a_live_run_would_not_do_is_named() -> None:
    given = put("market.symbols", ["BTCUSDT", "ETHUSDT"])
    given["limits"]["max_open"] = 2
    made = validate(given).strategy
    assert made is not None
    paths = [problem.path for problem in unsupported_live(made)]
    assert paths == ["market.symbols", "limits.max_open"]


def test_the_golden_strategy_can_run_live() -> None:
    made = validate(example("golden_ema_12_26")).strategy
    assert made is not None
    assert unsupported_live(made) == ()


# The packaged JSON Schema says the same names and caps.


def test_the_schema_and_the_code_know_the_same_words_and_caps() -> None:
    schema = strategy_schema()
    defs = schema["$defs"]
    operand, conditions = defs["operand"]["anyOf"], defs["cond"]["anyOf"]
    assert set(defs["series"]["properties"]["fn"]["enum"]) == set(FUNCTIONS)
    assert defs["tf"]["enum"] == list(TIMEFRAMES)
    assert {op for one in conditions if "op" in one["properties"] for op in one["properties"]["op"]["enum"]} == set(OPS)
    assert next(iter(operand[3]["patternProperties"])) == f"^({'|'.join(ARITHMETIC)})$"
    assert operand[2]["properties"]["ago"]["maximum"] == MAX_AGO
    assert conditions[4]["properties"]["within"]["maximum"] == MAX_BARS
    assert defs["conds"]["maxItems"] == MAX_CONDITIONS
    assert schema["properties"]["series"]["maxProperties"] == MAX_SERIES
    assert schema["properties"]["params"]["maxProperties"] == MAX_PARAMS
    assert schema["properties"]["market"]["properties"]["symbols"]["maxItems"] == MAX_SYMBOLS
    arguments = {"fn", "src", "tf"}.union(*(function.args for function in FUNCTIONS.values()))
    assert set(defs["series"]["properties"]) == arguments
