"""A write happens once for each Idempotency-Key: key, work and stored answer are one transaction.

Of two requests with the same key at the same moment the second waits on the table's unique index until the
first has committed, and gets the first one's answer. If the first fails, nothing is stored and the second
does the work: a corrected request may use the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col
from starlette.responses import Response

from app.domain.clock import to_datetime
from app.domain.errors import IdempotencyMismatch
from app.gateway.errors import IdempotencyKeyRequired
from app.gateway.wire import CanonicalJSON, canonical, to_json
from app.models.auth import IdempotencyKey
from app.services.container import AppServices
from app.services.identity import Caller

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a write answers: stored, and given again to whoever repeats the request."""

    status: int
    body: Any
    replayed: bool = False

    def response(self) -> Response:
        """As an HTTP response."""
        return CanonicalJSON(self.body, status_code=self.status, headers={REPLAYED: "true"} if self.replayed else None)


Work = Callable[[AsyncSession], Awaitable[Answer]]


class Once:
    """One idempotent write of one request."""

    def __init__(self, request: Request, services: AppServices) -> None:
        self._route = f"{request.method} {request.url.path}"
        self._given = request.headers.get(HEADER, "")
        self._services = services

    @property
    def key(self) -> str:
        """The caller's key. Raises IdempotencyKeyRequired unless it is 1 to 128 visible ASCII characters."""
        return check_key(self._given)

    def use_key(self, key: str) -> None:
        """Take the key from a form's field: a plain form cannot set a header. The header wins."""
        self._given = self._given or key

    async def run(self, caller: Caller, body: Any, work: Work) -> Response:
        """Do `work` in one transaction with the key, or answer what it answered before.

        `body` is what was asked, for comparison. Raises IdempotencyMismatch (another body or route came with
        this key before) and whatever `work` raises, which undoes everything.
        """
        return (await self.answer(caller, body, work)).response()

    async def answer(self, caller: Caller, body: Any, work: Work) -> Answer:
        """`run`, for those who make their own response."""
        asked, key = to_json(body or {}), self.key
        digest = hashlib.sha256(f"{self._route}\n{canonical(asked)}".encode()).hexdigest()
        async with self._services.sessions.begin() as session:
            claim = insert(IdempotencyKey).values(
                user_id=caller.user_id,
                key=key,
                route=self._route,
                request_hash=digest,
                request_body=asked,
                created_at=to_datetime(self._services.clock.now_ms()),
            )
            mine = await session.scalar(claim.on_conflict_do_nothing().returning(col(IdempotencyKey.key)))
            if mine is None:
                return await self._replay(session, caller, digest, asked)
            answer = await work(session)
            stored = update(IdempotencyKey).where(
                col(IdempotencyKey.user_id) == caller.user_id, col(IdempotencyKey.key) == key
            )
            await session.execute(stored.values(status_code=answer.status, response_body=answer.body))
            return answer

    async def _replay(self, session: AsyncSession, caller: Caller, digest: str, asked: Any) -> Answer:
        row = (
            await session.scalars(
                select(IdempotencyKey).where(
                    col(IdempotencyKey.user_id) == caller.user_id, col(IdempotencyKey.key) == self.key
                )
            )
        ).one()
        if row.request_hash != digest:
            raise _mismatch(row.route, self._route, row.request_body, asked)
        return Answer(row.status_code or 200, row.response_body, replayed=True)


def check_key(key: str) -> str:
    """`key` if it can be one. Raises IdempotencyKeyRequired."""
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyRequired(
            f"Send the header {HEADER} with 1 to 128 visible ASCII characters, a new one for each new intent: "
            "so a request that is sent twice is done once.",
            field=HEADER,
        )
    return key


def first_difference(before: Any, now: Any, path: str = "") -> str | None:
    """Dotted path of the first place where two JSON values differ ("" is the whole); None when they are equal."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}):
            inner = f"{path}.{name}" if path else str(name)
            if (name in before) != (name in now):
                return inner
            if (found := first_difference(before[name], now[name], inner)) is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            if (found := first_difference(old, new, f"{path}[{index}]")) is not None:
                return found
        return None
    return None if before == now else path


def _mismatch(old_route: str, route: str, before: Any, now: Any) -> IdempotencyMismatch:
    if old_route != route:
        return IdempotencyMismatch(f"This {HEADER} was used before for {old_route}. Use a new one.", field=HEADER)
    field = first_difference(before, now) or ""
    named = f"another {field}" if field else "another body"
    return IdempotencyMismatch(f"This {HEADER} was used before with {named}. Use a new one.", field=field)
