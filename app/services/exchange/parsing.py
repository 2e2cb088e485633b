"""From what the exchange says on the wire to our values. Pure.

Unknown fields and unknown words (a status, a filter, an event) are let through or skipped; a value that must be
there and is not, or is no number, raises `BadAnswer`, and the caller treats the answer as unusable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from decimal import Decimal, DecimalException
from typing import Any, ParamSpec, TypeVar

from app.domain.errors import InvalidInput
from app.domain.money import ZERO, parse_amount
from app.domain.orders import ExchangeReport, Fill, Side
from app.services.exchange.protocol import AccountStatus, AssetBalance, ExchangeTrade, KlineEvent

P = ParamSpec("P")
T = TypeVar("T")
Json = Any


class BadAnswer(Exception):
    """The answer lacks what it must have, or has it in a form we cannot read."""


def _checked(parse: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(parse)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parse(*args, **kwargs)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, DecimalException, InvalidInput) as error:
            raise BadAnswer(f"unreadable answer: {type(error).__name__} {error}"[:200]) from error

    return wrapped


def _amount(value: object) -> Decimal:
    return parse_amount(value)


def _quote_amount(value: object) -> Decimal:
    """`cummulativeQuoteQty`: a negative one means "not available"; the trades tell it then."""
    text = str(value)
    return ZERO if text.startswith("-") else parse_amount(text)


@_checked
def order_answer(body: Json) -> ExchangeReport:
    """The answer to placing, querying or cancelling an order, or a row of a list of orders.

    In the answer to a cancel `clientOrderId` is the cancel's own; the order's is `origClientOrderId`.
    The price of a market order is 0: what it traded at is in the fills.
    """
    fills = [_placed_fill(row, body) for row in body.get("fills") or ()]
    return ExchangeReport(
        client_order_id=str(body.get("origClientOrderId") or body["clientOrderId"]),
        exchange_order_id=int(body["orderId"]),
        symbol=str(body["symbol"]),
        status=str(body["status"]),
        executed=_amount(body["executedQty"]),
        executed_quote=_quote_amount(body.get("cummulativeQuoteQty", "-1")),
        updated_at_ms=int(body["transactTime"] if "transactTime" in body else body["updateTime"]),
        fills=tuple(fills),
        original_quantity=_amount(body.get("origQty", "0")),
        reject_reason=str(body.get("expiryReason") or ""),
        side=str(body.get("side", "")),
        type=str(body.get("type", "")),
        price=_amount(body.get("price", "0")),
        stop_price=_amount(body.get("stopPrice", "0")),
        time_in_force=str(body.get("timeInForce", "")),
        created_at_ms=int(body.get("time", 0)),
    )


@_checked
def order_list_answer(body: Json) -> list[ExchangeReport]:
    """The answer to placing an order list: a report of each of its orders."""
    return [order_answer(row) for row in rows(body["orderReports"])]


def _placed_fill(row: Json, body: Json) -> Fill:
    """A fill in the answer to POST order: it happened on arrival, so it took."""
    quantity, price = _amount(row["qty"]), _amount(row["price"])
    return Fill(
        trade_id=int(row["tradeId"]),
        quantity=quantity,
        price=price,
        quote_quantity=quantity * price,
        commission=_amount(row["commission"]),
        commission_asset=str(row["commissionAsset"]),
        is_maker=False,
        traded_at_ms=int(body["transactTime"]),
    )


@_checked
def row_id(body: Json, field: str) -> int:
    """The id by which a list is paged."""
    return int(body[field])


@_checked
def order_created_ms(body: Json) -> int:
    """When an order of a list was created."""
    return int(body["time"])


@_checked
def execution_report(event: Json) -> ExchangeReport:
    """An `executionReport` of the user stream.

    On CANCELED `c` is the id of the cancel and `C` the order's own; otherwise `C` is empty and `c` the order's.
    """
    trade_id = int(event.get("t", -1))
    is_trade = event["x"] == "TRADE" and trade_id >= 0
    fill = (
        Fill(
            trade_id=trade_id,
            quantity=_amount(event["l"]),
            price=_amount(event["L"]),
            quote_quantity=_amount(event["Y"]),
            commission=_amount(event["n"]),
            commission_asset=str(event["N"] or ""),
            is_maker=bool(event["m"]),
            traded_at_ms=int(event["T"]),
        )
        if is_trade
        else None
    )
    own_id = event.get("C")
    reason = str(event.get("r") or "")
    return ExchangeReport(
        client_order_id=str(own_id if own_id and own_id != "null" else event["c"]),
        exchange_order_id=int(event["i"]),
        symbol=str(event["s"]),
        status=str(event["X"]),
        executed=_amount(event["z"]),
        executed_quote=_quote_amount(event["Z"]),
        updated_at_ms=int(event["T"]),
        fills=(fill,) if fill else (),
        original_quantity=_amount(event.get("q", "0")),
        reject_reason=str(event.get("eR") or ("" if reason == "NONE" else reason)),
        side=str(event.get("S", "")),
        type=str(event.get("o", "")),
        price=_amount(event.get("p", "0")),
    )


@_checked
def trade_row(row: Json) -> ExchangeTrade:
    """A row of myTrades."""
    fill = Fill(
        trade_id=int(row["id"]),
        quantity=_amount(row["qty"]),
        price=_amount(row["price"]),
        quote_quantity=_amount(row["quoteQty"]),
        commission=_amount(row["commission"]),
        commission_asset=str(row["commissionAsset"]),
        is_maker=bool(row["isMaker"]),
        traded_at_ms=int(row["time"]),
    )
    side = Side.BUY if row["isBuyer"] else Side.SELL
    return ExchangeTrade(int(row["orderId"]), str(row["symbol"]), side, fill)


@_checked
def account_balances(body: Json) -> dict[str, AssetBalance]:
    """Non-zero balances of GET account."""
    both = {str(row["asset"]): AssetBalance(_amount(row["free"]), _amount(row["locked"])) for row in body["balances"]}
    return {asset: balance for asset, balance in both.items() if balance.free or balance.locked}


@_checked
def account_status(body: Json) -> AccountStatus:
    """GET account. An account without a `uid` cannot be told from another: that is a bad answer."""
    may_trade = body["canTrade"]
    if not isinstance(may_trade, bool):
        raise TypeError("canTrade is neither true nor false")
    permissions = tuple(str(name) for name in body.get("permissions") or ())
    return AccountStatus(str(body["uid"]), may_trade, permissions, account_balances(body))


@_checked
def key_rights(body: Json) -> dict[str, Any]:
    """GET apiRestrictions, as it is: the fields that say true or false."""
    rights = {str(name): value for name, value in body.items() if isinstance(value, bool)}
    if not rights:
        raise ValueError("it names no right")
    return rights


@_checked
def rows(body: Json) -> list[Json]:
    """A list of objects or arrays."""
    if not isinstance(body, list):
        raise TypeError("not a list")
    return body


@_checked
def server_time(body: Json) -> int:
    """GET time."""
    return int(body["serverTime"])


@_checked
def ticker_prices(body: Json) -> dict[str, Decimal]:
    """Last price by symbol."""
    return {str(row["symbol"]): _amount(row["price"]) for row in rows(body)}


@_checked
def candles(body: Json, symbol: str, timeframe: str, *, now_ms: int) -> list[KlineEvent]:
    """Rows of GET klines that have closed by `now_ms` (exchange time): the last row is the forming candle."""
    return [
        KlineEvent(
            symbol=symbol,
            timeframe=timeframe,
            open_time_ms=int(row[0]),
            open=float(row[1]),
            high=float(row[2]),
            low=float(row[3]),
            close=float(row[4]),
            volume=float(row[5]),
            closed=True,
        )
        for row in rows(body)
        if int(row[6]) < now_ms
    ]


@_checked
def kline_event(event: Json) -> tuple[KlineEvent, int, int]:
    """A `kline` event of a market stream: the candle, when this was said, and the last millisecond of the candle."""
    kline = event["k"]
    candle = KlineEvent(
        symbol=str(kline["s"]),
        timeframe=str(kline["i"]),
        open_time_ms=int(kline["t"]),
        open=float(kline["o"]),
        high=float(kline["h"]),
        low=float(kline["l"]),
        close=float(kline["c"]),
        volume=float(kline["v"]),
        closed=kline["x"] is True,
    )
    return candle, int(event["E"]), int(kline["T"])


@_checked
def weight_limit(body: Json) -> int | None:
    """REQUEST_WEIGHT a minute from exchangeInfo; None if it is not named."""
    limits: Iterable[Json] = body.get("rateLimits") or ()
    for limit in limits:
        if (limit.get("rateLimitType"), limit.get("interval"), limit.get("intervalNum")) == (
            "REQUEST_WEIGHT", "MINUTE", 1,
        ):  # fmt: skip
            return int(limit["limit"])
    return None
