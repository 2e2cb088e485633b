"""Accounts and their keys."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from app.paper_exchange import signing

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


def random_text(length: int = KEY_LENGTH) -> str:
    """Letters and digits from the system's randomness."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def make_account(account_id: int, label: str, public_key_pem: str | None, now_ms: int) -> Account:
    """A new account with an Ed25519 or RSA public key, or, without one, with an HMAC secret of our making.

    Raises InvalidInput when the key is neither.
    """
    if public_key_pem is None:
        return Account(account_id, label, random_text(), signing.HMAC, random_text(), now_ms)
    kind = signing.kind_of(signing.load_public_key(public_key_pem))
    return Account(account_id, label, random_text(), kind, public_key_pem, now_ms)
