"""Targets and trail lie where the live plan puts them: the kernel's floats against the plan's decimals."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from backtest_kit import ENTER, Row, market, traded

from app.domain.symbols import SymbolRules
from app.services.backtest import Rounding, Settings
from app.services.execution.protection import Candle, first_stop, ladder, stop_price, trailed
from app.services.execution.store import PlanRecord

D = Decimal
TICK = D("0.01")
RULES = SymbolRules("BTCUSDT", "BTC", "USDT", tick_size=TICK, step_size=D("0.001"))
SETTINGS = Settings(fee_pct=D(0), rounding=Rounding(lot=D("0.001"), tick=TICK))
KEPT = {
    "targets": [{"pct": "1.3", "close_pct": 40}, {"r": "1.1", "close_pct": 30}],
    "trail": {"pct": "1.7"},
    "trail_after_r": "0.4",
}
RULED: dict[str, Any] = {
    "stop": {"pct": "2.1"},
    "take_profit": [{"at": {"pct": "1.3"}, "close_pct": 40}, {"at": {"r": "1.1"}, "close_pct": 30}],
    "trail": {"pct": "1.7"},
    "trail_after_r": "0.4",
}


def walk(seed: int, count: int = 400) -> list[Row]:
    """Candles of two decimals without gaps; each asks for an entry."""
    drawn, price, rows = random.Random(seed), 100.0, []
    for _ in range(count):
        close = round(price * (1 + drawn.gauss(0.0003, 0.006)), 2)
        high = round(max(price, close) + drawn.random() * 0.4, 2)
        low = round(min(price, close) - drawn.random() * 0.4, 2)
        rows.append((price, high, low, close, ENTER))
        price = close
    return rows


def decimal(value: float) -> Decimal:
    return D(repr(float(value)))


@pytest.mark.parametrize("order", ["market", "limit"])
@pytest.mark.parametrize("seed", range(8))
def test_every_target_and_every_trailed_stop_of_a_backtest_is_the_live_plans(seed: int, order: str) -> None:
    style = {"type": "limit", "limit_offset_pct": "0.3", "expire_bars": 3} if order == "limit" else {"type": "market"}
    data = market(*walk(seed))
    result = traded(data, SETTINGS, protect=RULED, order=style)
    place = {int(time): index for index, time in enumerate(data.open_time_ms)}
    seen = {"target": 0, "trail": 0, "stop": 0}
    sales: dict[int, list[Any]] = {}
    for fill in result.fills:
        if fill.side == "SELL":
            sales.setdefault(fill.trade, []).append(fill)
    for number, trade in enumerate(result.trades):
        entry = decimal(round(trade.entry_price, 9))
        stop = stop_price({"pct": "2.1"}, entry, RULES)
        plan = PlanRecord(
            1, 1, 1, "BTCUSDT", "PROTECTED", 1, None, None, {"pct": "2.1"}, stop, None, "", 0, entry_price=entry,
            first_quantity=D(1), trailed_ms=trade.entry_ms - 1, protect=KEPT | {"is_limit": order == "limit"},
        )  # fmt: skip
        prices = [step.price for step in ladder(KEPT, entry, D(1), first_stop(plan, RULES), RULES)]
        for fill in sales.get(number, []):
            begin, end = place[trade.entry_ms], place[fill.time_ms]
            candles = [
                Candle(int(data.open_time_ms[i]), decimal(data.high[i]), decimal(data.close[i]))
                for i in range(begin, end)
            ]
            at = trailed(plan, candles, RULES)
            seen[fill.reason] = seen.get(fill.reason, 0) + 1
            if fill.reason == "target":
                assert decimal(round(fill.price, 9)) in prices
            elif fill.reason in ("trail", "stop"):
                assert decimal(round(fill.price, 9)) == min(at.stop_price or D(0), decimal(data.open[end])), (
                    number,
                    end,
                )
    assert seen["target"] > 0
    assert seen["trail"] > 0
