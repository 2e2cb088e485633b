"""Where an exchange is reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Base addresses without a trailing slash; `ws_api_url` is the whole address of the WebSocket API."""

    rest_url: str
    ws_api_url: str
    stream_url: str

    @classmethod
    def paper(cls, url: str) -> Endpoints:
        """The paper exchange at `url`, e.g. http://127.0.0.1:8001."""
        base = url.rstrip("/")
        scheme, _, place = base.partition("://")
        ws_url = f"{'wss' if scheme == 'https' else 'ws'}://{place}"
        return cls(base, f"{ws_url}/ws-api/v3", ws_url)


TESTNET = Endpoints(
    "https://testnet.binance.vision",
    "wss://ws-api.testnet.binance.vision/ws-api/v3",
    "wss://stream.testnet.binance.vision",
)
LIVE = Endpoints("https://api.binance.com", "wss://ws-api.binance.com:443/ws-api/v3", "wss://stream.binance.com:9443")
