"""What must be true when everything has calmed down: our books against the exchange's, and against themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from both_books import DUPLICATE, LOST_FILL, OTHER, UNKNOWN, Difference, Ours, compare

from app.database.engine import make_engine, session_factory
from app.services.portfolio.projection import rebuild
from tests.chaos.chaos_stack import ChaosStack

Rows = list[dict[str, Any]]
_UNFINISHED = "('NEW','SUBMITTED','OPEN','PARTIALLY_FILLED','CANCELING')"

#: Each names a rule and selects what breaks it, as sentences; none may select anything.
RULES: Sequence[tuple[str, str]] = (
    (DUPLICATE, "SELECT format('order %s has %s attempts', order_id, count(*)) FROM execution.order_events"
                " WHERE kind = 'attempt_sent' GROUP BY order_id HAVING count(*) > 1"),
    (DUPLICATE, "SELECT format('%s orders for the intent %s', count(*), intent_key) FROM execution.orders"
                " GROUP BY account_id, intent_key HAVING count(*) > 1"),
    (DUPLICATE, "SELECT format('run %s has %s open plans', run_id, count(*)) FROM execution.plans"
                " WHERE state <> 'CLOSED' GROUP BY run_id HAVING count(*) > 1"),
    (LOST_FILL, "SELECT format('order %s says %s filled, its fills say %s', o.id, o.filled, coalesce(f.sum, 0))"
                " FROM execution.orders o LEFT JOIN (SELECT order_id, sum(quantity) FROM execution.fills"
                " GROUP BY order_id) f ON f.order_id = o.id WHERE o.filled <> coalesce(f.sum, 0)"),
    (UNKNOWN, "SELECT format('order %s is %s with an unknown outcome', id, status) FROM execution.orders"
              " WHERE exchange_order_id IS NULL AND status IN ('NEW','SUBMITTED','CANCELING')"),
    (OTHER, "SELECT format('order %s is FILLED with %s of %s', id, filled, quantity) FROM execution.orders"
            " WHERE status = 'FILLED' AND quantity IS NOT NULL AND filled <> quantity"),
    (OTHER, "SELECT format('order %s is at version %s with %s events up to %s', o.id, o.version, e.n, e.last)"
            " FROM execution.orders o JOIN (SELECT order_id, count(*) n, max(seq) last FROM execution.order_events"
            " GROUP BY order_id) e ON e.order_id = o.id WHERE o.version <> e.last OR e.n <> e.last"),
    (OTHER, f"SELECT format('order %s is %s and still holds %s back', id, status, reserved) FROM execution.orders"
            f" WHERE status NOT IN {_UNFINISHED} AND reserved <> 0"),
    (OTHER, "SELECT format('account %s is %s: %s', id, state, state_reason) FROM execution.accounts"
            " WHERE state <> 'ACTIVE'"),
    # The exchange's delays stay below the death bound, so nothing given up may come back.
    (OTHER, "SELECT format('incident %s: %s', kind, message) FROM execution.incidents WHERE kind = 'RESURRECTED'"),
)  # fmt: skip


def look(stack: ChaosStack, accounts: dict[int, int]) -> list[Difference]:
    """Differences now. `accounts`: ours → the exchange's number."""
    found: list[Difference] = []
    for account_id, number in accounts.items():
        theirs = stack.paper_books(number)
        ours = _ours(stack, account_id)
        found += [Difference(d.kind, f"account {account_id}: {d.words}") for d in compare(ours, theirs)]
        found += _protection(stack, account_id, theirs["orders"])
    with stack.superuser() as database:
        for kind, rule in RULES:
            found += [Difference(kind, next(iter(row.values()))) for row in database.execute(rule)]
    return found


def incidents(stack: ChaosStack) -> list[str]:
    """All incidents ever opened on this stack."""
    with stack.superuser() as database:
        return [f"{row['kind']}: {row['message']}" for row in database.execute("SELECT * FROM execution.incidents")]


def rebuilt(stack: ChaosStack, accounts: dict[int, int]) -> list[Difference]:
    """What balances and positions would become if they were made anew from the fills (nothing is changed)."""

    async def all_of_them() -> list[str]:
        url = (stack.home / "secrets" / "worker.url").read_text().strip()
        engine = make_engine(url, application_name="chaos-rebuild", pool_size=1)
        found: list[str] = []
        try:
            for account_id in accounts:
                async with session_factory(engine)() as session:
                    found += await rebuild(session, account_id)
                    await session.rollback()
        finally:
            await engine.dispose()
        return found

    return [Difference(OTHER, words) for words in asyncio.run(all_of_them())]


def _ours(stack: ChaosStack, account_id: int) -> Ours:
    """One consistent view of one account."""
    with stack.superuser() as database, database.transaction():
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        read = database.execute
        orders = read("SELECT * FROM execution.orders WHERE account_id = %s", (account_id,)).fetchall()
        fills = read("SELECT * FROM execution.fills WHERE account_id = %s", (account_id,)).fetchall()
        totals = read("SELECT asset, total FROM portfolio.balances WHERE account_id = %s", (account_id,)).fetchall()
    return Ours(orders, fills, {row["asset"]: row["total"] for row in totals})


def _protection(stack: ChaosStack, account_id: int, theirs: Rows) -> list[Difference]:
    """Every position of a plan has its stop resting at the exchange, or an open incident says that it has not."""
    resting = {o["clientOrderId"]: Decimal(o["origQty"]) for o in theirs if o["status"] in ("NEW", "PARTIALLY_FILLED")}
    with stack.superuser() as database:
        held = database.execute(_HELD, (account_id,)).fetchall()
        told = database.execute(
            "SELECT 1 FROM execution.incidents WHERE account_id = %s AND closed_at IS NULL AND kind IN"
            " ('PROTECTION_REFUSED', 'POSITION_NOT_COVERED', 'RESURRECTED', 'LATE_FILL')", (account_id,)
        ).fetchall()  # fmt: skip
        stops = database.execute(_STOPS, (account_id,)).fetchall()
    found = []
    for row in held:
        covered = sum(resting.get(s["client_order_id"], Decimal(0)) for s in stops if s["run_id"] == row["run_id"])
        if row["quantity"] - covered >= Decimal("0.0002") and not told:  # less is worth less than the least order
            words = f"run {row['run_id']} holds {row['quantity']}, {covered} of it under a stop (plan {row['plans']})"
            found.append(Difference(OTHER, f"account {account_id}: {words}"))
    return found


_HELD = """
    SELECT p.run_id, p.quantity, string_agg(format('%%s %%s %%s', n.id, n.state, n.exit_reason), ', ') AS plans
    FROM portfolio.positions p LEFT JOIN execution.plans n ON n.run_id = p.run_id
    WHERE p.account_id = %s AND p.run_id <> 0 AND p.quantity > 0 GROUP BY p.run_id, p.quantity"""
_STOPS = """
    SELECT run_id, client_order_id FROM execution.orders
    WHERE account_id = %s AND plan_id IS NOT NULL AND side = 'SELL' AND status IN ('OPEN','PARTIALLY_FILLED')
    AND type IN ('STOP_LOSS', 'STOP_LOSS_LIMIT')"""

__all__ = ["incidents", "look", "rebuilt"]
