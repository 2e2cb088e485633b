"""What the sign-in and set-up pages say, by the code in their address. The address itself is never shown."""

from __future__ import annotations

from app.services.identity.passwords import MAX_LENGTH, MIN_LENGTH
from app.services.identity.throttle import in_words

_WORDS = {
    "wrong": "E-mail or password is wrong.",
    "email": "This does not look like an e-mail address.",
    "short": f"The password must have at least {MIN_LENGTH} characters.",
    "long": f"The password may have at most {MAX_LENGTH} characters.",
    "common": "This password is among the first that are tried. Four random words make a good one.",
    "differ": "The two passwords differ.",
    "link": "This link has been used or has expired. Start Plumbline again, or run `plumbline user reset-link`.",
    "unavailable": "The database cannot be reached at the moment. Please try again shortly.",
}


def form_error(code: str, wait_s: str = "") -> str:
    """The sentence for an error code of a form; "" for no code, something general for an unknown one."""
    if not code:
        return ""
    if code == "wait":
        seconds = int(wait_s) if wait_s.isascii() and wait_s.isdigit() and len(wait_s) < 6 else 60
        return f"Too many attempts. Please wait {in_words(seconds)} and try again."
    return _WORDS.get(code, "That did not work. Please try again.")
