"""From a symbol of exchangeInfo to its `SymbolRules`. Pure."""

from __future__ import annotations

from decimal import DecimalException
from typing import Any

from app.domain.errors import InvalidInput
from app.domain.money import parse_amount
from app.domain.symbols import SymbolRules
from app.logs import get_logger

log = get_logger(__name__)

#: filter → (its field → ours). Fields that a filter does not have are left at "off".
_AMOUNTS: dict[str, dict[str, str]] = {
    "PRICE_FILTER": {"minPrice": "min_price", "maxPrice": "max_price", "tickSize": "tick_size"},
    "LOT_SIZE": {"minQty": "min_qty", "maxQty": "max_qty", "stepSize": "step_size"},
    "MARKET_LOT_SIZE": {"minQty": "market_min_qty", "maxQty": "market_max_qty", "stepSize": "market_step_size"},
    "NOTIONAL": {"minNotional": "min_notional", "maxNotional": "max_notional"},
    "MIN_NOTIONAL": {"minNotional": "min_notional"},
    "PERCENT_PRICE_BY_SIDE": {
        "bidMultiplierUp": "bid_multiplier_up",
        "bidMultiplierDown": "bid_multiplier_down",
        "askMultiplierUp": "ask_multiplier_up",
        "askMultiplierDown": "ask_multiplier_down",
    },
    "MAX_POSITION": {"maxPosition": "max_position"},
}
_FLAGS: dict[str, dict[str, str]] = {
    "NOTIONAL": {
        "applyMinToMarket": "min_notional_applies_to_market",
        "applyMaxToMarket": "max_notional_applies_to_market",
    },
    "MIN_NOTIONAL": {"applyToMarket": "min_notional_applies_to_market"},
}
_COUNTS: dict[str, dict[str, str]] = {
    "NOTIONAL": {"avgPriceMins": "average_price_mins"},
    "MIN_NOTIONAL": {"avgPriceMins": "average_price_mins"},
    "PERCENT_PRICE_BY_SIDE": {"avgPriceMins": "average_price_mins"},
    "PERCENT_PRICE": {"avgPriceMins": "average_price_mins"},
    "MAX_NUM_ORDERS": {"maxNumOrders": "max_num_orders"},
    "MAX_NUM_ALGO_ORDERS": {"maxNumAlgoOrders": "max_num_algo_orders"},
}


def symbol_rules(info: dict[str, Any]) -> SymbolRules:
    """The rules of one symbol; unknown filters are skipped. Raises KeyError, ValueError or InvalidInput."""
    values: dict[str, Any] = {}
    for row in info.get("filters") or ():
        kind = row.get("filterType")
        for theirs, ours in _AMOUNTS.get(kind, {}).items():
            values[ours] = parse_amount(str(row.get(theirs, "0")), field=theirs)
        for theirs, ours in _FLAGS.get(kind, {}).items():
            values[ours] = bool(row.get(theirs, False))
        for theirs, ours in _COUNTS.get(kind, {}).items():
            values[ours] = int(row.get(theirs, 0))
        if kind == "PERCENT_PRICE":  # the same bounds for both sides
            for side in ("bid", "ask"):
                values[f"{side}_multiplier_up"] = parse_amount(str(row["multiplierUp"]))
                values[f"{side}_multiplier_down"] = parse_amount(str(row["multiplierDown"]))
    return SymbolRules(
        symbol=str(info["symbol"]),
        base_asset=str(info["baseAsset"]),
        quote_asset=str(info["quoteAsset"]),
        status=str(info.get("status", "")),
        base_precision=int(info.get("baseAssetPrecision", 8)),
        quote_precision=int(info.get("quoteAssetPrecision", info.get("quotePrecision", 8))),
        **values,
    )


def all_symbol_rules(body: Any) -> dict[str, SymbolRules]:
    """Rules of every symbol of exchangeInfo. A symbol that cannot be read is left out and logged: it cannot be
    traded, the others can. Raises KeyError or TypeError when the answer as a whole is odd.
    """
    found: dict[str, SymbolRules] = {}
    for info in body["symbols"]:
        try:
            rules = symbol_rules(info)
        except (KeyError, TypeError, ValueError, AttributeError, DecimalException, InvalidInput) as error:
            log.warning("a symbol's rules cannot be read", symbol=str(info)[:40], error=str(error))
        else:
            found[rules.symbol] = rules
    return found
