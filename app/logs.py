"""Structured logs: JSON lines for machines, one readable line on a terminal, secrets taken out of both.

`log_context(order_id=…, request_id=…)` adds facts to every line logged inside it, in this task only.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars as log_context
from structlog.typing import Processor

__all__ = ["configure_logging", "get_logger", "log_context", "redact"]

REDACTED = "[redacted]"

#: A field whose name, lower-cased and without - and _, contains one of these is never shown.
_SECRET_WORDS = (
    "signature", "secret", "apikey", "authorization", "cookie", "password", "passwd", "passphrase",
    "totp", "listenkey", "privatekey", "masterkey", "recoverycode", "jwt", "pem", "setuplink",
)  # fmt: skip
_SECRET_ENDINGS = ("token", "databaseurl", "dsn")

_SECRET_VALUES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), REDACTED),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}"), rf"\1{REDACTED}"),
    (
        re.compile(r"(?i)\b((?:signature|secret|api_?key|listen_?key|password|token)=)[^&\s\"']+"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(\b[\w+]+://[^:/@\s]+:)[^@/\s]+@"), rf"\1{REDACTED}@"),
    # A Binance key or secret: 64 letters and digits of both cases (a SHA-256 in hex has one case and stays).
    (re.compile(r"\b(?=[a-zA-Z0-9]*[A-Z])(?=[a-zA-Z0-9]*[a-z])[A-Za-z0-9]{64}\b"), REDACTED),
)

#: Libraries that would log request URLs (with signatures) or every job run.
_QUIET = (
    "httpx",
    "httpcore",
    "urllib3",
    "aiohttp.access",
    "apscheduler.executors.default",
    "websockets",
    "apscheduler",
)


def redact(value: Any, *, key: str = "") -> Any:
    """`value` with every secret replaced, by field name and by shape, at any depth."""
    if key and _is_secret_name(key):
        return REDACTED
    if isinstance(value, str):
        for pattern, replacement in _SECRET_VALUES:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {name: redact(item, key=str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(item) for item in value]
    return value


def configure_logging(
    process: str, *, level: str = "INFO", pretty: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send every log line of this process, ours and the libraries', to `stream` (stderr unless given).

    `process` is stored in each line. `pretty` chooses the form; None: readable on a terminal, else JSON.
    The supervisor keeps what its children write in files.
    """
    stream = stream or sys.stderr
    pretty = stream.isatty() if pretty is None else pretty
    logging.raiseExceptions = False  # a line that cannot be written would be printed raw, secrets and all
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(process, pretty=pretty))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; call it as `log.info("what happened", fact=value)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _rendering(process: str, *, pretty: bool) -> list[Processor]:
    def name_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    last: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    )
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        name_process,
        structlog.processors.format_exc_info,  # plain text: no local variables
        _redact_event,
        last,
    ]


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: redact(value, key=name) for name, value in event.items()}


def _is_secret_name(name: str) -> bool:
    plain = name.lower().replace("-", "").replace("_", "")
    if plain.endswith("hint"):
        return False
    return any(word in plain for word in _SECRET_WORDS) or plain.endswith(_SECRET_ENDINGS)
