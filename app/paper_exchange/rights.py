"""What a key may do, from where, and whether its account may trade at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidInput

READING, SPOT_TRADING = "enableReading", "enableSpotAndMarginTrading"
#: The rights that apiRestrictions tells, by its names.
NAMES = (
    READING, SPOT_TRADING, "enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer", "enableMargin",
    "enableFutures", "enableVanillaOptions", "enablePortfolioMarginTrading", "enableFixApiTrade", "enableFixReadOnly",
)  # fmt: skip
_MOST_ADDRESSES = 30


@dataclass(frozen=True, slots=True)
class Rights:
    """`allowed`: names of `NAMES`. `addresses`: where alone the key works; empty: anywhere, even if `ip_restrict`."""

    allowed: frozenset[str] = frozenset((READING, SPOT_TRADING))
    ip_restrict: bool = True
    addresses: tuple[str, ...] = ()
    can_trade: bool = True  # the account's own, as `GET account` tells it

    def admits(self, address: str) -> bool:
        """Whether the key works from this address."""
        return not self.addresses or address in self.addresses

    def view(self) -> dict[str, Any]:
        """As the control endpoints take and give them."""
        told: dict[str, Any] = {name: name in self.allowed for name in NAMES}
        return {**told, "ipRestrict": self.ip_restrict, "addresses": list(self.addresses), "canTrade": self.can_trade}

    def text(self) -> str:
        """As the file holds them; `read_rights` reads it."""
        return json.dumps(self.view(), separators=(",", ":"))


def read_rights(raw: Any, before: Rights) -> Rights:
    """`before` with what `raw` names changed. Raises InvalidInput for unknown names and wrong values."""
    if not isinstance(raw, dict):
        raise InvalidInput("rights must be an object of names and true or false", field="rights")
    given = {**before.view(), **raw}
    addresses = given.pop("addresses")
    if not isinstance(addresses, list) or len(addresses) > _MOST_ADDRESSES or not all(map(_is_text, addresses)):
        raise InvalidInput(f"addresses must be a list of at most {_MOST_ADDRESSES} addresses", field="addresses")
    for name, value in given.items():
        if name not in (*NAMES, "ipRestrict", "canTrade"):
            raise InvalidInput(f"{name[:40]!r} is not a right", field="rights")
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false", field=name)
    allowed = frozenset(name for name in NAMES if given[name])
    return Rights(allowed, given["ipRestrict"] or bool(addresses), tuple(addresses), given["canTrade"])


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
