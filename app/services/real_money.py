"""Real money is never traded by accident: what trades it is confirmed by whoever asks for it, each time."""

from __future__ import annotations

from app.domain.errors import InvalidInput
from app.models.execution import AccountKind


def refuse_unconfirmed(kind: str, label: str, *, confirm_live: bool, does: str) -> None:
    """Raise InvalidInput (field confirm_live) unless it was said that real money is meant, where it is.

    `does` goes on from "this": "starts a strategy that trades real money".
    """
    if kind == AccountKind.LIVE.value and confirm_live is not True:
        raise InvalidInput(f"“{label}” is a live account: confirm that this {does}.", field="confirm_live")
