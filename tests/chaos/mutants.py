"""Workers with one mistake each. The campaign has to see every one: `make chaos MUTANT="order sent twice"`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.domain.orders import FINAL, EventSource
from app.jobs.recovery import Recovery
from app.services.exchange.binance import BinanceSession
from app.services.exchange.protocol import Unknown
from app.services.execution import bookkeeping, plan_moves
from app.services.execution.order_lists import order_request
from app.services.execution.store_postgres import PostgresTransaction
from app.services.execution.submit import Submitter

VARIABLE, MARKS_VARIABLE = "CHAOS_MUTANT", "CHAOS_MARKS_FILE"


def _resends_with_the_same_id() -> None:
    """An unknown outcome is answered by sending the same once more, which most people call idempotent."""
    original = BinanceSession.place

    async def place(self: BinanceSession, request: Any, *, signed_timestamp_ms: int, recv_window_ms: int) -> Any:
        outcome = await original(self, request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms)
        if isinstance(outcome, Unknown):
            now_ms = self._clock.exchange_now_ms()
            return await original(self, request, signed_timestamp_ms=now_ms, recv_window_ms=recv_window_ms)
        return outcome

    BinanceSession.place = place  # type: ignore[method-assign]


def _resends_after_a_restart() -> None:
    """A worker that starts sends again what was sent and not answered when the last one died."""
    original = Recovery.round

    async def round_(self: Recovery) -> str:
        async with self._store.transaction() as tx:
            waiting = [order for order in await tx.in_flight() if order.exchange_order_id is None]
        for order in waiting:
            now_ms = self._clock.exchange_now_ms()
            await self._trading[order.account_id].place(
                order_request(order), signed_timestamp_ms=now_ms, recv_window_ms=order.recv_window_ms or 0
            )
        return await original(self)

    Recovery.round = round_  # type: ignore[method-assign]


def _drops_fills_of_cancelled() -> None:
    """A cancelled order is closed, so nothing was bought: its fills are not booked, then or later."""
    apply_report, apply_trades = bookkeeping.apply_report, bookkeeping.apply_trades

    def without_fills(order: Any, known: Any, report: Any, **rest: Any) -> Any:
        if order.status in FINAL:
            return bookkeeping.Applied(order)
        if report.status in ("CANCELED", "EXPIRED"):
            report = replace(report, fills=(), executed=order.filled, executed_quote=order.filled_quote)
        return apply_report(order, known, report, **rest)

    def never_late(order: Any, known: Any, fills: Any, **rest: Any) -> Any:
        return apply_trades(order, known, () if order.status in FINAL else fills, **rest)

    bookkeeping.apply_report, bookkeeping.apply_trades = without_fills, never_late


def _marks_before_it_applies() -> None:
    """That a trade is known is committed on its own, before the trade is booked: a crash in between loses it."""
    marks = Path(os.environ[MARKS_VARIABLE])
    trade_ids, trade_ids_since = PostgresTransaction.trade_ids, PostgresTransaction.trade_ids_since
    booked = Submitter._book
    fresh: set[int] = set()

    def marked() -> set[int]:
        return {int(line) for line in marks.read_text().split()} - fresh if marks.exists() else set()

    async def known(self: PostgresTransaction, order_id: int) -> set[int]:
        return await trade_ids(self, order_id) | marked()

    async def known_since(self: PostgresTransaction, account_id: int, symbol: str, since_ms: int) -> set[int]:
        return await trade_ids_since(self, account_id, symbol, since_ms) | marked()

    async def book(self: Submitter, account_id: int, report: Any, source: EventSource) -> Any:
        new = {fill.trade_id for fill in report.fills} - marked()
        with marks.open("a") as file:  # noqa: ASYNC230 - what a crash leaves of it is the point
            file.writelines(f"{trade_id}\n" for trade_id in new)
        fresh.update(new)
        try:
            return await booked(self, account_id, report, source)
        finally:
            fresh.difference_update(new)

    PostgresTransaction.trade_ids = known  # type: ignore[method-assign]
    PostgresTransaction.trade_ids_since = known_since  # type: ignore[method-assign]
    Submitter._book = book  # type: ignore[method-assign]


def _takes_not_found_for_never() -> None:
    """Not found once is taken for never arrived: the death bound is nothing."""
    bookkeeping.death_bound_ms = lambda *_, **__: 0


def _forgets_the_stop() -> None:
    """A plan whose entry has bought is closed at once: nobody protects the position."""
    original = plan_moves._entering

    def entering(plan: Any, facts: Any) -> Any:
        move = original(plan, facts)
        return move if move.plan.state == plan.state else plan_moves.Move(plan_moves._closed(plan, "forgotten"))

    plan_moves._entering = entering


MUTANTS: Mapping[str, Callable[[], None]] = {
    "same id sent again": _resends_with_the_same_id,
    "sent again after a restart": _resends_after_a_restart,
    "fills of a cancelled order dropped": _drops_fills_of_cancelled,
    "marked as known before it is booked": _marks_before_it_applies,
    "not found taken for never": _takes_not_found_for_never,
    "stop forgotten": _forgets_the_stop,
}


def install(name: str) -> None:
    """Make this process the mutant of that name; "" leaves it sound. KeyError for a name that is none."""
    if name:
        MUTANTS[name]()
