"""The outermost layer of the web process: who may open the websocket, and the security headers of every answer."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_LOOPBACK = frozenset({"localhost", "127.0.0.1"})


def built_files() -> Path:
    """Where the files of the browser app are that this process serves."""
    return Path(os.environ.get("REFLEX_WEB_WORKDIR", ".web")) / "build" / "client"


def security_layer(public_url: str, files: Callable[[], Path] = built_files) -> Callable[[ASGIApp], ASGIApp]:
    """A transformer for the whole web process (`api_transformer`, last). Files are read when it is applied."""

    def apply(app: ASGIApp) -> ASGIApp:
        return SecurityLayer(app, public_url, security_headers(public_url, inline_hashes(files())))

    return apply


class SecurityLayer:
    """ASGI middleware: Origin of websockets checked, headers added, loopback aliases sent to the one address."""

    def __init__(self, app: ASGIApp, public_url: str, headers: dict[str, str]) -> None:
        self.app = app
        self.public_url = public_url
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "websocket":
            # Browsers let any page open a websocket to us and add our cookie: only our own pages may.
            if Headers(scope=scope).get("origin") != self.public_url:
                await receive()
                await send({"type": "websocket.close", "code": 4403})
                return
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers[name] = value
            await send(message)

        elsewhere = self._right_address(scope)
        app = RedirectResponse(elsewhere, status_code=307) if elsewhere else self.app
        await app(scope, receive, send_on)

    def _right_address(self, scope: Scope) -> str:
        """Where a page asked for at localhost belongs when we are 127.0.0.1 (or the other way round), or "".

        Cookie and websocket know one address only: the page would open but never come to life.
        """
        host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
        ours = urlsplit(self.public_url).hostname
        if host == ours or not {host, ours} <= _LOOPBACK or scope["method"] not in ("GET", "HEAD"):
            return ""
        query = scope.get("query_string", b"").decode("latin-1")
        path = "/" + scope.get("raw_path", b"/").decode("latin-1").split("?")[0].lstrip("/")
        return f"{self.public_url}{path}{'?' + query if query else ''}"


def inline_hashes(files: Path) -> list[str]:
    """The CSP source of each inline script in the built pages, so that no other may run."""
    scripts = {script for page in files.rglob("*.html") for script in _INLINE_SCRIPT.findall(page.read_text("utf-8"))}
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return sorted(f"'sha256-{digest}'" for digest in digests)


def security_headers(public_url: str, script_hashes: list[str]) -> dict[str, str]:
    """The headers of every answer. Without any built page (development) inline scripts are let through."""
    websocket = public_url.replace("http", "ws", 1)
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *(script_hashes or ["'unsafe-inline'"])]),
        "style-src": "'self' 'unsafe-inline'",  # emotion and Radix write style elements
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' {websocket}",
        "frame-ancestors": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "object-src": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    }
    if public_url.startswith("https://"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers
