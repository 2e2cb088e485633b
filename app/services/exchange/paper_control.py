"""The paper exchange's control endpoints: accounts and markets. They exist on no other exchange."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from app.domain.errors import Conflict, InvalidInput, NotFound, PlumblineError, Unavailable
from app.services.exchange.protocol import AskingFailed

TIMEOUT_S = 10.0
#: A replay of some hundred thousand candles is a big body, checked before it is answered.
MARKET_TIMEOUT_S = 120.0


class PaperControlClient:
    """Speaks to `/paper/…` with the control token, which is read from its file when it is needed."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._token_file = token_file
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def status(self) -> dict[str, Any]:
        """`GET /paper/status`: what each market shows. Raises AskingFailed when it cannot be reached."""
        return await self._call("GET", "/paper/status")

    async def create_account(self, label: str, public_key_pem: str, balances: Mapping[str, str]) -> str:
        """Register a public key with opening balances (text amounts); returns the API key.

        Raises InvalidInput with the exchange's words, AskingFailed when it cannot be reached.
        """
        body = {"label": label, "public_key_pem": public_key_pem, "balances": dict(balances)}
        answer = await self._call("POST", "/paper/accounts", body)
        return str(answer["api_key"])

    async def set_market(self, symbol: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /paper/markets/{symbol}`: what this market shows from now on; returns its status.

        Raises InvalidInput with the exchange's words, AskingFailed when it cannot be reached.
        """
        return await self._call("POST", f"/paper/markets/{symbol}", body, timeout_s=MARKET_TIMEOUT_S)

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token()}"} if method == "POST" else {}
        try:
            response = await self._http.request(method, path, json=body, headers=headers, timeout=timeout_s)
        except httpx.TransportError as error:
            raise AskingFailed(f"the paper exchange cannot be reached: {type(error).__name__} {error}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code == 200 and isinstance(answer, dict):
            return answer
        raise _refusal(response.status_code, answer)

    def _token(self) -> str:
        try:
            return self._token_file.read_text().strip()
        except OSError as error:
            raise Unavailable(f"The control token {self._token_file} cannot be read: {error.strerror}.") from error


def _refusal(status: int, answer: object) -> PlumblineError | AskingFailed:
    facts = answer if isinstance(answer, dict) else {}
    words = str(facts.get("error") or f"the paper exchange answered HTTP {status}")
    if status == 400:
        return InvalidInput(words, field=str(facts.get("field") or ""))
    if status == 404:
        return NotFound(words)
    if status in (401, 403):
        return Conflict(f"The paper exchange does not accept our control token: {words}")
    return AskingFailed(words)
