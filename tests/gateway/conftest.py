"""The gateway over a real database, called without a server. Time stands still unless a test moves it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from gateway_kit import ORIGIN, Person, Sessions, StillClock, funded_account, person
from sqlalchemy import text

from app.config import Settings
from app.domain.clock import to_datetime
from app.gateway.app import create_api
from app.gateway.limits import Limits, TokenBuckets
from app.services.container import AppServices
from app.services.identity import Role
from app.services.runtime import RandomIds

_RULES = {
    "symbol": "BTCUSDT",
    "base_asset": "BTC",
    "quote_asset": "USDT",
    "tick_size": "0.01",
    "step_size": "0.00001",
    "min_qty": "0.00001",
    "max_qty": "9000",
    "min_notional": "5",
}


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def services(web_sessions: Sessions, clock: StillClock, tmp_path: Path) -> AppServices:
    settings = Settings(data_dir=tmp_path, public_url=ORIGIN, upload_limit_mb=1, environment="test")
    return AppServices(settings, web_sessions, clock, RandomIds(), jwt_key=b"k" * 32)


@pytest.fixture
def limits() -> Limits:
    """No brake, unless a test puts one in."""
    return Limits(by_ip=TokenBuckets(1e6, 1_000_000), by_user=TokenBuckets(1e6, 1_000_000))


@pytest.fixture
def api(services: AppServices, limits: Limits) -> FastAPI:
    return create_api(lambda: services, limits=limits)


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=api, client=("192.0.2.1", 4000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        yield http


@pytest.fixture
async def alice(services: AppServices, client: httpx.AsyncClient) -> Person:
    return await person(services, client, "alice@example.com", Role.TRADER)


@pytest.fixture
async def bob(services: AppServices, client: httpx.AsyncClient) -> Person:
    return await person(services, client, "bob@example.com", Role.TRADER)


@pytest.fixture
async def root(services: AppServices, client: httpx.AsyncClient) -> Person:
    return await person(services, client, "root@example.com", Role.ADMIN)


@pytest.fixture
async def healthy(migrator_sessions: Sessions, clock: StillClock) -> None:
    """The execution service is HEALTHY and knows BTCUSDT at 60,000."""
    known = {"now": to_datetime(clock.now_ms()), "rules": json.dumps(_RULES)}
    statements = (
        "UPDATE execution.worker_lease SET epoch = 1, holder = 'test', state = 'HEALTHY', renewed_at = :now",
        "INSERT INTO execution.symbols (kind, symbol, rules, refreshed_at) VALUES ('PAPER', 'BTCUSDT', :rules, :now)",
        "INSERT INTO analytics.prices (kind, symbol, price, priced_at) VALUES ('PAPER', 'BTCUSDT', 60000, :now)",
    )
    async with migrator_sessions.begin() as session:
        for statement in statements:
            await session.execute(text(statement), known)


@pytest.fixture
async def account(migrator_sessions: Sessions, alice: Person, healthy: None) -> int:
    """Alice's account, ready to trade."""
    return await funded_account(migrator_sessions, alice)
