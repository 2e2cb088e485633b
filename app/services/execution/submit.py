"""T2, the wire, T3: the only place that sends orders and cancels.

One send per order, ever. What comes back is confirmed, refused or unknown; unknown is asked about until the
answer is known or the death bound has passed. No transaction is open while anything is on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.clock import Clock, to_datetime
from app.domain.errors import InvariantViolated, PlumblineError
from app.domain.orders import FINAL, EventSource, ExchangeReport, Fill, Order, OrderStatus, Side
from app.logs import get_logger
from app.services.exchange.clock import BLOCK_ABOVE_MS
from app.services.exchange.protocol import (
    AskingFailed,
    CancelOutcome,
    CancelRejected,
    Confirmed,
    Found,
    ListConfirmed,
    ListOutcome,
    NoInformation,
    NotSent,
    NotVisible,
    PlaceOutcome,
    QueryOutcome,
    Refused,
    TradingSession,
    Unknown,
)
from app.services.execution import bookkeeping
from app.services.execution.bookkeeping import NEVER_ARRIVED, STALE_INTENT, Applied, Step
from app.services.execution.intents import INTENT_LIFE_MS
from app.services.execution.order_lists import alike, all_new, oco_request, order_request, without_its_pair
from app.services.execution.plans import reopen_if_bought
from app.services.execution.store import AccountFacts, Store, Transaction, again_if_contended

log = get_logger(__name__)

#: When an order of unknown outcome is asked about, in seconds after it was sent; then at every reconciliation.
QUERY_AFTER_S = (1, 2, 5, 10, 20, 40)
DUPLICATE_ORDER = "Duplicate order sent"
FILTER_REFUSAL = "-1013"
#: After so many entries of a run were refused one after the other for one reason, the run is paused ...
REFUSALS_THAT_PAUSE = 5
#: ... unless the reason passes by itself: too many requests or orders, the firewall, our clock, no connection.
PASSING_CODES = frozenset({"-1003", "-1015", "-1021", "403", "418", "429", "NOT_SENT"})
#: Incident: the exchange had confirmed an order and no longer shows it. It heals when the order is seen again.
NOT_VISIBLE = "CONFIRMED_NOT_VISIBLE"


@dataclass(frozen=True, slots=True)
class SubmitSettings:
    """Times of the submit protocol."""

    recv_window_ms: int = 5_000
    engine_timeout_ms: int = 10_000
    visibility_margin_ms: int = 60_000


class Submitter:
    """Sends what was decided and books what came of it. One per worker; `sessions` by account id.

    `clock_refused` hears of the account whose request the exchange refused for its timestamp (-1021). `clock_of` is the
    clock of an account's exchange, where there are several: what is signed, and what is judged by when it was signed,
    goes by that.
    """

    def __init__(
        self,
        store: Store,
        sessions: Mapping[int, TradingSession],
        clock: Clock,
        settings: SubmitSettings,
        clock_refused: Callable[[int], None] = lambda account_id: None,
        clock_of: Callable[[int], Clock] | None = None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._settings = settings
        self.clock_refused = clock_refused
        self._clock_of = clock_of or (lambda account_id: clock)

    def reaches(self, account_id: int) -> bool:
        """Whether there is a session for this account (a frozen one has none)."""
        return account_id in self._sessions

    def exchange_now_ms(self, account_id: int) -> int:
        """The time of the account's exchange, by which its orders were signed and are judged."""
        return self._clock_of(account_id).exchange_now_ms()

    def _session(self, account_id: int) -> TradingSession:
        return session_of(self._sessions, account_id)

    # --- placing ---------------------------------------------------------------------------------------

    async def claim(self, *, may_send: bool, may_exit: bool | None = None, busy: Collection[int] = ()) -> Order | None:
        """T2: take the next NEW order to SUBMITTED, with its attempt on record; None if there is none.

        What protects or leaves a position goes first, then the oldest. An order past its deadline expires
        unsent. While `may_send` is false orders stay NEW until their deadline, those of plans that sell
        excepted where `may_exit` is true (the clock is off: signing is corrected, so an exit still works).
        Those of an account that is recovering, whose session is about to open, or whose address has used up its
        requests, stay NEW too.
        """
        held = set(busy)
        async with self._store.transaction() as tx:
            while (order := await tx.claim_new(held)) is not None:
                now_ms = self._clock_of(order.account_id).exchange_now_ms()
                stale = _why_stale(order, now_ms)
                if not stale and not (may_exit if order.is_exit and may_exit is not None else may_send):
                    return None
                legs = await _legs(tx, order)
                step = (
                    await self._decide(tx, order, stale, now_ms) if all_new(legs) else without_its_pair(order, now_ms)
                )
                if step is not None:
                    for leg in legs:
                        if leg.status is OrderStatus.NEW:
                            await tx.write([alike(leg, step)])
                    return step.order
                held.add(order.account_id)
        return None

    async def _decide(self, tx: Transaction, order: Order, stale: str, now_ms: int) -> Step | None:
        """The attempt, or why there will be none; None when there may be one a little later."""
        by = EventSource.EXECUTOR
        account = await tx.account(order.account_id)
        if account is not None and account.state == "RECOVERING":
            return None  # books restored from a backup have as NEW what was sent since: history is asked first (F61)
        if stale:
            return bookkeeping.expired(order, code=STALE_INTENT, reason=stale, source=by, at_ms=now_ms)
        refusal = await self._late_refusal(tx, order, account)
        if refusal is not None:
            code, words = refusal
            return bookkeeping.refused(order, code=code, reason=words, source=by, at_ms=now_ms)
        session = self._sessions.get(order.account_id)
        if session is None or not session.admits(is_exit=order.is_exit):
            return None
        window_ms = self._settings.recv_window_ms
        return bookkeeping.attempt(order, signed_timestamp_ms=now_ms, recv_window_ms=window_ms, at_ms=now_ms)

    async def _late_refusal(
        self, tx: Transaction, order: Order, account: AccountFacts | None
    ) -> tuple[str, str] | None:
        """What forbids sending now although it was allowed at T1: the account's state, or a switch engaged since."""
        if account is None or account.state != "ACTIVE":
            return "ACCOUNT_NOT_ACTIVE", "the account is not active"
        if order.side == "BUY":
            reason = await tx.kill_switch(order.account_id, order.run_id)
            if reason is not None:
                return "RISK_KILL_SWITCH", f"the kill switch is engaged: {reason}"
        return None

    async def send(self, order: Order) -> Order:
        """The wire and T3 for an order that `claim` just submitted; of a pair both legs go in one request.

        One outcome is applied to both legs in one transaction. Crash points: before the wire, on it, and after it
        before the outcome is booked (of a confirmed pair, also between its legs): then each leg is asked about by its
        own client order id, like any order.
        """
        legs: Sequence[Order] = (order,)
        if order.list_client_order_id is not None:
            async with self._store.transaction() as tx:
                legs = await _legs(tx, order)
        session = self._session(order.account_id)
        times = {
            "signed_timestamp_ms": order.signed_timestamp_ms or 0,
            "recv_window_ms": order.recv_window_ms or 0,
        }
        outcome: PlaceOutcome | ListOutcome
        if len(legs) > 1:
            outcome = await session.place_oco(oco_request(legs), **times)
        else:
            outcome = await session.place(order_request(order), **times)
        names = [leg.client_order_id for leg in legs]
        log.info("order sent", order_id=order.id, client_order_ids=names, outcome=type(outcome).__name__)
        self._heed_clock(order, outcome)
        match outcome:
            case Confirmed(report=report):
                return await self.apply(order.account_id, report, EventSource.EXECUTOR)
            case ListConfirmed(reports=reports):
                booked = [await self.apply(order.account_id, report, EventSource.EXECUTOR) for report in reports]
                return booked[0]
            case Refused(code=code, message=message) if DUPLICATE_ORDER not in message:
                return await self._refuse(legs, code, message, freezes=outcome.freezes_account)
            case Refused(message=message) | Unknown(reason=message):
                return await self._mark_unknown(legs, message)
            case NotSent(reason=reason):
                return await self._refuse(legs, "NOT_SENT", reason)

    @again_if_contended
    async def _refuse(self, legs: Sequence[Order], code: str, reason: str, *, freezes: bool = False) -> Order:
        """REJECTED, all legs or none; returns the first."""
        async with self._store.transaction() as tx:
            current = [await _locked(tx, leg) for leg in legs]
            waiting = (OrderStatus.SUBMITTED, OrderStatus.CANCELING)
            if any(leg.status not in waiting or leg.exchange_order_id for leg in current):
                return current[0]  # the stream was faster: the order exists after all
            at_ms, by = self._clock.exchange_now_ms(), EventSource.EXECUTOR
            steps = [bookkeeping.refused(leg, code=code, reason=reason, source=by, at_ms=at_ms) for leg in current]
            for step in steps:
                await tx.write([step])
            if freezes:
                await tx.freeze_account(legs[0].account_id, f"the exchange refused the key: {reason}")
            if code == FILTER_REFUSAL:
                await tx.wake("rules")  # ours are old
            await _pause_after_refusals(tx, steps[0].order)
            return steps[0].order

    def _heed_clock(self, order: Order, outcome: PlaceOutcome | ListOutcome | CancelOutcome | QueryOutcome) -> None:
        """A refusal for the time is certain, and this order is over; the next one is signed by a fresh offset."""
        if isinstance(outcome, Refused | NoInformation) and outcome.resyncs_clock:
            self.clock_refused(order.account_id)

    @again_if_contended
    async def _mark_unknown(self, legs: Sequence[Order], reason: str) -> Order:
        """Flag each leg of which nothing is known yet; returns the first."""
        async with self._store.transaction() as tx:
            current = [await _locked(tx, leg) for leg in legs]
            for place, leg in enumerate(current):
                step = bookkeeping.outcome_unknown(leg, reason=reason, at_ms=self._clock.exchange_now_ms())
                if step is not None:
                    await tx.write([step])
                    current[place] = step.order
            return current[0]

    # --- cancelling ------------------------------------------------------------------------------------

    async def cancel(self, order: Order) -> Order:
        """Send one cancel for a CANCELING order and book what came of it."""
        session = self._session(order.account_id)
        outcome = await session.cancel(
            order.symbol, client_order_id=order.client_order_id, exchange_order_id=order.exchange_order_id
        )
        log.info("cancel sent", order_id=order.id, outcome=type(outcome).__name__)
        self._heed_clock(order, outcome)
        match outcome:
            case Confirmed(report=report):
                return await self.apply(order.account_id, report, EventSource.EXECUTOR)
            case Refused(code=code, message=message) if order.exchange_order_id is not None:
                async with self._store.transaction() as tx:
                    current = await _locked(tx, order)
                    step = bookkeeping.cancel_refused(
                        current, code=code, reason=message, at_ms=self._clock.exchange_now_ms()
                    )
                    if step is not None:
                        await tx.write([step])
                        current = step.order
                    return current
            case CancelRejected() | Refused() | Unknown() | NotSent():
                # F20: a refused cancel usually means it filled. Ask, do not conclude.
                return await self.ask(order)

    # --- asking ----------------------------------------------------------------------------------------

    async def ask(self, order: Order, *, source: EventSource = EventSource.EXECUTOR) -> Order:
        """Query one order and book what is known; past the death bound, decide."""
        asked_ms = self._clock_of(order.account_id).exchange_now_ms()
        outcome = await self._session(order.account_id).query(
            order.symbol, client_order_id=order.client_order_id, exchange_order_id=order.exchange_order_id
        )
        return await self.heard(order, outcome, asked_ms=asked_ms, source=source)

    async def heard(self, order: Order, outcome: QueryOutcome, *, asked_ms: int, source: EventSource) -> Order:
        """Book the answer to a query made at `asked_ms` (exchange time)."""
        self._heed_clock(order, outcome)
        match outcome:
            case Found(report=report):
                return await self.apply(order.account_id, report, source)
            case NoInformation(reason=reason):
                log.warning("no information about an order", order_id=order.id, reason=reason)
                return order
            case NotVisible():
                return await self._not_visible(order, self._session(order.account_id), source, asked_ms)

    async def _not_visible(self, order: Order, session: TradingSession, source: EventSource, asked_ms: int) -> Order:
        if order.status in FINAL or asked_ms <= self._bound_ms(order):
            return order  # it was not visible *yet* when we asked, be it confirmed or not
        if order.exchange_order_id is not None:
            words = f"the exchange no longer shows order {order.client_order_id}, which it had confirmed"
            async with self._store.transaction() as tx:
                await tx.add_incident(
                    NOT_VISIBLE, words, account_id=order.account_id, order_id=order.id, key=f"order:{order.id}"
                )
            return order
        try:  # the last look, in contact with the exchange: every order of the symbol since the attempt
            recent = await session.orders_since(order.symbol, (order.signed_timestamp_ms or 0) - 1_000)
            await session.balances()
        except AskingFailed as failure:
            log.warning("last look failed; nothing is decided", order_id=order.id, reason=failure.reason)
            return order
        for report in recent:
            if report.client_order_id == order.client_order_id:
                return await self.apply(order.account_id, report, source)
        async with self._store.transaction() as tx:
            current = await _locked(tx, order)
            if current.status in FINAL or current.exchange_order_id is not None:
                return current
            words = "the exchange never had it: not found after every copy of the request was dead"
            step = bookkeeping.expired(
                current, code=NEVER_ARRIVED, reason=words, source=source, at_ms=self._clock.exchange_now_ms()
            )
            await tx.write([step])
            return step.order

    def _bound_ms(self, order: Order) -> int:
        return bookkeeping.death_bound_ms(
            order,
            engine_timeout_ms=self._settings.engine_timeout_ms,
            visibility_margin_ms=self._settings.visibility_margin_ms,
        )

    # --- booking ---------------------------------------------------------------------------------------

    async def apply(self, account_id: int, report: ExchangeReport, source: EventSource) -> Order:
        """T3: book a report about one of our orders, fetching its trades when fills are missing."""
        order, needs_trades = await self._apply_once(account_id, report, source)
        if not needs_trades:
            return order
        try:
            fills = await self._session(account_id).trades_of(report.symbol, report.exchange_order_id)
        except AskingFailed as failure:
            log.warning("trades not fetched; asked again later", order_id=order.id, reason=failure.reason)
            return order
        complete = _with_fills(report, tuple(fills))
        order, still_missing = await self._apply_once(account_id, complete, source)
        if still_missing:
            log.info(
                "trades not visible yet", order_id=order.id, executed=str(report.executed), booked=str(order.filled)
            )
        return order

    async def _apply_once(self, account_id: int, report: ExchangeReport, source: EventSource) -> tuple[Order, bool]:
        try:
            return await self._book(account_id, report, source)
        except InvariantViolated as broken:
            words = f"our books and the exchange contradict each other: {broken}"
            async with self._store.transaction() as tx:
                await tx.freeze_account(account_id, words)
            raise BooksContradict(words, account_id=account_id) from broken

    @again_if_contended
    async def _book(self, account_id: int, report: ExchangeReport, source: EventSource) -> tuple[Order, bool]:
        async with self._store.transaction() as tx:
            order = await tx.order_by_client_id(account_id, report.client_order_id)
            if order is None:
                order = await tx.order_by_exchange_id(account_id, report.symbol, report.exchange_order_id)
            if order is None:
                raise ForeignOrder(report)
            applied = bookkeeping.apply_report(
                order,
                await tx.trade_ids(order.id) if order.filled else set(),
                report,
                source=source,
                at_ms=self._clock.exchange_now_ms(),
            )
            await record(tx, applied)
        if applied.steps and source is not EventSource.EXCHANGE:
            self.suspect_stream(order, report.updated_at_ms)
        return applied.order, applied.needs_trades

    def suspect_stream(self, order: Order, happened_ms: int) -> None:
        """Asking has shown what the user stream should have told: the session judges whether it is silent."""
        if order.account_id in self._sessions:
            at = f"{to_datetime(happened_ms):%H:%M:%S}"
            words = f"order {order.client_order_id} changed at {at} UTC and it did not say so"
            self._sessions[order.account_id].suspect(happened_ms=happened_ms, reason=words)


async def _pause_after_refusals(tx: Transaction, order: Order) -> None:
    """A run whose entries the exchange refuses for the same lasting reason is paused rather than let try for ever."""
    if order.run_id is None or order.side is not Side.BUY or order.reject_code in PASSING_CODES:
        return
    codes = await tx.newest_entry_codes(order.run_id, REFUSALS_THAT_PAUSE)
    if codes != [order.reject_code] * REFUSALS_THAT_PAUSE:
        return
    words = f"the exchange refused {len(codes)} entries in a row: {order.reject_reason}"
    if await tx.pause_run(order.run_id, f"{words}; review it and start again"):
        await tx.add_incident("ENTRIES_REFUSED", words, account_id=order.account_id, order_id=order.id)


async def record(tx: Transaction, applied: Applied) -> None:
    """Write what became known: steps, an incident if there is one, and protection for late purchases."""
    await tx.write(applied.steps)
    order = applied.order
    if applied.incident is not None:
        kind, words = applied.incident
        await tx.add_incident(kind, words, account_id=order.account_id, order_id=order.id)
        if kind == "RESURRECTED" and order.run_id is not None:
            await tx.pause_run(order.run_id, f"{words}; review it and start again")
    if any(step.fill is not None for step in applied.steps):
        await reopen_if_bought(tx, order)


class BooksContradict(PlumblineError):
    """What the exchange says cannot be true of our books. The account is frozen until a person has looked."""

    code = "books_contradict"


class ForeignOrder(Exception):
    """A report about an order that is not in our books: shown, never touched."""

    def __init__(self, report: ExchangeReport) -> None:
        super().__init__(f"{report.symbol} order {report.exchange_order_id} is not ours")
        self.report = report


def session_of(sessions: Mapping[int, TradingSession], account_id: int) -> TradingSession:
    """The account's session. Raises AskingFailed when it was closed, as happens to a frozen account at any time."""
    if account_id not in sessions:
        raise AskingFailed("the account has no open session")
    return sessions[account_id]


def _why_stale(order: Order, now_ms: int) -> str:
    """Why an intent is too old to be sent, by exchange time; "" when it is not."""
    if now_ms > order.deadline_ms:
        return "it could not be sent before its deadline"
    if order.deadline_ms - now_ms > INTENT_LIFE_MS + BLOCK_ABOVE_MS:
        # Its deadline would pass much too late: nobody may find it sent an hour after it was wanted.
        return "the clock of the machine that made it was ahead of the exchange's"
    return ""


async def _legs(tx: Transaction, order: Order) -> Sequence[Order]:
    """The orders that are sent with this one, itself among them: two for a pair, one for all others."""
    if order.list_client_order_id is None:
        return (order,)
    return await tx.list_legs(order.account_id, order.list_client_order_id)


async def _locked(tx: Transaction, order: Order) -> Order:
    current = await tx.order(order.id)
    if current is None:
        raise LookupError(f"order {order.id} is gone from the books")
    return current


def _with_fills(report: ExchangeReport, fills: tuple[Fill, ...]) -> ExchangeReport:
    known = {fill.trade_id for fill in report.fills}
    return replace(report, fills=report.fills + tuple(fill for fill in fills if fill.trade_id not in known))
