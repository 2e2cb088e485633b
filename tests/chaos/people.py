"""The load: people who place and cancel orders by hand, as sure of themselves as the API lets them be.

Each order has its Idempotency-Key. Whatever goes wrong with a request, the same request is sent again with the same
key, as docs/api.md says; afterwards one key must have become at most one order.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from api_client import Api

from tests.chaos.chaos_stack import ChaosStack

SYMBOL = "BTCUSDT"
#: Orders that rest at the same time by one person's hand; the oldest are cancelled first.
MOST_RESTING = 6
PATIENCE_S = 45.0


@dataclass
class Placed:
    """What one person did in a round."""

    account_id: int
    keys: str  # all keys of these requests begin so
    orders: dict[str, int] = field(default_factory=dict)  # Idempotency-Key → order id, as answered
    troubles: list[str] = field(default_factory=list)  # answers that must never be given
    refused: int = 0
    again: int = 0


class Person(threading.Thread):
    """Trades one account until told to stop, then finishes what was begun."""

    def __init__(self, stack: ChaosStack, account_id: int, seed: int, resting: list[int], price: float) -> None:
        super().__init__(daemon=True)
        self.done = Placed(account_id, f"chaos-{seed:x}")
        self.resting = resting  # outlives the round
        self._rng = random.Random(seed)
        self._stack = stack
        self._price = price
        self._over = threading.Event()
        self._number = 0

    def stop(self) -> None:
        """No new orders from now on."""
        self._over.set()

    def run(self) -> None:
        with Api(self._stack.url) as api:
            while not self._over.wait(self._rng.uniform(0.02, 0.2)):
                if len(self.resting) > MOST_RESTING or (self.resting and self._rng.random() < 0.25):
                    place = 0 if self._rng.random() < 0.7 else -1
                    self._cancel(api, self.resting.pop(place))
                else:
                    self._place(api, self._order())

    def _order(self) -> dict[str, Any]:
        rng, price = self._rng, self._price
        side = rng.choice(("BUY", "SELL"))
        body: dict[str, Any] = {"account_id": self.done.account_id, "symbol": SYMBOL, "side": side}
        quantity = f"{rng.randrange(10, 40) / 10_000:.4f}"
        below, near = (-1 if side == "BUY" else 1), rng.uniform(-0.0002, 0.0004)
        match rng.choice(("market", "market", "quote", "near", "near", "far", "ioc", "stop")):
            case "market":
                return body | {"type": "MARKET", "quantity": quantity}
            case "quote":
                return body | {"side": "BUY", "type": "MARKET", "quote_quantity": f"{rng.randrange(20, 300)}"}
            case "near":
                at = price * (1 + below * near)
                return body | {
                    "type": "LIMIT",
                    "quantity": f"{rng.choice((1, 20, 60, 400)) / 1000:.3f}",
                    "price": f"{at:.2f}",
                }
            case "ioc":
                at = price * (1 - below * rng.uniform(0.00004, 0.0004))  # some take only a part, and end so
                limit = {"type": "LIMIT", "time_in_force": "IOC", "price": f"{at:.2f}"}
                return body | limit | {"quantity": f"{rng.choice((20, 90, 400, 900)) / 1000:.3f}"}
            case "stop":
                at = price * (1 - below * 0.1)
                return body | {"type": "STOP_LOSS", "quantity": quantity, "stop_price": f"{at:.2f}"}
        return body | {"type": "LIMIT", "quantity": quantity, "price": f"{price * (1 + below * 0.08):.2f}"}

    def _place(self, api: Api, order: dict[str, Any]) -> None:
        self._number += 1
        key = f"{self.done.keys}-{self._number}"
        answer = self._until_answered(api, "POST", "/orders", key, json=order)
        if answer is None:
            return
        if answer.status_code == 201:
            body = answer.json()
            self.done.orders[key] = int(body["id"])
            if order["type"] != "MARKET" and order.get("time_in_force") != "IOC" and body["status"] == "NEW":
                self.resting.append(int(body["id"]))
        elif answer.status_code in (409, 422):
            self.done.refused += 1
        else:
            self.done.troubles.append(f"{order} was answered {answer.status_code} {answer.text[:300]}")

    def _cancel(self, api: Api, order_id: int) -> None:
        self._number += 1
        answer = self._until_answered(api, "DELETE", f"/orders/{order_id}", f"{self.done.keys}-{self._number}")
        if answer is not None and answer.status_code not in (200, 409):
            self.done.troubles.append(f"cancelling {order_id} was answered {answer.status_code} {answer.text[:300]}")

    def _until_answered(self, api: Api, method: str, path: str, key: str, **options: Any) -> httpx.Response | None:
        """The answer that is not "not now"; None when there was none within the patience."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = api.send(method, path, key=key, **options)
            except (httpx.HTTPError, AssertionError):  # the web process is away, or could not sign us in
                answer = None
            if answer is not None and answer.status_code == 500:
                self.done.troubles.append(f"{method} {path} was answered 500 {answer.text[:300]}")
            if answer is not None and answer.status_code not in (429, 500, 502, 503, 504):
                return answer
            self.done.again += 1
            if self._over.is_set() and method == "DELETE":
                return None
            time.sleep(0.25)
        self.done.troubles.append(f"{method} {path} found nobody for {PATIENCE_S:g} s")
        return None
