"""`plumbline doctor`: what is wrong here, and what helps."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import httpx
import psycopg
from rich.console import Console

from app import frontend
from app.config import ROLES, Role, Settings
from app.database import migrate
from app.database.urls import database_url, plain_url
from app.domain.errors import PlumblineError
from app.os_processes import port_is_free
from app.supervisor.data_dir import database_available, embedded_postgres

OLDEST_PYTHON, OLDEST_NODE, OLDEST_POSTGRES = (3, 11), 20, 15
DRIFT_WARN_MS, DRIFT_FAIL_MS = 1_000, 5_000


class Status(StrEnum):
    """How a check came out."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was seen, and what helps if that is not good."""

    status: Status
    about: str
    seen: str
    remedy: str = ""


Findings = Iterator[Finding]


def examine(settings: Settings) -> Findings:
    """Look at everything, one after the other; a part that cannot be looked at is a finding, not an end."""
    yield _python()
    yield _node()
    yield _browser_build()
    yield from _secrets(settings)
    yield from _database(settings)
    yield from _web(settings)
    yield from _paper(settings)
    yield _binance()


def print_findings(findings: Findings) -> int:
    """Print each as it comes; the exit code: 1 if any failed."""
    console = Console(highlight=False, soft_wrap=True)
    colours = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}
    failed = False
    for finding in findings:
        failed |= finding.status is Status.FAIL
        console.print(f"[{colours[finding.status]}]{finding.status:4}[/] {finding.about:14} ", end="")
        console.print(finding.seen, markup=False)
        if finding.remedy:
            console.print(f"{'':20}-> {finding.remedy}", markup=False)
    return int(failed)


def _python() -> Finding:
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding(Status.FAIL, "Python", seen, "Install Python 3.11 or newer, remove .venv and run `make run`.")
    return Finding(Status.OK, "Python", seen)


def _node() -> Finding:
    remedy = "It comes with the packages: remove .venv/.installed and run `make run`. Only building needs it."
    try:
        result = subprocess.run(
            ["node", "--version"],  # noqa: S607 - found on the PATH that the build uses
            env={"PATH": frontend.node_path()},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(Status.FAIL, "Node", f"does not start: {error}", remedy)
    version = result.stdout.strip().lstrip("v")
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) < OLDEST_NODE:
        return Finding(Status.FAIL, "Node", f"{version or result.stderr.strip()}, {OLDEST_NODE} is needed", remedy)
    return Finding(Status.OK, "Node", version)


def _browser_build() -> Finding:
    if frontend.build_dir().is_dir():
        return Finding(Status.OK, "browser app", "built from the present sources")
    return Finding(Status.WARN, "browser app", "not built from the present sources", "The next start builds it.")


def _secrets(settings: Settings) -> Findings:
    folder = settings.secrets_dir
    if not folder.is_dir():
        yield Finding(Status.WARN, "secrets", f"{folder} does not exist yet", "`plumbline up` makes it.")
        return
    open_to_others = [path for path in (folder, *folder.iterdir()) if path.stat().st_mode & 0o077]
    for path in open_to_others:
        mode = "700" if path.is_dir() else "600"
        yield Finding(Status.FAIL, "secrets", f"others may read {path}", f"chmod {mode} {path}")
    if not open_to_others:
        yield Finding(Status.OK, "secrets", f"{folder} is closed to others")


def _database(settings: Settings) -> Findings:
    if settings.uses_embedded_database and not embedded_postgres(settings).exists:
        seen = f"there is none in {settings.data_dir} yet, and DATABASE_URL is not set"
        yield Finding(Status.WARN, "database", seen, "`plumbline up` makes it.")
        return
    try:
        with database_available(settings):
            urls = {role: database_url(settings, role) for role in ROLES}
            reached = [_connects(role, url) for role, url in urls.items()]
            yield from reached
            if all(finding.status is not Status.FAIL for finding in reached):
                yield _roles_apart(urls)
                yield _schema(urls["migrator"])
    except PlumblineError as error:
        yield Finding(Status.FAIL, "database", error.message, "Check DATABASE_URL, or start with `plumbline up`.")


def _connects(role: Role, url: str) -> Finding:
    about = f"database {role}"
    try:
        with psycopg.connect(plain_url(url), connect_timeout=5) as connection:
            version = connection.info.server_version
            row = connection.execute(
                "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        return Finding(Status.FAIL, about, str(error).strip(), "Is the server running, and the URL right?")
    name, is_superuser = row or ("?", False)
    seen = f"connected as {name}, PostgreSQL {version // 10_000}.{version % 10_000}"
    if version // 10_000 < OLDEST_POSTGRES:
        return Finding(Status.FAIL, about, seen, f"PostgreSQL {OLDEST_POSTGRES} or later is needed.")
    if is_superuser:
        return Finding(Status.WARN, about, f"{seen}, a superuser", "Give each process a role without special rights.")
    return Finding(Status.OK, about, seen)


def _roles_apart(urls: dict[Role, str]) -> Finding:
    if len(set(urls.values())) < len(urls):
        return Finding(
            Status.WARN,
            "roles",
            "several processes share one database role, so nothing keeps web from what is the worker's",
            "Set DATABASE_URL_MIGRATOR, DATABASE_URL_WEB, DATABASE_URL_WORKER and DATABASE_URL_RESEARCH.",
        )
    return Finding(Status.OK, "roles", "each process has a role of its own")


def _schema(migrator_url: str) -> Finding:
    current, newest = migrate.current_revision(migrator_url), migrate.newest_revision()
    if current != newest:
        return Finding(Status.FAIL, "schema", f"at {current}, this version wants {newest}", "Run `plumbline migrate`.")
    return Finding(Status.OK, "schema", f"newest ({current})")


def _web(settings: Settings) -> Findings:
    where = f"{settings.host}:{settings.port}"
    if port_is_free(settings.host, settings.port):
        yield Finding(Status.WARN, "web", f"not running; {where} is free", "Start it with `plumbline up`.")
        return
    response = _get(f"http://{where}/health")
    if isinstance(response, str):
        yield Finding(
            Status.FAIL, "web", f"{where} is taken, but does not answer like Plumbline: {response}", "Choose a PORT."
        )
    elif response.status_code != 200:
        yield Finding(
            Status.WARN,
            "web",
            f"{where} answers {response.status_code}: {response.text[:200]}",
            "Is the worker running? See DATA_DIR/logs.",
        )
    else:
        yield Finding(Status.OK, "web", f"{where} is healthy")


def _paper(settings: Settings) -> Findings:
    before_ms = _now_ms()
    response = _get(f"{settings.paper_url}/api/v3/time")
    after_ms = _now_ms()
    if isinstance(response, str) or response.status_code != 200:
        seen = response if isinstance(response, str) else f"answers {response.status_code}"
        yield Finding(
            Status.WARN, "paper exchange", f"{settings.paper_url}: {seen}", "`plumbline up` or `plumbline paper`."
        )
        return
    yield Finding(Status.OK, "paper exchange", f"{settings.paper_url} answers")
    yield _clock("paper exchange", int(response.json()["serverTime"]) - (before_ms + after_ms) // 2)


def _binance() -> Finding:
    before_ms = _now_ms()
    response = _get("https://api.binance.com/api/v3/time")
    after_ms = _now_ms()
    if isinstance(response, str) or response.status_code != 200:
        seen = response if isinstance(response, str) else f"answers {response.status_code}"
        return Finding(
            Status.WARN, "Binance", f"cannot be reached: {seen}", "Only testnet and live accounts need the internet."
        )
    return _clock("Binance", int(response.json()["serverTime"]) - (before_ms + after_ms) // 2)


def _clock(whose: str, offset_ms: int) -> Finding:
    seen = f"{offset_ms:+} ms to {whose}"
    remedy = "Synchronise this machine's clock (NTP); above 5 s no order is sent."
    if abs(offset_ms) > DRIFT_FAIL_MS:
        return Finding(Status.FAIL, "clock", seen, remedy)
    if abs(offset_ms) > DRIFT_WARN_MS:
        return Finding(Status.WARN, "clock", seen, remedy)
    return Finding(Status.OK, "clock", seen)


def _get(url: str) -> httpx.Response | str:
    """The answer, or in words why there is none. Through a proxy only to hosts that are not this one."""
    local = "//127." in url or "//localhost" in url
    try:
        with httpx.Client(timeout=5, trust_env=not local) as client:
            return client.get(url)
    except httpx.HTTPError as error:
        return f"{type(error).__name__} {error}".strip()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
