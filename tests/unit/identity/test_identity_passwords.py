"""Which passwords are taken, and how they are kept."""

from __future__ import annotations

import asyncio
import time

import pytest
from argon2 import extract_parameters

from app.domain.errors import InvalidInput
from app.services.identity import passwords


@pytest.mark.parametrize(
    "password",
    [
        "staple cloud river anvil",
        "correct battery staple",
        "Xk9#mQ2$vL7!pR",
        "дом у синего моря",
        "x" * 3 + "kwmzqpvu" + "9" * 3,
        "thirteen char",
    ],
)
def test_a_password_of_ones_own_is_taken(password: str) -> None:
    passwords.check_password(password, email="me@example.com")


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "Passw0rd!2026",
        "qwertyuiop123",
        "1qaz2wsx3edc4rfv",
        "q1w2e3r4t5y6",
        "123456789012",
        "112233445566",
        "aaaaaaaaaaaa",
        "abababababab",
        "iloveyou2026!",
        "letmeinletmein",
        "adminadmin123",
        "BitcoinBinance1",
        "Plumbline2026!",
        "welcome-welcome",
        "super.trader.2026",
        "peanutbutter",
        "christopher1",
    ],
)
def test_what_everybody_tries_first_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        passwords.check_password(password, email="super.trader@example.com")

    assert refused.value.facts["reason"] == "common"


@pytest.mark.parametrize(("length", "reason"), [(0, "short"), (11, "short"), (129, "long"), (100_000, "long")])
def test_the_length_is_12_to_128(length: int, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        passwords.check_password(("abcdefghijklmnop" * (length // 16 + 1))[:length])

    assert refused.value.facts["reason"] == reason


async def test_a_password_matches_its_own_hash_only() -> None:
    stored = await passwords.hash_password("staple cloud river anvil")

    assert await passwords.verify_password(stored, "staple cloud river anvil")
    assert not await passwords.verify_password(stored, "staple cloud river anvi")
    assert not await passwords.verify_password("not a hash", "staple cloud river anvil")
    assert not await passwords.verify_password(stored, "\ud800" * 20)


async def test_the_hash_is_argon2id_with_46_mib_and_one_pass() -> None:
    made = extract_parameters(await passwords.hash_password("staple cloud river anvil"))

    assert (made.type.name, made.memory_cost, made.time_cost, made.parallelism) == ("ID", 47_104, 1, 1)
    assert extract_parameters(passwords.DUMMY_HASH) == made
    assert not passwords.needs_rehash(passwords.DUMMY_HASH)


async def test_an_unknown_user_costs_a_whole_hash_too() -> None:
    """Measured in the processor's time: an answer without hashing takes a thousandth of it."""
    before = time.process_time()
    assert not await passwords.verify_password(None, "staple cloud river anvil")

    assert time.process_time() - before > 0.005


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    heart = asyncio.create_task(beat())
    await asyncio.gather(*(passwords.verify_password(None, "x") for _ in range(8)))
    heart.cancel()

    assert beats > 8
