"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.services.identity.errors import NotSignedIn


class Role(StrEnum):
    """What a person may do. An admin may do everything a trader may, with his own things."""

    TRADER = "trader"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A signed-in person, as the database knew him at most 5 s ago."""

    user_id: int
    email: str
    role: Role

    @property
    def is_admin(self) -> bool:
        """Whether he runs the installation."""
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class Caller:
    """A viewer, or nobody, together with where the request came from: what the audit log wants to know."""

    viewer: Viewer | None = None
    ip: str = ""
    request_id: str = ""

    @property
    def actor(self) -> str:
        """`user:7`, or `anonymous`."""
        return f"user:{self.viewer.user_id}" if self.viewer else "anonymous"

    @property
    def user_id(self) -> int:
        """The viewer's id. Raises NotSignedIn when there is nobody."""
        if self.viewer is None:
            raise NotSignedIn("Please sign in.")
        return self.viewer.user_id


ANONYMOUS = Caller()
