"""The stack for the tests, and a browser that tells of every error on a page.

One stack serves all tests that only use it; those that kill something, or need a first start, have their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from api_client import Api, use_setup_link
from browser import launch_arguments
from playwright.sync_api import Browser, BrowserContext
from stack import Stack, new_stack
from watched import Watched


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """A running stack with its first admin."""
    with new_stack() as stack:
        use_setup_link(stack.start())
        yield stack


@pytest.fixture(scope="session")
def api(shared_stack: Stack) -> Iterator[Api]:
    """The admin's API client on the shared stack."""
    with Api(shared_stack.url) as client:
        yield client


@pytest.fixture(scope="session")
def account_id(api: Api) -> int:
    """An active paper account with 100,000 USDT and 1 BTC on the shared stack."""
    return api.paper_account("Shared", usdt="100000", BTC="1")


# --- the browser ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """pytest-playwright's own fixture, with the Chromium that browser.py finds."""
    path = os.environ.get("CHROMIUM", "")
    if not path:  # in a process of its own: it starts Playwright too
        finder = [sys.executable, str(Path(__file__).with_name("browser.py"))]
        path = subprocess.run(finder, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return {"executable_path": path, "args": launch_arguments()}


@pytest.fixture
def watched(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page in a context of its own; the test fails when the page had an error that it did not expect."""
    context: BrowserContext = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(15_000)
    page = Watched(context.new_page(), request.node.originalname.removeprefix("test_"))
    yield page
    failed = request.node.stash.get(FAILED, False)
    if failed:
        page.shot("failed")
    context.close()
    assert failed or page.unexpected() == []


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures know that the test failed."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report
