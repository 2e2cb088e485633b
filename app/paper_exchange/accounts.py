"""Accounts and their keys."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from app.paper_exchange import signing
from app.paper_exchange.rights import Rights, read_rights

_ALPHABET = string.ascii_letters + string.digits
KEY_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Account:
    """An account and the one key that speaks for it. `key_material` is an HMAC secret or a public key in PEM."""

    id: int
    label: str
    api_key: str
    kind: str
    key_material: str
    created_ms: int
    rights: Rights = field(default_factory=Rights)

    def row(self) -> tuple[Any, ...]:
        """Its values in the order of `COLUMNS`; `read_account` reads them."""
        values = (getattr(self, name) for name in COLUMNS)
        return tuple(value.text() if isinstance(value, Rights) else value for value in values)


COLUMNS = tuple(f.name for f in fields(Account))


def read_account(row: Mapping[str, Any]) -> Account:
    """An account of the file."""
    return Account(**{**row, "rights": read_rights(json.loads(row["rights"]), Rights())})


def random_text(length: int = KEY_LENGTH) -> str:
    """Letters and digits from the system's randomness."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def make_account(
    account_id: int, label: str, public_key_pem: str | None, now_ms: int, rights: Rights | None = None
) -> Account:
    """A new account with an Ed25519 or RSA public key, or, without one, with an HMAC secret of our making.

    Raises InvalidInput when the key is neither.
    """
    if public_key_pem is None:
        return Account(account_id, label, random_text(), signing.HMAC, random_text(), now_ms, rights or Rights())
    kind = signing.kind_of(signing.load_public_key(public_key_pem))
    return Account(account_id, label, random_text(), kind, public_key_pem, now_ms, rights or Rights())


def with_new_key(account: Account, public_key_pem: str | None, rights: Rights) -> Account:
    """The account with another key; the one it had is gone. Raises InvalidInput as above."""
    return make_account(account.id, account.label, public_key_pem, account.created_ms, rights)
