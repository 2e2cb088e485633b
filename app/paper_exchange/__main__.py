"""`python -m app.paper_exchange --data FILE [--port P] …`"""

from __future__ import annotations

import sys

from app.domain.errors import InvalidInput
from app.paper_exchange.errors import StartError
from app.paper_exchange.main import run
from app.paper_exchange.options import read_options


def main() -> int:
    """Parse, run, and turn a failure to start into one sentence and status 1."""
    settings = read_options(None, "python -m app.paper_exchange")
    try:
        run(settings)
    except (StartError, InvalidInput) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
