"""`docs/failures.md` names every case and, for each, tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = [f"F{n:02}" for n in range(1, 63)]
_ROW = re.compile(r"^\| (F\d\d) (?P<words>[^|]+)\|(?P<happens>[^|]+)\|(?P<tests>[^|]+)\|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def listed() -> dict[str, list[tuple[str, str]]]:
    rows = _ROW.finditer((ROOT / "docs/failures.md").read_text())
    return {row[1]: [(test[1], test[2]) for test in _TEST.finditer(row["tests"])] for row in rows}


@cache
def names_in(path: str) -> frozenset[str]:
    """Names of the test functions and methods of a file, as its syntax tree tells."""
    if not (ROOT / path).is_file():
        return frozenset()
    found = ast.walk(ast.parse((ROOT / path).read_text()))
    functions = (node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))


def missing(cases: dict[str, list[tuple[str, str]]]) -> list[str]:
    """Tests that are named and are not there."""
    return [
        f"{case}: {path}::{name}" for case, named in cases.items() for path, name in named if name not in names_in(path)
    ]


def test_every_case_is_listed_once_and_in_order() -> None:
    numbers = [row[1] for row in _ROW.finditer((ROOT / "docs/failures.md").read_text())]

    assert numbers == CASES


def test_every_case_names_a_test_and_every_test_is_there() -> None:
    assert [case for case, named in listed().items() if not named] == []
    assert missing(listed()) == []


@pytest.mark.parametrize("wrong", [("tests/unit/test_failures_list.py", "test_nothing"), ("tests/no.py", "test_x")])
def test_a_name_that_is_wrong_is_noticed(wrong: tuple[str, str]) -> None:
    assert missing({"F01": [wrong]}) == [f"F01: {wrong[0]}::{wrong[1]}"]
