"""Our books beside the exchange's own, order by order and trade by trade."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from api_client import Api
from stack import Stack

#: The exchange's words for ours.
_STATUS = {"NEW": "OPEN", "EXPIRED_IN_MATCH": "EXPIRED", "PENDING_CANCEL": "CANCELING"}
#: An order that the exchange has never seen may be in one of these, without a fill.
_NEVER_THERE = {"REJECTED", "CANCELED", "EXPIRED"}


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
    ours = {order["client_order_id"]: order for order in all_orders(api, account_id)}
    counted = Counter(order["clientOrderId"] for order in theirs["orders"])
    found = [f"{times} orders with client id {name}" for name, times in counted.items() if times > 1]
    found += [f"the exchange has {name}, we do not" for name in counted if name not in ours]
    there = {order["clientOrderId"]: order for order in theirs["orders"]}
    for name, order in ours.items():
        found += _order(order, there.get(name))
    found += _trades(api, account_id, theirs["trades"], {str(o["exchange_order_id"]): o["id"] for o in ours.values()})
    return found + _balances(api, account_id, theirs["balances"])


def _order(ours: Any, theirs: Any) -> list[str]:
    said = f"order {ours['id']} ({ours['side']} {ours['type']}) is {ours['status']}"
    if theirs is None:
        never = ours["status"] in _NEVER_THERE and Decimal(ours["filled"]) == 0
        return [] if never else [f"{said}, the exchange does not know it"]
    status = _STATUS.get(theirs["status"], theirs["status"])
    found = [] if ours["status"] == status else [f"{said}, there {theirs['status']}"]
    for mine, its in (("filled", "executedQty"), ("filled_quote", "cummulativeQuoteQty")):
        if Decimal(ours[mine]) != Decimal(theirs[its]):
            found.append(f"{said}, {mine} {ours[mine]}, there {theirs[its]}")
    return found


def _trades(api: Api, account_id: int, theirs: list[Any], order_ids: dict[str, int]) -> list[str]:
    fills = api.get("/fills", account_id=account_id, limit=200)["fills"]
    mine = Counter(
        (f["trade_id"], f["order_id"], *map(Decimal, (f["quantity"], f["price"], f["commission"]))) for f in fills
    )
    its = Counter(
        (t["id"], order_ids.get(str(t["orderId"])), *map(Decimal, (t["qty"], t["price"], t["commission"])))
        for t in theirs
    )
    return [f"only we have trade {one}" for one in mine - its] + [f"only they have trade {one}" for one in its - mine]


def _balances(api: Api, account_id: int, theirs: dict[str, Any]) -> list[str]:
    shown = api.get("/portfolio", account_id=account_id)["portfolio"]["balances"]
    mine = {balance["asset"]: Decimal(balance["total"]) for balance in shown}
    its = {asset: Decimal(b["free"]) + Decimal(b["locked"]) for asset, b in theirs.items()}
    assets = {asset for asset, total in (mine | its).items() if total or its.get(asset)}
    return [f"{a}: {mine.get(a)} here, {its.get(a)} there" for a in sorted(assets) if mine.get(a, 0) != its.get(a, 0)]
