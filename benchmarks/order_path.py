"""The whole order path beside a bare `create_order` loop, to the same paper exchange, in turns.

    python -m benchmarks.order_path [--quick]

    bare        python-binance's `await client.create_order(...)`, one after the other: HTTP and the exchange, no more
    ours        the intent is committed (T1), the worker claims it (T2), sends it, and books the answer (T3): from the
                beginning of T1 to the moment at which the booked answer is committed, one after the other
    wire        from the commit of an intent to the time at which the exchange has the order in its book
    by hand     the same from `POST /api/v1/orders`: HTTP, token, idempotency key and audit log besides

Bare and ours alternate in rounds within one run; the ratio is that of their medians, and its spread over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any

import httpx
from binance import AsyncClient

from benchmarks.execution_kit import SYMBOL, Api, BenchStack, Desk, Heard, bench_stack, limit_draft, report, spread


async def bare_client(stack: BenchStack) -> AsyncClient:
    """python-binance as it comes, with an account of its own."""
    token = (stack.home / "secrets" / "paper.token").read_text().strip()
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"label": "bare", "balances": {"USDT": "10000000"}}
        headers = {"Authorization": f"Bearer {token}"}
        keys = (await http.post(f"{stack.paper_url}/paper/accounts", json=body, headers=headers)).json()
    return client_of(stack, keys)


def client_of(stack: BenchStack, keys: dict[str, str]) -> AsyncClient:
    """python-binance for an account at the stack's exchange."""

    class Client(AsyncClient):  # type: ignore[misc]
        API_URL = f"{stack.paper_url}/api"

    return Client(keys["api_key"], keys["secret"])


async def bare_ms(client: AsyncClient, price: float, count: int) -> list[float]:
    """One `create_order` after the other; then all are cancelled."""
    times = []
    order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
    for _ in range(count):
        began = time.perf_counter()
        await client.create_order(**order, price=f"{price * 0.92:.2f}")
        times.append((time.perf_counter() - began) * 1000)
    await client._delete("openOrders", True, data={"symbol": SYMBOL})
    return times


async def ours_ms(
    desk: Desk, heard: Heard, account_id: int, price: float, count: int
) -> tuple[list[float], dict[int, float]]:
    """One order after the other through T1, T2, the wire and T3; the times, and when each intent was committed."""
    times, committed = [], {}
    for _ in range(count):
        began = time.time()
        order, committed[order.id] = await desk.commit(limit_draft(account_id, price))
        # Three commits tell of an order: the intent, the attempt, the answer.
        booked = await _heard(heard, order.id, 3)
        times.append((booked - began) * 1000)
    return times, committed


async def _heard(heard: Heard, order_id: int, times: int) -> float:
    while len(heard.orders.get(order_id, [])) < times:  # noqa: ASYNC110 - told by a thread
        await asyncio.sleep(0.0005)
    return heard.orders[order_id][times - 1]


def by_hand_ms(api: Api, heard: Heard, account_id: int, price: float, count: int) -> list[float]:
    """One order after the other through the API."""
    times = []
    draft = limit_draft(account_id, price)
    body = {"account_id": account_id, "symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC",
            "quantity": str(draft.quantity), "price": str(draft.price)}  # fmt: skip
    for _ in range(count):
        began = time.time()
        order_id = int(api.post("/orders", body)["id"])
        while len(heard.orders.get(order_id, [])) < 3:
            time.sleep(0.0005)
        times.append((heard.orders[order_id][2] - began) * 1000)
        time.sleep(0.05)  # the gateway takes twenty calls a second from one person
    return times


def to_wire_ms(stack: BenchStack, committed: dict[int, float], number: int) -> list[float]:
    """From the commit of each intent to the exchange's own time of the order."""
    with stack.database() as database:
        rows = database.execute("SELECT id, client_order_id FROM execution.orders").fetchall()
    names = {client_order_id: order_id for order_id, client_order_id in rows}
    arrived = {names[o["clientOrderId"]]: o["time"] for o in stack.paper_books(number)["orders"]}
    return [arrived[order_id] - at * 1000 for order_id, at in committed.items()]


def cancel_all(stack: BenchStack, api: Api, account_id: int) -> None:
    """An account may have two hundred orders open on a symbol."""
    for order in api.get("/orders", account_id=account_id, open_only=True, limit=200)["orders"]:
        while api.send("DELETE", f"/orders/{order['id']}").status_code == 429:
            time.sleep(0.3)
    while api.get("/orders", account_id=account_id, open_only=True)["orders"]:
        time.sleep(0.1)


def measure(*, quick: bool) -> None:
    """Print the table."""
    rounds, count = (3, 20) if quick else (5, 35)
    with bench_stack() as (stack, api):
        account_id = api.paper_account("Path", usdt="1000000")
        by_hand_id = api.paper_account("By hand", usdt="1000000")
        heard = Heard(stack)
        bare, ours, ratios, committed = asyncio.run(_alternate(stack, heard, account_id, rounds, count))
        hand = by_hand_ms(api, heard, by_hand_id, _price(stack), count * 2)
        heard.stop()
        report("bare python-binance create_order", spread(bare))
        report("our whole path: intent, attempt, wire, booked", spread(ours))
        report(
            "  ratio of the medians",
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
            "<= 3",
        )
        report("  intent committed -> at the exchange", spread(to_wire_ms(stack, committed, 1)))
        report("the same by hand, from POST /api/v1/orders", spread(hand))


async def _alternate(stack: BenchStack, heard: Heard, account_id: int, rounds: int, count: int) -> Any:
    client, desk, price = await bare_client(stack), Desk(stack), _price(stack)
    await bare_ms(client, price, 10)
    await ours_ms(desk, heard, account_id, price, 5)
    bare: list[float] = []
    ours: list[float] = []
    committed: dict[int, float] = {}
    ratios = []
    for _ in range(rounds):
        these = await bare_ms(client, price, count)
        those, at = await ours_ms(desk, heard, account_id, price, count)
        bare, ours, committed = bare + these, ours + those, committed | at
        ratios.append(statistics.median(those) / statistics.median(these))
    await client.session.close()
    await desk.close()
    return bare, ours, ratios, committed


def _price(stack: BenchStack) -> float:
    url = f"{stack.paper_url}/api/v3/ticker/price"
    return float(httpx.get(url, params={"symbol": SYMBOL}, trust_env=False).json()["price"])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    measure(quick=parser.parse_args().quick)


if __name__ == "__main__":
    main()
