"""Signatures of requests: Ed25519, RSA (PKCS#1 v1.5, SHA-256) and HMAC-SHA256. The signers never show their key.

python-binance 1.0.37 signs Ed25519 correctly (base64, percent-encoded once), but over the *raw* values while it
sends the *encoded* ones, keeps the key as text, and takes any PEM longer than 120 characters for RSA. So the
bytes that go on the wire are put together here, and exactly those are signed (rest-api.md "Request Security":
percent-encode before signing).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from app.services.exchange.vault import ED25519, HMAC, RSA

Params = Mapping[str, str | int]


class Signer(Protocol):
    """Whatever can sign a request."""

    def sign(self, payload: bytes) -> str:
        """The signature as text, not percent-encoded."""
        ...


class SecretKey(Signer, Protocol):
    """A signer whose secret half can be sealed."""

    @property
    def kind(self) -> str:
        """ED25519, RSA or HMAC."""
        ...

    @property
    def public_key_pem(self) -> str:
        """The public half; empty for a shared secret, which has none."""
        ...

    def private_bytes(self) -> bytes:
        """What `key_of` makes the same key of; to be sealed and for nothing else."""
        ...


class Ed25519Key:
    """An Ed25519 private key; prints as its public half only."""

    __slots__ = ("_key",)
    kind = ED25519

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Ed25519Key:
        """A fresh key from the operating system's generator."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> Ed25519Key:
        """The key of 32 raw private bytes. Raises ValueError for another length."""
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    def private_bytes(self) -> bytes:
        """The 32 raw private bytes, to be sealed and for nothing else."""
        return self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    @property
    def public_key_pem(self) -> str:
        """The public half, as Binance wants it pasted."""
        public = self._key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, payload: bytes) -> str:
        """Base64 of the signature of `payload`."""
        return b64encode(self._key.sign(payload)).decode()

    def __repr__(self) -> str:
        return "Ed25519Key(***)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


class RsaKey:
    """An RSA private key, RSASSA-PKCS1-v1_5 with SHA-256."""

    __slots__ = ("_key",)
    kind = RSA

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def private_bytes(self) -> bytes:
        """PKCS#8 in DER, to be sealed and for nothing else."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public_key_pem(self) -> str:
        """The public half, as Binance wants it pasted."""
        public = self._key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, payload: bytes) -> str:
        """Base64 of the signature of `payload`."""
        return b64encode(self._key.sign(payload, PKCS1v15(), SHA256())).decode()

    def __repr__(self) -> str:
        return "RsaKey(***)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


class HmacSecret:
    """A shared secret, HMAC-SHA256."""

    __slots__ = ("_secret",)
    kind = HMAC
    public_key_pem = ""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def private_bytes(self) -> bytes:
        """The secret, to be sealed and for nothing else."""
        return self._secret

    def sign(self, payload: bytes) -> str:
        """Lower-case hex of the HMAC of `payload`."""
        return hmac.new(self._secret, payload, hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "HmacSecret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def key_of(kind: str, private: bytes) -> SecretKey:
    """The key that `private_bytes` of a key of this kind gave. Raises ValueError for anything else."""
    if kind == HMAC:
        return HmacSecret(private.decode())
    if kind == ED25519:
        return Ed25519Key.from_private_bytes(private)
    key = load_der_private_key(private, None)
    if kind != RSA or not isinstance(key, RSAPrivateKey):
        raise ValueError(f"this is no {kind} key")
    return RsaKey(key)


def encode_params(params: Params) -> str:
    """`a=1&b=2`, percent-encoded, in the order given."""
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in params.items())


def signed_form(params: Params, signer: Signer) -> str:
    """The encoded parameters with their signature last: the very text to send as query or body."""
    payload = encode_params(params)
    return f"{payload}&signature={quote(signer.sign(payload.encode()), safe='')}"


def signed_ws_params(params: Params, signer: Signer) -> dict[str, str | int]:
    """Parameters of a WebSocket API request with their signature: sorted by name, not percent-encoded."""
    ordered = dict(sorted(params.items()))
    payload = "&".join(f"{name}={value}" for name, value in ordered.items())
    return {**ordered, "signature": signer.sign(payload.encode())}
