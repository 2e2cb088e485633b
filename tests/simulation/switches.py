"""Once all is quiet: what engaged kill switches and replacements have left undone."""

from __future__ import annotations

from app.domain.money import ZERO
from app.domain.orders import KILL_SALE, OrderType, Side
from app.domain.symbols import market_part
from app.models.execution import KillAction
from app.services.execution.store_memory import Books
from app.services.execution.store_switches import Switch


def not_carried_out(books: Books) -> list[str]:
    """In words; empty when every switch has done what it says and no replacement waits."""
    found = [f"replacement {wanted.id} waits" for wanted in books.replacements.values() if wanted.state == "WAITING"]
    for switch in books.switches.values():
        if switch.action != KillAction.HALT:
            found += _still_working(switch, books)
        if switch.action == KillAction.FLATTEN:
            found += _still_held(switch, books)
    return found


def _still_working(switch: Switch, books: Books) -> list[str]:
    found = []
    for order in books.working.values():
        is_sale = order.side is Side.SELL
        stays = is_sale and (order.plan_id is not None or order.intent_key.startswith(KILL_SALE))
        if switch.action == KillAction.CANCEL_ALL and is_sale:
            stays = stays or order.id > switch.until_order_id or order.type in (OrderType.MARKET, OrderType.STOP_LOSS)
            stays = stays or order.type is OrderType.STOP_LOSS_LIMIT
        if switch.scope.covers(order.account_id, order.run_id) and not stays:
            found.append(f"order {order.id} is {order.status} although {switch.name} has {switch.action}")
    return found


def _still_held(switch: Switch, books: Books) -> list[str]:
    """Positions worth an order. Of coins that have left the account nothing can be sold, whatever the books hold."""
    found = []
    for (account_id, run_id, symbol), quantity in books.held.items():
        rules = books.rules[symbol]
        there = max(ZERO, min(quantity, books.totals.get((account_id, rules.base_asset), ZERO)))
        if switch.scope.covers(account_id, run_id) and market_part(rules, there, books.prices[symbol][0]) > 0:
            found.append(f"{quantity} {symbol} of run {run_id} is held although {switch.name} has flattened")
    return found
