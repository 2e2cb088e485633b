"""What validation says: problems with a path, collected instead of raised."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_PROBLEMS = 50
_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `path` is like `entry.all[1].right`, "" for the whole; `message` is for people."""

    path: str
    message: str


def show(value: object) -> str:
    """A value as the user wrote it, cut short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known name is near, else ""."""
    near = difflib.get_close_matches(name[:_MAX_SHOWN], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


#: A sentence names at most so many choices.
MOST_NAMED = 30


def one_of(names: Sequence[str]) -> str:
    """`a, b or c`; of very many names the first ones."""
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} or one of {len(names) - MOST_NAMED} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def at(path: str, key: str | int) -> str:
    """The path of a key or an index below `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    key = key if len(key) <= _MAX_SHOWN else key[: _MAX_SHOWN - 1] + "…"
    return f"{path}.{key}" if path else key
