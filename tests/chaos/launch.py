"""`plumbline up` with two differences, each if it is asked for in the environment: its worker has crash points, and
its paper exchange has other options.

python -m tests.chaos.launch
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path

from app import frontend
from app.config import Settings, load_settings
from app.supervisor import child, up
from app.supervisor.child import Program
from tests.chaos import points

#: Options for the paper exchange, as on a command line.
PAPER_VARIABLE = "CHAOS_PAPER_OPTIONS"
_programs = up.programs
_ensure_built = frontend.ensure_built


def programs(settings: Settings, build: Path) -> list[Program]:
    """The supervisor's own list, the worker and the exchange started our way."""
    return [dataclasses.replace(one, command=_command(one)) for one in _programs(settings, build)]


def _command(program: Program) -> list[str]:
    if program.name == "worker" and points.point_file() is not None:
        return [sys.executable, "-m", "tests.chaos.worker", "worker"]
    more = shlex.split(os.environ.get(PAPER_VARIABLE, "")) if program.name == "paper" else []
    return [*program.command, *more]


def any_build(say: child.Say) -> Path:
    """The newest build of the browser app, whatever its sources: nobody looks at it here, the API is the same."""
    builds = sorted(frontend.BUILDS.glob("*-*"), key=lambda path: path.stat().st_mtime)
    return builds[-1] if builds else _ensure_built(say)


def main() -> None:
    """Until SIGTERM."""
    child.PROVEN_AFTER_S = 0.0  # a worker that is killed every ten seconds is started again at once all the same
    up.programs = programs
    frontend.ensure_built = any_build
    up.up(load_settings(), lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
