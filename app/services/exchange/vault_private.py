"""The worker's half of the vault: makes key pairs and keeps the private halves sealed under the master key.

A sealed key is `nonce (12 bytes) + AES-256-GCM ciphertext`, bound to its row. The master key is a file of mode
0600 that only the worker is handed; without it the database alone opens nothing.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.errors import PlumblineError
from app.secret_files import ensure_key, read_key
from app.services.exchange.signing import Ed25519Key
from app.services.exchange.vault import ED25519, bound_to

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

    __slots__ = ("_cipher", "master_key_id")

    def __init__(self, master_key: bytes) -> None:
        self._cipher = AESGCM(master_key)
        self.master_key_id = hashlib.sha256(b"plumbline-master-key-id/v1" + master_key).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: Path) -> Vault:
        """The vault of a master key file, which is made if it is missing. Raises Unavailable as above."""
        return cls(read_key(ensure_master_key(path)))

    def generate(self) -> Ed25519Key:
        """A fresh key pair."""
        return Ed25519Key.generate()

    def seal(self, key: Ed25519Key, *, account_id: int) -> bytes:
        """The private half, to be stored in the account's row."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key.private_bytes(), self._bound_to(account_id))

    def open(self, box: bytes, *, account_id: int) -> Ed25519Key:
        """The key that `seal` stored for this account. Raises CannotOpen for any other box."""
        box = bytes(box)
        try:
            raw = self._cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], self._bound_to(account_id))
            return Ed25519Key.from_private_bytes(raw)
        except (InvalidTag, ValueError):
            raise CannotOpen(
                f"The stored key of account {account_id} does not open with this master key: it is damaged, belongs"
                " to another account or was sealed under another key.",
                account_id=account_id,
                master_key_id=self.master_key_id,
            ) from None

    def _bound_to(self, account_id: int) -> bytes:
        return bound_to(account_id=account_id, kind=ED25519, master_key_id=self.master_key_id)

    def __repr__(self) -> str:
        return f"Vault(master_key_id={self.master_key_id!r})"


__all__ = ["CannotOpen", "Ed25519Key", "Vault", "ensure_master_key"]
