"""docs/api.md names everything that the API has."""

from __future__ import annotations

from pathlib import Path

from app.domain.errors import PlumblineError
from app.gateway import errors
from app.gateway.app import create_api

DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def _all_kinds(kind: type[PlumblineError]) -> set[type[PlumblineError]]:
    return {kind}.union(*(_all_kinds(sub) for sub in kind.__subclasses__()))


def test_every_route_is_documented() -> None:
    paths = create_api().openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    assert {route for route in routes if f"`{route}`" not in DOCS} == set()


def test_every_error_code_is_documented() -> None:
    reachable = ("app.domain.errors", "app.services.identity.errors", "app.gateway.errors")
    ours = {kind.code for kind in _all_kinds(PlumblineError) if kind.__module__ in reachable}
    # An order refused by a limit has the limit's own code; the base is never raised.
    codes = (ours - {"risk_refused", "error"}) | {"internal_error", "bad_request", *errors._ROUTING.values()}

    assert {code for code in codes if f"`{code}`" not in DOCS} == set()
