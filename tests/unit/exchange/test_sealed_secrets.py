"""What a person pastes is read once, sealed, and opened by the worker for that account only."""

from __future__ import annotations

import base64
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from app.domain.errors import InvalidInput
from app.services.exchange.signing import HmacSecret, key_of
from app.services.exchange.vault import ED25519, HMAC, RSA, PastedSecret, read_pasted, seal
from app.services.exchange.vault_private import CannotOpen, Vault

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
RSA_KEY = generate_private_key(65537, 2048)
VAULT = Vault(b"1" * 32)


def pem(
    key: RSAPrivateKey | Ed25519PrivateKey | ec.EllipticCurvePrivateKey,
    lock: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption()).decode()


PASTED = {HMAC: f"  {SECRET}\n", ED25519: pem(Ed25519PrivateKey.generate()), RSA: pem(RSA_KEY)}


@pytest.mark.parametrize("kind", PASTED)
def test_each_kind_is_recognised_sealed_opened_and_signs(kind: str) -> None:
    secret = read_pasted(PASTED[kind])
    assert secret.kind == kind
    box = seal(secret, VAULT.sealing_key, user_id=3, account_id=7)
    opened = VAULT.unseal(box, sealed_to=VAULT.sealing_key.id, user_id=3, account_id=7, kind=kind)
    stored = VAULT.open(VAULT.seal(opened, account_id=7), account_id=7, kind=kind)
    assert stored.sign(b"payload") == key_of(kind, secret.private).sign(b"payload")
    assert (stored.kind, bool(stored.public_key_pem)) == (kind, kind != HMAC)


def test_an_rsa_signature_is_pkcs1_with_sha256() -> None:
    key = key_of(RSA, read_pasted(PASTED[RSA]).private)
    public = load_pem_public_key(key.public_key_pem.encode())
    assert isinstance(public, RSAPublicKey)
    public.verify(base64.b64decode(key.sign(b"payload")), b"payload", PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    "other",
    [{"user_id": 4}, {"account_id": 8}, {"kind": ED25519}, {"sealed_to": "another"}],
)
def test_a_box_opens_for_nobody_else(other: dict[str, object]) -> None:
    box = seal(read_pasted(SECRET), VAULT.sealing_key, user_id=3, account_id=7)
    place = {"sealed_to": VAULT.sealing_key.id, "user_id": 3, "account_id": 7, "kind": HMAC} | other
    with pytest.raises(CannotOpen):
        VAULT.unseal(box, **place)  # type: ignore[arg-type]


def test_a_box_opens_with_its_own_master_key_only_and_is_never_the_same() -> None:
    boxes = {seal(read_pasted(SECRET), VAULT.sealing_key, user_id=3, account_id=7) for _ in range(3)}
    assert len(boxes) == 3
    assert not any(SECRET.encode()[:8] in box for box in boxes)
    for box in boxes:
        with pytest.raises(CannotOpen):
            Vault(b"2" * 32).unseal(box, sealed_to=VAULT.sealing_key.id, user_id=3, account_id=7, kind=HMAC)


def test_the_sealing_key_follows_from_the_master_key() -> None:
    assert Vault(b"1" * 32).sealing_key == VAULT.sealing_key
    assert Vault(b"2" * 32).sealing_key != VAULT.sealing_key


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "neither"),
        ("short", "neither"),
        ("spaces in it " * 5, "neither"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "only"),
        (pem(generate_private_key(65537, 1024)), "2048"),
        (pem(RSA_KEY, BestAvailableEncryption(b"x")), "password"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "cannot be read"),
        (RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), "public key"),
        ("a" * 9_000, "too long"),
    ],
)
def test_what_is_no_secret_is_refused_in_words_that_do_not_repeat_it(text: str, word: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_pasted(text)
    assert refused.value.field == "secret"
    assert word in refused.value.message
    assert not text or text[:20] not in refused.value.message


@pytest.mark.parametrize("thing", [PastedSecret(HMAC, SECRET.encode()), HmacSecret(SECRET), key_of(RSA, read_pasted(PASTED[RSA]).private)])  # fmt: skip # noqa: E501
def test_secrets_are_neither_printed_nor_pickled(thing: object) -> None:
    assert SECRET not in repr(thing)
    assert "***" in repr(thing)
    with pytest.raises(TypeError):
        pickle.dumps(thing)
