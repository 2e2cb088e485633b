"""Start everything in order, say when it is ready, watch it, stop it in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from app import frontend
from app.config import Process, Role, Settings, child_environment
from app.database import migrate
from app.database.embedded import EmbeddedPostgres
from app.database.urls import database_url, require_database
from app.domain.errors import InvalidInput, Unavailable
from app.os_processes import free_port, port_is_free
from app.supervisor.child import FIRST_PAUSE_S, LONGEST_PAUSE_S, Child, Program, Say
from app.supervisor.data_dir import embedded_postgres, locked, make_data_dir

#: After this long without a healthy answer we say what is wrong, and go on waiting.
PATIENCE_S = 30.0
#: The worker first waits for the answers to orders that are on the wire; without any it stops at once.
STOP_WITHIN_S: dict[str, float] = {"web": 4.0, "worker": 13.0, "paper": 2.0}


def up(settings: Settings, say: Say) -> None:
    """Run the whole installation until Ctrl-C or SIGTERM; everything started here is stopped here.

    Raises InvalidInput (a port is taken), Conflict (DATA_DIR is in use) or Unavailable (the database, the
    build), in words for the user, when it cannot start.
    """
    if not port_is_free(settings.host, settings.port):
        raise InvalidInput(
            f"PORT {settings.port} on {settings.host} is taken by another program. "
            f"Stop that one or choose another, for example: PORT={free_port()} make run",
            field="PORT",
        )
    settings = _with_paper_port(settings)
    make_data_dir(settings)
    with locked(settings), _sigterm_as_interrupt():
        server = embedded_postgres(settings) if settings.uses_embedded_database else None
        try:
            if server is not None:
                server.start()
            _migrate(settings, say)
            build = frontend.ensure_built(say)
            asyncio.run(_run(settings, server, build, say))
        except KeyboardInterrupt:
            say("Interrupted while starting")
        finally:
            if server is not None:
                server.stop()


def programs(settings: Settings, build: Path) -> list[Program]:
    """The children, in the order in which they start: each with its own secrets and no others."""
    shared = {
        "HOST": settings.host,
        "PORT": str(settings.port),
        "PUBLIC_URL": settings.public_url,
        "DATA_DIR": str(settings.data_dir),
        "PAPER_HOST": settings.paper_host,
        "PAPER_PORT": str(settings.paper_port),
        "PAPER_URL": settings.paper_url,
        "PYTHONUNBUFFERED": "1",
    }
    token = {"PAPER_CONTROL_TOKEN_FILE": str(settings.paper_control_token_file)}

    own: dict[Process, dict[str, str]] = {
        "paper": token,
        "worker": {**_own_url(settings, "worker"), **token, "MASTER_KEY_FILE": str(settings.master_key_file)},
        "web": {
            **_own_url(settings, "web"),
            "JWT_KEY_FILE": str(settings.jwt_key_file),
            "REFLEX_WEB_WORKDIR": str(build),
        },
    }
    if not _runs_paper(settings):
        del own["paper"]
    return [
        Program(
            name,
            [sys.executable, "-m", "app.cli", name],
            child_environment(name, shared | secrets, os.environ),
            stop_within_s=STOP_WITHIN_S[name],
        )
        for name, secrets in own.items()
    ]


async def _run(settings: Settings, server: EmbeddedPostgres | None, build: Path, say: Say) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    children = [Child(program, settings.logs_dir, say) for program in programs(settings, build)]
    tasks = [asyncio.create_task(child.keep_running(), name=child.program.name) for child in children]
    if server is not None:
        tasks.append(asyncio.create_task(_watch_postgres(server, say), name="postgres"))
    tasks.append(asyncio.create_task(_announce(settings, say), name="announce"))
    try:
        await stop.wait()
        say("Stopping ...")
    finally:
        for child in reversed(children):
            await child.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    say("Stopped")


async def _announce(settings: Settings, say: Say) -> None:
    await _until_healthy(settings, say)
    say(f"Plumbline is ready at {settings.public_url}")
    link = await _setup_link(settings)
    if link is not None:
        say(f"Nobody can sign in yet. Create the first admin with this link (it works once):\n  {link}")


async def _setup_link(settings: Settings) -> str | None:
    # Imported now: while starting, the processor belongs to the children.
    from app.database.engine import make_engine, session_factory
    from app.services.identity.setup import ensure_setup_link
    from app.services.runtime import SystemClock

    engine = make_engine(database_url(settings, "web"), application_name="plumbline-up", pool_size=1)
    try:
        return await ensure_setup_link(session_factory(engine), settings.public_url, SystemClock())
    finally:
        await engine.dispose()


async def _until_healthy(settings: Settings, say: Say) -> None:
    started, told = time.monotonic(), False
    while problem := await asyncio.to_thread(_problem, settings):
        if not told and time.monotonic() - started > PATIENCE_S:
            say(f"Not ready after {PATIENCE_S:g} s, and still waiting: {problem} (logs are in {settings.logs_dir})")
            told = True
        await asyncio.sleep(0.1)


def _problem(settings: Settings) -> str:
    """Why /health does not say that all is well; empty when it does."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("GET", "/health", headers={"Host": urlsplit(settings.public_url).netloc})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return f"the web process does not answer yet ({type(error).__name__})"
    finally:
        connection.close()
    if response.status == 200:
        return ""
    try:
        return str(json.loads(body)["reason"])
    except (ValueError, KeyError, TypeError):
        return f"/health answers {response.status}"


async def _watch_postgres(server: EmbeddedPostgres, say: Say) -> None:
    pause_s = FIRST_PAUSE_S
    while True:
        await asyncio.sleep(0.3)
        if server.process is not None and server.process.poll() is None:
            pause_s = FIRST_PAUSE_S
            continue
        say(f"PostgreSQL ended unexpectedly; starting it again in {pause_s:g} s")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        try:
            server.start()  # not in a thread: the server would end with it
        except Unavailable as error:
            say(error.message)


def _migrate(settings: Settings, say: Say) -> None:
    url = database_url(settings, "migrator")
    require_database(url)
    if migrate.current_revision(url) != migrate.newest_revision():
        say("Bringing the database to the newest schema ...")
        migrate.upgrade(url)


def _own_url(settings: Settings, role: Role) -> dict[str, str]:
    return {f"DATABASE_URL_{role.upper()}": database_url(settings, role)}


def _runs_paper(settings: Settings) -> bool:
    """Whether the paper exchange is ours to start; PAPER_URL may name one elsewhere."""
    return settings.paper_url == f"http://{settings.paper_host}:{settings.paper_port}"


def _with_paper_port(settings: Settings) -> Settings:
    """The paper exchange is ours and on loopback: if its port is taken, any other will do, unless one was named."""
    if not _runs_paper(settings) or port_is_free(settings.paper_host, settings.paper_port):
        return settings
    if os.environ.get("PAPER_PORT"):
        raise InvalidInput(
            f"PAPER_PORT {settings.paper_port} on {settings.paper_host} is taken by another program.",
            field="PAPER_PORT",
        )
    return Settings(**{**settings.model_dump(), "paper_port": free_port(settings.paper_host), "paper_url": ""})


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """While starting, SIGTERM is a Ctrl-C; later the event loop handles both."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
