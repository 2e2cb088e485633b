"""A page of the browser app whose errors are collected, with what a person does on every page."""

from __future__ import annotations

import re

from api_client import EMAIL, PASSWORD
from playwright.sync_api import ConsoleMessage, Page
from stack import ROOT

SHOTS = ROOT / "test-results"


class Watched:
    """A page whose errors are collected; `expect_error` says which ones a test provokes on purpose."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        self._name = name
        self._shots = 0
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        page.on("console", self._hear)

    def expect_error(self, pattern: str) -> None:
        """Errors that match are part of what this test shows."""
        self._expected.append(re.compile(pattern))

    def unexpected(self) -> list[str]:
        """What went wrong without being asked for."""
        return [error for error in self.errors if not any(known.search(error) for known in self._expected)]

    def shot(self, name: str) -> None:
        """A picture of the whole page, numbered in the order of the test."""
        self._shots += 1
        SHOTS.mkdir(exist_ok=True)
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=SHOTS / f"{self._name}-{self._shots:02}-{name}.png", full_page=True)

    def open(self, url: str) -> None:
        """Go there and wait until the page has read what it shows."""
        self.page.goto(url)
        self.ready()

    def ready(self) -> None:
        """Wait until the page has read what it shows."""
        self.page.locator('[data-testid="shell"][data-ready="true"][data-hydrated="true"]').wait_for()

    def sign_in(self, url: str) -> None:
        """As the first admin, by the form."""
        self.page.goto(f"{url}/login")
        self.page.get_by_label("E-mail").fill(EMAIL)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.at("")
        self.ready()

    def visit(self, name: str) -> None:
        """Go to another page by the navigation, as a person would."""
        self.page.get_by_test_id(f"nav-{name}").click()
        self.at("" if name == "dashboard" else name)
        self.ready()

    def at(self, path: str) -> None:
        """Wait until the address is this path, with or without a slash at its end, whatever the query."""
        self.page.wait_for_url(re.compile(rf"^https?://[^/]+/{path}/?([?#].*)?$"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url', '')})")
