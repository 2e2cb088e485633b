"""Find a Chromium that starts, or install one; run as a script it prints the path.

In turn: $CHROMIUM, one on the PATH, Playwright's own, Playwright's installed now, the distribution's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launch_arguments() -> list[str]:
    """A Chromium that talks to nobody but us. Its sandbox refuses to work for root."""
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    return [*quiet, "--no-sandbox"] if os.geteuid() == 0 else quiet


def find_browser() -> str:
    """The path of a Chromium that was just seen to start. Ends the program with a remedy if there is none."""
    for where, look in _places():
        for path in look():
            problem = _problem(path)
            if not problem:
                _tell(f"Browser for the tests: {path} ({where})")
                return path
            _tell(f"{path} ({where}) does not start: {problem}")
    sys.exit("No Chromium starts here. Install one and set CHROMIUM=/path/to/it.")


def _places() -> Iterator[tuple[str, Callable[[], list[str]]]]:
    yield "$CHROMIUM", lambda: list(filter(None, [os.environ.get("CHROMIUM")]))
    yield "on the PATH", _on_path
    yield "Playwright's", _playwrights
    yield "Playwright's, installed now", _install_playwrights
    yield "the distribution's, installed now", _install_packaged


def _on_path() -> list[str]:
    return [path for name in NAMES if (path := shutil.which(name))]


def _playwrights() -> list[str]:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return [path] if Path(path).exists() else []


def _install_playwrights() -> list[str]:
    _tell("Installing Chromium with Playwright ...")
    with_libraries = ["--with-deps"] if os.geteuid() == 0 and shutil.which("apt-get") else []
    _run([sys.executable, "-m", "playwright", "install", *with_libraries, "chromium"])
    return _playwrights()


def _install_packaged() -> list[str]:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return []
    _tell("Installing Chromium with apt-get ...")
    _run(["apt-get", "update", "--quiet"])
    _run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium"])
    return _on_path()


def _problem(path: str) -> str:
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=launch_arguments(), timeout=30_000)
            browser.close()
    except Error as error:
        return error.message.partition("\n")[0]
    return ""


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=False, stdout=sys.stderr, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        _tell(f"{command[0]}: {error}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(find_browser())
