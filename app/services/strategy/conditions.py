"""Conditions and operands from JSON. The key (or `op`) is looked at first, so that each message is about one thing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from app.services.strategy.problems import at, one_of, show
from app.services.strategy.reader import Reader, is_number
from app.services.strategy.rules import (
    ARITHMETIC,
    COLUMNS,
    COMPARISONS,
    RANGES,
    TRENDS,
    AllOf,
    AnyOf,
    Arithmetic,
    AtLeast,
    Compare,
    Condition,
    Const,
    Leaf,
    NotOf,
    Number,
    Operand,
    ParamRef,
    Range,
    Ref,
    Trend,
)

MAX_CONDITIONS = 12
MAX_NESTING = 6
MAX_AGO = 200
MAX_BARS = 50
OPS = COMPARISONS + RANGES + TRENDS
_KINDS = ("op", "all", "any", "not", "at_least")


class ConditionReader:
    """Reads conditions against the names that exist. `ids` collects the ids used, which must be unique."""

    def __init__(self, reader: Reader, series: Collection[str], params: Mapping[str, Number]) -> None:
        self._reader = reader
        self._series = series
        self._params = params
        self._ids: set[str] = set()

    def condition(self, value: object, path: str, nesting: int = 0) -> Condition | None:
        """A group or a comparison; None after noting why not."""
        error = self._reader.error
        if not isinstance(value, dict):
            example = '{"op": ">", "left": "close", "right": 100}'
            error(path, f"a condition is an object like {example}, not {show(value)}")
            return None
        kinds = [kind for kind in _KINDS if kind in value]
        if len(kinds) != 1:
            found = f"both {kinds[0]!r} and {kinds[1]!r}" if kinds else "none of them"
            hint = next((text for key in value if (text := self._reader.hint(key, _KINDS))), "") if not kinds else ""
            error(path, f"a condition has exactly one of {one_of(_KINDS)}; here is {found}{hint}")
            return None
        if kinds[0] == "op":
            return self._leaf(value, path)
        if nesting >= MAX_NESTING:
            error(path, f"conditions are nested deeper than {MAX_NESTING} groups")
            return None
        return self._group(kinds[0], value, path, nesting + 1)

    def _group(self, kind: str, value: dict[str, Any], path: str, nesting: int) -> Condition | None:
        if kind == "at_least":
            return self._at_least(value, path, nesting)
        if self._reader.fields(value, path, f"{kind!r} group", [kind]) is None:
            return None
        if kind == "not":
            part = self.condition(value["not"], at(path, "not"), nesting)
            return None if part is None else NotOf(path, part)
        parts = self._parts(value[kind], at(path, kind), nesting)
        if parts is None:
            return None
        return AllOf(path, parts) if kind == "all" else AnyOf(path, parts)

    def _at_least(self, value: dict[str, Any], path: str, nesting: int) -> Condition | None:
        if self._reader.fields(value, path, "'at_least' group", ["at_least", "of"]) is None:
            return None
        parts = self._parts(value["of"], at(path, "of"), nesting)
        size = len(value["of"]) if isinstance(value["of"], list) else MAX_CONDITIONS
        count = self._reader.whole(value["at_least"], at(path, "at_least"), 1, max(1, min(size, MAX_CONDITIONS)))
        return None if count is None or parts is None else AtLeast(path, count, parts)

    def _parts(self, value: object, path: str, nesting: int) -> tuple[Condition, ...] | None:
        items = self._reader.listing(value, path, "a group of conditions", 1, MAX_CONDITIONS)
        if items is None:
            return None
        parts = [self.condition(item, at(path, place), nesting) for place, item in enumerate(items)]
        known = tuple(part for part in parts if part is not None)
        return known if len(known) == len(parts) else None

    def _leaf(self, value: dict[str, Any], path: str) -> Leaf | None:
        op = self._reader.choice(value["op"], at(path, "op"), OPS, "an operator")
        if op in COMPARISONS:
            return self._compare(op, value, path)
        if op in RANGES:
            return self._range(op, value, path)
        return None if op is None else self._trend(op, value, path)

    def _compare(self, op: str, value: dict[str, Any], path: str) -> Leaf | None:
        if self._reader.fields(value, path, f"{op!r}", ["op", "left", "right"], ["within", "for", "id"]) is None:
            return None
        left, right = self.operand(value["left"], at(path, "left")), self.operand(value["right"], at(path, "right"))
        within, hold = self._bars(value, "within", path), self._bars(value, "for", path)
        name = self._id(value, path)
        if left is None or right is None or within is None or hold is None:
            return None
        self._warn_constant(path, left, right)
        return Compare(path, op, left, right, within, hold, name)

    def _range(self, op: str, value: dict[str, Any], path: str) -> Leaf | None:
        if self._reader.fields(value, path, f"{op!r}", ["op", "left", "low", "high"], ["id"]) is None:
            return None
        left = self.operand(value["left"], at(path, "left"))
        low, high = self.operand(value["low"], at(path, "low")), self.operand(value["high"], at(path, "high"))
        name = self._id(value, path)
        if left is None or low is None or high is None:
            return None
        self._warn_constant(path, left, low, high)
        numbers = (Const, ParamRef)
        if isinstance(low, numbers) and isinstance(high, numbers) and low.value > high.value:
            self._reader.warn(path, f"low ({low.value}) is above high ({high.value}), so nothing is ever between them")
        return Range(path, op, left, low, high, name)

    def _trend(self, op: str, value: dict[str, Any], path: str) -> Leaf | None:
        if self._reader.fields(value, path, f"{op!r}", ["op", "left"], ["for", "id"]) is None:
            return None
        left, steps = self.operand(value["left"], at(path, "left")), self._bars(value, "for", path)
        name = self._id(value, path)
        if left is None or steps is None:
            return None
        self._warn_constant(path, left)
        return Trend(path, op, left, steps, name)

    def _warn_constant(self, path: str, *parts: Operand) -> None:
        if all(isinstance(part, Const | ParamRef) for part in parts):
            self._reader.warn(path, "this looks at numbers only, so it is the same at every candle")

    def _bars(self, value: dict[str, Any], key: str, path: str) -> int | None:
        return self._reader.whole(value[key], at(path, key), 1, MAX_BARS) if key in value else 1

    def _id(self, value: dict[str, Any], path: str) -> str | None:
        if "id" not in value:
            return None
        name = self._reader.name(value["id"], at(path, "id"), "the id")
        if name in self._ids:
            self._reader.error(at(path, "id"), f"the id {name!r} is used twice")
        if name:
            self._ids.add(name)
        return name

    def operand(self, value: object, path: str, nesting: int = 0) -> Operand | None:
        """A number, a name, `$param`, `{ref, ago}` or arithmetic; None after noting why not."""
        if is_number(value):
            return Const(value)
        if isinstance(value, str):
            return self._named(value, path)
        if isinstance(value, dict) and ("ref" in value or "ago" in value):
            return self._shifted(value, path)
        if isinstance(value, dict):
            return self._arithmetic(value, path, nesting)
        message = f'{show(value)} is not a value to compare; use a number, a series, "$param" or an object'
        self._reader.error(path, message)
        return None

    def _named(self, text: str, path: str) -> Operand | None:
        if text.startswith("$"):
            name = text[1:]
            if name in self._params:
                return ParamRef(name, self._params[name])
            self._reader.error(path, f"no parameter is called {show(name)}{self._reader.hint(name, self._params)}")
            return None
        if text in self._series or text in COLUMNS:
            return Ref(text)
        self._reader.error(path, self._unknown(text))
        return None

    def _unknown(self, text: str) -> str:
        if text in self._params:
            return f"{text!r} is a parameter; write it as \"${text}\""
        try:
            float(text)
        except ValueError:
            hint = self._reader.hint(text, [*self._series, *COLUMNS])
            return f"no series or candle column is called {show(text)}{hint}"
        return f"write the number {text[:40]} without quotes"

    def _shifted(self, value: dict[str, Any], path: str) -> Operand | None:
        if self._reader.fields(value, path, "a value with 'ago'", ["ref", "ago"]) is None:
            return None
        ago = value["ago"]
        if is_number(ago) and ago < 0:
            self._reader.error(at(path, "ago"), "'ago' cannot be negative: that would look into the future")
            return None
        steps = self._reader.whole(ago, at(path, "ago"), 0, MAX_AGO)
        name = self._reader.text(value["ref"], at(path, "ref"), 1, 24)
        if steps is None or name is None:
            return None
        if name in self._series or name in COLUMNS:
            return Ref(name, steps)
        self._reader.error(at(path, "ref"), self._unknown(name))
        return None

    def _arithmetic(self, value: dict[str, Any], path: str, nesting: int) -> Operand | None:
        if len(value) != 1:
            self._reader.error(path, f"a computed value has exactly one of {one_of(ARITHMETIC)}")
            return None
        op = self._reader.choice(next(iter(value)), path, ARITHMETIC, "a computation")
        if op is None:
            return None
        if nesting >= MAX_NESTING:
            self._reader.error(path, f"computations are nested deeper than {MAX_NESTING} levels")
            return None
        items = self._reader.listing(value[op], at(path, op), f"{op!r}", 2, 4)
        if items is None:
            return None
        below = at(path, op)
        args = [self.operand(item, at(below, place), nesting + 1) for place, item in enumerate(items)]
        known = tuple(arg for arg in args if arg is not None)
        return Arithmetic(op, known) if len(known) == len(args) else None
