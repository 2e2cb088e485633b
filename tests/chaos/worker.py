"""The product's worker with the campaign's crash points in it, and a mutant where one is named.

python -m tests.chaos.worker worker
"""

from __future__ import annotations

import os
import sys

from app.cli import main
from app.services.exchange.weight import WeightBudget
from tests.chaos import mutants, points

#: A worker that is started every few seconds uses up a minute's weight. The exchange allows ten times as much (see
#: `chaos_stack`), but says so in an answer that has its weight too.
WEIGHT_LIMIT = 60_000


def allow_many_starts() -> None:
    """Raise the limit that holds until the exchange has said its own."""
    defaults = WeightBudget.__init__.__kwdefaults__
    assert "limit_per_minute" in defaults
    defaults["limit_per_minute"] = WEIGHT_LIMIT


if __name__ == "__main__":
    path = points.point_file()
    if path is None:
        sys.exit(f"{points.FILE_VARIABLE} is not set: this worker is for tests only")
    allow_many_starts()
    points.install(path)
    mutants.install(os.environ.get(mutants.VARIABLE, ""))
    main()
