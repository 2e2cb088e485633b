"""A person's program that uses the API, as docs/api.md says."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from stack import Stack, wait_for

EMAIL = "ada@example.com"
PASSWORD = "plumb-line-and-level-7"

FINAL = {"FILLED", "CANCELED", "REJECTED", "EXPIRED"}


def use_setup_link(stack: Stack, email: str = EMAIL, password: str = PASSWORD) -> None:
    """Create the first admin as the page's form would."""
    token = parse_qs(urlsplit(stack.setup_link()).query)["token"][0]
    form = {"token": token, "email": email, "password": password, "password_again": password}
    answer = httpx.post(
        f"{stack.url}/api/v1/auth/setup", data=form, headers={"Origin": stack.url}, timeout=30, trust_env=False
    )
    assert (answer.status_code, answer.headers.get("location")) == (303, "/")


class Api:
    """Signed in with a token; every write gets an Idempotency-Key of its own unless one is given."""

    def __init__(self, url: str, email: str = EMAIL, password: str = PASSWORD) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._credentials = {"email": email, "password": password}
        self._signed_in_at = 0.0

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def send(self, method: str, path: str, *, key: str = "", **options: Any) -> httpx.Response:
        """Any request under /api/v1; the answer whatever it is."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        if method != "GET":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        return self.http.request(method, f"/api/v1{path}", headers=headers, **options)

    def get(self, path: str, **params: Any) -> Any:
        """The body of a successful GET."""
        return _body(self.send("GET", path, params=params))

    def post(self, path: str, body: Any = None, *, key: str = "") -> Any:
        """The body of a successful POST."""
        return _body(self.send("POST", path, key=key, json=body))

    def delete(self, path: str) -> Any:
        """The body of a successful DELETE."""
        return _body(self.send("DELETE", path))

    @property
    def token(self) -> str:
        """An access token that is still good for a while."""
        if time.monotonic() - self._signed_in_at > 300:
            answer = self.http.post("/api/v1/auth/token", json=self._credentials)
            assert answer.status_code == 200, answer.text
            self._access, self._signed_in_at = str(answer.json()["access_token"]), time.monotonic()
        return self._access

    # --- what several tests do -----------------------------------------------------------------------

    def paper_account(self, label: str = "Paper", usdt: str = "10000", **others: str) -> int:
        """The id of a new paper account, once it is active."""
        account = self.post("/accounts", {"label": label, "balances": {"USDT": usdt, **others}})

        def active() -> Any:
            found = next(one for one in self.get("/accounts")["accounts"] if one["id"] == account["id"])
            assert found["state"] != "FAILED", found
            return found if found["state"] == "ACTIVE" else None

        return int(wait_for(active, "the paper account becomes active")["id"])

    def order(self, order_id: int) -> Any:
        """One order with its events and fills."""
        return self.get(f"/orders/{order_id}")

    def wait_for_order(self, order_id: int, statuses: Iterable[str], *, within_s: float = 20.0) -> Any:
        """The order once it is in one of `statuses`."""
        wanted = set(statuses)

        def look() -> Any:
            found = self.order(order_id)
            status = found["order"]["status"]
            assert status in wanted or status not in FINAL, f"order {order_id} is {status}: {found}"
            return found if status in wanted else None

        return wait_for(look, f"order {order_id} becomes one of {sorted(wanted)}", within_s=within_s, every_s=0.1)


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error in an answer that must have this status."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    error: dict[str, Any] = answer.json()["error"]
    return error


def _body(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:800]}"
    return answer.json()
