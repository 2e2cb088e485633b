"""What every process may know about credentials: how to seal one, and nothing that could open it.

A pasted secret is sealed to the worker's public key (HPKE, RFC 9180: X25519, HKDF-SHA256, AES-256-GCM), bound to
its user, account and kind; the web process forgets it at once and cannot get it back. The private half is
`vault_private`, for the worker only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from app.domain.errors import InvalidInput

ED25519, RSA, HMAC = "ED25519", "RSA", "HMAC"
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
LEAST_RSA_BITS, MOST_RSA_BITS = 2048, 4096
LONGEST_SECRET = 8_000
_HMAC_SECRET = re.compile(r"[A-Za-z0-9]{32,256}")


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The worker's public key, 32 raw bytes; `id` names its private half."""

    id: str
    public_key: bytes


class PastedSecret:
    """A secret that a person typed, for the moment until it is sealed; prints as its kind only.

    `private` is what `signing.key_of` takes.
    """

    __slots__ = ("kind", "private")

    def __init__(self, kind: str, private: bytes) -> None:
        self.kind = kind
        self.private = private

    def __repr__(self) -> str:
        return f"PastedSecret({self.kind}, ***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def read_pasted(text: str) -> PastedSecret:
    """What a person pasted: an unencrypted Ed25519 or RSA private key in PEM, or an HMAC secret.

    Raises InvalidInput (field "secret") without repeating any of it.
    """
    text = text.strip()
    if len(text) > LONGEST_SECRET:
        raise InvalidInput("this is too long for a secret", field="secret")
    if "-----BEGIN" not in text:
        if not _HMAC_SECRET.fullmatch(text):
            raise InvalidInput(
                "this is neither an API secret (letters and digits) nor a private key in PEM form", field="secret"
            )
        return PastedSecret(HMAC, text.encode())
    if "PUBLIC KEY" in text:
        raise InvalidInput("this is the public key; the private one belongs here", field="secret")
    if "ENCRYPTED" in text:
        raise InvalidInput("this private key has a password; paste it without one", field="secret")
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInput("this private key cannot be read", field="secret") from None
    if isinstance(key, Ed25519PrivateKey):
        return PastedSecret(ED25519, key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    if not isinstance(key, RSAPrivateKey):
        raise InvalidInput("Binance takes Ed25519 and RSA keys only", field="secret")
    if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
        raise InvalidInput(f"an RSA key must have {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits", field="secret")
    return PastedSecret(RSA, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def seal(secret: PastedSecret, key: SealingKey, *, user_id: int, account_id: int) -> bytes:
    """The secret as only the worker can read it, for this user's account only."""
    public = X25519PublicKey.from_public_bytes(key.public_key)
    info = sealed_for(user_id=user_id, account_id=account_id, kind=secret.kind, key_id=key.id)
    return SUITE.encrypt(secret.private, public, info=info)


def sealed_for(*, user_id: int, account_id: int, kind: str, key_id: str) -> bytes:
    """What a box from the web process is bound to (HPKE's info)."""
    return f"plumbline-sealed/v1|user={user_id}|account={account_id}|kind={kind}|key={key_id}".encode()


def bound_to(*, account_id: int, kind: str, master_key_id: str) -> bytes:
    """What a stored key is bound to (AES-GCM's associated data): it opens for this account only."""
    return f"plumbline-credential/v1|account={account_id}|kind={kind}|key={master_key_id}".encode()
