"""What the guards in the database refuse, told apart by SQLSTATE. The guards stand in the first migration."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.exc import DBAPIError


class Refusal(StrEnum):
    """Why a write was refused; the value is the SQLSTATE."""

    HISTORY = "PB001"  # history is only ever added to
    UNTOLD = "PB002"  # an order and its events do not go together
    EDGE = "PB003"  # the lifecycle has no such edge
    FIXED = "PB004"  # what was asked for never changes
    FILLS = "PB005"  # fills do not add up
    FENCED = "PB006"  # the writer is not the worker in office
    AUDIT = "PB007"  # the audit log is written through its function only


def refusal_of(error: DBAPIError) -> Refusal | None:
    """The guard's reason, or None when something else failed."""
    state = getattr(error.orig, "sqlstate", None)
    return Refusal(state) if state in set(Refusal) else None
