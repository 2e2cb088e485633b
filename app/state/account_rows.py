"""Accounts as the settings show them, in words."""

from __future__ import annotations

from app.services.execution import AccountView
from app.state import words
from app.state.rows import Row

_KEY_KINDS = {"ED25519": "Ed25519", "RSA": "RSA", "HMAC": "HMAC", "": ""}
_STATES = {"REQUESTED": "Being set up", "DISABLED": "Switched off", "REMOVED": "Removed"}


def account_row(account: AccountView) -> Row:
    """An account of the settings page. What may be done with it is in `can_…`."""
    wanted = account.key_wanted
    waits = account.state in ("REQUESTED", "FAILED") and wanted is not None and wanted.waits_for_api_key
    state = "Waiting for your API key" if waits else _STATES.get(account.state, words.status_words(account.state))
    changing = account.wanted != "ACTIVE" and account.wanted != account.state
    return {
        "id": str(account.id),
        "label": account.label,
        "kind": account.kind,
        "state": "Being switched off" if changing else state,
        "tone": "wait" if changing or waits else words.tone(account.state),
        "why": words.sentence(account.state_reason) if account.state_reason and not waits else "",
        "key": _key(account),
        "may": ", ".join(account.permissions),
        "advice": " ".join(account.advice),
        "checked": words.day_time(account.key_checked_at) if account.key_checked_at else "",
        "public_key": wanted.public_key_pem if wanted and wanted.kind == "ED25519" else "",
        "waits": "yes" if wanted and wanted.waits_for_api_key else "",
        "refused": words.sentence(wanted.message) if wanted and wanted.message else "",
        "checking": "yes" if wanted and not wanted.waits_for_api_key and not wanted.message else "",
        "agree": words.day_time(account.books_agree_at) if account.books_agree_at else "not yet compared",
        "stream": "up" if account.stream_up else "down",
        "stream_tone": "ok" if account.stream_up else "wait",
        "created": words.day_time(account.created_at),
        "can_key": "yes" if account.kind != "PAPER" else "",
        "can_off": "yes" if account.state == "ACTIVE" and not changing else "",
        "can_on": "yes" if account.state == "DISABLED" else "",
    }


def _key(account: AccountView) -> str:
    if account.api_key_hint:
        return f"{_KEY_KINDS[account.key_kind]} …{account.api_key_hint}".strip()
    return "none yet" if account.kind != "PAPER" else "being made"
