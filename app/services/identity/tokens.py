"""Tokens for programs: a short-lived signed access token and one-time refresh tokens kept as hashes.

A refresh token that comes a second time was copied by somebody, so the whole family made from it dies.
What a token's owner may do is read from the database each time, never from the token.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import jwt
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.domain.clock import Clock, to_datetime
from app.models.auth import RefreshToken, User
from app.services.identity.errors import NotSignedIn
from app.services.identity.sessions import hash_of
from app.services.identity.viewer import Role, Viewer

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "plumbline"
ACCESS_TYPE = "access"
ACCESS_S = 600
REFRESH = timedelta(days=14)
REQUIRED = ("exp", "iat", "nbf", "sub", "jti", "aud", "iss", "typ")

_SIGN_IN_AGAIN = "The token is not valid. Please sign in again."
# Times are compared below with the clock that is passed in; the library would ask the machine's.
_OPTIONS: Any = {"require": list(REQUIRED), "verify_exp": False, "verify_nbf": False, "verify_iat": False}


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a program gets when it signs in. Neither is stored by us as it is."""

    access_token: str
    expires_in_s: int
    refresh_token: str


async def issue_tokens(session: AsyncSession, *, viewer: Viewer, key: bytes, clock: Clock) -> TokenPair:
    """Start a new family of tokens for a user who has just proved who he is."""
    return await _issue(session, user_id=viewer.user_id, family=secrets.token_urlsafe(16), key=key, clock=clock)


async def refresh_tokens(
    sessions: async_sessionmaker[AsyncSession], refresh_token: str, *, key: bytes, clock: Clock
) -> TokenPair:
    """Exchange a refresh token, once. Makes its own transaction: the end of a family must outlive the error.

    Raises NotSignedIn for an unknown, expired, revoked or used one; a used one ends its family.
    """
    now, token_hash = to_datetime(clock.now_ms()), hash_of(refresh_token)
    async with sessions.begin() as session:
        claimed = await session.scalar(
            update(RefreshToken)
            .where(
                col(RefreshToken.token_hash) == token_hash,
                col(RefreshToken.used_at).is_(None),
                col(RefreshToken.revoked_at).is_(None),
                col(RefreshToken.expires_at) > now,
            )
            .values(used_at=now)
            .returning(RefreshToken)
        )
        if claimed is None:
            await _end_family_of(session, token_hash, now)
        elif await _active_viewer(session, claimed.user_id) is not None:
            return await _issue(session, user_id=claimed.user_id, family=claimed.family, key=key, clock=clock)
    raise NotSignedIn(_SIGN_IN_AGAIN)


async def viewer_of_token(session: AsyncSession, access_token: str, *, key: bytes, clock: Clock) -> Viewer:
    """Who an access token speaks for, as the database knows him now. Raises NotSignedIn."""
    claims = read_access_token(access_token, key=key, now_s=clock.now_ms() / 1000)
    viewer = await _active_viewer(session, int(claims["sub"]))
    if viewer is None:
        raise NotSignedIn(_SIGN_IN_AGAIN)
    return viewer


def access_token(user_id: int, *, key: bytes, now_s: int) -> str:
    """A signed access token for `user_id`, good for ten minutes from `now_s`."""
    claims = {
        "sub": str(user_id),
        "typ": ACCESS_TYPE,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + ACCESS_S,
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def read_access_token(token: str, *, key: bytes, now_s: float) -> Mapping[str, Any]:
    """The claims of a token that is ours, whole, of type access and in its time. Raises NotSignedIn."""
    try:
        claims = jwt.decode(token, key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options=_OPTIONS)
        in_time = all(type(claims[name]) is int for name in ("iat", "nbf", "exp")) and (
            claims["iat"] <= now_s and claims["nbf"] <= now_s < claims["exp"]
        )
        whole = claims["typ"] == ACCESS_TYPE and claims["sub"].isascii() and claims["sub"].isdigit()
    except (jwt.PyJWTError, UnicodeError, ValueError):
        raise NotSignedIn(_SIGN_IN_AGAIN) from None
    if not (in_time and whole):
        raise NotSignedIn("The token has expired. Please refresh it." if whole else _SIGN_IN_AGAIN)
    return cast(Mapping[str, Any], claims)


async def _issue(session: AsyncSession, *, user_id: int, family: str, key: bytes, clock: Clock) -> TokenPair:
    now, refresh = to_datetime(clock.now_ms()), secrets.token_urlsafe(32)
    session.add(
        RefreshToken(
            token_hash=hash_of(refresh), family=family, user_id=user_id, issued_at=now, expires_at=now + REFRESH
        )
    )
    await session.flush()
    return TokenPair(access_token(user_id, key=key, now_s=clock.now_ms() // 1000), ACCESS_S, refresh)


async def _end_family_of(session: AsyncSession, token_hash: str, now: datetime) -> None:
    family = await session.scalar(
        select(col(RefreshToken.family)).where(
            col(RefreshToken.token_hash) == token_hash, col(RefreshToken.used_at).is_not(None)
        )
    )
    if family is not None:
        await session.execute(
            update(RefreshToken)
            .where(col(RefreshToken.family) == family, col(RefreshToken.revoked_at).is_(None))
            .values(revoked_at=now)
        )


async def _active_viewer(session: AsyncSession, user_id: int) -> Viewer | None:
    user = await session.scalar(select(User).where(col(User.id) == user_id, col(User.disabled_at).is_(None)))
    return Viewer(user_id, user.email, Role(user.role)) if user else None
