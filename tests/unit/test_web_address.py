"""One build of the browser app serves any address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.web import with_address

BUILT = "var e={PING:`http://127.0.0.1:8000/ping`,EVENT:`ws://127.0.0.1:8000/_event`,TRANSPORT:`websocket`};"


async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"inner"})


async def get(tmp_path: Path, public_url: str, path: str) -> httpx.Response:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "reflex-env-Ab_1-x.js").write_text(BUILT)
    app = with_address(inner, public_url, tmp_path)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path)


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("http://127.0.0.1:9000", "PING:`http://127.0.0.1:9000/ping`,EVENT:`ws://127.0.0.1:9000/_event`"),
        ("https://trade.example", "PING:`https://trade.example/ping`,EVENT:`wss://trade.example/_event`"),
    ],
)
async def test_the_address_is_put_in_when_served(tmp_path: Path, public_url: str, expected: str) -> None:
    response = await get(tmp_path, public_url, "/assets/reflex-env-Ab_1-x.js")

    assert expected in response.text
    assert "8000" not in response.text
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/", "/assets/other.js", "/assets/reflex-env-unknown.js", "/reflex-env-x.js"]
)
async def test_everything_else_goes_through(tmp_path: Path, path: str) -> None:
    assert (await get(tmp_path, "http://h", path)).text == "inner"
