"""The table in docs/paper-exchange-coverage.md is held against what is really routed and answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from client_kit import open_account
from paper_kit import Paper, close

from app.paper_exchange import views
from app.paper_exchange.routes import METHODS, REFUSED, ROUTES
from app.paper_exchange.rules import rules_for

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "paper-exchange-coverage.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "app" / "paper_exchange").glob("*.py"))


def rows(title: str) -> Iterator[list[str]]:
    """The cells of one section's table."""
    section = TEXT.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    for line in lines[1:]:
        yield [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def test_every_route_is_a_row_and_every_served_row_a_route() -> None:
    routed = {f"{method} {path.removeprefix('/api/v3')}" for method, path, _ in ROUTES}
    told = {rest: served for rest, _, served in rows("Endpoints") if rest != "—" and "userDataStream" not in rest}
    assert set(told) == routed
    assert {rest for rest, served in told.items() if not served.startswith("yes")} == set(REFUSED)


def test_every_ws_method_is_a_row_and_every_served_row_a_method() -> None:
    told = {method for _, method, served in rows("Endpoints") if method != "—" and served.startswith("yes")}
    own = set(re.findall(r'"((?:session|userDataStream)\.[a-zA-Z.]+)"', SOURCE))
    assert own
    assert told == set(METHODS) | own


async def test_a_method_that_is_not_served_is_refused(paper: Paper) -> None:
    refused = [method for _, method, served in rows("Endpoints") if method != "—" and served.startswith("no")]
    assert len(refused) == 7
    client = await paper.client(await open_account(paper, "hmac"))
    for method in refused:
        with pytest.raises(Exception, match="This operation is not supported"):
            await client._ws_api_request(method, True, {})
    await close(client)


def test_the_filters_marked_are_those_of_a_symbol() -> None:
    given = {one["filterType"] for one in views.filters(rules_for("BTCUSDT", Decimal(100_000)))}
    assert {name for name, served in rows("Filters") if served == "yes"} == given


def test_the_codes_marked_are_those_in_the_program() -> None:
    answered = {code for code, _, how in rows("Error codes") if not how.startswith("no")}
    in_source = set(re.findall(r"(?<![\d\w])-(?:[12]\d{3}|4056)\b", SOURCE))
    assert answered == in_source
