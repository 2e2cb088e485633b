"""`make simulate`: many seeds with a progress bar, one seed with its trace, or the mutants and who caught them.

    python -m tests.simulation.run SEEDS=20000 [FROM=0] [JOBS=2]
    python -m tests.simulation.run SEED=17 [MUTANT="T2 skipped"]
    python -m tests.simulation.run MUTANTS=1 [SEEDS=300]
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

from tests.simulation.ears import listen
from tests.simulation.mutants import MUTANTS
from tests.simulation.world import Outcome, simulate

BATCH = 10
COMMAND = "make simulate"


def one(seed: int, mutant: str = "", *, keep_trace: bool = False) -> Outcome:
    """One seed, of the service as it is or of a mutant."""
    return simulate(seed, MUTANTS[mutant] if mutant else None, keep_trace=keep_trace)


def _prepare() -> None:
    """What was imported is never garbage: to look through it again and again takes longer than the seeds do."""
    listen()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def outcomes(seeds: Sequence[int], *, jobs: int) -> Iterator[Outcome]:
    """All of them, on `jobs` processes, as they come."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_prepare) as pool:
        yield from pool.imap_unordered(one, seeds, chunksize=BATCH)


def first_catch(mutant: str, seeds: Sequence[int]) -> Outcome | None:
    """The first seed that sees this mutant."""
    return next((outcome for seed in seeds if (outcome := one(seed, mutant)).violations), None)


def catches(mutants: Sequence[str], seeds: Sequence[int], *, jobs: int) -> Iterator[tuple[str, Outcome | None]]:
    """For each mutant the first seed that sees it."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_prepare) as pool:
        yield from zip(mutants, pool.imap(partial(first_catch, seeds=seeds), mutants, chunksize=1), strict=True)


def main(arguments: Sequence[str]) -> int:
    """Returns 1 when an invariant was violated, or a mutant got away."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    listen()
    jobs, start = int(given.get("JOBS") or 2), int(given.get("FROM") or 0)
    if given.get("SEED"):
        return _replay(int(given["SEED"]), given.get("MUTANT", ""))
    if given.get("MUTANTS"):
        return _mutants(range(start, start + int(given.get("SEEDS") or 300)), jobs=jobs)
    return _many(range(start, start + int(given.get("SEEDS") or 2000)), jobs=jobs)


def _replay(seed: int, mutant: str) -> int:
    outcome = one(seed, mutant, keep_trace=True)
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.orders} orders, {outcome.slices} slices, {outcome.virtual_s:.0f} virtual seconds")
    for words in outcome.violations:
        print(f"VIOLATION {words}")
    return int(bool(outcome.violations))


def _many(seeds: range, *, jobs: int) -> int:
    bad: list[Outcome] = []
    begun = time.monotonic()
    for count, outcome in enumerate(outcomes(seeds, jobs=jobs), start=1):
        if outcome.violations:
            bad.append(outcome)
            print(f"\r\033[K{COMMAND} SEED={outcome.seed}  # {outcome.violations[0]}")
        if count % BATCH == 0 or count == len(seeds):
            _bar(count, len(seeds), begun)
    print(f"\r\033[Ksimulated {len(seeds)} seeds: {len(bad)} violations")
    return int(bool(bad))


def _bar(count: int, total: int, begun: float) -> None:
    if not sys.stdout.isatty() and count % (total // 20 or 1) >= BATCH:
        return
    done = 40 * count // total
    rate = count / (time.monotonic() - begun)
    end = "" if sys.stdout.isatty() else "\n"
    print(f"\r[{'#' * done}{'.' * (40 - done)}] {count}/{total}  {rate:.0f} seeds/s", end=end, flush=True)


def _mutants(seeds: range, *, jobs: int) -> int:
    escaped = 0
    print(f"{'mutant':<36}{'first seed':>10}  what was seen")
    for mutant, outcome in catches(list(MUTANTS), seeds, jobs=jobs):
        escaped += outcome is None
        seed, words = (str(outcome.seed), outcome.violations[0]) if outcome else ("none", f"in {len(seeds)} seeds")
        print(f"{mutant:<36}{seed:>10}  {words[:110]}", flush=True)
    return int(bool(escaped))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
