"""A loaded exchange that is killed: who trades on it, and what must be true of the file afterwards."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import aiohttp
from paper_kit import Keys, Paper, PaperProcess

RICH = {"USDT": "10000000", "BTC": "100", "BNB": "50"}
FINAL = {"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"}
SYMBOL = "BTCUSDT"
TICK = Decimal("0.01")


@dataclass
class Told:
    """What the exchange has acknowledged to one account."""

    keys: Keys
    orders: dict[int, dict[str, Any]] = field(default_factory=dict)  # the last answer about each order
    trades: dict[int, tuple[str, str]] = field(default_factory=dict)  # trade id -> (price, quantity)
    answers: int = 0

    def note(self, answer: Any) -> None:
        """An answer has come in."""
        self.answers += 1
        for part in answer if isinstance(answer, list) else [answer]:
            self.orders[part["orderId"]] = part
            for fill in part.get("fills", []):
                self.trades[fill["tradeId"]] = (fill["price"], fill["qty"])


async def trade_until_cut_off(paper: Paper, told: Told, random: Random) -> None:
    """Place and cancel orders of several types until the exchange is gone; note every answer."""
    price = Decimal((await paper.raw("GET", "/api/v3/ticker/price", f"symbol={SYMBOL}"))[1]["price"])

    def at(share: str) -> str:
        return format((price * Decimal(share)).quantize(TICK), "f")

    with_price = {"timeInForce": "GTC", "quantity": "0.002"}
    kinds: list[dict[str, Any]] = [
        {"side": "SELL", "type": "MARKET", "quantity": "0.003"},
        {"side": "BUY", "type": "MARKET", "quoteOrderQty": "200"},
        {"side": "BUY", "type": "LIMIT", "price": at("0.9999"), **with_price},
        {"side": "SELL", "type": "LIMIT", "price": at("1.0001"), **with_price},
        {"side": "BUY", "type": "LIMIT", "price": at("0.9"), **with_price},
        {"side": "BUY", "type": "LIMIT", "price": at("1.01"), "quantity": "0.05", "timeInForce": "IOC"},
        {"side": "SELL", "type": "STOP_LOSS", "quantity": "0.002", "stopPrice": at("0.97")},
    ]
    try:
        for number in itertools.count(1):
            kind = kinds[random.randrange(len(kinds))]
            if number % 12 == 0:
                status, answer = await paper.signed("DELETE", "/api/v3/openOrders", told.keys, symbol=SYMBOL)
                missing = status == 400 and answer["code"] == -2011
            else:
                order = {"symbol": SYMBOL, **kind, "newOrderRespType": "FULL"}
                status, answer = await paper.signed("POST", "/api/v3/order", told.keys, **order)
                missing = status == 400 and answer["msg"] in (
                    "Filter failure: MAX_NUM_ALGO_ORDERS", "Order would trigger immediately."
                )  # fmt: skip
            assert status == 200 or missing, answer
            if status == 200:
                told.note(answer)
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return


def check_books(books: dict[str, Any], told: Told, rich: dict[str, str] = RICH) -> int:
    """All that was acknowledged is there, nothing went back, and the books add up. Returns how many facts were held."""
    orders = {o["orderId"]: o for o in books["orders"]}
    trades = {t["id"]: (t["price"], t["qty"]) for t in books["trades"]}
    fills: dict[int, list[dict[str, Any]]] = {number: [] for number in orders}
    for trade in books["trades"]:
        fills[trade["orderId"]].append(trade)
    for number, answer in told.orders.items():
        stored = orders[number]
        assert Decimal(stored["executedQty"]) >= Decimal(answer["executedQty"]), (stored, answer)
        assert stored["clientOrderId"] in (answer["clientOrderId"], answer.get("origClientOrderId")), (stored, answer)
        if answer["status"] in FINAL:
            assert (stored["status"], stored["executedQty"]) == (answer["status"], answer["executedQty"])
    for number, fill in told.trades.items():
        assert trades[number] == fill
    free = {asset: Decimal(amount) for asset, amount in rich.items()}
    locked = dict.fromkeys(rich, Decimal(0))
    for number, order in orders.items():
        assert sum((Decimal(t["qty"]) for t in fills[number]), Decimal(0)) == Decimal(order["executedQty"])
        if order["status"] not in FINAL:
            left = Decimal(order["origQty"]) - Decimal(order["executedQty"])
            if order["side"] == "BUY":
                locked["USDT"] += left * Decimal(order["price"])
            else:
                locked["BTC"] += left
        for t in fills[number]:
            sign = 1 if t["isBuyer"] else -1
            free["BTC"] += sign * Decimal(t["qty"])
            free["USDT"] -= sign * Decimal(t["quoteQty"])
            free[t["commissionAsset"]] -= Decimal(t["commission"])
    for asset in rich:
        balance = books["balances"][asset]
        assert Decimal(balance["locked"]) == locked[asset], asset
        assert Decimal(balance["free"]) == free[asset] - locked[asset], asset
    return len(told.orders) + len(told.trades) + len(rich)


@dataclass
class Campaign:
    """What came of a campaign of kills."""

    kills: int = 0
    answers: int = 0
    facts: int = 0  # comparisons of something acknowledged with the file
    orders: int = 0
    trades: int = 0
    start_s: list[float] = field(default_factory=list)


async def campaign(process: PaperProcess, kills: int, seed: int, *, traders: int = 3) -> Campaign:
    """Kill a loaded exchange again and again at random moments, and compare after each.

    Raises AssertionError that names the seed's kill where something acknowledged is gone, or an id goes back.
    """
    random, loop, result = Random(seed), asyncio.get_running_loop(), Campaign()
    paper = process.start()
    everyone = [Told(await paper.open_account(RICH, ed25519=False)) for _ in range(traders)]
    await paper.control("POST", f"/paper/accounts/{everyone[0].keys.account_id}/fees", {"use_bnb_for_fees": True})
    newest_order = newest_trade = 0
    for kill in range(kills):
        tasks = [asyncio.create_task(trade_until_cut_off(paper, t, Random(seed * 1000 + kill))) for t in everyone]
        await asyncio.sleep(random.uniform(0.05, 1.0))
        process.kill()
        await asyncio.gather(*tasks)
        began = loop.time()
        paper = process.start()
        result.start_s.append(loop.time() - began)
        for told in everyone:
            books = await paper.books(told.keys.account_id)
            result.facts += check_books(books, told)
            newest_order = max([newest_order, *(o["orderId"] for o in books["orders"])])
            newest_trade = max([newest_trade, *(t["id"] for t in books["trades"])])
        market = {"symbol": SYMBOL, "side": "SELL", "type": "MARKET", "quantity": "0.001"}
        status, answer = await paper.signed("POST", "/api/v3/order", everyone[-1].keys, **market)
        assert status == 200, (kill, answer)
        assert answer["orderId"] > newest_order, (kill, "an order id went back")
        assert answer["fills"][0]["tradeId"] > newest_trade, (kill, "a trade id went back")
        everyone[-1].note(answer)
        result.kills += 1
    result.answers = sum(t.answers for t in everyone)
    result.orders = sum(len(t.orders) for t in everyone)
    result.trades = sum(len(t.trades) for t in everyone)
    process.kill()
    return result
