"""The signature vectors of the official documentation, and keys that do not show themselves."""

from __future__ import annotations

import pickle
from base64 import b64decode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from app.services.exchange.signing import Ed25519Key, HmacSecret, encode_params, signed_form, signed_ws_params

SECRET = HmacSecret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
DOCUMENTED = {
    "symbol": "LTCBTC", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 1, "price": "0.1",
    "recvWindow": 5000, "timestamp": 1499827319559,
}  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "signature"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        ("１２３４５６", "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    ],
)
def test_hmac_signs_the_encoded_text_as_documented(symbol: str, signature: str) -> None:
    assert signed_form({**DOCUMENTED, "symbol": symbol}, SECRET).rpartition("&signature=")[2] == signature


def test_hmac_signs_websocket_requests_sorted_and_unencoded_as_documented() -> None:
    params = {
        "symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01000000",
        "price": "52000.00", "newOrderRespType": "ACK", "recvWindow": 100, "timestamp": 1645423376532,
        "apiKey": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    }  # fmt: skip
    signature = signed_ws_params(params, SECRET)["signature"]
    assert signature == "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a"


def test_ed25519_signs_with_the_key_whose_public_half_it_shows() -> None:
    key = Ed25519Key.generate()
    public = load_pem_public_key(key.public_key_pem.encode())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(b64decode(key.sign(b"payload"), validate=True), b"payload")
    with pytest.raises(InvalidSignature):
        public.verify(b64decode(key.sign(b"payload")), b"another")


def test_the_base64_of_a_signature_is_percent_encoded_in_a_form() -> None:
    class Awkward:
        def sign(self, payload: bytes) -> str:
            return "a+b/c=="

    assert signed_form({"a": 1}, Awkward()) == "a=1&signature=a%2Bb%2Fc%3D%3D"


def test_values_are_percent_encoded_before_they_are_signed() -> None:
    assert encode_params({"a": "x y:+&=/é", "b": 2}) == "a=x%20y%3A%2B%26%3D%2F%C3%A9&b=2"


@pytest.mark.parametrize("secret", [Ed25519Key.generate(), HmacSecret("hush")])
def test_a_key_neither_prints_nor_pickles(secret: object) -> None:
    assert repr(secret) == str(secret) == f"{type(secret).__name__}(***)"
    assert f"{[secret]}" == f"[{type(secret).__name__}(***)]"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
