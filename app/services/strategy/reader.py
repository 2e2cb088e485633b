"""Field by field reading of a JSON document into typed values, collecting problems in words instead of raising."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeGuard

from app.services.strategy.problems import MAX_PROBLEMS, Problem, at, one_of, show, suggestion
from app.services.strategy.rules import Number

_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,8})?")


def is_number(value: object) -> TypeGuard[Number]:
    """Whether a JSON value is a number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_name(value: object) -> bool:
    """Whether a JSON value may name a series or a parameter."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


class Reader:
    """Reads values at paths. Each method returns the typed value, or None after noting why not."""

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, path: str, message: str) -> None:
        """Note something that makes the document invalid."""
        if len(self.errors) < MAX_PROBLEMS:
            self.errors.append(Problem(path, message))

    def warn(self, path: str, message: str) -> None:
        """Note something that is allowed but probably not meant."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(path, message))

    def hint(self, name: object, known: Iterable[str]) -> str:
        """`; did you mean 'x'?` for a text near a known name, else "". Not looked for once the messages are full."""
        looks = isinstance(name, str) and len(self.errors) < MAX_PROBLEMS
        return suggestion(str(name), known) if looks else ""

    def fields(
        self, value: object, path: str, what: str, required: Sequence[str], optional: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """An object with exactly these keys; unknown and missing ones are named."""
        if not isinstance(value, dict):
            self.error(path, f"{what} must be an object, not {show(value)}")
            return None
        known = [*required, *optional]
        for key in value:
            if key not in known:
                hint = self.hint(key, known) or f"; it may have {one_of(known)}"
                self.error(at(path, key), f"{what} has no key {show(key)}{hint}")
        missing = [key for key in required if key not in value]
        for key in missing:
            self.error(at(path, key), f"{what} needs {key!r}")
        return None if missing else value

    def listing(self, value: object, path: str, what: str, least: int, most: int) -> list[Any] | None:
        """A list of `least` to `most` items."""
        if not isinstance(value, list):
            self.error(path, f"{what} must be a list, not {show(value)}")
            return None
        if not least <= len(value) <= most:
            self.error(path, f"{what} must have {least} to {most} items, not {len(value)}")
            return None
        return value

    def text(self, value: object, path: str, least: int, most: int) -> str | None:
        """A text of `least` to `most` characters."""
        if not isinstance(value, str):
            self.error(path, f"this must be text, not {show(value)}")
            return None
        if not least <= len(value) <= most:
            self.error(path, f"this must be {least} to {most} characters long, not {len(value)}")
            return None
        return value

    def choice(self, value: object, path: str, known: Iterable[str], what: str) -> str | None:
        """One of the known words."""
        names = list(known)
        if isinstance(value, str) and value in names:
            return value
        hint = self.hint(value, names)
        self.error(path, f"{show(value)} is not {what}{hint or f'; use {one_of(names)}'}")
        return None

    def whole(self, value: object, path: str, least: int, most: int) -> int | None:
        """A whole JSON number in a range."""
        if is_number(value) and float(value).is_integer() and least <= value <= most:
            return int(value)
        self.error(path, f"this must be a whole number from {least} to {most}, not {show(value)}")
        return None

    def number(self, value: object, path: str) -> Number | None:
        """A JSON number, or a decimal number as text."""
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            exact = Decimal(value)
            return int(exact) if exact == exact.to_integral_value() else float(value)
        if not is_number(value):
            self.error(path, f"this must be a number, not {show(value)}")
            return None
        return int(value) if float(value).is_integer() else value

    def amount(self, value: object, path: str, most: str, *, zero: bool = False) -> Decimal | None:
        """A decimal number written as text, above zero (or from zero), at most `most`."""
        if is_number(value):
            self.error(path, f'write this number as text, like "{value}", so that no digit is lost')
            return None
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
            self.error(path, f'this must be a decimal number as text, like "1.5", not {show(value)}')
            return None
        amount = Decimal(value)
        if amount > Decimal(most) or (amount == 0 and not zero):
            self.error(path, f"this must be {'from' if zero else 'above'} 0 and at most {most}, not {value}")
            return None
        return amount

    def name(self, value: object, path: str, what: str) -> str | None:
        """A name: a lower-case letter, then up to 23 letters, digits or underscores."""
        if not is_name(value):
            self.error(path, f"{what} {show(value)} must be small letters, digits or _, a letter first, 24 at most")
            return None
        return str(value)
