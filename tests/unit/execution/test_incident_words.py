"""Every kind of incident that the code opens is explained to the person who has to look at it."""

from __future__ import annotations

import ast
from pathlib import Path

from app.services.execution.incidents import EXPLANATIONS

APP = Path(__file__).parents[3] / "app"
#: Calls and names by which a kind is given.
_OPENERS = {"add_incident", "Alarm", "close_incidents"}


def kinds_in_code() -> set[str]:
    found: set[str] = set()
    for path in [*APP.glob("services/execution/*.py"), *APP.glob("jobs/*.py")]:
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and _name(node.func) in _OPENERS:
                kind = node.args[0]
                value = kind.value if isinstance(kind, ast.Constant) else constants.get(_name(kind))
                found |= {value} if isinstance(value, str) else set()
            if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                value = node.elts[0].value
                if path.name == "bookkeeping.py" and isinstance(value, str) and value.isupper():
                    found.add(value)
    return found


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_every_kind_that_is_opened_is_explained() -> None:
    kinds = kinds_in_code()

    assert {"RESURRECTED", "LATE_FILL", "UNPROTECTED", "ACCOUNT_FROZEN", "CLOCK_DRIFT"} <= kinds
    assert kinds - set(EXPLANATIONS) == set()


def test_an_explanation_says_what_happened_and_what_to_do_in_sentences() -> None:
    for told in EXPLANATIONS.values():
        assert told.meaning.endswith(".")
        assert told.advice.endswith(".")
        assert not told.title.endswith(".")
