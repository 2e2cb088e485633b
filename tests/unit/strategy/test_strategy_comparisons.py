"""Long arrays are compared by compiled loops, short ones by NumPy: the same truths."""

from __future__ import annotations

import numpy as np
import pytest

from app.services import compiled
from app.services.strategy import logic

CHANCE = np.random.default_rng(8)


def values() -> np.ndarray:
    """Few different values, so that they often meet, some of them missing."""
    found = CHANCE.integers(0, 4, 500).astype(np.float64)
    found[CHANCE.random(500) < 0.1] = np.nan
    return found


@pytest.mark.parametrize("op", [">", ">=", "<", "<=", "crosses"])
def test_a_compiled_comparison_gives_the_truths_of_the_plain_one(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(left: np.ndarray, right: np.ndarray) -> list[int]:
        truths = logic.crosses(left, right) if op == "crosses" else logic.compare(op, left, right)
        assert truths.dtype == np.int8
        return truths.tolist()

    pairs = [(values(), values()) for _ in range(20)]
    plain = [compare(left, right) for left, right in pairs]
    monkeypatch.setattr(compiled, "WORTH_COMPILING", 0)
    assert [compare(left, right) for left, right in pairs] == plain
    assert {-1, 0, 1} == {truth for truths in plain for truth in truths}
