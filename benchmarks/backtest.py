"""How fast the backtester is, beside a reference kernel and other engines, and whether they give the same answers.

    python -m benchmarks.backtest                 all figures (about ten minutes; peers are installed into --peers)
    python -m benchmarks.backtest --quick         our own figures only

Every figure is a median; the load of the machine stands beside it, and peers run in the same minutes, one at a time:
compare the ratios, not the times. "cpu" is time on a processor, which another process's work disturbs least.
A peer that cannot be installed is skipped with a note.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
YEAR = 525_600
PEERS = {
    "raptorbt": ["raptorbt", "numpy"],
    "vectorbt": ["vectorbt[rust]"],
    "backtesting": ["backtesting"],
    "backtrader": ["backtrader", "numpy"],
}
PAIRS = [[fast, slow] for fast in range(5, 25, 2) for slow in range(30, 80, 5)]
LONG = {"fast": 360, "slow": 900}
AGREED = 1e-9


def make_candles(count: int) -> dict[str, np.ndarray]:
    """Minutes of a random walk as volatile as BTCUSDT, on a tick of 0.01; the same from the same seed."""
    chance = np.random.Generator(np.random.PCG64(20240101))
    close = np.round(30_000 * np.exp(np.cumsum(chance.normal(0, 4.56e-4, count))), 2)
    open_ = np.concatenate(([30_000.0], close[:-1]))
    reach = np.abs(chance.normal(0, 2e-4, (2, count)))
    return {
        "time_ms": 1_704_067_200_000 + np.arange(count, dtype=np.int64) * 60_000,
        "open": open_,
        "high": np.round(np.maximum(open_, close) * (1 + reach[0]), 2),
        "low": np.round(np.minimum(open_, close) * (1 - reach[1]), 2),
        "close": close,
        "volume": np.round(chance.uniform(1, 50, count), 5),
    }


def strategy_document(fast: int, slow: int, protect: dict[str, Any] | None = None) -> dict[str, Any]:
    """The golden strategy on minutes."""
    lengths = {"min": 2, "max": 1_000, "step": 1}
    return {
        "schema": 1,
        "name": f"EMA {fast}/{slow}",
        "market": {"symbols": ["BTCUSDT"], "timeframe": "1m"},
        "params": {"fast": {"default": fast, **lengths}, "slow": {"default": slow, **lengths}},
        "series": {"ema_fast": {"fn": "ema", "len": "$fast"}, "ema_slow": {"fn": "ema", "len": "$slow"}},
        "entry": {"op": "crosses_above", "left": "ema_fast", "right": "ema_slow"},
        "exit": {"op": "crosses_below", "left": "ema_fast", "right": "ema_slow"},
        "sizing": {"mode": "equity_pct", "pct": "100"},
        "protect": protect or {"stop": "none"},
    }


class Bench:
    """Runs children and prints lines."""

    def __init__(self, work: Path, peers: Path | None) -> None:
        self.work, self.peers = work, peers
        self.missing: set[str] = set()

    def ours(self, job: str, *arguments: str, **environment: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.backtest_child", job, *arguments]
        return self._run(command, cwd=ROOT, environment=environment)

    def peer(self, name: str, candles: Path, **job: Any) -> dict[str, Any] | None:
        """What the peer's script says; None where it could not be installed or run."""
        python = self._environment(name)
        if python is None:
            return None
        script = ROOT / "benchmarks" / "peers" / f"{name}_peer.py"
        try:
            return self._run([str(python), str(script), str(candles), json.dumps(job)], cwd=script.parent)
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            print(f"  {name} did not run: {str(error)[:160]}")
            return None

    def _environment(self, name: str) -> Path | None:
        if self.peers is None or name in self.missing:
            return None
        folder = self.peers / name
        python = folder / "bin" / "python"
        if not (folder / "ready").exists():
            try:
                subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
                install = [python, "-m", "pip", "install", "--quiet", *PEERS[name]]
                subprocess.run(install, check=True, capture_output=True, timeout=600)
            except (subprocess.SubprocessError, OSError):
                self.missing.add(name)
                print(f"  {name} cannot be installed here; left out")
                return None
            (folder / "ready").touch()
        return python

    @staticmethod
    def _run(command: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
        env = {**os.environ, **(environment or {})}
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1_200, check=True)
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return told


Told = dict[str, Any]


def milliseconds(taken: list[float]) -> float:
    return statistics.median(taken) * 1_000


def both(told: Told) -> str:
    """Time on the wall and on a processor."""
    wall, processor = milliseconds(told["taken"]), milliseconds(told["processor"])
    unit, factor = ("s", 1_000) if wall >= 1_000 else ("ms", 1)
    return f"{wall / factor:.4g} {unit}, cpu {processor / factor:.4g} {unit}"


def times(theirs: Told, ours: Told) -> str:
    """How many times ours a peer takes."""
    wall, processor = (milliseconds(theirs[kind]) / milliseconds(ours[kind]) for kind in ("taken", "processor"))
    return f"{wall:.1f} times ours, by cpu {processor:.1f}"


def line(what: str, figure: str, note: str = "") -> None:
    load = os.getloadavg()[0]
    print(f"  {what:<42} {figure:>26}   {note:<50} load {load:.1f}", flush=True)


def single(bench: Bench, year: Path) -> None:
    print("One run, EMA 12/26, 525,600 minutes, through the whole rule language, all metrics")
    ours = bench.ours("hot", str(year), "21")
    reference = ours["reference"]
    ratio = milliseconds(ours["processor"]) / milliseconds(reference["processor"])
    line("ours, warm", both(ours), f"{ours['trades']} trades")
    line("reference kernel, warm", both(reference), f"ours takes {ratio:.1f} times as long by cpu")
    line("memory above the candles", f"{ours['bytes_a_candle']:.0f} B a candle", "peak of a run")
    first = [bench.ours("first", str(year)) for _ in range(3)]
    line("first run of a fresh process", f"{milliseconds([one['first'] for one in first]):.1f} ms", "after warm_up()")
    line("getting ready: imports", f"{milliseconds([one['imports'] for one in first]):.0f} ms")
    line("getting ready: warm_up()", f"{milliseconds([one['warm_up'] for one in first]):.0f} ms", "from the cache")
    for name, job in (
        ("raptorbt", {"runs": 11}),
        ("vectorbt", {"runs": 7, "engine": "rust"}),
        ("vectorbt", {"runs": 7}),
        ("backtesting", {"runs": 3}),
    ):
        peer = bench.peer(name, year, fast=12, slow=26, **job)
        if peer is not None:
            line(f"{name} {job.get('engine', '')}".strip(), both(peer), times(peer, ours))


def long_run(bench: Bench, year: Path, decade: Path) -> None:
    print("Ten times as many candles")
    short, long = bench.ours("hot", str(year), "7"), bench.ours("hot", str(decade), "5")
    ratio = milliseconds(long["processor"]) / milliseconds(short["processor"])
    line("5,256,000 minutes, warm", both(long), f"{ratio:.1f} times a year of minutes, by cpu")


def sweep(bench: Bench, year: Path) -> None:
    print("Sweep of 100 pairs, 525,600 minutes, all metrics of each")
    pairs = json.dumps(PAIRS)
    told = {threads: bench.ours("sweep", str(year), pairs, str(threads), "3") for threads in (1, 2)}
    ours = told[2]
    line("ours, 2 threads", both(ours), f"peak {ours['peak_mb']:.0f} MB, best {ours['best']:.6f}")
    line("ours, 1 thread", both(told[1]), f"the same bits: {told[1]['hash'] == ours['hash']}")
    peer = bench.peer("raptorbt", year, pairs=PAIRS, runs=3)
    if peer is not None:
        line("raptorbt, its own threads", both(peer), f"{times(peer, ours)}, {peer['peak_mb']:.0f} MB")
    peer = bench.peer("vectorbt", year, pairs=PAIRS[:10], runs=1, engine="rust")
    if peer is not None:
        whole = {kind: [10 * value for value in peer[kind]] for kind in ("taken", "processor")}
        line("vectorbt rust, 10 pairs times ten", both(whole), times(whole, ours))


def command_line(bench: Bench, year: Path) -> None:
    print("The command, cold process to printed result, from a CSV of 525,600 rows")
    table, strategy = bench.work / "year.csv", bench.work / "strategy.json"
    write_csv(year, table)
    strategy.write_text(json.dumps(strategy_document(12, 26)))
    command = [
        sys.executable, "-m", "app.cli", "backtest", "run", "--strategy", strategy, "--candles", table,
        "--symbol", "BTCUSDT", "--timeframe", "1m", "--fee-in", "quote", "--json",
    ]  # fmt: skip
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    ours = statistics.median(taken)
    line("ours", f"{ours:.2f} s")
    taken = []
    for _ in range(3 if bench.peers else 0):
        began = time.perf_counter()
        if bench.peer("backtesting", table, fast=12, slow=26, runs=1) is None:
            return
        taken.append(time.perf_counter() - began)
    if taken:
        theirs = statistics.median(taken)
        line("backtesting.py from the same CSV", f"{theirs:.2f} s", f"{theirs / ours:.1f} times ours")


def write_csv(candles: Path, to: Path) -> None:
    with np.load(candles) as data:
        columns = [data[name].tolist() for name in ("time_ms", "open", "high", "low", "close", "volume")]
    with to.open("w") as file:
        file.write("open_time,open,high,low,close,volume\n")
        for time_ms, *values in zip(*columns, strict=True):
            file.write(",".join([str(time_ms), *(f"{value:.8f}" for value in values)]) + "\n")


def agreement(bench: Bench, year: Path, part: Path) -> None:
    print("The same answers on the same rules")
    targets = {"stop": {"pct": "2"}, "take_profit": [{"at": {"pct": "3"}, "close_pct": 100}]}
    long = {**LONG, "runs": 1, "exact": True}
    cases: list[tuple[str, str, Path, Told, Told | None]] = [
        ("vectorbt", "EMA 360/900", year, long, None),
        ("vectorbt", "EMA 360/900, stop 2 %, target 3 %", year, {**long, "stop": 0.02, "target": 0.03}, targets),
        ("backtrader", "EMA 60/130, 60,000 minutes", part, {"fast": 60, "slow": 130, "runs": 1}, None),
    ]
    for name, rules, candles, job, protect in cases:
        peer = bench.peer(name, candles, **job)
        if peer is None:
            continue
        document = strategy_document(job["fast"], job["slow"], protect)
        ours = bench.ours("answer", str(candles), json.dumps(document))
        apart = abs(peer["final"] / ours["final"] - 1)
        verdict = "same" if apart <= AGREED and peer["trades"] == ours["trades"] else "DIFFERENT"
        line(f"{name}, {rules}", verdict, f"{ours['trades']} trades, {apart:.1e} apart in equity")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="our own figures only")
    options.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "plumbline-bench-peers")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench = Bench(work, None if given.quick else given.peers)
        year, decade, part = work / "year.npz", work / "decade.npz", work / "part.npz"
        candles = make_candles(YEAR)
        np.savez(year, **candles)
        np.savez(part, **{name: values[:60_000] for name, values in candles.items()})
        np.savez(decade, **make_candles(10 * YEAR))
        single(bench, year)
        long_run(bench, year, decade)
        sweep(bench, year)
        command_line(bench, year)
        if bench.peers is not None:
            agreement(bench, year, part)


if __name__ == "__main__":
    main()
