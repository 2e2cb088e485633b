"""Which database a process uses, and as whom."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from app.config import Role, Settings
from app.domain.errors import Unavailable

CONNECT_TIMEOUT_S = 5


def plain_url(url: str) -> str:
    """`url` for psycopg itself: `postgresql://…`, without the name of a driver."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


def database_url(settings: Settings, role: Role) -> str:
    """The URL `role` connects with: its own, else DATABASE_URL, else the embedded server's as last started.

    Raises Unavailable when nothing was configured and the embedded server has never run in this DATA_DIR.
    """
    given: str = getattr(settings, f"database_url_{role}") or settings.database_url
    if given:
        return given
    try:
        return url_file(settings, role).read_text().strip()
    except FileNotFoundError:
        raise Unavailable(
            f"There is no database yet: DATABASE_URL is not set and {settings.data_dir} holds no embedded one. "
            "Start everything with `plumbline up`, or set DATABASE_URL."
        ) from None
    except PermissionError:
        raise Unavailable(f"{url_file(settings, role)} may not be read by this user.") from None


def require_database(url: str) -> None:
    """Raise Unavailable, with the reason, unless the database at `url` lets us in now."""
    try:
        psycopg.connect(plain_url(url), connect_timeout=CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError as error:
        raise Unavailable(f"The database does not answer: {str(error).strip()}\nCheck DATABASE_URL.") from None


def url_file(settings: Settings, role: Role) -> Path:
    """Where the embedded server leaves the URL of `role`."""
    return settings.secrets_dir / f"{role}.url"
