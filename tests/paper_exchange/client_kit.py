"""Accounts of every kind of key, and real clients pointed at the exchange: nothing but base addresses is changed."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ccxt.pro
from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_spot.spot import Spot
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from paper_kit import Keys, Paper, make_pair

RICH = {"USDT": "1000000", "BTC": "10", "ETH": "100"}
KINDS = ("hmac", "rsa", "ed25519")


@dataclass(frozen=True)
class Prices:
    """Prices around the market, on the tick."""

    last: Decimal

    def at(self, factor: str) -> str:
        return format((self.last * Decimal(factor)).quantize(Decimal("0.01")), "f")


async def open_account(paper: Paper, kind: str) -> Keys:
    """An account with a key of that kind and enough of everything."""
    private_pem = None
    body: dict[str, Any] = {"label": kind, "balances": RICH}
    if kind == "ed25519":
        private_pem, body["public_key_pem"] = make_pair()
    elif kind == "rsa":
        private_pem, body["public_key_pem"] = make_rsa_pair()
    status, answer = await paper.control("POST", "/paper/accounts", body)
    assert status == 200, answer
    return Keys(answer["account_id"], answer["api_key"], answer.get("secret"), private_pem)


def make_rsa_pair() -> tuple[str, str]:
    """(private, public) RSA key in PEM."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def ccxt_client(paper: Paper, keys: Keys) -> Any:
    """ccxt.pro, which is ccxt's asynchronous REST client with streams."""
    options = {
        "defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False,
    }  # fmt: skip
    secret = keys.secret or keys.private_pem
    client = ccxt.pro.binance({"apiKey": keys.api_key, "secret": secret, "options": options})
    client.urls["api"]["public"] = client.urls["api"]["private"] = f"{paper.url}/api/v3"
    client.urls["api"]["sapi"] = f"{paper.url}/sapi/v1"
    client.urls["api"]["ws"]["spot"] = f"ws://127.0.0.1:{paper.port}/ws"
    client.urls["api"]["ws"]["ws-api"]["spot"] = f"ws://127.0.0.1:{paper.port}/ws-api/v3"
    return client


def sdk_client(paper: Paper, keys: Keys) -> Spot:
    """Binance's own SDK. Its REST client is synchronous: call it in a thread."""
    credentials = {"api_key": keys.api_key, "api_secret": keys.secret, "private_key": keys.private_pem}
    sockets = f"ws://127.0.0.1:{paper.port}"
    return Spot(
        config_rest_api=ConfigurationRestAPI(**credentials, base_path=paper.url, timeout=10_000),
        config_ws_api=ConfigurationWebSocketAPI(**credentials, stream_url=f"{sockets}/ws-api/v3"),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=sockets),
    )
