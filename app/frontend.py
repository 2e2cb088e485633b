"""The browser app as files: built when its sources changed, kept beside earlier builds, served without Node.

Reflex works in `.web`; a finished build is copied to `.web/builds/<hash of the sources>`, so a running
server never sees a half-built one, and switching back to earlier sources costs nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.config import child_environment
from app.domain.errors import Unavailable

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".web"
BUILDS = WORK / "builds"
KEPT_BUILDS = 3

_SOURCE_TYPES = frozenset({".py", ".jsx", ".tsx", ".js", ".ts", ".css"})
#: Rooms the browser app cannot import (import-linter sees to that): their changes need no new build.
_NO_PART_OF_IT = ("jobs", "paper_exchange", "database", "supervisor", "cli.py", "doctor.py")


def build_dir() -> Path:
    """Where the build of the present sources is, or will be."""
    return _named(_hash_of(_sources()))


def ensure_built(say: Callable[[str], None]) -> Path:
    """The folder of a build of the present sources, made now unless there is one.

    `say` gets one line before a build and one after. Raises Unavailable, with the end of what the build
    printed, when it fails. Two processes at once build one after the other.
    """
    target = build_dir()
    if target.is_dir():
        return target
    with _only_one():
        if target.is_dir():
            return target
        first = not (WORK / "node_modules").is_dir()
        say(f"Building the browser app ({'the first time takes a minute' if first else 'its sources changed'}) ...")
        started = time.monotonic()
        sources = _hash_of(_sources())  # before: an edit during the build asks for another
        _export()
        target = _named(sources)
        _keep(target)
        say(f"Built the browser app in {time.monotonic() - started:.0f} s")
    return target


def node_path() -> str:
    """A PATH on which our own Node comes first."""
    return os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])


def _named(sources: str) -> Path:
    """With the hash of the lock as it is now: the first build writes it."""
    return BUILDS / f"{sources}-{_hash_of((ROOT / 'reflex.lock').glob('*.json'))}"


def _hash_of(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256(importlib.metadata.version("reflex").encode())
    for path in sorted(paths):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    yield ROOT / "rxconfig.py"
    for path in (ROOT / "app").rglob("*"):
        if path.suffix in _SOURCE_TYPES and path.relative_to(ROOT / "app").parts[0] not in _NO_PART_OF_IT:
            yield path
    for path in (ROOT / "assets").rglob("*"):
        if path.is_file() and "external" not in path.parts:  # links that Reflex makes
            yield path


def _export() -> None:
    environment = child_environment(
        "web",
        {
            "PATH": node_path(),
            "REFLEX_USE_NPM": "1",
            "REFLEX_TELEMETRY_ENABLED": "false",
            "REFLEX_CHECK_LATEST_VERSION": "false",
            "NPM_CONFIG_OMIT_LOCKFILE_REGISTRY_RESOLVED": "true",  # the kept lock names packages, not addresses
            "NPM_CONFIG_FUND": "false",
            "NPM_CONFIG_AUDIT": "false",
        },
        os.environ,
    )
    log_file = WORK / "build.log"
    with _tidied(), log_file.open("wb") as log:
        result = subprocess.run(
            [sys.executable, "-m", "reflex", "export", "--no-zip", "--frontend-only"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode != 0:
        tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-25:])
        raise Unavailable(f"The browser app could not be built. The end of {log_file}:\n{tail}")


@contextmanager
def _tidied() -> Iterator[None]:
    """Leave the project's folder as it was: Reflex writes a requirements.txt, and its lock in another order."""
    stray = ROOT / "requirements.txt"
    had_stray = stray.exists()
    locks = {path: path.read_bytes() for path in (ROOT / "reflex.lock").glob("*.json")}
    try:
        yield
    finally:
        if not had_stray:
            stray.unlink(missing_ok=True)
        for path, before in locks.items():
            if path.exists() and json.loads(path.read_bytes()) == json.loads(before):
                path.write_bytes(before)


def _keep(target: Path) -> None:
    staged = target.with_name(f".{target.name}")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(WORK / "build" / "client", staged / "build" / "client")
    shutil.copytree(WORK / "backend", staged / "backend")
    staged.rename(target)
    by_age = sorted(BUILDS.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[KEPT_BUILDS:]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _only_one() -> Iterator[None]:
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (WORK / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
