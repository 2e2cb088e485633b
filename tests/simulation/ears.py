"""In place of the services' log: faults of ours that somebody logs and goes on from do not pass unseen here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import structlog

from app.domain.errors import IllegalTransition
from app.jobs.guard import FAULTS

#: What was swallowed since the last look.
_heard: list[str] = []


class Ears:
    """A logger that keeps nothing but the fault that is being handled while somebody logs."""

    def __init__(self, logger: object, processors: object, context: Mapping[str, Any]) -> None:
        self._context = context  # what structlog looks at

    def info(self, event: str, **facts: object) -> None:
        """Look whether a fault is being handled right now."""
        error = sys.exc_info()[1]
        if isinstance(error, (*FAULTS, IllegalTransition)):
            _heard.append(f"{event}: {error!r} {facts}")

    debug = warning = error = exception = critical = info


def listen() -> None:
    """Log nothing, hear faults."""
    structlog.configure(wrapper_class=Ears)  # type: ignore[arg-type]  # all that the services call it for


def swallowed() -> list[str]:
    """The faults swallowed since the last call."""
    found = _heard.copy()
    _heard.clear()
    return found
