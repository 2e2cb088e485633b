"""Incidents: what happened, what it means, what to do, and who has looked."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.services import execution
from app.services.execution import IncidentView
from app.state import words
from app.state.base import PageState, Unit, handler, live, put, say, text_of, whole, work
from app.state.rows import Row


@live("service", "account", "incident")
class IncidentsState(PageState, rx.State):
    """Open ones, or all; an admin sees everybody's."""

    rows: list[Row] = []  # noqa: RUF012
    open_only: bool = True
    closing: Row = {}  # noqa: RUF012 - the incident that is to be closed

    async def _reload(self, unit: Unit) -> None:
        whose = None if unit.viewer.is_admin else unit.user_id
        found = await execution.incidents(unit.session, user_id=whose, open_only=self.open_only, limit=100)
        put(self, rows=[_row(one) for one in found])

    @handler
    async def set_open_only(self, open_only: bool) -> None:
        """Show open incidents only, or closed ones too."""
        self.open_only = open_only is True
        async with work(self) as unit:
            await self._renew(unit)

    @handler
    async def acknowledge(self, incident_id: str) -> None:
        """Say that one looks at it."""
        number = whole(incident_id, "incident")
        async with work(self) as unit:
            await execution.acknowledge_incident(
                unit.session, caller=unit.caller, incident_id=number, clock=unit.clock
            )
            await self._renew(unit)

    @handler
    async def ask_close(self, incident_id: str) -> None:
        """Ask how it was settled."""
        self.errors = {}
        self.closing = next((row for row in self.rows if row["id"] == incident_id), {})

    @handler
    async def set_closing(self, is_open: bool) -> None:
        """Close the question."""
        if is_open is not True:
            self.closing = {}

    @handler
    async def close(self, form: dict[str, Any]) -> None:
        """Close the incident that was asked about, with the note of the form."""
        self.errors = {}
        if not self.closing:
            return
        async with work(self) as unit:
            await execution.close_incident(
                unit.session,
                caller=unit.caller,
                incident_id=int(self.closing["id"]),
                note=text_of(form, "note", most=500),
                clock=unit.clock,
            )
            await self._renew(unit)
        self.closing = {}

    @handler
    async def unfreeze(self, account_id: str) -> None:
        """Have a frozen account compared; it trades again when nothing contradicts."""
        number = whole(account_id, "account")
        async with work(self) as unit:
            await execution.request_unfreeze(unit.session, caller=unit.caller, account_id=number, clock=unit.clock)
        await say(self, "info", "Comparison asked for", "The account trades again when nothing contradicts.")


def _row(one: IncidentView) -> Row:
    seen = f"Seen {words.day_time(one.acknowledged_at)} by {one.acknowledged_by}" if one.acknowledged_at else ""
    closed = f"Closed {words.day_time(one.closed_at)} by {one.closed_by or 'Plumbline'}" if one.closed_at else ""
    frozen = one.account_state == "FROZEN" and one.closed_at is None
    return {
        "id": str(one.id),
        "time": words.day_time(one.opened_at),
        "title": one.title,
        "kind": one.kind.replace("_", " ").lower(),
        "message": words.sentence(one.message),
        "meaning": one.meaning,
        "advice": one.advice,
        "account": one.account_label,
        "account_id": str(one.account_id or ""),
        "order": f"Order {one.order_id}" if one.order_id else "",
        "order_href": f"/orders/{one.order_id}" if one.order_id else "",
        "state": "Closed" if one.closed_at else "Seen" if one.acknowledged_at else "Open",
        "tone": "" if one.closed_at else "wait" if one.acknowledged_at else "bad",
        "who": " · ".join(part for part in (seen, closed) if part),
        "note": words.sentence(one.note) if one.note else "",
        "is_open": "" if one.closed_at else "yes",
        "can_see": "" if one.closed_at or one.acknowledged_at else "yes",
        "can_unfreeze": "yes" if frozen else "",
    }
