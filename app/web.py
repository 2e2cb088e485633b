"""The web process: the built browser app, its websocket and the gateway on one port."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.server import Server

from app import frontend
from app.config import Settings, load_settings
from app.domain.errors import InvalidInput
from app.domain.money import use_money_context
from app.logs import configure_logging
from app.os_processes import end_with_parent, loading, port_is_free

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: Reflex looks there for the files to serve; the supervisor names the build it has made.
BUILD_VARIABLE = "REFLEX_WEB_WORKDIR"
#: Names of Reflex's own: skip compiling, and serve the files compiled before. They are internal to the
#: pinned version; tests/e2e would notice a change.
_SERVE_ONLY = {
    "REFLEX_ENV_MODE": "prod",
    "__REFLEX_SKIP_COMPILE": "true",
    "__REFLEX_MOUNT_FRONTEND_COMPILED_APP": "true",
}
#: The one small file into which a build writes where its server is.
_ADDRESS_FILE = re.compile(r"/assets/reflex-env-[\w-]+\.js")
_ADDRESS = re.compile(r"(http|ws)s?://[\w.:\[\]-]+(?=/)")


def run(settings: Settings) -> None:
    """Serve until told to stop. Raises InvalidInput when the port is taken. Builds first if the
    sources changed, unless whoever started us has seen to that."""
    if not port_is_free(settings.host, settings.port):
        raise InvalidInput(
            f"PORT {settings.port} on {settings.host} is taken by another program; choose another PORT.", field="PORT"
        )
    build = os.environ.get(BUILD_VARIABLE) or str(frontend.ensure_built(_tell))
    os.environ |= _SERVE_ONLY | {BUILD_VARIABLE: build, "DATA_DIR": str(settings.data_dir)}
    os.chdir(frontend.ROOT)  # where Reflex looks for rxconfig.py
    sys.path.insert(0, str(frontend.ROOT))
    Server(
        target="app.web:application",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=1,  # a page's state lives in this process's memory
        workers_kill_timeout=3,
        log_dictconfig={"handlers": {}, "loggers": {"_granian": {"propagate": True}, "granian.access": {}}},
    ).serve()


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - progress for a person


def application() -> ASGIApp:
    """What the server runs, made in the serving process itself."""
    end_with_parent(os.getppid())
    settings = load_settings()
    configure_logging("web", level=settings.log_level)
    use_money_context()
    with loading():
        from app.app import app

        pages = app()
    return with_address(pages, settings.public_url, Path(os.environ[BUILD_VARIABLE]) / "build" / "client")


def with_address(app: ASGIApp, public_url: str, files: Path) -> ASGIApp:
    """`app`, with the address its build was made for replaced by `public_url`: one build serves any."""
    scheme, _, rest = public_url.partition("://")

    def address(match: re.Match[str]) -> str:
        return f"{match[1]}{'s' if scheme == 'https' else ''}://{rest}"

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not _ADDRESS_FILE.fullmatch(path) or not (files / path[1:]).is_file():
            await app(scope, receive, send)
            return
        body = _ADDRESS.sub(address, (files / path[1:]).read_text()).encode()
        headers = [
            (b"content-type", b"text/javascript"),
            (b"cache-control", b"no-cache"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve
