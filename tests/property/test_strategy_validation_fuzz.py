"""Whatever is thrown at validation, it answers with problems or a strategy that works; it never raises."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_kit import candles, example

from app.services.strategy import (
    TEMPLATES,
    Validation,
    evaluate,
    parse_text,
    read_aloud,
    unsupported_live,
    validate,
    version_hash,
    warmup_candles,
)

WORDS = [
    "all", "any", "not", "at_least", "of", "op", "left", "right", "low", "high", "within", "for", "id", "ref",
    "ago", "add", "div", ">", "crosses_above", "between", "rising", "close", "ema", "ema_fast", "trend",
    "$fast", "none", "pct", "series", "mult", "r", "fn", "src", "len", "tf", "1s", "1w", "risk_pct", "mode",
    "market", "default", "min", "max", "step",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 60)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from(WORDS)
    | st.text(st.characters(), max_size=12)
    | st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3})?", fullmatch=True)
)
KEYS = st.sampled_from(WORDS) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
EXAMPLES = [example("ema_rsi_atr"), example("golden_ema_12_26")]
STARTS = [*EXAMPLES, *(template.document() for template in TEMPLATES)]
DATA = {tf: candles(60, tf=tf) for tf in ("1s", "1m", "1h", "4h", "1d")}


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = [(value, key) for key in keys]
    for key in keys:
        found += places(value[key])
    return found


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """A valid document with one to three places replaced, removed, or swapped with another."""
    document = copy.deepcopy(draw(st.sampled_from(STARTS)))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(document)))
        match draw(st.sampled_from(["replace", "remove", "graft"])):
            case "replace":
                container[key] = draw(JSON)
            case "remove":
                del container[key]
            case _:
                other, elsewhere = draw(st.sampled_from(places(draw(st.sampled_from(STARTS)))))
                container[key] = copy.deepcopy(other[elsewhere])
        if not document:
            break
    return document


def holds(result: Validation) -> None:
    """A strategy exactly when there is no error; short messages; a strategy can be read, hashed and run."""
    assert (result.strategy is None) == bool(result.errors)
    for problem in (*result.errors, *result.warnings):
        assert 0 < len(problem.message) < 700
        json.dumps([problem.path, problem.message]).encode()
    if result.strategy is None:
        return
    assert read_aloud(result.strategy).endswith(".")
    assert len(version_hash(result.strategy.document)) == 64
    assert warmup_candles(result.strategy) >= 1
    unsupported_live(result.strategy)
    again = validate(result.strategy.document)
    assert again.strategy == result.strategy
    data = DATA.get(result.strategy.timeframe)
    if data is not None:
        json.dumps(evaluate(result.strategy, data).trace(-1), allow_nan=False)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json_gets_an_answer(document: Any) -> None:
    holds(validate(document))


@settings(max_examples=600, deadline=None)
@given(mutants())
def test_any_damaged_strategy_gets_an_answer(document: Any) -> None:
    before = copy.deepcopy(document)
    holds(validate(document))
    assert repr(document) == repr(before)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary())
def test_any_text_or_bytes_get_an_answer(text: str | bytes) -> None:
    holds(parse_text(text))


@settings(max_examples=150, deadline=None)
@given(mutants(), st.data())
def test_any_damaged_text_of_a_strategy_gets_an_answer(document: Any, data: st.DataObject) -> None:
    text = json.dumps(document)
    start = data.draw(st.integers(0, len(text)))
    holds(parse_text(text[:start] + data.draw(st.text(max_size=3)) + text[start + data.draw(st.integers(0, 3)) :]))
