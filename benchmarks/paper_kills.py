"""Kill a loaded paper exchange many times (SIGKILL), and compare what it acknowledged with what its file holds.

python -m benchmarks.paper_kills --kills 100
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the campaign and print its figures; ends with an error where something acknowledged was lost."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "paper_exchange")]
    from kill_kit import campaign
    from paper_kit import PaperProcess

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        process = PaperProcess(Path(folder), limits="off", symbols="BTCUSDT,BNBUSDT")
        result = asyncio.run(campaign(process, options.kills, options.seed))
    starts = sorted(result.start_s)
    print(
        f"{result.kills} kills in {time.perf_counter() - began:.0f} s: {result.answers:,} answers acknowledged "
        f"{result.orders:,} orders and {result.trades:,} trades; {result.facts:,} comparisons, nothing lost, no id "
        f"went back. Starting again took {starts[len(starts) // 2]:.1f} s (median; most {starts[-1]:.1f} s). "
        f"Load {os.getloadavg()[0]:.1f}."
    )


if __name__ == "__main__":
    main()
