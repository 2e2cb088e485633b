"""Ten rounds of `make chaos`, and that the campaign can be trusted: its points exist, its blows strike, it repeats."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.draw import PROCESSES, STORMS, WEATHER, deck, draw
from tests.chaos.points import POINTS, Blow, BlowFile
from tests.chaos.run import failure, rounds, summary

ROOT = Path(__file__).resolve().parents[2]
SEED, ROUNDS = 1, 10


def in_a_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_every_point_can_be_put_into_the_worker(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tests.chaos.points import install; install(pathlib.Path(sys.argv[1]))"
    ended = in_a_process(code, str(tmp_path / "blow.json"))

    assert ended.returncode == 0, ended.stderr


def test_every_mutant_can_be_made(tmp_path: Path) -> None:
    code = (
        "import os, sys; from tests.chaos import mutants\n"
        "os.environ[mutants.MARKS_VARIABLE] = sys.argv[1]\n"
        "for name in mutants.MUTANTS:\n"
        "    child = os.fork()\n"
        "    if not child: mutants.install(name); os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, name\n"
    )
    ended = in_a_process(code, str(tmp_path / "marks"))

    assert ended.returncode == 0, ended.stderr


def test_a_blow_strikes_at_its_point_after_the_passes_it_spares(tmp_path: Path) -> None:
    file = BlowFile(tmp_path / "blow.json")
    file.order(Blow("place before", skip=2))
    code = (
        "import sys, pathlib; from tests.chaos.points import BlowFile\n"
        "file = BlowFile(pathlib.Path(sys.argv[1]))\n"
        "for n in range(5): file.reach('cancel before'); file.reach('place before'); print(n, flush=True)\n"
    )
    ended = in_a_process(code, str(file.path))

    assert (ended.returncode, ended.stdout.split(), file.struck) == (-signal.SIGKILL, ["0", "1"], 1)
    assert not file.path.exists()


def test_a_draw_follows_from_seed_and_number_alone() -> None:
    assert [draw(7, n) for n in range(1, 40)] == [draw(7, n) for n in range(1, 40)]
    assert [draw(7, n) for n in range(1, 40)] != [draw(8, n) for n in range(1, 40)]


def test_two_hundred_rounds_have_every_nemesis() -> None:
    wanted = {
        *PROCESSES,
        *(f"at {point}" for point in POINTS),
        *(f"the exchange: {name}" for name in (*WEATHER, *STORMS)),
    }
    assert set(deck(SEED)) == wanted
    assert wanted <= {draw(SEED, n).kind for n in range(1, 201)}


def test_ten_rounds_lose_nothing_and_double_nothing() -> None:
    told: list[str] = []
    results = rounds(
        range(1, ROUNDS + 1), seed=SEED, tell=lambda r: told.append(failure(r, SEED)) if r.differences else None
    )

    assert summary(results) == "10 rounds: 0 duplicates, 0 lost fills, 0 unknown", "\n".join(told)
    assert sum(result.orders for result in results) > 100
