"""One measurement in a process of its own, told as one line of JSON: see `benchmarks.backtest`."""

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports, which are measured

import hashlib  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from app.services.backtest import Settings, run, sweep  # noqa: E402
from app.services.backtest.warm import keep_freed_memory, warm_up  # noqa: E402
from app.services.strategy import CandleColumns, Strategy, validate  # noqa: E402

IMPORTED = time.perf_counter()
IN_QUOTE = Settings(fee_in="quote")


def load(path: str) -> CandleColumns:
    with np.load(path) as data:
        columns = [data[name] for name in ("time_ms", "open", "high", "low", "close", "volume")]
    return CandleColumns(*columns, "1m")


def strategy(document: dict[str, Any] | None = None) -> Strategy:
    from benchmarks.backtest import strategy_document

    made = validate(document or strategy_document(12, 26))
    if made.strategy is None:
        raise SystemExit(str(made.errors))
    return made.strategy


def resident_bytes(name: str) -> int:
    """VmRSS (now) or VmHWM (highest since it was last forgotten) of this process."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(name):
            return int(text.split()[1]) * 1024
    return 0


def hot(path: str, runs: str) -> dict[str, Any]:
    from benchmarks.reference_kernel import reference

    warm_up()
    candles, rules = load(path), strategy()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest
    before = resident_bytes("VmRSS")
    result = run(rules, candles, IN_QUOTE)
    _ = result.metrics
    above = (resident_bytes("VmHWM") - before) / len(candles)
    keep_freed_memory()
    trades = result.trades_count
    del result
    reference(candles.open, candles.close)
    taken, processor, of_reference, its_processor = [], [], [], []
    for _ in range(int(runs)):
        began, busy = time.perf_counter(), time.process_time()
        _ = run(rules, candles, IN_QUOTE).metrics
        between, still = time.perf_counter(), time.process_time()
        reference(candles.open, candles.close)
        of_reference.append(time.perf_counter() - between)
        its_processor.append(time.process_time() - still)
        taken.append(between - began)
        processor.append(still - busy)
    ours = {"taken": taken, "processor": processor, "trades": trades, "bytes_a_candle": above}
    return ours | {"reference": {"taken": of_reference, "processor": its_processor}}


def first(path: str) -> dict[str, Any]:
    began = time.perf_counter()
    warm_up()
    warmed = time.perf_counter()
    candles, rules = load(path), strategy()
    ready = time.perf_counter()
    _ = run(rules, candles, IN_QUOTE).metrics
    return {"imports": IMPORTED - BEGAN, "warm_up": warmed - began, "first": time.perf_counter() - ready}


def swept(path: str, pairs: str, threads: str, runs: str) -> dict[str, Any]:
    warm_up()
    keep_freed_memory()
    candles, rules = load(path), strategy()
    points = [{"fast": fast, "slow": slow} for fast, slow in json.loads(pairs)]
    taken, processor, hashes, best = [], [], set(), 0.0
    for _ in range(int(runs)):
        began, busy = time.perf_counter(), time.process_time()
        done = list(sweep(rules, candles, points, IN_QUOTE, threads=int(threads)))
        taken.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
        told = json.dumps([point.metrics for point in done]).encode()
        hashes.add(hashlib.sha256(told).hexdigest())
        best = max(float(point.metrics["final_equity"] or 0) for point in done if point.metrics)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"taken": taken, "processor": processor, "hash": "".join(sorted(hashes)), "best": best, "peak_mb": peak}


def answer(path: str, document: str) -> dict[str, Any]:
    settings = Settings(fee_in="quote", open_beyond_fills_at_open=True)  # as those engines assume
    result = run(strategy(json.loads(document)), load(path), settings)
    return {"trades": result.trades_count, "final": result.final_equity}


if __name__ == "__main__":
    jobs = {"hot": hot, "first": first, "sweep": swept, "answer": answer}
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))
