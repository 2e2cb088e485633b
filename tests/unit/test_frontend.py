"""A build is kept under the hash of its sources, and only a change of those asks for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import frontend


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "app/pages/orders.py",
        "app/jobs/prices.py",
        "app/paper_exchange/rest.py",
        "assets/chart.js",
        "reflex.lock/package.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    (tmp_path / "rxconfig.py").write_text("1")
    monkeypatch.setattr(frontend, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["app/pages/orders.py", "assets/chart.js", "rxconfig.py", "reflex.lock/package.json"])
def test_a_changed_source_asks_for_a_new_build(project: Path, name: str) -> None:
    before = frontend.build_dir()
    (project / name).write_text("2")

    assert frontend.build_dir() != before


@pytest.mark.parametrize("name", ["app/jobs/prices.py", "app/paper_exchange/rest.py"])
def test_what_the_browser_app_cannot_import_asks_for_none(project: Path, name: str) -> None:
    before = frontend.build_dir()
    (project / name).write_text("2")

    assert frontend.build_dir() == before


def test_a_moved_source_asks_for_a_new_build(project: Path) -> None:
    before = frontend.build_dir()
    (project / "app/pages/orders.py").rename(project / "app/pages/fills.py")

    assert frontend.build_dir() != before


def test_what_reflex_links_into_assets_is_no_source(project: Path) -> None:
    before = frontend.build_dir()
    (project / "assets/external").mkdir()
    (project / "assets/external/shared.js").write_text("x")

    assert frontend.build_dir() == before
