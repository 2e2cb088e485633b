"""Passwords: which are accepted, how they are kept (argon2id) and compared."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.resources import files

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.domain.errors import InvalidInput

MIN_LENGTH, MAX_LENGTH = 12, 128

#: Characters that must be left when every common word and every run is taken out.
_LEAST_OWN = 4

_HASHER = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1)
# Each hash takes 46 MiB and a core for 50 ms: more at once would let a flood of sign-ins eat the machine.
_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="argon2")

#: The hash of a random password nobody has. Compared with for unknown users, so that they take as long.
DUMMY_HASH = "$argon2id$v=19$m=47104,t=1,p=1$LAU5MeRRJ7DAKkbpOmy7/A$FqKuD0a2YHZ6jfa1vya2W5grbJ64rfGg8KDaR06N0Fk"


def check_password(password: str, *, email: str = "", field: str = "password") -> None:
    """Refuse a password that is too short, too long or commonplace.

    Raises InvalidInput naming `field`; `facts["reason"]` is short | long | common.
    """
    if len(password) < MIN_LENGTH:
        raise InvalidInput(f"The password must have at least {MIN_LENGTH} characters.", field=field, reason="short")
    if len(password) > MAX_LENGTH:
        raise InvalidInput(f"The password may have at most {MAX_LENGTH} characters.", field=field, reason="long")
    if is_common(password, email=email):
        raise InvalidInput(
            "This password is among the first that are tried. Four random words make a good one.",
            field=field,
            reason="common",
        )


def is_common(password: str, *, email: str = "") -> bool:
    """Whether little is left of `password` without common words, the user's own name, digits and repetition."""
    text = password.casefold()
    if len(set(text)) < 5:
        return True
    own = {part for part in re.split(r"\W+", email.casefold()) if len(part) > 2}
    for word in sorted(own | _common_words(), key=len, reverse=True):
        text = text.replace(word, " ")
    return len(set(re.sub(r"[\W\d_]+", "", text))) < _LEAST_OWN


async def hash_password(password: str) -> str:
    """The argon2id hash (46 MiB, one pass) of `password`, computed beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, _HASHER.hash, _bytes(password))


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether `password` is the one behind `stored`. None takes as long as a real hash and is always False."""
    matches = await asyncio.get_running_loop().run_in_executor(_POOL, _matches, stored or DUMMY_HASH, password)
    return matches and stored is not None


def needs_rehash(stored: str) -> bool:
    """Whether `stored` was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, _bytes(password[: MAX_LENGTH + 1]))
    except (VerificationError, InvalidHashError):
        return False


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=1)
def _common_words() -> frozenset[str]:
    text = files("app.services.identity").joinpath("common_passwords.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in line.split())
