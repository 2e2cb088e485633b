"""How many orders a second go through the whole path, over several accounts at once.

    python -m benchmarks.throughput [--quick] [--accounts 8]

Each account always has a few intents that wait; the worker, a process of its own, claims them (T2), sends them and
books the answers (T3), one on the wire an account. Counted are orders whose answer was committed. Intents are committed
as the web process does it, without HTTP: the gateway takes twenty calls a second from a person, which is not the
question here.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import httpx

from benchmarks.execution_kit import SYMBOL, BenchStack, Desk, Heard, bench_stack, cpu_s, limit_draft, report

#: Intents of one account that are committed and not answered yet.
WAITING = 3
#: An account may have two hundred orders open on a symbol.
MOST_OPEN = 190


async def flood(
    stack: BenchStack, heard: Heard, accounts: list[int], seconds: float, price: float
) -> tuple[int, float]:
    """(orders answered, seconds)."""
    desk = Desk(stack, connections=len(accounts))
    until = time.monotonic() + seconds

    async def trade(account_id: int) -> list[int]:
        mine: list[int] = []
        while time.monotonic() < until and len(mine) < MOST_OPEN:
            waiting = sum(len(heard.orders.get(order_id, [])) < 3 for order_id in mine[-2 * WAITING :])
            if waiting >= WAITING:
                await asyncio.sleep(0.002)
                continue
            order, _ = await desk.commit(limit_draft(account_id, price))
            mine.append(order.id)
        return mine

    began = time.time()
    placed = [order_id for one in await asyncio.gather(*map(trade, accounts)) for order_id in one]
    await asyncio.sleep(2)
    await desk.close()
    answered = [heard.orders[order_id][2] for order_id in placed if len(heard.orders.get(order_id, [])) >= 3]
    return len(answered), max(answered) - began


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--accounts", type=int, default=8)
    wanted = parser.parse_args()
    with bench_stack() as (stack, api):
        accounts = [api.paper_account(f"Flood {n}", usdt="1000000") for n in range(wanted.accounts)]
        url = f"{stack.paper_url}/api/v3/ticker/price"
        price = float(httpx.get(url, params={"symbol": SYMBOL}, trust_env=False).json()["price"])
        heard = Heard(stack)
        worker = stack.child_named("worker")
        before_s = cpu_s(worker)
        count, took = asyncio.run(flood(stack, heard, accounts, 6 if wanted.quick else 20, price))
        heard.stop()
        told = (
            f"{count / took:.0f} a second ({count} orders, {(cpu_s(worker) - before_s) / count * 1000:.0f} ms CPU each)"
        )
        report(f"orders through the whole path, {wanted.accounts} accounts", told)


if __name__ == "__main__":
    main()
