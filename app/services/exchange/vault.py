"""What every process may know about sealed credentials: nothing secret, and nothing that could open one.

The private half is `vault_private`, for the worker only.
"""

from __future__ import annotations

ED25519 = "ED25519"


def bound_to(*, account_id: int, kind: str, master_key_id: str) -> bytes:
    """What a sealed key is bound to (AES-GCM's associated data): it opens for this account only."""
    return f"plumbline-credential/v1|account={account_id}|kind={kind}|key={master_key_id}".encode()
