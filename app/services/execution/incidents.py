"""Incidents: what a person has to look at, what it means, what to do about it, and who has looked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database.hints import tell_browsers
from app.domain.clock import Clock, to_datetime
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.models.execution import Account, Incident
from app.services.identity.audit import audited
from app.services.identity.viewer import Caller

MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class Explanation:
    """A kind of incident for a person: its name, what has happened, what to do."""

    title: str
    meaning: str
    advice: str


_OTHER = Explanation(
    "Something to look at",
    "Plumbline met something that it does not settle by itself.",
    "Read the message, look at the order or the account, and close the incident with a note.",
)
EXPLANATIONS: dict[str, Explanation] = {
    "RESURRECTED": Explanation(
        "An order came back",
        "The exchange could not find an order for longer than any copy of it can live, so it was given up; then it"
        " surfaced after all. It and its fills are in the books now, and what it bought gets its stop.",
        "Look at the order and the position. If you or a strategy traded again meanwhile, sell what is too much.",
    ),
    "UNPROTECTED": Explanation(
        "A position without its stop",
        "A position is held and no stop of it rests on the exchange. Plumbline goes on trying to place one.",
        "Look at the run. If it stays so, close the position from the run's page, or flatten with the kill switch.",
    ),
    "POSITION_NOT_COVERED": Explanation(
        "A position that is not covered whole",
        "A run holds more coins than the account has free, or than one order may sell. The rest has no stop.",
        "See which other orders reserve the coins and cancel them, or sell the rest by hand.",
    ),
    "PROTECTION_REFUSED": Explanation(
        "A stop or an exit was refused",
        "The exchange or a rule refused to place it, several times in a row. Plumbline goes on trying.",
        "Read the reason at the order. Close the position from the run's page if you do not want to wait.",
    ),
    "KILL_SWITCH_REFUSED": Explanation(
        "The kill switch could not sell",
        "A position was to be sold and the order could not even be made. It is tried again all the time.",
        "Read the reason, and sell by hand on the exchange if it stays.",
    ),
    "LATE_FILL": Explanation(
        "A fill after the end",
        "An order traded further after the exchange had called it ended. The fill is booked.",
        "Look at the position: a stop placed before may be too small for it.",
    ),
    "UNKNOWN": Explanation(
        "Nobody knows what became of an order",
        "The exchange gave no usable answer. The order is asked about until it is found or cannot exist any more; it"
        " is never sent again.",
        "Wait two minutes. If it is still open, compare the account on the reconciliation page.",
    ),
    "UNKNOWN_STATUS": Explanation(
        "A status nobody knows",
        "The exchange called an order by a word that Plumbline does not know. Its fills are booked all the same.",
        "Look at the order at the exchange. Plumbline may need an update.",
    ),
    "REJECTED_BUT_EXISTS": Explanation(
        "A refused order exists",
        "The exchange has an order that the books hold as refused.",
        "Cancel it at the exchange if you do not want it, then compare the account again.",
    ),
    "CONFIRMED_NOT_VISIBLE": Explanation(
        "A confirmed order is not shown any more",
        "The exchange had confirmed an order and now says that it does not know it. It is asked about further.",
        "Look for the order at the exchange. Nothing is assumed until it answers.",
    ),
    "ACCOUNT_FROZEN": Explanation(
        "An account is frozen",
        "Nothing is sent with its key: the exchange refused the key, or the books and the exchange contradict each"
        " other.",
        "Put the cause in order, then unfreeze the account: it trades again once a comparison finds no contradiction.",
    ),
    "CLOCK_DRIFT": Explanation(
        "The clock is off",
        "This machine's clock differs from the exchange's by more than 5 s. No new orders are sent; exits still are.",
        "Have the machine's clock synchronised (NTP). New orders go on by themselves afterwards.",
    ),
    "ENTRIES_REFUSED": Explanation(
        "A run's entries are refused again and again",
        "The exchange refused several entries in a row for the same lasting reason. The run is paused; its position"
        " stays protected.",
        "Read the reason, change the strategy or the account, then start the run again.",
    ),
    "FOREIGN_ACTIVITY": Explanation(
        "Coins of a run have left the account",
        "What a run held was sold or withdrawn outside of Plumbline. The run is paused; what is left stays protected.",
        "If it was you, start the run again when you want it to go on. If not, change the exchange's password and its"
        " keys.",
    ),
    "BALANCE_MISMATCH": Explanation(
        "A balance differs",
        "The exchange holds more or less of an asset than the books say, and the trades found do not explain it.",
        "Look at the reconciliation page: a difference that stays is booked, unless you say that it is in order.",
    ),
    "RECOVERED_ORDERS": Explanation(
        "An order with our mark was not in the books",
        "The exchange has an order that Plumbline made and the books do not know, as after restoring a backup.",
        "Look at the order: it is adopted as one by hand. Cancel it if nobody wants it any more.",
    ),
    "RUN_FAULT": Explanation(
        "A run was stopped for a fault",
        "Its strategy could not be evaluated. Its position stays protected.",
        "Look at the run, then start it again.",
    ),
}


@dataclass(frozen=True, slots=True)
class IncidentView:
    """Something a person has to look at, with what it means and what to do."""

    id: int
    account_id: int | None
    account_label: str
    account_state: str
    order_id: int | None
    kind: str
    title: str
    message: str
    meaning: str
    advice: str
    opened_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str
    closed_at: datetime | None
    closed_by: str
    note: str


async def incidents(
    session: AsyncSession, *, user_id: int | None, open_only: bool = True, limit: int = 100
) -> list[IncidentView]:
    """Incidents, newest first; `user_id` None is for admins and means everybody's."""
    statement = _joined(user_id)
    if open_only:
        statement = statement.where(col(Incident.closed_at).is_(None))
    statement = statement.order_by(col(Incident.id).desc()).limit(max(1, min(limit, MOST_ROWS)))
    found = (await session.execute(statement)).all()
    return [_view(row, label, state) for row, label, state in found]


async def acknowledge_incident(
    session: AsyncSession, *, caller: Caller, incident_id: int, note: str = "", clock: Clock
) -> IncidentView:
    """Say that somebody looks at it; it stays open. Raises NotFound, Conflict when it is closed."""
    values = {"acknowledged_at": to_datetime(clock.now_ms()), "acknowledged_by": _who(caller)}
    return await _mark(session, caller, incident_id, "acknowledged", _note(note, needed=False), values, clock)


async def close_incident(
    session: AsyncSession, *, caller: Caller, incident_id: int, note: str, clock: Clock
) -> IncidentView:
    """Say that it is settled, and how. Raises NotFound, InvalidInput without a note, Conflict when it is closed."""
    values = {"closed_at": to_datetime(clock.now_ms()), "closed_by": _who(caller)}
    return await _mark(session, caller, incident_id, "closed", _note(note, needed=True), values, clock)


async def _mark(
    session: AsyncSession,
    caller: Caller,
    incident_id: int,
    what: str,
    note: str,
    values: dict[str, object],
    clock: Clock,
) -> IncidentView:
    is_admin = caller.viewer is not None and caller.viewer.is_admin
    mine = _joined(None if is_admin else caller.user_id).where(col(Incident.id) == incident_id)
    if (await session.execute(mine)).first() is None:
        raise NotFound(f"There is no incident {incident_id}.")
    still_open = (col(Incident.id) == incident_id, col(Incident.closed_at).is_(None))
    noted = {"note": note} if note else {}
    statement = update(Incident).where(*still_open).values(values | noted).returning(col(Incident.id))
    if (await session.execute(statement)).first() is None:
        raise Conflict("This incident is closed already.")
    row, label, state = (await session.execute(mine)).one()
    await tell_browsers(session, "incident", incident_id, user_id=None)
    await audited(session, caller, f"incident.{what}", object=f"incident:{incident_id}", clock=clock, note=note)
    return _view(row, label, state)


def _joined(user_id: int | None) -> Select[Incident, str | None, str | None]:
    statement = select(Incident, col(Account.label), col(Account.state)).outerjoin(
        Account, col(Account.id) == col(Incident.account_id)
    )
    if user_id is not None:
        statement = statement.where(col(Account.user_id) == user_id)
    return statement.execution_options(populate_existing=True)


def _view(row: Incident, label: str | None, state: str | None) -> IncidentView:
    told = EXPLANATIONS.get(row.kind, _OTHER)
    return IncidentView(
        id=row.id or 0,
        account_id=row.account_id,
        account_label=label or "",
        account_state=state or "",
        order_id=row.order_id,
        kind=row.kind,
        title=told.title,
        message=row.message,
        meaning=told.meaning,
        advice=told.advice,
        opened_at=row.opened_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        note=row.note,
    )


def _who(caller: Caller) -> str:
    return caller.viewer.email if caller.viewer else caller.actor


def _note(note: str, *, needed: bool) -> str:
    note = note.strip()
    if len(note) > 500 or (needed and len(note) < 3):
        raise InvalidInput("say how it was settled, in 3 to 500 characters", field="note")
    return note
