"""Reading the parameters of a request the way Binance does: strictly, and refusing what nobody asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar
from urllib.parse import unquote_plus

from app.domain.money import ZERO
from app.paper_exchange import errors
from app.paper_exchange.errors import ApiError

_LONG = r"^[0-9]{1,20}$"
_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_CLIENT_ID = r"^[a-zA-Z0-9-_]{1,36}$"
_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
_RECV_WINDOW = r"^[0-9]{1,5}(\.[0-9]{1,3})?$"
_PRECISION = 8
_MAX_LONG = 2**63 - 1
_MICROSECONDS_FROM = 10**14

E = TypeVar("E", bound=StrEnum)


def parse_form(query: str, body: str) -> dict[str, str]:
    """Parameters of a REST request. The query wins over the body; a name twice in one of them is -1101."""
    merged: dict[str, str] = {}
    for part in (body, query):
        seen: set[str] = set()
        for pair in part.split("&"):
            if not pair:
                continue
            name, _, value = pair.partition("=")
            name = unquote_plus(name)
            if name in seen:
                raise ApiError(-1101, "Duplicate values for a parameter detected.")
            seen.add(name)
            merged[name] = unquote_plus(value)
    return merged


class Params:
    """The parameters of one request. Every read marks its parameter; `finish` refuses the unread."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._read: set[str] = set()
        self._names: Mapping[str, str] = {}

    def renamed(self, names: Mapping[str, str]) -> Params:
        """The same parameters, read under other names: with {"price": "abovePrice"} `price` is read from abovePrice.
        What is mapped to "" was not sent.
        """
        view = Params({})
        view._values, view._read, view._names = self._values, self._read, names
        return view

    def name_of(self, name: str) -> str:
        """The name a parameter was sent under."""
        return self._names.get(name, name)

    def has(self, name: str) -> bool:
        """Whether the parameter was sent (and, if so, mark it as read)."""
        self._read.add(self.name_of(name))
        return self.name_of(name) in self._values

    def peek(self, name: str) -> str:
        """The value as sent, or "", without marking it as read."""
        return self._values.get(name, "")

    def texts(self) -> dict[str, str]:
        """All values as sent, without marking them as read."""
        return dict(self._values)

    def text(self, name: str) -> str | None:
        """The value, or None. An empty value is -1105."""
        if not self.has(name):
            return None
        value = self._values[self.name_of(name)]
        if value == "":
            raise ApiError(-1105, f"Parameter '{self.name_of(name)}' was empty.")
        return value

    def required(self, name: str) -> str:
        """The value; -1102 without it."""
        if not self.has(name) or self._values[self.name_of(name)] == "":
            raise errors.missing(self.name_of(name))
        return self._values[self.name_of(name)]

    def long(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self.text(name)
        if value is None:
            return None
        if not re.match(_LONG, value):
            raise errors.illegal_characters(self.name_of(name), _LONG)
        if int(value) > _MAX_LONG:
            raise ApiError(-1108, f"Parameter '{self.name_of(name)}' overflowed.")
        return int(value)

    def time_ms(self, name: str) -> int | None:
        """A time in milliseconds; microseconds are accepted and cut down."""
        value = self.long(name)
        return value // 1000 if value is not None and value >= _MICROSECONDS_FROM else value

    def limit(self, default: int, most: int) -> int:
        """The `limit` parameter, cut to `most`."""
        value = self.long("limit")
        if value is None:
            return default
        if value == 0:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(value, most)

    def decimal(self, name: str) -> Decimal | None:
        """An amount of at most eight decimals, or None."""
        value = self.text(name)
        if value is None:
            return None
        if not re.match(_DECIMAL, value):
            raise errors.illegal_characters(self.name_of(name), _DECIMAL)
        if len(value.partition(".")[2].rstrip("0")) > _PRECISION:
            raise errors.too_precise(self.name_of(name))
        return Decimal(value)

    def positive(self, name: str, label: str) -> Decimal | None:
        """An amount above zero, or None; -1013 "Invalid <label>." for zero."""
        value = self.decimal(name)
        if value is not None and value <= ZERO:
            raise errors.invalid(f"Invalid {label}.")
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in ("true", "false"):
            raise ApiError(-1130, f"Data sent for parameter '{self.name_of(name)}' is not valid.")
        return value.lower() == "true"

    def choice(self, name: str, kind: type[E], wrong: ApiError) -> E | None:
        """One word of an enum, or None; `wrong` for any other."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return kind(value)
        except ValueError:
            raise wrong from None

    def client_id(self, name: str) -> str | None:
        """An order id chosen by the client."""
        value = self.text(name)
        if value is not None and not re.match(_CLIENT_ID, value):
            raise errors.illegal_characters(self.name_of(name), _CLIENT_ID)
        return value

    def symbol(self) -> str:
        """The mandatory `symbol`."""
        value = self.required("symbol")
        if not re.match(_SYMBOL, value):
            raise errors.illegal_characters("symbol", _SYMBOL)
        return value

    def symbols(self) -> list[str] | None:
        """`symbol` or `symbols` (a JSON list); None when neither was sent."""
        one, many = self.text("symbol"), self.text("symbols")
        if one is not None and many is not None:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if one is not None:
            return [one]
        if many is None:
            return None
        try:
            names = json.loads(many)
        except ValueError:
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise errors.illegal_characters("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$')
        if len(set(names)) != len(names):
            raise ApiError(-1151, "Symbol is present multiple times in the list.")
        return names

    def timing(self) -> tuple[float, float]:
        """(timestamp, recvWindow) in milliseconds of a signed request."""
        self._read.add("signature")
        raw = self.required("timestamp")
        if not re.match(_LONG, raw):
            raise errors.illegal_characters("timestamp", _LONG)
        stamp = int(raw)
        timestamp = stamp / 1000 if stamp >= _MICROSECONDS_FROM else float(stamp)
        window = self.text("recvWindow")
        if window is None:
            return timestamp, 5000.0
        if not re.match(_RECV_WINDOW, window):
            raise errors.illegal_characters("recvWindow", _RECV_WINDOW)
        if float(window) > 60000:
            raise ApiError(-1102, "'recvWindow' contains unexpected value. Cannot be greater than 60000.")
        return timestamp, float(window)

    def mark(self, *names: str) -> None:
        """These have been read elsewhere."""
        self._read.update(names)

    def finish(self) -> None:
        """Refuse parameters that nothing has read (-1104)."""
        unread = set(self._values) - self._read
        if unread:
            sent = len(self._values)
            message = (
                f"Not all sent parameters were read; read '{sent - len(unread)}' parameter(s) but was sent '{sent}'."
            )
            raise ApiError(-1104, message)
