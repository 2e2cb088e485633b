"""People and accounts for tests of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.services.container import AppServices
from app.services.identity import Role, Viewer, sessions, users
from app.services.identity.tokens import access_token

Sessions = async_sessionmaker[AsyncSession]

ORIGIN = "http://127.0.0.1:8000"
PASSWORD = "staple cloud river anvil"
START_MS = 1_790_000_000_000


@dataclass
class StillClock:
    """A clock that moves when told to."""

    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def exchange_now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass
class Person:
    """Somebody who calls the API with a token, and may use the cookie instead."""

    viewer: Viewer
    token: str
    client: httpx.AsyncClient
    _keys: int = field(default=0)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.get(path, headers=self.headers, **options)

    async def write(
        self, path: str, body: Any = None, *, key: str | None = None, method: str = "POST", **options: Any
    ) -> httpx.Response:
        self._keys += 1
        headers = {**self.headers, "Idempotency-Key": key or f"{self.viewer.user_id}-{self._keys}"}
        return await self.client.request(method, path, json=body, headers=headers, **options)


async def person(services: AppServices, client: httpx.AsyncClient, email: str, role: Role) -> Person:
    """A new user, signed in with a token."""
    async with services.sessions.begin() as session:
        viewer = await users.create_user(session, email=email, password=PASSWORD, role=role, clock=services.clock)
    now_s = services.clock.now_ms() // 1000
    return Person(viewer, access_token(viewer.user_id, key=services.jwt_key, now_s=now_s), client)


async def cookie_of(services: AppServices, viewer: Viewer) -> str:
    """A fresh browser session's cookie header."""
    async with services.sessions.begin() as session:
        cookie = await sessions.create_session(
            session, user_id=viewer.user_id, ip="", user_agent="", clock=services.clock
        )
    return f"{services.cookie_name}={cookie}"


async def funded_account(migrator_sessions: Sessions, owner: Person, label: str = "Paper") -> int:
    """An ACTIVE paper account of `owner` with 10,000 USDT."""
    async with migrator_sessions.begin() as session:
        account_id: int = (
            await session.execute(
                text(
                    "INSERT INTO execution.accounts (user_id, label, kind, state) "
                    "VALUES (:user_id, :label, 'PAPER', 'ACTIVE') RETURNING id"
                ),
                {"user_id": owner.viewer.user_id, "label": label},
            )
        ).scalar_one()
        await session.execute(
            text("INSERT INTO portfolio.balances (account_id, asset, total) VALUES (:id, 'USDT', 10000)"),
            {"id": account_id},
        )
    return account_id


def limit_order(account_id: int, **changes: Any) -> dict[str, Any]:
    """A good limit order."""
    return {
        "account_id": account_id,
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "quantity": "0.001",
        "price": "50000",
        **changes,
    }
