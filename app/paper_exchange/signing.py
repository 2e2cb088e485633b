"""Request signatures: HMAC-SHA256, RSA (PKCS#1 v1.5, SHA-256) and Ed25519, over exactly the bytes the client signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.domain.errors import InvalidInput

HMAC = "hmac"
ED25519 = "ed25519"
RSA = "rsa"
LEAST_RSA_BITS, MOST_RSA_BITS = 2048, 4096


def verify(kind: str, key_material: str, payload: bytes, signature: str) -> bool:
    """Whether `signature` is that of `payload`. HMAC: hex of either case; keys: base64 (not percent-encoded)."""
    if kind == HMAC:
        expected = hmac.new(key_material.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), signature.lower().encode())
    try:
        raw, key = base64.b64decode(signature, validate=True), load_public_key(key_material)
        if isinstance(key, RSAPublicKey):
            key.verify(raw, payload, PKCS1v15(), SHA256())
        else:
            key.verify(raw, payload)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def kind_of(key: Ed25519PublicKey | RSAPublicKey) -> str:
    """`rsa` or `ed25519`."""
    return RSA if isinstance(key, RSAPublicKey) else ED25519


def load_public_key(pem: str) -> Ed25519PublicKey | RSAPublicKey:
    """An Ed25519 public key, or an RSA one of 2048 to 4096 bits, from PEM. Raises InvalidInput for anything else."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput("public_key_pem is not a public key in PEM form", field="public_key_pem") from error
    if isinstance(key, RSAPublicKey):
        if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
            wanted = f"{LEAST_RSA_BITS} to {MOST_RSA_BITS} bits"
            raise InvalidInput(f"public_key_pem must be an RSA key of {wanted}", field="public_key_pem")
        return key
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("public_key_pem must be an Ed25519 or RSA key", field="public_key_pem")
    return key


def rest_payload(query: str, body: str) -> tuple[bytes, str | None]:
    """What a REST request signed, and its signature: raw query and raw body without separator, the
    `signature` parameter taken out. Both strings are as they were sent, still percent-encoded.
    """
    signature = None
    parts = []
    for part in (query, body):
        pairs = part.split("&") if part else []
        kept = [pair for pair in pairs if not pair.startswith("signature=")]
        if len(kept) != len(pairs):
            found = next(pair for pair in pairs if pair.startswith("signature="))
            signature = signature if signature is not None else unquote(found[len("signature=") :])
        parts.append("&".join(kept))
    return "".join(parts).encode(), signature


def ws_payload(params: Mapping[str, str]) -> bytes:
    """What a ws-api request signed: all parameters but `signature`, sorted by name, not percent-encoded.

    Values are the texts as they stand in the JSON (see `ws_params`).
    """
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature").encode()


def ws_params(raw: Mapping[str, object]) -> dict[str, str]:
    """JSON parameters as texts: numbers as written, booleans `true` and `false`, nulls left out."""
    texts: dict[str, str] = {}
    for name, value in raw.items():
        if value is None:
            continue
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, list | dict):
            texts[name] = json.dumps(value, separators=(",", ":"))
        else:
            texts[name] = str(value)
    return texts
