"""Keys on disk are private from the first byte, and a doubtful one is refused in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.domain.errors import Unavailable
from app.secret_files import ensure_key, read_key, write_secret


def test_a_key_is_made_once_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = ensure_key(tmp_path / "secrets" / "master.key")
    key = read_key(path)

    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_key(ensure_key(path)) == key


def test_a_secret_is_never_readable_by_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "web.url", "postgresql://…")
    finally:
        os.umask(before)

    assert (tmp_path / "web.url").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = ensure_key(tmp_path / "master.key")
    path.chmod(0o644)

    with pytest.raises(Unavailable, match="chmod 600"):
        read_key(path)


@pytest.mark.parametrize("content", ["", "short", "é" * 40])
def test_a_damaged_key_is_refused(tmp_path: Path, content: str) -> None:
    write_secret(tmp_path / "master.key", content)

    with pytest.raises(Unavailable, match="does not hold a key"):
        read_key(tmp_path / "master.key")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"master\.key does not exist"):
        read_key(tmp_path / "master.key")
