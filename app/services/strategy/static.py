"""Caps that hold before anything is parsed: size, depth, count, and values JSON or the database cannot carry.

Everything here is iterative, so that no document whatsoever can exhaust the stack.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from app.services.strategy.canonical import canonical_json
from app.services.strategy.problems import Problem, at, show

MAX_BYTES = 65_536
MAX_DEPTH = 40
MAX_NODES = 20_000
MAX_TEXT = 2_000
MAX_MAGNITUDE = 10**15

#: A text in quotes; the closing one may be missing, so that brackets inside never count.
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
# Control characters (PostgreSQL refuses NUL) and halves of surrogate pairs (no UTF-8 for them).
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def _text_problem(text: str, path: str) -> Problem | None:
    if len(text) > MAX_TEXT:
        return Problem(path, f"this text is longer than {MAX_TEXT} characters")
    if _UNPRINTABLE.search(text):
        return Problem(path, "this text holds a character that cannot be stored")
    return None


def _value_problem(value: object, path: str) -> Problem | None:
    if value is None or isinstance(value, bool | dict | list):
        return None
    if isinstance(value, str):
        return _text_problem(value, path)
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            return Problem(path, "this must be a finite number")
        if abs(value) > MAX_MAGNITUDE:
            return Problem(path, "this number is too large")
        return None
    return Problem(path, f"{show(value)} is not JSON")


def document_problem(document: object) -> Problem | None:
    """First reason why a document may not even be parsed, or None. Never raises."""
    stack: list[tuple[Any, str, int]] = [(document, "", 1)]
    seen = 0
    while stack:
        value, path, depth = stack.pop()
        seen += 1
        if seen > MAX_NODES:
            return Problem("", f"this holds more than {MAX_NODES:,} values; a strategy is far smaller")
        if depth > MAX_DEPTH:
            return Problem("", f"this is nested deeper than {MAX_DEPTH} levels")
        problem = _value_problem(value, path)
        if problem:
            return problem
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    return Problem(path, f"the key {show(key)} must be text")
                problem = _text_problem(key, path)
                if problem:
                    return problem
            stack.extend((item, at(path, key), depth + 1) for key, item in value.items())
        elif isinstance(value, list):
            stack.extend((item, at(path, place), depth + 1) for place, item in enumerate(value))
    if len(canonical_json(document).encode()) > MAX_BYTES:
        return Problem("", f"this is larger than {MAX_BYTES // 1024} KiB")
    return None


def _too_deep(text: str) -> bool:
    depth = 0
    for character in _STRINGS.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False


class _NotOurJson(ValueError):
    """JSON that Python would read but we do not accept."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _NotOurJson(f"the key {show(key)} stands twice in the same object")
        found[key] = value
    return found


def _no_constant(name: str) -> object:
    raise _NotOurJson(f"{name} is not a number JSON knows")


def _whole(digits: str) -> int:
    if len(digits) > 17:
        raise _NotOurJson(f"the number {digits[:17]}… is too long")
    return int(digits)


_IN_WORDS = {
    "Expecting value": "a value is missing",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Expecting ':' delimiter": "a colon is missing after a key",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing",
    "Illegal trailing comma before end of object": "there is a comma too many before }",
    "Illegal trailing comma before end of array": "there is a comma too many before ]",
    "Extra data": "there is something after the end",
    "Unterminated string starting at": "a text is not closed",
    "Invalid control character at": "a line break or control character stands inside a text",
    "Invalid \\escape": "a backslash is followed by a letter that means nothing",
}


def read_json(text: str | bytes) -> tuple[Any, Problem | None]:
    """Raw text to a document, or the problem in words with line and column. Never raises."""
    if len(text) > MAX_BYTES:
        return None, Problem("", f"this is larger than {MAX_BYTES // 1024} KiB")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return None, Problem("", f"this is not UTF-8 text: byte {error.start + 1} cannot be read")
    text = text.removeprefix("\ufeff")
    if not text.strip():
        return None, Problem("", "this is empty")
    if _too_deep(text):
        return None, Problem("", f"this is nested deeper than {MAX_DEPTH} levels")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_whole), None
    except json.JSONDecodeError as error:
        words = _IN_WORDS.get(error.msg, error.msg.lower())
        return None, Problem("", f"this is not JSON: {words}, at line {error.lineno}, column {error.colno}")
    except _NotOurJson as error:
        return None, Problem("", str(error))
