"""What a child prints: kept in a file of bounded size, and its warnings made readable for a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 20 * 1024 * 1024
KEPT_FILES = 3
_LOUD = frozenset({"warning", "error", "critical"})
_PLUMBING = frozenset({"event", "level", "logger", "at", "process", "exception"})


class LogFile:
    """Append lines to `path`; at 20 MB it becomes `path.1`, and so on up to three old ones."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, line: bytes) -> None:
        """Append one line and flush it."""
        if self._file.tell() + len(line) > self._max_bytes:
            self._rotate()
        self._file.write(line + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(KEPT_FILES, 0, -1):
            newer = self._numbered(number - 1)
            if newer.exists():
                newer.replace(self._numbered(number))
        self._file = self._path.open("ab")

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def loud_line(line: bytes) -> str | None:
    """What a person at the terminal should read of a log line: warnings and worse, in one line; else None."""
    try:
        fields: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("level") not in _LOUD:
        return None
    facts = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _PLUMBING)
    trace = str(fields.get("exception", "")).strip().rpartition("\n")[2]
    return " ".join(filter(None, [f"{fields['level']}: {fields.get('event', '')}", facts, trace])).replace("\n", " ")
