"""Generated secrets on disk: one value a file, readable by the owner only."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from pathlib import Path

from app.domain.errors import Unavailable

KEY_BYTES = 32


def make_private_dir(path: Path) -> Path:
    """Create `path` with mode 0700, or tighten it to that."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_secret(path: Path, value: str) -> None:
    """Replace the file's content in one step; its mode is 0600 from the first byte."""
    if not path.parent.exists():
        make_private_dir(path.parent)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value + "\n")
        file.flush()
        os.fsync(descriptor)
    staged.replace(path)


def ensure_key(path: Path) -> Path:
    """Make a fresh random key at `path` unless there is one already."""
    if not path.exists():
        write_secret(path, base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    return path


def read_key(path: Path) -> bytes:
    """The 32 bytes kept at `path`. Raises Unavailable if missing, damaged or readable by others."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text().strip()
    except FileNotFoundError:
        raise Unavailable(f"The key file {path} does not exist.") from None
    except PermissionError:
        raise Unavailable(f"The key file {path} may not be read by this user.") from None
    if mode & 0o077:
        raise Unavailable(f"The key file {path} can be read by others (mode {mode:04o}). Run: chmod 600 {path}")
    try:
        key = base64.urlsafe_b64decode(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Unavailable(f"The key file {path} does not hold a key of {KEY_BYTES} bytes in base64.")
    return key
