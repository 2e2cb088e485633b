"""Settings of every process: one frozen, typed class, read from the environment and from nowhere else.

Fields marked `only_for` are secrets or lead to one: the supervisor hands each process its own and no
other (see `child_environment`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from app.domain.errors import InvalidInput

Process = Literal["web", "worker", "research", "migrator", "paper"]
PROCESSES: tuple[Process, ...] = ("web", "worker", "research", "migrator", "paper")

#: The database roles, one a process; the paper exchange has no business with the database.
Role = Literal["migrator", "web", "worker", "research"]
ROLES: tuple[Role, ...] = ("migrator", "web", "worker", "research")


def _only_for(*processes: Process) -> dict[str, Any]:
    return {"only_for": list(processes)}


class Settings(BaseModel):
    """What can be set. The environment variable of a field is its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: str = Field("127.0.0.1", description="Address the web process listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the web process listens on.")
    public_url: str = Field("", description="Where browsers reach us; empty: http://127.0.0.1:PORT.")
    data_dir: Path = Field(Path("data"), description="Folder for the embedded database, secrets, logs and uploads.")

    database_url: str = Field(
        "",
        description="A PostgreSQL (15 or later) to use instead of the embedded one.",
        json_schema_extra=_only_for(),
    )
    database_url_migrator: str = Field("", description="The owner's URL.", json_schema_extra=_only_for("migrator"))
    database_url_web: str = Field("", description="The web role's URL.", json_schema_extra=_only_for("web"))
    database_url_worker: str = Field("", description="The worker role's URL.", json_schema_extra=_only_for("worker"))
    database_url_research: str = Field(
        "", description="The research role's URL.", json_schema_extra=_only_for("research")
    )

    master_key_file: Path = Field(
        Path(), description="Key that seals exchange credentials.", json_schema_extra=_only_for("worker")
    )
    jwt_key_file: Path = Field(Path(), description="Key that signs API tokens.", json_schema_extra=_only_for("web"))
    paper_control_token_file: Path = Field(
        Path(),
        description="Token that may register accounts and choose markets on the paper exchange.",
        json_schema_extra=_only_for("worker", "paper"),
    )

    paper_host: str = Field("127.0.0.1", description="Address the paper exchange listens on.")
    paper_port: int = Field(0, ge=0, le=65535, description="Port of the paper exchange; 0: PORT + 1.")
    paper_url: str = Field("", description="Base URL of the paper exchange; empty: from PAPER_HOST and PAPER_PORT.")

    # Binance's documented hosts: rest-api.md, web-socket-api.md, web-socket-streams.md of its Spot API and its testnet.
    testnet_rest_url: str = Field("https://testnet.binance.vision", description="REST API of testnet accounts.")
    testnet_ws_api_url: str = Field(
        "wss://ws-api.testnet.binance.vision/ws-api/v3", description="WebSocket API of testnet accounts."
    )
    testnet_stream_url: str = Field(
        "wss://stream.testnet.binance.vision", description="Market streams of testnet accounts."
    )
    live_rest_url: str = Field("https://api.binance.com", description="REST API of live accounts.")
    live_ws_api_url: str = Field(
        "wss://ws-api.binance.com:443/ws-api/v3", description="WebSocket API of live accounts."
    )
    live_stream_url: str = Field("wss://stream.binance.com:9443", description="Market streams of live accounts.")

    environment: Literal["local", "production", "test"] = Field("local", description="What kind of installation.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged.")

    upload_limit_mb: int = Field(50, ge=1, le=2000, description="Largest file that may be uploaded.")
    visibility_margin_ms: int = Field(60_000, ge=0, description="How long a sent order may stay invisible.")
    recv_window_ms: int = Field(5_000, ge=1, le=60_000, description="recvWindow of every signed request.")
    stale_price_ms: int = Field(15_000, ge=1_000, description="Nothing is bought at the market on an older price.")
    unprotected_after_ms: int = Field(
        30_000, ge=1_000, description="A position without its stop for longer than this opens an incident."
    )
    engine_timeout_ms: int = Field(10_000, ge=0, description="How long the exchange's engine may hold a request.")
    lease_ttl_s: float = Field(15.0, gt=0, description="How long the worker's lease lives without renewal.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("public_url", "paper_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must look like https://host or http://host:port")
        return value.rstrip("/")

    @field_validator("testnet_rest_url", "live_rest_url", "testnet_ws_api_url", "testnet_stream_url", "live_ws_api_url",
                     "live_stream_url")  # fmt: skip
    @classmethod
    def _exchange(cls, value: str, info: ValidationInfo) -> str:
        """Keys travel there: without TLS only to this machine, as a stand-in for tests."""
        scheme = "http" if str(info.field_name).endswith("rest_url") else "ws"
        parts = urlsplit(value)
        if parts.scheme not in (scheme, f"{scheme}s") or not parts.hostname:
            raise ValueError(f"must look like {scheme}s://host")
        if parts.scheme == scheme and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"must begin with {scheme}s://, unless it is on this machine: API keys are sent there")
        return value.rstrip("/")

    @field_validator("database_url", "database_url_migrator", "database_url_web", "database_url_worker",
                     "database_url_research")  # fmt: skip
    @classmethod
    def _postgres(cls, value: str) -> str:
        if value and urlsplit(value).scheme.split("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("must look like postgresql://user:password@host:port/database")
        return value

    def model_post_init(self, context: Any, /) -> None:
        """Fill in what follows from other fields, so that readers never see an empty value."""
        derived: dict[str, Any] = {"data_dir": self.data_dir.expanduser().resolve()}
        derived["public_url"] = self.public_url or f"http://127.0.0.1:{self.port}"
        derived["paper_port"] = self.paper_port or self.port % 65535 + 1
        derived["paper_url"] = self.paper_url or f"http://{self.paper_host}:{derived['paper_port']}"
        for field, name in _KEY_FILES.items():
            given: Path = getattr(self, field)
            secrets = derived["data_dir"] / "secrets"
            derived[field] = secrets / name if given == Path() else given.expanduser().resolve()
        self.__dict__.update(derived)

    @property
    def secrets_dir(self) -> Path:
        """Folder (mode 0700) of generated passwords and keys."""
        return self.data_dir / "secrets"

    @property
    def logs_dir(self) -> Path:
        """Folder of the processes' log files."""
        return self.data_dir / "logs"

    @property
    def uses_embedded_database(self) -> bool:
        """Whether no database was named, so that ours is meant."""
        return not (self.database_url or any(getattr(self, f"database_url_{role}") for role in ROLES))

    @property
    def upload_limit_bytes(self) -> int:
        """Largest upload in bytes."""
        return self.upload_limit_mb * 1024 * 1024


_KEY_FILES = {"master_key_file": "master.key", "jwt_key_file": "jwt.key", "paper_control_token_file": "paper.token"}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (the process's environment unless given).

    Raises InvalidInput with one line a bad variable, each naming the variable.
    """
    values = os.environ if environ is None else environ
    known = {name: values[name.upper()] for name in Settings.model_fields if values.get(name.upper())}
    try:
        return Settings(**known)
    except ValidationError as error:
        raise InvalidInput("\n".join(_complaint(known, item) for item in error.errors()), field="environment") from None


def settings_or_exit() -> Settings:
    """`load_settings()` for the entry point of a process: a bad value is printed and ends it with code 2."""
    try:
        return load_settings()
    except InvalidInput as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - nothing is set up yet, logs included
        raise SystemExit(2) from None


def child_environment(process: Process, own: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: `base` without any process's secrets, plus `own`.

    `own` may name only fields that `process` is allowed to have.
    """
    restricted = {
        name.upper(): extra["only_for"]
        for name, field in Settings.model_fields.items()
        if isinstance(extra := field.json_schema_extra, dict) and "only_for" in extra
    }
    for name in own:
        if process not in (allowed := restricted.get(name, PROCESSES)):  # type: ignore[operator]
            raise ValueError(f"{name} may be handed to {allowed} only, not to {process}")
    return {name: value for name, value in base.items() if name not in restricted} | dict(own)


def _complaint(given: Mapping[str, str], item: Mapping[str, Any]) -> str:
    name = str(item["loc"][0]) if item["loc"] else "?"
    shown = "" if name.startswith("database_url") else f" (it was {given.get(name, '')!r})"
    reason = str(item["msg"]).removeprefix("Value error, ")
    return f"{name.upper()}: {reason[0].lower()}{reason[1:]}{shown}"
