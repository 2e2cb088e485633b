"""Signatures: the vectors of the official documentation, and what must not pass."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from app.domain.errors import InvalidInput
from app.paper_exchange.signing import ED25519, HMAC, load_public_key, rest_payload, verify, ws_params, ws_payload

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
TAIL = "&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
FULL_WIDTH_DIGITS = "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96"
REST_VECTORS = [
    ("symbol=LTCBTC" + TAIL, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
    (f"symbol={FULL_WIDTH_DIGITS}" + TAIL, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
]
WS_BASE = {"recvWindow": "100", "timestamp": "1645423376532", "type": "LIMIT", "timeInForce": "GTC"}
WS_KEY = {"apiKey": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"}
WS_VECTORS = [
    (
        {**WS_BASE, **WS_KEY, "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.01000000", "price": "52000.00"},
        "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
    ),
    (
        {**WS_BASE, **WS_KEY, "symbol": "１２３４５６", "side": "BUY", "quantity": "1.00000000", "price": "0.10000000",
         "recvWindow": "5000"},
        "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("query", "expected"), REST_VECTORS)
@pytest.mark.parametrize("spelling", [str.lower, str.upper])
def test_the_documented_rest_vectors_verify_in_either_case(query: str, expected: str, spelling: object) -> None:
    signature = spelling(expected)  # type: ignore[operator]
    for in_query, in_body in [(f"{query}&signature={signature}", ""), ("", f"{query}&signature={signature}")]:
        payload, found = rest_payload(in_query, in_body)
        assert found == signature
        assert verify(HMAC, SECRET, payload, found)


def test_query_and_body_are_signed_one_after_the_other_without_separator() -> None:
    query, expected = REST_VECTORS[0]
    head, tail = query[:35], query[35:]
    payload, found = rest_payload(head, f"{tail}&signature={expected}")
    assert payload == (head + tail).encode()
    assert found is not None
    assert verify(HMAC, SECRET, payload, found)


@pytest.mark.parametrize(("params", "expected"), WS_VECTORS)
def test_the_documented_ws_api_vectors_verify(params: dict[str, str], expected: str) -> None:
    assert verify(HMAC, SECRET, ws_payload({**params, "signature": expected}), expected)


def test_a_changed_request_does_not_verify() -> None:
    query, expected = REST_VECTORS[0]
    payload, _ = rest_payload(query.replace("quantity=1", "quantity=2"), "")
    assert not verify(HMAC, SECRET, payload, expected)


def test_ws_values_are_signed_as_written_with_booleans_in_lower_case() -> None:
    texts = ws_params({"a": "1.50", "b": True, "c": None, "d": ["X"]})
    assert texts == {"a": "1.50", "b": "true", "d": '["X"]'}
    assert ws_payload(texts) == b'a=1.50&b=true&d=["X"]'


def test_an_ed25519_signature_verifies_and_is_case_sensitive() -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip
    signature = base64.b64encode(key.sign(b"symbol=BTCUSDT")).decode()
    assert verify(ED25519, pem, b"symbol=BTCUSDT", signature)
    assert not verify(ED25519, pem, b"symbol=ETHUSDT", signature)
    assert not verify(ED25519, pem, b"symbol=BTCUSDT", signature.swapcase())
    assert not verify(ED25519, pem, b"symbol=BTCUSDT", "not base64!")


@pytest.mark.parametrize("pem", ["", "nonsense", "x25519"])
def test_only_an_ed25519_public_key_is_accepted(pem: str) -> None:
    if pem == "x25519":
        public = X25519PrivateKey.generate().public_key()
        pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()  # fmt: skip
    with pytest.raises(InvalidInput):
        load_public_key(pem)
