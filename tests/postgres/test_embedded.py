"""The embedded server comes back after whatever happened to it, with the same data and passwords."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.config import ROLES, Settings
from app.database import migrate
from app.database.embedded import SUPERUSER, EmbeddedPostgres
from app.database.urls import database_url
from app.domain.errors import Unavailable


@pytest.fixture
def home(database_home: Path) -> Path:
    return database_home


def server_in(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home / "postgres", home / "secrets", home / "postgres.log", fast=True)


def remember(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("migrator")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS x")


def remembered(server: EmbeddedPostgres) -> object:
    with psycopg.connect(server.url("migrator")) as connection:
        return connection.execute("SELECT x FROM kept").fetchone()


def test_data_and_passwords_survive_a_clean_stop(home: Path) -> None:
    first = server_in(home)
    first.start()
    remember(first)
    urls = {role: first.url(role) for role in ROLES}
    first.stop()

    second = server_in(home)
    second.start()
    try:
        assert remembered(second) == (42,)
        assert {role: second.url(role) for role in ROLES} == urls
    finally:
        second.stop()


def test_it_restarts_after_it_was_killed(home: Path) -> None:
    server = server_in(home)
    server.start()
    remember(server)
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert (home / "postgres" / "postmaster.pid").exists()

    server.start()
    try:
        assert remembered(server) == (42,)
    finally:
        server.stop()


def test_a_pid_file_that_names_somebody_elses_process_is_no_obstacle(home: Path) -> None:
    server = server_in(home)
    server.start()
    server.stop()
    (home / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{home}\n")

    server.start()
    server.stop()


def test_it_ends_with_the_process_that_started_it_and_a_leftover_is_taken_over(home: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from app.database.embedded import EmbeddedPostgres
home = Path({str(home)!r})
server = EmbeddedPostgres(home / "postgres", home / "secrets", home / "postgres.log", fast=True)
server.start()
print(server.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        orphan = psutil.Process(int(owner.stdout.readline()))
        owner.send_signal(signal.SIGKILL)

    server = server_in(home)  # at once: the orphan may still be shutting down
    server.start()
    try:
        orphan.wait(10)
        assert server.process is not None
        assert server.process.poll() is None
    finally:
        server.stop()


def test_another_port_is_taken_when_the_last_one_is_in_use(home: Path) -> None:
    server = server_in(home)
    server.start()
    server.stop()
    last = psycopg.conninfo.conninfo_to_dict(server.url("web"))["port"]

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(str(last))))
        other.listen()
        server.start()
        try:
            assert f":{last}/" not in server.url("web")
            psycopg.connect(server.url("web")).close()
            assert (home / "secrets" / "web.url").read_text().strip() == server.url("web")
        finally:
            server.stop()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(home: Path) -> None:
    server = server_in(home)
    server.start()
    server.stop()
    with (home / "postgres" / "postgresql.conf").open("a") as config:
        config.write("no_such_setting = 1\n")

    with pytest.raises(Unavailable, match="no_such_setting"):
        server.start()


def test_a_lost_superuser_password_is_named(home: Path) -> None:
    server = server_in(home)
    server.start()
    server.stop()
    (home / "secrets" / f"{SUPERUSER}.url").unlink()

    try:
        with pytest.raises(Unavailable, match=r"postgres\.url is missing"):
            server.start()
    finally:
        server.stop()


def test_a_lost_role_password_is_replaced(home: Path) -> None:
    server = server_in(home)
    server.start()
    before = server.url("web")
    server.stop()
    (home / "secrets" / "web.url").unlink()

    server.start()
    try:
        assert server.url("web") != before
        psycopg.connect(server.url("web")).close()
    finally:
        server.stop()


def test_a_database_is_migrated_once_and_knows_it(postgres_server: EmbeddedPostgres, migrated_template: str) -> None:
    url = postgres_server.url("migrator", migrated_template)

    assert migrate.current_revision(url) == migrate.newest_revision() is not None
    migrate.upgrade(url)


def test_the_newest_revision_is_the_one_alembic_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))

    assert migrate.newest_revision() == ScriptDirectory.from_config(config).get_current_head()


def test_a_process_without_any_database_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"plumbline up.*DATABASE_URL"):
        database_url(Settings(data_dir=tmp_path), "web")


def test_a_url_of_its_own_goes_before_the_common_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url="postgresql://all@h/d", database_url_web="postgresql://web@h/d")

    assert database_url(settings, "web") == "postgresql://web@h/d"
    assert database_url(settings, "worker") == "postgresql://all@h/d"
