"""Settings come from the environment only, and a bad value is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import Settings, child_environment, load_settings
from app.domain.errors import InvalidInput


def test_defaults_are_derived_from_the_port(tmp_path: Path) -> None:
    settings = load_settings({"PORT": "9000", "DATA_DIR": str(tmp_path)})

    assert settings.public_url == "http://127.0.0.1:9000"
    assert settings.paper_url == "http://127.0.0.1:9001"
    assert settings.master_key_file == tmp_path / "secrets" / "master.key"
    assert settings.uses_embedded_database


def test_every_bad_variable_is_named_with_its_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings({"PORT": "eighty", "LOG_LEVEL": "loud", "PUBLIC_URL": "plumbline"})

    lines = caught.value.message.splitlines()
    assert [line.split(":")[0] for line in lines] == ["PORT", "PUBLIC_URL", "LOG_LEVEL"]
    assert "'eighty'" in lines[0]


def test_a_bad_database_url_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings({"DATABASE_URL": "mysql://joe:hunter2@db/x"})

    assert "DATABASE_URL" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_binance_is_reached_at_its_documented_hosts_and_keys_never_leave_in_the_clear() -> None:
    assert load_settings({}).live_rest_url == "https://api.binance.com"
    stand_in = load_settings({"LIVE_REST_URL": "http://127.0.0.1:9/", "TESTNET_STREAM_URL": "ws://localhost:9"})
    assert (stand_in.live_rest_url, stand_in.testnet_stream_url) == ("http://127.0.0.1:9", "ws://localhost:9")
    for bad in ("http://api.binance.com", "ftp://api.binance.com", "api.binance.com", "https://"):
        with pytest.raises(InvalidInput, match="LIVE_REST_URL: must"):
            load_settings({"LIVE_REST_URL": bad})
    with pytest.raises(InvalidInput, match="LIVE_WS_API_URL: must begin with wss://"):
        load_settings({"LIVE_WS_API_URL": "ws://ws-api.binance.com"})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"PORT": ""}).port == 8000


def test_settings_do_not_read_the_environment_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9999")

    assert Settings().port == 8000
    assert load_settings().port == 9999


def test_a_child_gets_its_own_secrets_and_no_others() -> None:
    base = {"PATH": "/bin", "DATABASE_URL": "postgresql://owner", "MASTER_KEY_FILE": "/k", "PORT": "1"}

    environment = child_environment("web", {"DATABASE_URL_WEB": "postgresql://web"}, base)

    assert environment == {"PATH": "/bin", "PORT": "1", "DATABASE_URL_WEB": "postgresql://web"}


def test_a_child_cannot_be_handed_anothers_secret() -> None:
    with pytest.raises(ValueError, match="MASTER_KEY_FILE"):
        child_environment("web", {"MASTER_KEY_FILE": "/k"}, {})


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()

    assert [name for name in Settings.model_fields if f"| `{name.upper()}` |" not in text] == []
