"""Templates are valid, protected, honest, can run live, and do something."""

from __future__ import annotations

import numpy as np
import pytest
from strategy_kit import candles

from app.domain.errors import NotFound
from app.services.strategy import TEMPLATES, Template, evaluate, template, unsupported_live, validate

each = pytest.mark.parametrize("one", TEMPLATES, ids=[one.key for one in TEMPLATES])


@each
def test_a_template_is_valid_without_a_warning_for_any_symbol(one: Template) -> None:
    result = validate(one.document("ETHUSDT"))
    assert (result.errors, result.warnings) == ((), ())
    assert result.strategy is not None
    assert result.strategy.symbols == ("ETHUSDT",)
    assert result.strategy.name == one.title


@each
def test_a_template_has_a_stop_can_run_live_and_says_when_it_loses(one: Template) -> None:
    made = validate(one.document()).strategy
    assert made is not None
    assert made.protect.stop is not None
    assert unsupported_live(made) == ()
    assert len(one.explains) > 60
    assert len(one.loses_when) > 60


@each
def test_a_template_enters_and_leaves_on_a_random_walk(one: Template) -> None:
    made = validate(one.document()).strategy
    assert made is not None
    result = evaluate(made, candles(3_000, tf=made.timeframe))
    assert (result.entry == 1).sum() >= 5
    assert (result.exit == 1).sum() >= 5


def test_the_fast_template_enters_within_the_first_minutes_whenever_it_is_started() -> None:
    made = validate(template("ema_cross_fast").document()).strategy
    assert made is not None
    for seed in range(20):
        entries = np.flatnonzero(evaluate(made, candles(2_000, seed=seed, tf="1s")).entry == 1)
        assert np.diff(entries, prepend=0).max() < 180


def test_changing_a_document_changes_no_template() -> None:
    document = template("ema_cross").document()
    document["protect"]["stop"] = "none"
    document["market"]["symbols"].append("ETHUSDT")
    assert template("ema_cross").document()["protect"]["stop"] != "none"
    assert template("ema_cross").document()["market"]["symbols"] == ["BTCUSDT"]


def test_an_unknown_template_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="there are ema_cross, ema_cross_fast"):
        template("holy_grail")
