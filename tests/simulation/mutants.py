"""Services with one mistake each, of the kind that others have made. The simulation has to see every one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.domain.orders import FINAL, EventKind, EventSource, ExchangeReport, Order, OrderStatus
from app.services.exchange.protocol import (
    AskingFailed,
    CancelRejected,
    Confirmed,
    ListOutcome,
    NoInformation,
    NotVisible,
    OcoRequest,
    OrderRequest,
    PlaceOutcome,
    QueryOutcome,
    Refused,
    Unknown,
)
from app.services.execution import bookkeeping, foreign, kill_action, plan_moves
from app.services.execution.bookkeeping import Step
from app.services.execution.plan_moves import Move, PlacePart, PlanFacts
from app.services.execution.store import PlanRecord
from app.services.execution.store_reconciling import Adjustment
from app.services.execution.submit import SubmitSettings, Submitter
from tests.simulation.database import Database, SimStore, SimTransaction
from tests.simulation.wire import SimSession
from tests.simulation.worker import Parts


class ResendsWithANewId(SimSession):
    """After an unknown outcome it sends once more, as a new order."""

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        times = {"signed_timestamp_ms": signed_timestamp_ms, "recv_window_ms": recv_window_ms}
        outcome = await super().place(request, **times)
        if isinstance(outcome, Unknown):
            again = replace(request, client_order_id=f"{request.client_order_id}-again")
            return await super().place(again, signed_timestamp_ms=self._now_ms(), recv_window_ms=recv_window_ms)
        return outcome

    def _now_ms(self) -> int:
        return self._exchange._now_ms()


class ResendsWithTheSameId(ResendsWithANewId):
    """After an unknown outcome it sends the same once more, which most people call idempotent."""

    async def place(self, request: OrderRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> PlaceOutcome:
        outcome = await SimSession.place(
            self, request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms
        )
        if isinstance(outcome, Unknown):
            return await SimSession.place(
                self, request, signed_timestamp_ms=self._now_ms(), recv_window_ms=recv_window_ms
            )
        return outcome


class CountsNotFound(Submitter):
    """Three times not found is a rejection, whatever the time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._missed: dict[int, int] = {}

    async def _not_visible(self, order: Order, session: Any, source: EventSource, asked_ms: int) -> Order:
        self._missed[order.id] = self._missed.get(order.id, 0) + 1
        if self._missed[order.id] < 3 or order.exchange_order_id is not None:
            return order
        return await self._refuse([order], "NOT_FOUND", "not found three times")


class _Changed:
    """A store's transaction, changed once it has begun."""

    def __init__(self, inner: Any, change: Callable[[SimTransaction], None]) -> None:
        self._inner, self._change = inner, change

    async def __aenter__(self) -> SimTransaction:
        tx: SimTransaction = await self._inner.__aenter__()
        self._change(tx)
        return tx

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)


class KeepsMarks(SimStore):
    """A trade that is marked counts as booked. `fresh`: the marks that this process has just made, to apply next."""

    def __init__(self, database: Database, epoch: int | None) -> None:
        super().__init__(database, epoch)
        self.marks: set[tuple[int, str, int]] = database.__dict__.setdefault("marks", set())
        self.fresh: set[tuple[int, str, int]] = set()

    def transaction(self) -> Any:
        return _Changed(super().transaction(), self._know_marks)

    def _know_marks(self, tx: SimTransaction) -> None:
        booked = tx.trade_ids

        async def known(order_id: int) -> set[int]:
            order = tx.books.orders[order_id]
            place = (order.account_id, order.symbol)
            return await booked(order_id) | {n for *where, n in self.marks - self.fresh if tuple(where) == place}

        tx.trade_ids = known  # type: ignore[method-assign]


class MarksBeforeItApplies(Submitter):
    """The mark that a trade is known is committed on its own, before the trade is booked."""

    async def _book(self, account_id: int, report: ExchangeReport, source: EventSource) -> tuple[Order, bool]:
        store = self._store
        assert isinstance(store, KeepsMarks)
        new = {(account_id, report.symbol, fill.trade_id) for fill in report.fills} - store.marks
        if not new:
            return await super()._book(account_id, report, source)
        async with store.transaction():
            store.marks.update(new)
        store.fresh |= new
        try:
            return await super()._book(account_id, report, source)
        finally:
            store.fresh -= new


class SkipsT2(SimStore):
    """An order goes on the wire while our books still call it NEW."""

    def transaction(self) -> Any:
        return _Changed(super().transaction(), self._keep_attempts_back)

    def _keep_attempts_back(self, tx: SimTransaction) -> None:
        write = tx.write

        async def without_attempts(steps: Sequence[Step]) -> None:
            await write([step for step in steps if step.event.kind is not EventKind.ATTEMPT_SENT])

        tx.write = without_attempts  # type: ignore[method-assign]


class AcceptsAStaleEpoch(SimStore):
    """Nobody asks which worker writes."""

    def transaction(self) -> Any:
        return _Changed(super().transaction(), lambda tx: setattr(tx, "_epoch", None))


class TakesUnknownOrderForCancelled(Submitter):
    """-2011 on a cancel: gone, so cancelled, so nothing bought."""

    async def cancel(self, order: Order) -> Order:
        outcome = await self._session(order.account_id).cancel(
            order.symbol, client_order_id=order.client_order_id, exchange_order_id=order.exchange_order_id
        )
        if isinstance(outcome, Confirmed):
            return await self.apply(order.account_id, outcome.report, EventSource.EXECUTOR)
        if not isinstance(outcome, CancelRejected):
            return await self.ask(order) if not isinstance(outcome, Refused) else order
        async with self._store.transaction() as tx:
            current = await tx.order(order.id)
            assert current is not None
            if current.status in FINAL:
                return current
            step = bookkeeping._step(
                current, EventKind.CANCELED, EventSource.EXECUTOR, self._clock.exchange_now_ms(), "final:CANCELED",
                to=OrderStatus.CANCELED,
            )  # fmt: skip
            await tx.write([step])
            return step.order


class DropsFillsOfCancelled(SimStore):
    """A cancelled order is closed: what fills afterwards is not booked."""

    def transaction(self) -> Any:
        return _Changed(super().transaction(), self._drop_late_fills)

    def _drop_late_fills(self, tx: SimTransaction) -> None:
        write = tx.write

        async def without_late_fills(steps: Sequence[Step]) -> None:
            if not any(step.event.kind is EventKind.LATE_FILL for step in steps):
                await write(steps)

        tx.write = without_late_fills  # type: ignore[method-assign]


class TakesErrorsForNotFound(SimSession):
    """Any exception while asking is a not-found; and its last look takes an error for an empty list."""

    async def query(self, symbol: str, *, client_order_id: str, exchange_order_id: int | None) -> QueryOutcome:
        outcome = await super().query(symbol, client_order_id=client_order_id, exchange_order_id=exchange_order_id)
        return NotVisible() if isinstance(outcome, NoInformation) else outcome

    async def orders_since(self, symbol: str, start_ms: int) -> Sequence[ExchangeReport]:
        try:
            return await super().orders_since(symbol, start_ms)
        except AskingFailed:
            return []


class ResendsPairs(SimSession):
    """After an unknown outcome both legs of a pair are sent once more."""

    async def place_oco(self, request: OcoRequest, *, signed_timestamp_ms: int, recv_window_ms: int) -> ListOutcome:
        outcome = await super().place_oco(
            request, signed_timestamp_ms=signed_timestamp_ms, recv_window_ms=recv_window_ms
        )
        if isinstance(outcome, Unknown):
            now_ms = self._exchange._now_ms()
            return await super().place_oco(request, signed_timestamp_ms=now_ms, recv_window_ms=recv_window_ms)
        return outcome


_arrange = plan_moves._arrange


def _forgets_to_replace(plan: PlanRecord, facts: PlanFacts, working: Any) -> Move:
    """A stop that has risen is taken away, and the plan counts as protected."""
    move = _arrange(plan, facts, working)
    if isinstance(move.act, PlacePart) and plan_moves._is_trailed(plan, facts):
        return Move(replace(plan, state=plan_moves.PROTECTED))
    return move


class BooksAdjustmentsTwice(SimStore):
    """What came from elsewhere is booked whenever somebody finds it."""

    def transaction(self) -> Any:
        return _Changed(super().transaction(), self._twice)

    def _twice(self, tx: SimTransaction) -> None:
        adjust = tx.adjust

        async def twice(adjustment: Adjustment) -> bool:
            return await adjust(replace(adjustment, change=2 * adjustment.change))

        tx.adjust = twice  # type: ignore[method-assign]


_SHORT = SubmitSettings(engine_timeout_ms=0, visibility_margin_ms=20_000)
MUTANTS: Mapping[str, Parts] = {
    "new id on retry": Parts(session=ResendsWithANewId),
    "same id resent": Parts(session=ResendsWithTheSameId),
    "not-found counted as rejection": Parts(submitter=CountsNotFound),
    "death bound shortened": Parts(settings=_SHORT),
    "dedupe mark before apply": Parts(store=KeepsMarks, submitter=MarksBeforeItApplies),
    "T2 skipped": Parts(store=SkipsT2),
    "stale epoch accepted": Parts(store=AcceptsAStaleEpoch),
    "-2011 taken as cancelled": Parts(submitter=TakesUnknownOrderForCancelled),
    "fills of a CANCELED order dropped": Parts(store=DropsFillsOfCancelled),
    "REST error taken as not-found": Parts(session=TakesErrorsForNotFound),
    "both legs of a pair resent": Parts(session=ResendsPairs),
    "trail cancels without replacing": Parts(instead=((plan_moves, "_arrange", _forgets_to_replace),)),
    "flatten sells twice": Parts(instead=((kill_action, "_sells", lambda order, holding: False),)),
    "foreign trade booked as ours": Parts(instead=((foreign, "is_ours", lambda report: True),)),
    "adjustment booked twice": Parts(store=BooksAdjustmentsTwice),
}
