"""Where an exchange is reached. Paper, testnet and live are one adapter; only these differ."""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Settings
from app.models.execution import AccountKind


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


def endpoints_of(kind: AccountKind, settings: Settings) -> Endpoints:
    """Where accounts of this kind trade, by the settings."""
    match kind:
        case AccountKind.PAPER:
            return Endpoints.paper(settings.paper_url)
        case AccountKind.TESTNET:
            return Endpoints(settings.testnet_rest_url, settings.testnet_ws_api_url, settings.testnet_stream_url)
        case AccountKind.LIVE:
            return Endpoints(settings.live_rest_url, settings.live_ws_api_url, settings.live_stream_url)
