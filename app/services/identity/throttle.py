"""Counters of attempts, in the database: they survive a restart, hold for every process and fail closed.

A few attempts are free; each further one makes the next wait twice as long, up to a bound, so that guessing is
hopeless and the owner of an account is never locked out for good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.services.identity.errors import TooManyAttempts


@dataclass(frozen=True, slots=True)
class Rule:
    """`free` attempts, then waits of 1, 2, 4 … s up to `longest_wait_s`; all is forgotten after `forget_after_s`."""

    free: int
    longest_wait_s: int = 900
    forget_after_s: int = 3600

    def wait_s(self, count: int) -> int:
        """How long to wait after `count` attempts, in seconds."""
        return min(2 ** min(count - self.free, 30), self.longest_wait_s) if count >= self.free else 0


PER_EMAIL = Rule(free=5)
PER_IP = Rule(free=20)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One counter: its name in the table and the rule that holds for it."""

    name: str
    rule: Rule


def ip_bucket(act: str, ip: str) -> Bucket:
    """The counter of an address, for `act` (login, setup)."""
    return Bucket(f"{act}:ip:{ip}", PER_IP)


def email_bucket(act: str, email: str, known_from: str = "") -> Bucket:
    """The counter of an e-mail address; `known_from`: of that address from a place its owner has signed in from.

    Hashed: whatever was typed makes a name of the same length.
    """
    digest = hashlib.sha256(email.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()
    return Bucket(f"{act}:email:{digest[:32]}" + (f":{known_from}" if known_from else ""), PER_EMAIL)


# One statement decides and counts, so that two attempts at the same moment cannot share the last free place.
# `window_started_at` is the time of the newest counted attempt: the wait runs from it.
_SPEND = text("""
    INSERT INTO auth.throttle_buckets AS b (bucket, window_started_at, count) VALUES (:bucket, :now, 1)
    ON CONFLICT (bucket) DO UPDATE
       SET window_started_at = :now,
           count = CASE WHEN b.window_started_at < :forgotten THEN 1 ELSE b.count + 1 END
     WHERE b.window_started_at < :forgotten
        OR b.count < :free
        OR b.window_started_at + make_interval(secs => least(power(2, least(b.count - :free, 30)), :longest)) <= :now
    RETURNING b.count
""")
_READ = text("SELECT window_started_at, count AS attempts FROM auth.throttle_buckets WHERE bucket = :bucket")
_GIVE_BACK = text("UPDATE auth.throttle_buckets SET count = greatest(count - 1, 0) WHERE bucket = :bucket")
_FORGET = text("DELETE FROM auth.throttle_buckets WHERE bucket = :bucket")


async def spend(session: AsyncSession, bucket: Bucket, *, now: datetime) -> None:
    """Count one attempt. Raises TooManyAttempts (nothing counted) while the last one's wait is not over.

    The caller commits before the attempt itself is made: an attempt that crashes has counted.
    """
    rule = bucket.rule
    counted = await session.execute(
        _SPEND,
        {
            "bucket": bucket.name,
            "now": now,
            "forgotten": now - timedelta(seconds=rule.forget_after_s),
            "free": rule.free,
            "longest": rule.longest_wait_s,
        },
    )
    if counted.first() is not None:
        return
    row = (await session.execute(_READ, {"bucket": bucket.name})).one()
    until = row.window_started_at + timedelta(seconds=rule.wait_s(row.attempts))
    wait_s = max(1, -(-int((until - now).total_seconds() * 1000) // 1000))
    raise TooManyAttempts(f"Too many attempts. Please wait {in_words(wait_s)} and try again.", retry_after_s=wait_s)


async def give_back(session: AsyncSession, bucket: Bucket) -> None:
    """Take one attempt back: it was a good one. The others still count."""
    await session.execute(_GIVE_BACK, {"bucket": bucket.name})


async def forget(session: AsyncSession, bucket: Bucket) -> None:
    """Start counting anew: the owner has proved himself."""
    await session.execute(_FORGET, {"bucket": bucket.name})


def in_words(seconds: int) -> str:
    """`40 seconds`, `2 minutes`: rounded up, for a sentence."""
    if seconds < 60:
        return f"{seconds} second{'s' if seconds != 1 else ''}"
    minutes = -(-seconds // 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}"
