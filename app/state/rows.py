"""Rows of tables: what services answer, as text."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from app.domain.orders import KILL_SALE, Order
from app.domain.orders import OrderStatus as S
from app.services.execution import AccountView, BookedFill
from app.state import words
from app.state.words import UNKNOWN

Row = dict[str, str]
#: Label and kind (PAPER, TESTNET, LIVE) by id: an account is never named without saying whether it is real money.
AccountNames = dict[int, tuple[str, str]]

_TYPES = {
    "LIMIT": "Limit",
    "MARKET": "Market",
    "LIMIT_MAKER": "Post-only limit",
    "STOP_LOSS": "Stop",
    "STOP_LOSS_LIMIT": "Stop-limit",
    "TAKE_PROFIT": "Take profit",
    "TAKE_PROFIT_LIMIT": "Take-profit limit",
}
#: States in which asking for a cancel makes sense.
_CANCELLABLE = {S.NEW, S.SUBMITTED, S.OPEN, S.PARTIALLY_FILLED}


def account_names(accounts: Iterable[AccountView]) -> AccountNames:
    """How accounts are called, for rows."""
    return {account.id: (account.label, account.kind) for account in accounts}


def order_row(order: Order, accounts: AccountNames | None = None) -> Row:
    """An order in a list."""
    label, kind = (accounts or {}).get(order.account_id, (str(order.account_id), ""))
    unknown = order.outcome_unknown_since_ms is not None and not order.is_final
    return {
        "id": str(order.id),
        "href": f"/orders/{order.id}",
        "time": words.day_time(words.at_ms(order.created_at_ms)),
        "account": label,
        "account_kind": kind,
        "symbol": order.symbol,
        "side": order.side.value.capitalize(),
        "side_class": "up" if order.side.value == "BUY" else "down",
        "type": _TYPES.get(order.type.value, order.type.value),
        "quantity": _size(order),
        "price": words.price(order.price if order.price is not None else order.stop_price),
        "filled": words.quantity(order.filled),
        "average": words.rate(average_price(order)),
        "status": "Outcome unknown" if unknown else words.status_words(order.status.value),
        "tone": "wait" if unknown else words.tone(order.status.value),
        "reason": words.sentence(order.reject_reason) if order.reject_reason else "",
        "owner": _owner(order),
        "run_href": f"/runs/{order.run_id}" if order.run_id else "",
        "can_cancel": "yes" if order.status in _CANCELLABLE else "",
        "words": f"{order.side.value.lower()} {_size(order)} {order.symbol}",
    }


def _owner(order: Order) -> str:
    if order.intent_key.startswith(KILL_SALE):
        return "Kill switch"
    return f"Run {order.run_id}" if order.run_id else "By hand"


def average_price(order: Order) -> Decimal | None:
    """What the filled part cost a unit; None before the first fill."""
    return order.filled_quote / order.filled if order.filled else None


def fill_row(fill: BookedFill, accounts: AccountNames | None = None) -> Row:
    """A fill in a list."""
    label, kind = (accounts or {}).get(fill.account_id, (str(fill.account_id), ""))
    return {
        "key": f"{fill.account_id}-{fill.symbol}-{fill.trade_id}",
        "time": words.day_time(fill.traded_at),
        "clock": words.clock_time(fill.traded_at),
        "account": label,
        "account_kind": kind,
        "symbol": fill.symbol,
        "side": fill.side.capitalize(),
        "side_class": "up" if fill.side == "BUY" else "down",
        "quantity": words.quantity(fill.quantity),
        "price": words.price(fill.price),
        "value": words.rate(fill.quote_quantity),
        "fee": f"{words.quantity(fill.commission)} {fill.commission_asset}",
        "liquidity": "Maker" if fill.is_maker else "Taker",
        "trade_id": str(fill.trade_id),
        "order_id": str(fill.order_id),
        "order_href": f"/orders/{fill.order_id}",
        "owner": f"Run {fill.run_id}" if fill.run_id else "By hand",
    }


def position_row(position: Any, quote: str, kind: str = "") -> Row:
    """A position of a portfolio view; `kind` of its account where several may stand in one list."""
    return {
        "symbol": position.symbol,
        "account_kind": kind,
        "owner": f"{position.run_name} · run {position.run_id}" if position.run_id else "By hand",
        "href": f"/runs/{position.run_id}" if position.run_id else "/orders",
        "quantity": words.quantity(position.quantity),
        "average": words.rate(position.average_cost),
        "price": words.price(position.price),
        "priced": words.clock_time(position.priced_at),
        "value": words.money(position.value, quote),
        "unrealised": words.signed(position.unrealised, quote),
        "unrealised_pct": words.percent(position.unrealised, _cost(position)),
        "realised": words.signed(position.realised, quote),
        "fees": words.money(position.fees_quote, quote),
        "is_open": "yes" if position.quantity else "",
    }


def account_options(accounts: Iterable[AccountView], *, active_only: bool = False) -> list[Row]:
    """Accounts to choose from in a select."""
    return [
        {"value": str(account.id), "label": f"{account.label} · {account.kind}", "kind": account.kind}
        for account in accounts
        if account.state == "ACTIVE" or not active_only
    ]


def _size(order: Order) -> str:
    if order.quantity is not None:
        return words.quantity(order.quantity)
    return f"{words.quantity(order.quote_quantity)} in quote" if order.quote_quantity is not None else UNKNOWN


def _cost(position: Any) -> Decimal | None:
    if position.value is None or position.unrealised is None:
        return None
    cost: Decimal = position.value - position.unrealised
    return cost
