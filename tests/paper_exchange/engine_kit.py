"""An engine with one symbol and a few rich accounts."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

from app.domain.intrabar import RULES, Preset
from app.domain.orders import OrderType, Side, TimeInForce
from app.paper_exchange.matching import Engine, Fees
from app.paper_exchange.model import NewOrder
from app.paper_exchange.rules import KNOWN

SYMBOL = "BTCUSDT"
NOW_MS = 1_700_000_000_000
PRICE = Decimal(50_000)
TYPICAL = Decimal(1)  # base volume of a usual candle


def make_engine(preset: Preset = Preset.REALISTIC, accounts: int = 2, price: Decimal = PRICE) -> Engine:
    """An engine whose market stands at `price`."""
    numbers = itertools.count(1)
    engine = Engine(RULES[preset], Fees(), lambda: f"auto-{next(numbers)}")
    engine.add_market(KNOWN[SYMBOL])
    for account_id in range(1, accounts + 1):
        engine.deposit(account_id, "USDT", Decimal(1_000_000), NOW_MS)
        engine.deposit(account_id, "BTC", Decimal(10), NOW_MS)
    move(engine, price)
    engine.drain(NOW_MS)
    return engine


def move(
    engine: Engine, price: Decimal | str, volume: str = "1", *, jumped: bool = False, now_ms: int = NOW_MS
) -> None:
    """The path reaches a price."""
    engine.step(SYMBOL, Decimal(price), Decimal(volume), TYPICAL, now_ms, jumped=jumped)


def order(side: str, kind: str, quantity: str = "0", **more: Any) -> NewOrder:
    """A request, in short."""
    amounts = {k: Decimal(v) for k, v in more.items() if k in ("price", "stop_price", "quote_quantity")}
    rest = {k: v for k, v in more.items() if k not in amounts}
    if "time_in_force" in rest:
        rest["time_in_force"] = TimeInForce(rest["time_in_force"])
    return NewOrder(SYMBOL, Side(side), OrderType(kind), quantity=Decimal(quantity), **amounts, **rest)
