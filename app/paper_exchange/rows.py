"""Books to rows and back."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any

from app.domain.money import plain
from app.domain.orders import OrderType, Side, TimeInForce
from app.domain.symbols import SymbolRules
from app.paper_exchange.candles import Candle, Columns, History
from app.paper_exchange.ledger import Ledger
from app.paper_exchange.markets import LiveMarket, Source
from app.paper_exchange.mirror import Mirror, Upstream
from app.paper_exchange.model import Amendment, Balance, Changes, Order, OrderList, PreventedMatch, Trade
from app.paper_exchange.orderbook import Market
from app.paper_exchange.replay import Replay, Tape, unpack
from app.paper_exchange.store import Statement
from app.paper_exchange.synthetic import State, Synthetic
from app.paper_exchange.units import Units

_ORDER_COLUMNS = tuple(f.name for f in fields(Order))
_TRADE_COLUMNS = tuple(f.name for f in fields(Trade))
_ORDER_AMOUNTS = (
    "price", "quantity", "quote_quantity", "stop_price", "executed", "executed_quote", "locked", "queue_ahead",
    "prevented",
)  # fmt: skip
_LIST_COLUMNS = tuple(f.name for f in fields(OrderList))
_AMENDMENT_COLUMNS = tuple(f.name for f in fields(Amendment))
_PREVENTED_COLUMNS = tuple(f.name for f in fields(PreventedMatch))


def _upsert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


_PUT_ORDER = _upsert("orders", _ORDER_COLUMNS)
_PUT_TRADE = _upsert("trades", _TRADE_COLUMNS).replace(" OR REPLACE", "")  # a trade is written once
_PUT_LIST = _upsert("order_lists", _LIST_COLUMNS)
_PUT_AMENDMENT = _upsert("amendments", _AMENDMENT_COLUMNS).replace(" OR REPLACE", "")
_PUT_PREVENTED = _upsert("prevented_matches", _PREVENTED_COLUMNS).replace(" OR REPLACE", "")
_PUT_BALANCE = _upsert("balances", ("account_id", "asset", "free", "locked"))
_PUT_COUNTERS = _upsert("counters", ("symbol", "next_order_id", "next_trade_id"))
_PUT_META = _upsert("meta", ("key", "value"))
_PUT_CANDLE = _upsert(
    "candles", ("symbol", "seconds", "open_ms", "open", "high", "low", "close", "volume", "quote", "prints")
)
_PUT_MARKET = _upsert("markets", ("symbol", "market_id", "rules", "source", "state", "halted", "tape", "history"))


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return json.dumps(value) if isinstance(value, tuple) else value


def _row(record: Any, columns: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(_value(getattr(record, column)) for column in columns)


def change_statements(
    changes: Changes, ledger: Ledger, markets: Mapping[str, Market], execution_id: int
) -> list[Statement]:
    """What must be stored before `changes` may be told; values as they are now."""
    statements: list[Statement] = []
    if changes.orders:
        statements.append((_PUT_ORDER, [_row(o, _ORDER_COLUMNS) for o in changes.orders.values()]))
        statements.append((_PUT_META, [("execution_id", str(execution_id))]))
    if changes.trades:
        statements.append((_PUT_TRADE, [_row(t, _TRADE_COLUMNS) for t in changes.trades]))
    if changes.lists:
        statements.append((_PUT_LIST, [_row(one, _LIST_COLUMNS) for one in changes.lists.values()]))
    if changes.amendments:
        statements.append((_PUT_AMENDMENT, [_row(one, _AMENDMENT_COLUMNS) for one in changes.amendments]))
    if changes.prevented:
        statements.append((_PUT_PREVENTED, [_row(one, _PREVENTED_COLUMNS) for one in changes.prevented]))
    if changes.balances:
        balances = [(a, asset, ledger.balance(a, asset)) for a, asset in sorted(changes.balances)]
        statements.append((_PUT_BALANCE, [(a, asset, plain(b.free), plain(b.locked)) for a, asset, b in balances]))
    if changes.counters:
        rows = [(s, markets[s].next_order_id, markets[s].next_trade_id) for s in sorted(changes.counters)]
        statements.append((_PUT_COUNTERS, rows))
    return statements


def meta_statement(key: str, value: str) -> Statement:
    """One fact about the whole exchange."""
    return _PUT_META, [(key, value)]


def candle_statements(symbol: str, candles: Iterable[tuple[int, Candle]]) -> list[Statement]:
    """Closed candles as (length in seconds, candle)."""
    rows = [
        (symbol, seconds, c.open_ms, c.open, c.high, c.low, c.close, c.volume, c.quote, c.prints)
        for seconds, c in candles
    ]
    return [(_PUT_CANDLE, rows)] if rows else []


def forget_statements(symbol: str, before_ms: int) -> list[Statement]:
    """Drop one-second candles older than a time; minutes stay."""
    return [("DELETE FROM candles WHERE symbol = ? AND seconds = 1 AND open_ms < ?", [(symbol, before_ms)])]


def state_statements(market: LiveMarket) -> list[Statement]:
    """How far the source has come."""
    row = (json.dumps(market.source.snapshot()), int(market.halted), market.rules.symbol)
    return [("UPDATE markets SET state = ?, halted = ? WHERE symbol = ?", [row])]


def market_statements(market: LiveMarket, history: History) -> list[Statement]:
    """A new source with its history; the candles of the one before are gone."""
    rules = json.dumps({k: _value(v) for k, v in asdict(market.rules).items()})
    tape = market.source.tape.packed() if isinstance(market.source, Replay) else None
    row = (
        market.rules.symbol, market.market_id, rules, json.dumps(market.source.describe()),
        json.dumps(market.source.snapshot()), int(market.halted), tape, history.packed(),
    )  # fmt: skip
    return [("DELETE FROM candles WHERE symbol = ?", [(market.rules.symbol,)]), (_PUT_MARKET, [row])]


def read_order(row: sqlite3.Row) -> Order:
    """An order as stored."""
    values = dict(row)
    for name in _ORDER_AMOUNTS:
        values[name] = Decimal(values[name])
    values["side"], values["type"] = Side(values["side"]), OrderType(values["type"])
    values["time_in_force"] = TimeInForce(values["time_in_force"])
    return Order(**values)


def read_trade(row: sqlite3.Row) -> Trade:
    """A trade as stored."""
    values = dict(row)
    for name in ("price", "quantity", "quote_quantity", "commission"):
        values[name] = Decimal(values[name])
    values["is_buyer"], values["is_maker"] = bool(values["is_buyer"]), bool(values["is_maker"])
    return Trade(**values)


def read_list(row: sqlite3.Row) -> OrderList:
    """An order list as stored."""
    values = dict(row)
    values["order_ids"], values["is_done"] = tuple(json.loads(values["order_ids"])), bool(values["is_done"])
    return OrderList(**values)


def read_amendment(row: sqlite3.Row) -> Amendment:
    """An amendment as stored."""
    values = dict(row)
    for name in ("old_quantity", "new_quantity"):
        values[name] = Decimal(values[name])
    return Amendment(**values)


def read_prevented(row: sqlite3.Row) -> PreventedMatch:
    """A prevented match as stored."""
    values = dict(row)
    for name in ("price", "taker_quantity", "maker_quantity"):
        values[name] = Decimal(values[name])
    return PreventedMatch(**values)


def read_balance(row: sqlite3.Row) -> Balance:
    """A balance as stored."""
    return Balance(Decimal(row["free"]), Decimal(row["locked"]))


def read_rules(text: str) -> SymbolRules:
    """Trading rules as stored."""
    amounts = {f.name for f in fields(SymbolRules) if f.type == "Decimal"}
    values: dict[str, Any] = {k: Decimal(v) if k in amounts else v for k, v in json.loads(text).items()}
    return SymbolRules(**values)


def read_source(row: sqlite3.Row, rules: SymbolRules) -> Source:
    """The source of a market row, where it stood at the last commit."""
    facts, state, units = json.loads(row["source"]), json.loads(row["state"]), Units.of(rules)
    if facts["source"] == "synthetic":
        days, live_ms = facts.get("days", 1), facts.get("live_ms")
        return Synthetic(rules.symbol, facts["seed"], units, facts["first_price"], _state(state, units),
                         days=days, live_ms=live_ms)  # fmt: skip
    if facts["source"] == "mirror":
        return Mirror(rules.symbol, units, Upstream(facts["rest"], facts["stream"]))
    tape = Tape(unpack(row["tape"]), facts["gaps"], facts["missing"], facts["base_ms"])
    return Replay(
        tape, units, label=facts["label"], start=facts["start"], loop=facts["loop"], position=state["position"]
    )


def _state(facts: dict[str, Any], units: Units) -> State:
    """The state as stored, also as the first version of this program stored it."""
    if "log_price" in facts:
        return State(units.price_units(math.exp(facts["log_price"])))
    return State(**facts)


def read_history(row: sqlite3.Row, candles: Iterable[sqlite3.Row]) -> History:
    """History of a market: what it started with, then the candles stored since (in order of time)."""
    seconds, minutes = Columns(), Columns()
    for r in candles:
        target = seconds if r["seconds"] == 1 else minutes
        target.append(
            Candle(r["open_ms"], r["open"], r["high"], r["low"], r["close"], r["volume"], r["quote"], r["prints"])
        )
    return History.unpack(row["history"]).continued(seconds, minutes)
