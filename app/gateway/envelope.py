"""What surrounds every API call: its id, the brake per address, the size limit, the log line, the last resort.

Pages, static files and the websocket pass through the same application and are left alone.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import PlumblineError
from app.gateway.errors import response_for
from app.gateway.limits import Limits
from app.logs import get_logger, log_context

log = get_logger(__name__)

#: Largest body of a call that is not an upload.
MAX_BODY_BYTES = 1024 * 1024
#: No call but an upload takes longer; a database that hangs must not make every caller hang with it.
DEADLINE_S = 40.0
#: Has a limit of its own.
UPLOAD_PATH = "/api/v1/datasets"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_ours(path: str) -> bool:
    """Whether `path` belongs to the API and not to the browser app."""
    return path.startswith("/api/") or path in ("/api", "/health", "/openapi.json")


class Envelope:
    """ASGI middleware around the API's routes."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one call, or pass on what is not a call of the API."""
        if scope["type"] != "http" or not is_ours(scope["path"]):
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = request_id = _request_id(scope)
        state["client_ip"] = (scope.get("client") or ("", 0))[0]
        with log_context(request_id=request_id, user_id=None):  # who it is, is known further in
            await self._answer(scope, _limited(scope, receive), send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started_s, status = time.perf_counter(), 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self.limits.by_ip.take(scope["state"]["client_ip"])
            async with asyncio.timeout(None if scope["path"] == UPLOAD_PATH else DEADLINE_S):
                await self.app(scope, receive, send_on)
        except PlumblineError as error:
            await response_for(error, request_id=request_id)(scope, receive, send_on)
        # The process boundary: whatever went wrong, the caller gets our shape and the log the traceback.
        except Exception as error:
            if status:  # half an answer is out already: only the log is left
                log.error("answer broken off", exc_info=error)
            else:
                await response_for(error, request_id=request_id)(scope, receive, send_on)
        finally:
            tell = log.debug if scope["path"] == "/health" else log.info
            duration_ms = round((time.perf_counter() - started_s) * 1000, 1)
            tell("request", method=scope["method"], path=scope["path"], status=status, duration_ms=duration_ms)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _limited(scope: Scope, receive: Receive) -> Receive:
    if scope["path"] == UPLOAD_PATH:
        return receive
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise HTTPException(413, "The request is larger than 1 MB.")
        return message

    return receive_some
