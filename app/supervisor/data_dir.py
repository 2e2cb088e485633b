"""Whose DATA_DIR this is at the moment, and a running database for commands that need one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.config import Settings
from app.database.embedded import EmbeddedPostgres
from app.domain.errors import Conflict
from app.secret_files import ensure_key, make_private_dir


def make_data_dir(settings: Settings) -> None:
    """Have DATA_DIR, its folders and the keys. Only `secrets` is closed to others as a whole."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.logs_dir.mkdir(exist_ok=True)
    make_private_dir(settings.secrets_dir)
    for path in (settings.master_key_file, settings.jwt_key_file, settings.paper_control_token_file):
        ensure_key(path)


def embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """The embedded server of this DATA_DIR (not started)."""
    return EmbeddedPostgres(settings.data_dir / "postgres", settings.secrets_dir, settings.logs_dir / "postgres.log")


def try_lock(settings: Settings) -> IO[str] | None:
    """Take DATA_DIR for this process, until the file returned is closed; None if another has it."""
    file = _lock_path(settings).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold DATA_DIR. Raises Conflict, naming the process, if Plumbline already runs on it."""
    file = try_lock(settings)
    if file is None:
        holder = _lock_path(settings).read_text().strip() or "unknown"
        raise Conflict(
            f"Plumbline is already running on DATA_DIR {settings.data_dir} (process {holder}). "
            "Stop that one, or give this one a DATA_DIR and a PORT of its own."
        )
    with file:
        yield


@contextmanager
def database_available(settings: Settings) -> Iterator[None]:
    """For a command beside `up`: the embedded server runs meanwhile, started here if nobody else has."""
    if not settings.uses_embedded_database:
        yield
        return
    make_data_dir(settings)
    file = try_lock(settings)
    if file is None:  # `plumbline up` runs it
        yield
        return
    with file:
        server = embedded_postgres(settings)
        server.start()
        try:
            yield
        finally:
            server.stop()


def _lock_path(settings: Settings) -> Path:
    return settings.data_dir / "plumbline.lock"
