"""The outermost layer: websockets, headers, and the one address."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from app.gateway.security import inline_hashes, security_layer

ORIGIN = "http://127.0.0.1:8000"
SCRIPT = "document.documentElement.dataset.theme = 'dark'"


async def _page(request: object) -> HTMLResponse:
    return HTMLResponse("<p>here</p>")


async def _socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def _app(tmp_path: Path, public_url: str = ORIGIN) -> Any:
    (tmp_path / "login").mkdir(exist_ok=True)
    (tmp_path / "login" / "index.html").write_text(
        f'<html><script>{SCRIPT}</script><script type="module" src="/a.js"></script></html>'
    )
    inner = Starlette(routes=[WebSocketRoute("/_event", _socket), Route("/{rest:path}", _page)])
    return security_layer(public_url, lambda: tmp_path)(inner)


def _client(app: Any, base_url: str = ORIGIN) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=base_url)


async def test_only_the_built_pages_own_inline_scripts_may_run(tmp_path: Path) -> None:
    async with _client(_app(tmp_path)) as client:
        answer = await client.get("/login")

    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    digest = b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:8000"
    assert policy["frame-ancestors"] == "'none'"


async def test_every_answer_has_the_security_headers(tmp_path: Path) -> None:
    async with _client(_app(tmp_path)) as client:
        plain = (await client.get("/x")).headers
    async with _client(_app(tmp_path, "https://trade.example.com"), "https://trade.example.com") as client:
        over_https = (await client.get("/x")).headers

    assert plain["x-content-type-options"] == "nosniff"
    assert plain["referrer-policy"] == "same-origin"
    assert plain["x-frame-options"] == "DENY"
    assert "strict-transport-security" not in plain
    assert over_https["strict-transport-security"] == "max-age=31536000"
    assert "wss://trade.example.com" in over_https["content-security-policy"]


def test_without_built_pages_there_is_no_hash(tmp_path: Path) -> None:
    assert inline_hashes(tmp_path / "nothing") == []


async def _connect(app: Any, origin: str | None) -> list[str]:
    """The types of what the server sends to a browser that opens the websocket from a page at `origin`."""
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    headers = [(b"origin", origin.encode())] if origin else []
    scope = {"type": "websocket", "path": "/_event", "headers": headers, "query_string": b"", "subprotocols": []}
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:8001", "http://localhost:8000", None]
)
async def test_a_websocket_from_another_page_is_refused(tmp_path: Path, origin: str | None) -> None:
    assert await _connect(_app(tmp_path), origin) == ["websocket.close"]


async def test_our_own_page_may_open_the_websocket(tmp_path: Path) -> None:
    assert await _connect(_app(tmp_path), ORIGIN) == ["websocket.accept", "websocket.send", "websocket.close"]


async def test_the_other_name_of_this_machine_leads_to_the_one_address(tmp_path: Path) -> None:
    app = _app(tmp_path)
    async with _client(app, "http://localhost:8000") as client:
        page = await client.get("/setup?token=a%20b")
        write = await client.post("/api/v1/orders")
    async with _client(app, "http://192.0.2.7:8000") as client:
        other = await client.get("/setup")

    assert (page.status_code, page.headers["location"]) == (307, f"{ORIGIN}/setup?token=a%20b")
    assert write.status_code == 405
    assert other.status_code == 200


async def test_the_redirect_leads_nowhere_else(tmp_path: Path) -> None:
    async with _client(_app(tmp_path), "http://localhost:8000") as client:
        answer = await client.get("http://localhost:8000//evil.example/x")

    assert answer.headers["location"] == f"{ORIGIN}/evil.example/x"
