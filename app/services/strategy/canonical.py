"""Canonical JSON and the version id made from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Beyond this, neighbouring whole numbers are no longer different doubles.
_MAX_WHOLE = 2**53


def _normalise(value: Any) -> Any:
    # 14 and 14.0 are the same number in JSON; browsers write the first, Python may hold the second.
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_WHOLE:
        return int(value)
    if isinstance(value, dict):
        return {key: _normalise(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalise(item) for item in value]
    return value


def canonical_json(document: Any) -> str:
    """The document with sorted keys, no blanks, whole numbers without a fraction, text as UTF-8.

    Two documents that mean the same JSON give the same text. Expects plain JSON without NaN (see `validate`).
    """
    return json.dumps(
        _normalise(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def version_hash(document: Any) -> str:
    """SHA-256 (hex) of the canonical JSON: the id of a strategy version."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()
