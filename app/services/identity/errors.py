"""What can go wrong when somebody signs in.

    PlumblineError
    ├── NotSignedIn            no, an expired or a forged session or token
    │   └── SignInFailed       wrong e-mail or password (we never say which)
    └── TooManyAttempts        wait `retry_after_s`

Each message may be shown as it is.
"""

from __future__ import annotations

from typing import Any

from app.domain.errors import PlumblineError


class NotSignedIn(PlumblineError):
    """The caller has to sign in first."""

    code = "not_signed_in"


class SignInFailed(NotSignedIn):
    """E-mail or password is wrong, or the user is disabled: deliberately the same answer."""

    code = "sign_in_failed"


class TooManyAttempts(PlumblineError):
    """A counter says wait; `retry_after_s` is at least 1."""

    code = "too_many_attempts"

    def __init__(self, message: str, *, retry_after_s: int, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s
