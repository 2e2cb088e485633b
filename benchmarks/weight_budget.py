"""The weight of reconciliation: 200 accounts with 5 open orders each on one address (F57).

    python -m benchmarks.weight_budget [--quick] [--accounts 200] [--orders 5] [--minutes 4]

The real worker with its real streams against a real paper exchange with Binance's limits on. The weight is the one that
the exchange itself counts and tells in `X-MBX-USED-WEIGHT-1M`, sampled through each whole minute of its clock; what the
sampling uses is taken off. Every account must have had all its orders asked about in every whole minute.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.execution_kit import (
    SYMBOL,
    BenchStack,
    Desk,
    Heard,
    bench_stack,
    limit_draft,
    owners_rows,
    report,
    wait_for,
)

SAMPLE_EVERY_S = 2.0
LIMIT = 6_000
PAPER_OPTIONS = f"--symbols {SYMBOL},ETHUSDT --history-days 3"  # every limit as on Binance


@dataclass
class Minutes:
    """The weight used by the end of each minute of the exchange's clock, without the samples' own."""

    used: dict[int, int] = field(default_factory=dict)
    samples: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    async def watch(self, url: str, seconds: float) -> None:
        """Look every two seconds."""
        until = time.monotonic() + seconds
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            while time.monotonic() < until:
                answer = await http.get("/api/v3/time")
                minute = answer.json()["serverTime"] // 60_000
                self.samples[minute] += 1
                self.used[minute] = int(answer.headers["X-MBX-USED-WEIGHT-1M"]) - self.samples[minute]
                await asyncio.sleep(SAMPLE_EVERY_S)

    def whole(self) -> dict[int, int]:
        """All but the first and the last, which were not watched from end to end."""
        minutes = sorted(self.used)[1:-1]
        return {minute: self.used[minute] for minute in minutes}


def open_accounts(stack: BenchStack, count: int) -> list[int]:
    """More accounts than one person may ask for: their rows are written, the worker does the rest as always."""
    first = owners_rows(stack, "SELECT * FROM execution.accounts LIMIT 1")[0]
    made = owners_rows(
        stack,
        "INSERT INTO execution.accounts (user_id, label, kind, state, opening_balances)"
        " SELECT %s, 'Weight ' || n, 'PAPER', 'REQUESTED', '{\"USDT\": \"1000000\"}' FROM generate_series(1, %s) n"
        " RETURNING id",
        first["user_id"],
        count,
    )
    owners_rows(stack, "SELECT pg_notify('plumbline_work', 'accounts')")

    def active() -> bool:
        sql = "SELECT count(*) AS n FROM execution.accounts WHERE state = 'ACTIVE' AND stream_up"
        return bool(owners_rows(stack, sql)[0]["n"] > count)

    wait_for(active, "every account is active and hears its stream", within_s=600, every_s=1)
    return [row["id"] for row in made]


async def place(stack: BenchStack, heard: Heard, accounts: list[int], each: int, price: float) -> None:
    """So many resting orders on each account."""
    desk = Desk(stack, connections=6)
    queue = list(accounts)

    async def work() -> None:
        while queue:
            account_id = queue.pop()
            for number in range(each):
                order, _ = await desk.commit(limit_draft(account_id, price, below=0.05 + number * 0.001))
                while len(heard.orders.get(order.id, [])) < 3:  # noqa: ASYNC110 - told by a thread
                    await asyncio.sleep(0.005)

    await asyncio.gather(*(work() for _ in range(6)))
    await desk.close()


def asked_each_minute(stack: BenchStack, accounts: list[int], minutes: dict[int, int], each: int) -> tuple[int, int]:
    """(account-minutes in which every order was asked about, account-minutes there were)."""
    rows: list[Any] = owners_rows(
        stack,
        "SELECT account_id, floor(extract(epoch FROM started_at) / 60) AS minute, max(checked) AS checked"
        " FROM execution.reconciliation_passes WHERE account_id = ANY(%s) GROUP BY 1, 2",
        accounts,
    )
    checked = {(row["account_id"], int(row["minute"])): row["checked"] for row in rows}
    asked = sum(checked.get((account_id, minute), 0) >= each for account_id in accounts for minute in minutes)
    return asked, len(accounts) * len(minutes)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=4)
    wanted = parser.parse_args()
    minutes = 2 if wanted.quick else wanted.minutes
    with bench_stack(PAPER_OPTIONS) as (stack, api):
        api.paper_account("First", usdt="1000")
        accounts = open_accounts(stack, wanted.accounts)
        url = f"{stack.paper_url}/api/v3/ticker/price"
        price = float(httpx.get(url, params={"symbol": SYMBOL}, trust_env=False).json()["price"])
        heard = Heard(stack)
        asyncio.run(place(stack, heard, accounts, wanted.orders, price))
        heard.stop()
        watched = Minutes()
        asyncio.run(watched.watch(stack.paper_url, (minutes + 1.5) * 60))
        whole = watched.whole()
        asked, all_of_them = asked_each_minute(stack, accounts, whole, wanted.orders)
        oldest = owners_rows(
            stack, "SELECT extract(epoch FROM now() - min(exchange_seen_at)) AS s FROM portfolio.balances"
        )
        most = max(whole.values())
        what = f"{wanted.accounts} accounts x {wanted.orders} open orders, {len(whole)} minutes"
        report(what, f"{most} of {LIMIT} at most ({most / LIMIT:.0%}), each minute {list(whole.values())}", "<= 80 %")
        report("  account-minutes with every order asked about", f"{asked} of {all_of_them}", "all")
        report("  oldest look at an account's balances", f"{float(oldest[0]['s']):.0f} s ago")


if __name__ == "__main__":
    main()
