"""Recovery of a worker that was dead while the market went on: 1,000 open orders, 300 of them changed meanwhile.

    python -m benchmarks.recovery [--quick] [--orders 1000] [--changed 300]

The worker is stopped in the middle of its work (SIGSTOP), orders are cancelled and filled at the exchange behind its
back, then it is killed (SIGKILL) and started again by the supervisor. Counted: from "lease acquired" to
RECOVERY_COMPLETE, and from the kill to a /health that says 200 again. Afterwards both books are compared order by
order; a difference is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from datetime import datetime
from decimal import Decimal

import httpx

from app.services.exchange.binance import BinanceSession
from app.services.exchange.endpoints import Endpoints
from app.services.exchange.vault_private import Vault
from app.services.exchange.weight import WeightBudget
from app.services.runtime import SystemClock
from benchmarks.execution_kit import (
    SYMBOL,
    BenchStack,
    Desk,
    Heard,
    Ours,
    bench_stack,
    compare,
    limit_draft,
    owners_rows,
    report,
    wait_for,
)

ORDERS_AN_ACCOUNT = 100


async def place(stack: BenchStack, heard: Heard, accounts: list[int], count: int, price: float) -> None:
    """So many resting purchases, over all accounts; those to be filled stand nearer to the market than the others."""
    desk = Desk(stack, connections=4)

    async def of(account_id: int) -> None:
        for number in range(count // len(accounts)):
            order, _ = await desk.commit(limit_draft(account_id, price, below=0.03 + number * 0.0002))
            while len(heard.orders.get(order.id, [])) < 3:  # noqa: ASYNC110 - told by a thread
                await asyncio.sleep(0.005)

    await asyncio.gather(*map(of, accounts))
    await desk.close()


async def change(stack: BenchStack, accounts: list[int], count: int) -> None:
    """Behind the worker's back, half of `count` orders are cancelled and half are filled."""
    vault = Vault.from_file(stack.home / "secrets" / "master.key")
    clock = SystemClock()
    budget = WeightBudget(clock=clock, limit_per_minute=10**9)
    each = count // len(accounts)
    for account_id in accounts:
        [key] = owners_rows(stack, "SELECT * FROM execution.credentials WHERE account_id = %s", account_id)
        private = vault.open(key["private_key_box"], account_id=account_id)
        session = BinanceSession(
            Endpoints.paper(stack.paper_url), key["api_key"], private, clock=clock, budget=budget, jitter=lambda: 0.5
        )
        newest = owners_rows(
            stack,
            "SELECT * FROM execution.orders WHERE account_id = %s AND status = 'OPEN' ORDER BY price LIMIT %s",
            account_id,
            each // 2,
        )
        for order in newest:
            await session.cancel(SYMBOL, client_order_id=order["client_order_id"], exchange_order_id=None)
        await session.close()


async def sell_down(stack: BenchStack, price: Decimal) -> None:
    """A rich stranger sells through the book until everything above `price` is taken."""
    token = (stack.home / "secrets" / "paper.token").read_text().strip()
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"label": "stranger", "balances": {"BTC": "10000000"}}
        headers = {"Authorization": f"Bearer {token}"}
        keys = (await http.post(f"{stack.paper_url}/paper/accounts", json=body, headers=headers)).json()
    from benchmarks.order_path import client_of

    client = client_of(stack, keys)
    order = {"symbol": SYMBOL, "side": "SELL", "type": "LIMIT", "timeInForce": "IOC", "price": f"{price:.2f}"}
    for _ in range(500):  # the filter NOTIONAL allows nine million at once
        answer = await client.create_order(**order, quantity="80")
        if Decimal(answer["executedQty"]) < 80:
            break
    await client.session.close()


def recover(stack: BenchStack) -> tuple[float, float]:
    """Kill the stopped worker; (seconds of its recovery, seconds until healthy)."""
    worker = stack.child_named("worker")
    began, wall = time.monotonic(), datetime.now().astimezone()
    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: not stack.healthy(), "unhealthy", within_s=20, every_s=0.05)
    wait_for(stack.healthy, "healthy again", within_s=180, every_s=0.05)
    healthy_s = time.monotonic() - began
    at = {}
    for line in (stack.home / "logs" / "worker.log").read_text().splitlines():
        told = json.loads(line) if line.startswith("{") else {}
        if told and datetime.fromisoformat(told["at"]) > wall:
            at[told["event"]] = datetime.fromisoformat(told["at"])
    return (at["RECOVERY_COMPLETE"] - at["lease acquired"]).total_seconds(), healthy_s


def books_differ(stack: BenchStack, accounts: list[int]) -> list[str]:
    """What differs after all, order by order and trade by trade."""
    found = []
    for number, account_id in enumerate(accounts, start=1):
        orders = owners_rows(stack, "SELECT * FROM execution.orders WHERE account_id = %s", account_id)
        fills = owners_rows(stack, "SELECT * FROM execution.fills WHERE account_id = %s", account_id)
        totals = owners_rows(stack, "SELECT * FROM portfolio.balances WHERE account_id = %s", account_id)
        ours = Ours(orders, fills, {row["asset"]: row["total"] for row in totals})
        found += [one.words for one in compare(ours, stack.paper_books(number))]
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--orders", type=int, default=1_000)
    parser.add_argument("--changed", type=int, default=300)
    wanted = parser.parse_args()
    count, changed = (200, 60) if wanted.quick else (wanted.orders, wanted.changed)
    with bench_stack() as (stack, api):
        accounts = [api.paper_account(f"Open {n}", usdt="1000000") for n in range(max(1, count // ORDERS_AN_ACCOUNT))]
        url = f"{stack.paper_url}/api/v3/ticker/price"
        price = float(httpx.get(url, params={"symbol": SYMBOL}, trust_env=False).json()["price"])
        heard = Heard(stack)
        asyncio.run(place(stack, heard, accounts, count, price))
        heard.stop()
        before = owners_rows(stack, "SELECT count(*) AS n FROM execution.orders WHERE status = 'OPEN'")[0]["n"]
        stack.child_named("worker").send_signal(signal.SIGSTOP)
        asyncio.run(change(stack, accounts, changed))
        lowest = 0.03 + (changed // 2 // len(accounts) - 1) * 0.0002 + 0.0001
        asyncio.run(sell_down(stack, Decimal(str(round(price * (1 - lowest), 2)))))
        there = [o for n in range(1, len(accounts) + 1) for o in stack.paper_books(n)["orders"]]
        moved = sum(o["status"] != "NEW" for o in there)
        recovery_s, healthy_s = recover(stack)
        wait_for(lambda: not books_differ(stack, accounts), "books that agree", within_s=60, every_s=0.5)
        report(f"recovery, {before} open orders, {moved} changed", f"{recovery_s:.1f} s", "< 10 s")
        report("  from the kill to healthy, start of the process included", f"{healthy_s:.1f} s")


if __name__ == "__main__":
    main()
