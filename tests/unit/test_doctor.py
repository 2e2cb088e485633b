"""The doctor names what is wrong and what helps, and fails only for what is broken."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app import doctor
from app.config import ROLES, Role, Settings
from app.database.embedded import EmbeddedPostgres
from app.doctor import Finding, Status
from app.os_processes import free_port
from app.supervisor.data_dir import make_data_dir


@contextmanager
def exchange(offset_ms: int) -> Iterator[str]:
    """A server that knows only the time, and that wrongly by `offset_ms`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"serverTime": time.time_ns() // 1_000_000 + offset_ms}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def about(findings: Iterator[Finding], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.about == name]


@pytest.mark.parametrize(
    ("offset_ms", "expected"), [(0, Status.OK), (-2_000, Status.WARN), (7_000, Status.FAIL), (-7_000, Status.FAIL)]
)
def test_a_clock_is_judged_by_its_distance_to_the_exchanges(tmp_path: Path, offset_ms: int, expected: Status) -> None:
    with exchange(offset_ms) as url:
        [clock] = about(doctor._paper(Settings(data_dir=tmp_path, paper_url=url)), "clock")

    assert clock.status is expected
    assert "NTP" in clock.remedy or expected is Status.OK


def test_a_paper_exchange_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, paper_url=f"http://127.0.0.1:{free_port()}")

    [finding] = doctor._paper(settings)
    assert finding.status is Status.WARN
    assert settings.paper_url in finding.seen


def test_a_port_held_by_a_stranger_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        threading.Thread(target=_hang_up, args=(stranger,), daemon=True).start()
        [finding] = doctor._web(Settings(data_dir=tmp_path, port=port))

    assert finding.status is Status.FAIL
    assert f"127.0.0.1:{port} is taken" in finding.seen


def _hang_up(stranger: socket.socket) -> None:
    connection, _ = stranger.accept()
    connection.close()


def test_a_secret_that_others_can_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    make_data_dir(settings)
    assert [finding.status for finding in doctor._secrets(settings)] == [Status.OK]
    settings.master_key_file.chmod(0o644)

    [finding] = doctor._secrets(settings)
    assert finding.status is Status.FAIL
    assert finding.remedy == f"chmod 600 {settings.master_key_file}"


def test_looking_does_not_make_a_database(tmp_path: Path) -> None:
    [finding] = doctor._database(Settings(data_dir=tmp_path))

    assert finding.status is Status.WARN
    assert not (tmp_path / "postgres").exists()


def test_a_sound_database_has_nothing_to_say_against_it(tmp_path: Path, database_urls: dict[Role, str]) -> None:
    settings = Settings(data_dir=tmp_path, **{f"database_url_{role}": url for role, url in database_urls.items()})

    assert {finding.status for finding in doctor._database(settings)} == {Status.OK}


def test_one_role_for_all_is_a_warning(tmp_path: Path, database_urls: dict[Role, str]) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_urls["migrator"])

    [finding] = about(doctor._database(settings), "roles")
    assert finding.status is Status.WARN
    assert "DATABASE_URL_WORKER" in finding.remedy


def test_an_empty_database_is_told_to_migrate(tmp_path: Path, postgres_server: EmbeddedPostgres) -> None:
    settings = Settings(data_dir=tmp_path, **{f"database_url_{role}": postgres_server.url(role) for role in ROLES})

    [finding] = about(doctor._database(settings), "schema")
    assert (finding.status, finding.remedy) == (Status.FAIL, "Run `plumbline migrate`.")


def test_a_database_that_is_down_is_a_failure_for_each_role(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=f"postgresql://x@127.0.0.1:{free_port()}/x")

    assert [finding.status for finding in doctor._database(settings)] == [Status.FAIL] * len(ROLES)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [([Status.OK, Status.WARN], 0), ([Status.OK, Status.FAIL, Status.OK], 1), ([], 0)],
)
def test_only_a_failure_fails(statuses: list[Status], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding(status, "clock", "[seen]", "Do this.") for status in statuses]

    assert doctor.print_findings(iter(findings)) == code
    assert capsys.readouterr().out.count("[seen]") == len(statuses)
