"""The execution service against a nemesis: thousands of worlds, each replayable by its number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import structlog

from tests.simulation.ears import listen
from tests.simulation.mutants import MUTANTS
from tests.simulation.nemesis import CLASSES
from tests.simulation.run import catches, one, outcomes
from tests.simulation.world import ACCOUNTS

#: What two cores get through in about a minute; `make simulate SEEDS=20000` is for the night.
SEEDS = 2000
#: Seeds among which each mutant is caught; `make simulate MUTANTS=1` looks from 0 on.
ENOUGH = 150


def test_no_seed_breaks_an_invariant() -> None:
    """I1–I12 after every step, and books = exchange once all is quiet."""
    bad = [outcome for outcome in outcomes(range(SEEDS), jobs=2) if outcome.violations]

    assert [f"make simulate SEED={outcome.seed}  # {outcome.violations[0]}" for outcome in bad] == []


def test_every_mutant_is_caught() -> None:
    """A simulation that sees nothing proves nothing."""
    escaped = [mutant for mutant, outcome in catches(list(MUTANTS), range(ENOUGH), jobs=2) if outcome is None]

    assert escaped == []


@pytest.fixture
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    listen()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_quiet")
def test_a_seed_is_the_same_world_each_time() -> None:
    assert _fingerprint(7) == _fingerprint(7) != _fingerprint(8)


@pytest.mark.usefixtures("_quiet")
def test_seeds_are_of_the_promised_size_and_draw_every_class_of_fault() -> None:
    worlds = [one(seed) for seed in range(24)]

    assert len(ACCOUNTS) >= 3
    assert min(world.intents for world in worlds) >= 30
    assert min(world.steps for world in worlds) >= 200
    assert {name for world in worlds for name in world.used} == set(CLASSES)


def _fingerprint(seed: int) -> str:
    lines = one(seed, keep_trace=True).trace
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
