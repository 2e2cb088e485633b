"""The worker's half of the vault: makes key pairs, opens what was sealed for it, and keeps keys under the master key.

A stored key is `nonce (12 bytes) + AES-256-GCM ciphertext`, bound to its row. The master key is a file of mode
0600 that only the worker is handed; without it the database alone opens nothing. The key that the web process
seals to is derived from it (HKDF-SHA256), so there is no second file to lose.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.domain.errors import PlumblineError
from app.secret_files import ensure_key, read_key
from app.services.exchange.signing import Ed25519Key, SecretKey, key_of
from app.services.exchange.vault import ED25519, SUITE, SealingKey, bound_to, sealed_for

NONCE_BYTES = 12


class CannotOpen(PlumblineError):
    """A sealed key does not open: damaged, of another row, or sealed under another master key."""

    code = "cannot_open"


def ensure_master_key(path: Path) -> Path:
    """Make the master key at `path` (mode 0600) unless there is one.

    Raises Unavailable when there is one that others can read, or that is no key.
    """
    ensure_key(path)
    read_key(path)
    return path


class Vault:
    """Seals and opens private keys. Prints as its key's id only."""

    __slots__ = ("_box_key", "_cipher", "master_key_id", "sealing_key")

    def __init__(self, master_key: bytes) -> None:
        self._cipher = AESGCM(master_key)
        derived = HKDF(SHA256(), 32, salt=None, info=b"plumbline-sealing-key/v1").derive(master_key)
        self._box_key = X25519PrivateKey.from_private_bytes(derived)
        public = self._box_key.public_key().public_bytes_raw()
        self.sealing_key = SealingKey(hashlib.sha256(public).hexdigest()[:16], public)
        self.master_key_id = hashlib.sha256(b"plumbline-master-key-id/v1" + master_key).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: Path) -> Vault:
        """The vault of a master key file, which is made if it is missing. Raises Unavailable as above."""
        return cls(read_key(ensure_master_key(path)))

    def generate(self) -> Ed25519Key:
        """A fresh key pair."""
        return Ed25519Key.generate()

    def seal(self, key: SecretKey, *, account_id: int) -> bytes:
        """The private half, to be stored in the account's row."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key.private_bytes(), self._bound_to(account_id, key.kind))

    def open(self, box: bytes, *, account_id: int, kind: str = ED25519) -> SecretKey:
        """The key that `seal` stored for this account. Raises CannotOpen for any other box."""
        box = bytes(box)
        try:
            raw = self._cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], self._bound_to(account_id, kind))
            return key_of(kind, raw)
        except (InvalidTag, ValueError):
            raise CannotOpen(
                f"The stored key of account {account_id} does not open with this master key: it is damaged, belongs"
                " to another account or was sealed under another key.",
                account_id=account_id,
                master_key_id=self.master_key_id,
            ) from None

    def unseal(self, box: bytes, *, sealed_to: str, user_id: int, account_id: int, kind: str) -> SecretKey:
        """The key in a box that the web process sealed for this user's account. Raises CannotOpen for any other."""
        info = sealed_for(user_id=user_id, account_id=account_id, kind=kind, key_id=sealed_to)
        try:
            return key_of(kind, SUITE.decrypt(bytes(box), self._box_key, info=info))
        except (InvalidTag, ValueError):
            raise CannotOpen(
                "The secret does not open: it was sealed for another account or under another key. Paste it again.",
                account_id=account_id,
            ) from None

    def _bound_to(self, account_id: int, kind: str) -> bytes:
        return bound_to(account_id=account_id, kind=kind, master_key_id=self.master_key_id)

    def __repr__(self) -> str:
        return f"Vault(master_key_id={self.master_key_id!r})"


__all__ = ["CannotOpen", "Ed25519Key", "SecretKey", "Vault", "ensure_master_key"]
