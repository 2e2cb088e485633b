"""Our books beside the exchange's own, order by order and trade by trade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api_client import Api
    from stack import Stack

#: The exchange's words for ours.
_STATUS = {"NEW": "OPEN", "EXPIRED_IN_MATCH": "EXPIRED", "PENDING_CANCEL": "CANCELING"}
#: An order that the exchange has never seen may be in one of these, without a fill.
_NEVER_THERE = {"REJECTED", "CANCELED", "EXPIRED"}
#: What a difference can be: one order became two, a trade is missing, an order's state is not known, anything else.
DUPLICATE, LOST_FILL, UNKNOWN, OTHER = "duplicate", "lost fill", "unknown", "other"


@dataclass(frozen=True)
class Ours:
    """One account in our books: orders and fills as the API words them, totals by asset."""

    orders: Sequence[Any]
    fills: Sequence[Any]
    totals: Mapping[str, Decimal]


@dataclass(frozen=True)
class Difference:
    """One thing that the two books disagree about."""

    kind: str
    words: str


def all_orders(api: Api, account_id: int) -> list[Any]:
    """Every order of an account, newest first."""
    found: list[Any] = []
    before: dict[str, int] = {}
    while True:
        page = api.get("/orders", account_id=account_id, limit=200, **before)
        found += page["orders"]
        if page["next_before_id"] is None:
            return found
        before = {"before_id": page["next_before_id"]}


def differences(stack: Stack, api: Api, account_id: int, *, exchange_account_id: int = 1) -> list[str]:
    """What the two books disagree about, in sentences; nothing when they agree."""
    theirs = stack.paper_books(exchange_account_id)
    fills = api.get("/fills", account_id=account_id, limit=200)["fills"]
    shown = api.get("/portfolio", account_id=account_id)["portfolio"]["balances"]
    totals = {balance["asset"]: Decimal(balance["total"]) for balance in shown}
    return [one.words for one in compare(Ours(all_orders(api, account_id), fills, totals), theirs)]


def compare(mine: Ours, theirs: dict[str, Any]) -> list[Difference]:
    """What our books and the exchange's (`/paper/books`) disagree about; nothing when they agree."""
    ours = {order["client_order_id"]: order for order in mine.orders}
    counted = Counter(order["clientOrderId"] for order in theirs["orders"])
    found = [Difference(DUPLICATE, f"{n} orders with client id {name}") for name, n in counted.items() if n > 1]
    found += [Difference(DUPLICATE, f"the exchange has {name}, we do not") for name in counted if name not in ours]
    there = {order["clientOrderId"]: order for order in theirs["orders"]}
    for name, order in ours.items():
        found += _order(order, there.get(name))
    found += _trades(mine.fills, theirs["trades"], {str(o["exchange_order_id"]): o["id"] for o in ours.values()})
    return found + _balances(mine.totals, theirs["balances"])


def _order(ours: Any, theirs: Any) -> list[Difference]:
    said = f"order {ours['id']} ({ours['side']} {ours['type']}) is {ours['status']}"
    if theirs is None:
        never = ours["status"] in _NEVER_THERE and Decimal(ours["filled"]) == 0
        return [] if never else [Difference(UNKNOWN, f"{said}, the exchange does not know it")]
    status = _STATUS.get(theirs["status"], theirs["status"])
    found = [] if ours["status"] == status else [Difference(UNKNOWN, f"{said}, there {theirs['status']}")]
    for name, its in (("filled", "executedQty"), ("filled_quote", "cummulativeQuoteQty")):
        if Decimal(ours[name]) != Decimal(theirs[its]):
            found.append(Difference(LOST_FILL, f"{said}, {name} {ours[name]}, there {theirs[its]}"))
    return found


def _trades(fills: Sequence[Any], theirs: list[Any], order_ids: dict[str, int]) -> list[Difference]:
    mine = Counter(
        (f["trade_id"], f["order_id"], *map(Decimal, (f["quantity"], f["price"], f["commission"]))) for f in fills
    )
    its = Counter(
        (t["id"], order_ids.get(str(t["orderId"])), *map(Decimal, (t["qty"], t["price"], t["commission"])))
        for t in theirs
    )
    only_ours = [Difference(DUPLICATE, f"only we have trade {_trade(one)}") for one in mine - its]
    return only_ours + [Difference(LOST_FILL, f"only they have trade {_trade(one)}") for one in its - mine]


def _trade(one: tuple[Any, ...]) -> str:
    number, order_id, quantity, price, commission = one
    return f"{number} of order {order_id}: {quantity} at {price}, fee {commission}"


def _balances(mine: Mapping[str, Decimal], theirs: dict[str, Any]) -> list[Difference]:
    its = {asset: Decimal(b["free"]) + Decimal(b["locked"]) for asset, b in theirs.items()}
    assets = sorted(asset for asset, total in ({**its} | {**mine}).items() if total or its.get(asset))
    return [
        Difference(OTHER, f"{a}: {mine.get(a)} here, {its.get(a)} there")
        for a in assets
        if mine.get(a, 0) != its.get(a, 0)
    ]
