"""The JSON Schema of the rule language, for editors and other programs.

`validate` is what decides, and says more; the schema accepts whatever `validate` accepts.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def strategy_schema() -> dict[str, Any]:
    """The packaged JSON Schema (2020-12), a fresh copy."""
    text = (files(__package__) / "strategy.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
