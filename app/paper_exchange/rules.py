"""Trading rules of the symbols served: those of the well-known ones, and fitting ones for any other."""

from __future__ import annotations

import re
from decimal import Decimal

from app.domain.errors import InvalidInput
from app.domain.symbols import SymbolRules

QUOTE_ASSETS = ("USDT", "USDC", "FDUSD", "TUSD", "EUR", "TRY", "BTC", "ETH", "BNB")
_SYMBOL = re.compile(r"^[A-Z0-9]{5,20}$")


def _rules(
    symbol: str, base: str, quote: str, tick: Decimal, step: Decimal, max_qty: Decimal, max_price: Decimal
) -> SymbolRules:
    return SymbolRules(
        symbol=symbol,
        base_asset=base,
        quote_asset=quote,
        tick_size=tick,
        min_price=tick,
        max_price=max_price,
        step_size=step,
        min_qty=step,
        max_qty=max_qty,
        market_max_qty=max_qty / 50,
        min_notional=Decimal(5) if quote in ("USDT", "USDC", "FDUSD", "TUSD", "EUR") else Decimal("0.0001"),
        max_notional=Decimal(9_000_000),
        bid_multiplier_up=Decimal(5),
        bid_multiplier_down=Decimal("0.2"),
        ask_multiplier_up=Decimal(5),
        ask_multiplier_down=Decimal("0.2"),
        max_num_orders=200,
        max_num_algo_orders=5,
    )


KNOWN: dict[str, SymbolRules] = {
    "BTCUSDT": _rules("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal(9000), Decimal(1_000_000)),
    "ETHUSDT": _rules("ETHUSDT", "ETH", "USDT", Decimal("0.01"), Decimal("0.0001"), Decimal(9000), Decimal(1_000_000)),
}


def rules_for(symbol: str, typical_price: Decimal) -> SymbolRules:
    """Known rules, or rules whose tick and lot fit the price: five to six figures of price, a lot of about one unit
    of the quote asset. Raises InvalidInput when the name does not end in a quote asset we know.
    """
    if symbol in KNOWN:
        return KNOWN[symbol]
    quote = next((q for q in QUOTE_ASSETS if symbol.endswith(q) and len(symbol) > len(q)), None)
    if quote is None or not _SYMBOL.match(symbol):
        raise InvalidInput(
            f"{symbol[:20]!r} is not a symbol: it must be upper case and end in one of {', '.join(QUOTE_ASSETS)}",
            field="symbol",
        )
    magnitude = typical_price.adjusted()  # 10**magnitude <= price
    price_decimals = min(8, max(2, 4 - magnitude))
    quantity_decimals = min(8 - price_decimals, max(0, magnitude + 1))
    tick, step = Decimal(1).scaleb(-price_decimals), Decimal(1).scaleb(-quantity_decimals)
    return _rules(symbol, symbol[: -len(quote)], quote, tick, step, step * 10**9, tick * 10**8)
