"""Private keys open with their master key, for their account, and for nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.domain.errors import PlumblineError, Unavailable
from app.services.exchange.vault import bound_to
from app.services.exchange.vault_private import CannotOpen, Vault, ensure_master_key


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.from_file(tmp_path / "secrets" / "master.key")


def test_the_master_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "master.key"
    first = Vault.from_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Vault.from_file(path).master_key_id == first.master_key_id


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_master_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = ensure_master_key(tmp_path / "master.key")
    path.chmod(mode)
    with pytest.raises(Unavailable) as refused:
        Vault.from_file(path)
    assert "chmod 600" in refused.value.message


def test_a_master_key_file_with_something_else_in_it_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_text("hello")
    path.chmod(0o600)
    with pytest.raises(Unavailable):
        ensure_master_key(path)
    assert path.read_text() == "hello"


def test_a_sealed_key_opens_and_signs_as_before(vault: Vault) -> None:
    key = vault.generate()
    opened = vault.open(vault.seal(key, account_id=7), account_id=7)
    assert opened.public_key_pem == key.public_key_pem
    assert opened.sign(b"payload") == key.sign(b"payload")


def test_a_sealed_key_holds_no_private_byte_in_the_clear_and_is_never_the_same(vault: Vault) -> None:
    key = vault.generate()
    boxes = {vault.seal(key, account_id=7) for _ in range(3)}
    assert len(boxes) == 3
    assert not any(key.private_bytes()[:8] in box for box in boxes)


def test_a_sealed_key_does_not_open_for_another_account(vault: Vault) -> None:
    box = vault.seal(vault.generate(), account_id=7)
    with pytest.raises(CannotOpen) as refused:
        vault.open(box, account_id=8)
    assert isinstance(refused.value, PlumblineError)
    assert refused.value.facts["account_id"] == 8


def test_a_sealed_key_does_not_open_with_another_master_key(vault: Vault, tmp_path: Path) -> None:
    box = vault.seal(vault.generate(), account_id=7)
    with pytest.raises(CannotOpen):
        Vault.from_file(tmp_path / "other.key").open(box, account_id=7)


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_a_box_that_was_cut_does_not_open(vault: Vault, length: int) -> None:
    with pytest.raises(CannotOpen):
        vault.open(vault.seal(vault.generate(), account_id=7)[:length], account_id=7)


def test_a_box_with_a_changed_bit_does_not_open(vault: Vault) -> None:
    box = bytearray(vault.seal(vault.generate(), account_id=7))
    for place in (0, 12, len(box) - 1):
        changed = bytearray(box)
        changed[place] ^= 1
        with pytest.raises(CannotOpen):
            vault.open(bytes(changed), account_id=7)


def test_a_key_is_bound_to_its_row() -> None:
    bound = bound_to(account_id=7, kind="ED25519", master_key_id="abc")
    assert bound == b"plumbline-credential/v1|account=7|kind=ED25519|key=abc"


def test_neither_vault_nor_key_shows_a_secret(vault: Vault) -> None:
    assert f"{vault.generate()!r}" == "Ed25519Key(***)"
    assert repr(vault) == f"Vault(master_key_id={vault.master_key_id!r})"
