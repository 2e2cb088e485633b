"""Whether a key may be used here: rules over what the exchange says of it. Pure.

A trading platform needs to read and to trade Spot. Everything else a key may do is of use to a thief only, so a live
key that may do more is refused, also for a right that Binance invents tomorrow (`enable…`, `permits…`). Source:
Binance Wallet API, "Get API Key Permission"; Spot API, "Account information".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.services.exchange.protocol import AccountStatus, AskingFailed

READING, SPOT_TRADING, BY_ADDRESS = "enableReading", "enableSpotAndMarginTrading", "ipRestrict"
#: Rights that move nothing: the FIX interface trades what REST may trade and reads what it may read.
_HARMLESS = frozenset({READING, SPOT_TRADING, "enableFixApiTrade", "enableFixReadOnly"})
_WORDS = {
    "enableWithdrawals": "withdrawals",
    "enableInternalTransfer": "internal transfers",
    "permitsUniversalTransfer": "universal transfers",
    "enableMargin": "margin",
    "enableFutures": "futures",
    "enableVanillaOptions": "options",
    "enablePortfolioMarginTrading": "portfolio margin",
}
#: Exchange's code → what it means for whoever set up the key.
_FAILURES = {
    -2015: "The exchange does not accept this API key: it is not the right one, it may not do this, or it may not be"
    " used from this machine's address. Look at the key's permissions and its list of addresses.",
    -2014: "This does not look like an API key of this exchange. Copy it again.",
    -1022: "The signature is wrong: the secret or private key does not belong to this API key.",
    -1021: "The exchange says that the request came at the wrong time: the clock of this machine is off.",
}


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """`refusals`: why it may not be used, sentences; none means it may. `advice`: what would be safer.

    `permissions`: what it may do, in words.
    """

    permissions: tuple[str, ...]
    refusals: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def judge_rights(rights: Mapping[str, bool]) -> KeyVerdict:
    """What the answer of apiRestrictions means for a live key."""
    granted = sorted(name for name, value in rights.items() if value is True)
    too_much = [name for name in granted if name.startswith(("enable", "permits")) and name not in _HARMLESS]
    refusals = [f"Switch off {_WORDS.get(name, name)} for this key at Binance." for name in too_much]
    if not rights.get(READING):
        refusals.append("Switch on “Enable Reading” for this key at Binance.")
    if not rights.get(SPOT_TRADING):
        refusals.append("Switch on “Enable Spot & Margin Trading” for this key at Binance.")
    bound = rights.get(BY_ADDRESS) is True
    words = [word for name, word in ((READING, "reading"), (SPOT_TRADING, "spot trading")) if rights.get(name)]
    words += [_WORDS.get(name, name) for name in too_much]
    advice = () if bound else ("Restrict this key to this machine's address at Binance: a stolen key is then useless.",)
    return KeyVerdict((*words, "bound to addresses" if bound else "usable from anywhere"), tuple(refusals), advice)


def judge_account(status: AccountStatus) -> KeyVerdict:
    """What `GET account` says of the account behind a key: the only thing to ask where there is no apiRestrictions."""
    refusals = []
    if not status.can_trade:
        refusals.append("The exchange says that this account may not trade.")
    if status.permissions and "SPOT" not in status.permissions:
        refusals.append(f"The account may not trade Spot, only {', '.join(status.permissions)}.")
    return KeyVerdict(("reading", *(() if refusals else ("spot trading",))), tuple(refusals))


def why_not_checked(failure: AskingFailed) -> str:
    """A check that the exchange refused, or that did not reach it, in words for whoever set up the key."""
    words = _FAILURES.get(failure.code)
    return f"{words} (It said: {failure.reason})" if words else f"The key could not be checked: {failure.reason}"
