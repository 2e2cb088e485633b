"""`make chaos`: real processes under seeded blows, a progress bar, and one line at the end.

python -m tests.chaos.run ROUNDS=200 [SEED=1] [FROM=1]
python -m tests.chaos.run ROUND=17 [SEED=1]          one round again, told step by step
python -m tests.chaos.run MUTANT="same id sent again"  a worker with a mistake: which round sees it first
python -m tests.chaos.run LIST=200                   what the rounds are
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from both_books import DUPLICATE, LOST_FILL, OTHER, UNKNOWN

from tests.chaos.campaign import ROUNDS_A_STACK, Field, Result
from tests.chaos.draw import draw

Tell = Callable[[Result], None]


def rounds(
    numbers: Iterable[int],
    *,
    seed: int,
    mutant: str = "",
    tell: Tell,
    verbose: bool = False,
    until_caught: bool = False,
) -> list[Result]:
    """Play these rounds; `tell` hears of each as it ends. A stack serves some rounds, a failed one no other.

    `until_caught`: the first in which something differs is the last.
    """
    results: list[Result] = []
    field: Field | None = None
    began = time.monotonic()

    def say(words: str) -> None:
        if verbose:
            print(f"  {time.monotonic() - began:6.1f} s  {words}", flush=True)

    try:
        for number in numbers:
            this = draw(seed, number)
            if field is not None and (this.real_bound or field.rounds >= ROUNDS_A_STACK):
                field.close()
                field = None
            if field is None:
                say("starting a stack")
                field = Field(real_bound=this.real_bound, mutant=mutant, say=say)
                field.open()
            say(this.words())
            results.append(field.play(this))
            tell(results[-1])
            if results[-1].differences or this.real_bound:
                field.close()
                field = None
            if results[-1].differences and until_caught:
                break
    finally:
        if field is not None:
            field.close()
    return results


def summary(results: Sequence[Result]) -> str:
    """`200 rounds: 0 duplicates, 0 lost fills, 0 unknown`, and what else there was."""
    kinds = Counter(one.kind for result in results for one in result.differences)
    words = f"{len(results)} rounds: {kinds[DUPLICATE]} duplicates, {kinds[LOST_FILL]} lost fills"
    more = f", {kinds[OTHER]} other differences" if kinds[OTHER] else ""
    return f"{words}, {kinds[UNKNOWN]} unknown{more}"


def failure(result: Result, seed: int) -> str:
    """How to see it again, and what differs."""
    again = f"make chaos ROUND={result.draw.number}" + (f" SEED={seed}" if seed != 1 else "")
    lines = [f"{again}  # {result.draw.words()}"]
    lines += [f"    {one.kind}: {one.words}" for one in result.differences[:12]]
    return "\n".join([*lines, f"    logs: {result.kept}"])


def main(arguments: Sequence[str]) -> int:
    """Returns 1 when anything differed (for a mutant: when nothing did)."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    seed, mutant = int(given.get("SEED") or 1), given.get("MUTANT", "")
    if given.get("LIST"):
        print("\n".join(f"{n:4} {draw(seed, n).words()}" for n in range(1, int(given["LIST"]) + 1)))
        return 0
    if given.get("ROUND"):
        return _replay(int(given["ROUND"]), seed, mutant)
    first = int(given.get("FROM") or 1)
    numbers = range(first, first + int(given.get("ROUNDS") or 10))
    return _mutant(numbers, seed, mutant) if mutant else _campaign(numbers, seed)


def _replay(number: int, seed: int, mutant: str) -> int:
    [result] = rounds([number], seed=seed, mutant=mutant, tell=lambda _: None, verbose=True)
    print(f"{result.orders} orders; the books agreed {result.settled_s:.1f} s after the calm" if not result.differences
          else failure(result, seed))  # fmt: skip
    return int(bool(result.differences))


def _campaign(numbers: range, seed: int) -> int:
    began, missed, settled = time.monotonic(), [], []
    print(f"seed {seed}, rounds {numbers.start} to {numbers.stop - 1}; a stack takes some seconds to start", flush=True)

    def tell(result: Result) -> None:
        done = result.draw.number - numbers.start + 1
        if result.missed:
            missed.append(result.missed)
        settled.append(result.settled_s)
        if result.differences:
            print(f"\r\033[K{failure(result, seed)}", flush=True)
        _bar(done, len(numbers), began, result)

    results = rounds(numbers, seed=seed, tell=tell)
    minutes, orders = (time.monotonic() - began) / 60, sum(result.orders for result in results)
    print(f"\r\033[K{orders:,} orders in {minutes:.1f} min; books agreed after {_median(settled):.1f} s (median), "
          f"{max(settled):.1f} s (most); load {os.getloadavg()[0]:.1f}")  # fmt: skip
    if missed:
        print(f"points that no worker came past in their round: {', '.join(sorted(missed))}")
    print(summary(results))
    return int(any(result.differences for result in results))


def _mutant(numbers: range, seed: int, mutant: str) -> int:
    def tell(result: Result) -> None:
        if not result.differences:
            print(f"mutant '{mutant}': round {result.draw.number} did not see it ({result.draw.words()})", flush=True)

    try:
        last = rounds(numbers, seed=seed, mutant=mutant, tell=tell, until_caught=True)[-1]
    except AssertionError as failed:
        print(f"mutant '{mutant}' was caught before the first round: {failed}")
        return 0
    if last.differences:
        print(f"mutant '{mutant}' was caught:\n{failure(last, seed)}")
        return 0
    print(f"mutant '{mutant}' got away")
    return 1


def _bar(done: int, total: int, began: float, result: Result) -> None:
    took = time.monotonic() - began
    left_min = took / done * (total - done) / 60
    filled = 30 * done // total
    line = f"[{'#' * filled}{'.' * (30 - filled)}] {done}/{total}  {left_min:.0f} min left  {result.draw.kind}"
    if sys.stdout.isatty():
        print(f"\r\033[K{line[:110]}", end="", flush=True)
    else:
        print(f"{line} ({result.took_s:.0f} s, {result.orders} orders)", flush=True)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
