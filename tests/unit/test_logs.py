"""What is logged carries its context and no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from app.logs import REDACTED, configure_logging, get_logger, log_context, redact

API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLWJ5dGVz"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----"


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """Where a fully configured process would write."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = StringIO()
    configure_logging("test", stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize("name", ["api_key", "apiKey", "Authorization", "refresh_token", "Set-Cookie", "listenKey"])
def test_a_field_with_a_secret_name_is_hidden(name: str) -> None:
    assert redact({name: "value"}) == {name: REDACTED}


@pytest.mark.parametrize("name", ["order_id", "api_key_hint", "symbol", "tokens_used"])
def test_a_field_with_a_plain_name_is_shown(name: str) -> None:
    assert redact({name: "value"}) == {name: "value"}


@pytest.mark.parametrize("secret", [API_KEY, JWT, PEM])
def test_a_secret_inside_a_sentence_is_hidden(secret: str) -> None:
    assert secret not in redact(f"sent {secret} there")


def test_secrets_in_urls_and_headers_are_hidden() -> None:
    assert redact("postgresql://web:hunter2@h/db") == f"postgresql://web:{REDACTED}@h/db"
    assert redact("/api/v3/order?symbol=X&signature=ab12&y=1") == f"/api/v3/order?symbol=X&signature={REDACTED}&y=1"
    assert redact("Authorization: Bearer abcdefghij") == f"Authorization: Bearer {REDACTED}"


def test_a_hash_in_hex_stays() -> None:
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    assert redact(digest) == digest


def test_context_reaches_our_lines_and_those_of_libraries(logged: StringIO) -> None:
    with log_context(request_id="r1", order_id=7):
        get_logger("ours").info("order sent", api_key=API_KEY)
        logging.getLogger("theirs").warning("key is %s", API_KEY)

    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [(line["request_id"], line["order_id"], line["process"]) for line in lines] == [("r1", 7, "test")] * 2
    assert API_KEY not in str(lines)


def test_a_traceback_shows_no_local_variables(logged: StringIO) -> None:
    def fails(confidential: str) -> None:
        raise RuntimeError("no luck")

    password = "hunter" + "2"
    try:
        fails(password)
    except RuntimeError:
        get_logger("ours").exception("failed")

    assert "no luck" in logged.getvalue()
    assert "hunter2" not in logged.getvalue()
