"""Typed errors that carry data.

    PlumblineError
    ├── InvalidInput            the caller's words are wrong; `field` says where
    │   └── InvalidAmount       not a finite decimal in range
    ├── NotFound                the thing named does not exist (or is not the caller's)
    ├── Conflict                the thing exists but its state forbids the act
    │   ├── IllegalTransition   an edge the order lifecycle does not have
    │   └── IdempotencyMismatch same key, other body
    ├── RiskRefused             a limit or the kill switch says no; `reason` is a RefusalCode
    ├── NotAllowed              the caller may not do this
    └── Unavailable             a part we need is not there now (database, worker, exchange)

Each has `message`, a sentence in the user's words that may be shown as it is.
"""

from __future__ import annotations

from typing import Any


class PlumblineError(Exception):
    """Base of every error we raise on purpose. `message` may be shown to a user."""

    code = "error"

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class InvalidInput(PlumblineError):
    """What was given cannot be used. `field` is the name the user sees, or "" for the whole."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.field = field


class InvalidAmount(InvalidInput):
    """A number that is not a finite decimal with at most 18 places in the allowed range."""

    code = "invalid_amount"


class NotFound(PlumblineError):
    """The named thing does not exist for this caller."""

    code = "not_found"


class Conflict(PlumblineError):
    """The act is well formed, but the present state forbids it."""

    code = "conflict"


class IllegalTransition(Conflict):
    """An order was asked to take an edge that its lifecycle does not have."""

    code = "illegal_transition"


class IdempotencyMismatch(Conflict):
    """An Idempotency-Key was used before with another body; `field` names the difference."""

    code = "idempotency_mismatch"

    def __init__(self, message: str, *, field: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.field = field


class RiskRefused(PlumblineError):
    """A pre-trade check said no. `reason` is stable (for programs), `message` is for people."""

    code = "risk_refused"

    def __init__(self, message: str, *, reason: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reason = reason


class NotAllowed(PlumblineError):
    """The caller is known but may not do this."""

    code = "not_allowed"


class Unavailable(PlumblineError):
    """A part we depend on is not there at the moment; trying later may help."""

    code = "unavailable"


class InvariantViolated(Exception):
    """Our own books contradict themselves. Never shown to a user, never caught to go on."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(f"{message} {facts}" if facts else message)
        self.facts = facts


def require(condition: bool, message: str, **facts: Any) -> None:
    """Raise `InvariantViolated` unless `condition` holds (an assert that -O does not strip)."""
    if not condition:
        raise InvariantViolated(message, **facts)
