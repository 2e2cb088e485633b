"""What a person has to look at: what happened, what it means, what to do."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import submit, text_field
from app.components.html import Row, button, div, each, form, link, p, some, span, strong, when
from app.components.panels import as_of, body, panel
from app.components.shell import shell
from app.components.tables import empty
from app.components.tabs import tabs
from app.state.incidents import IncidentsState


@rx.page(route="/incidents", title="Incidents · Plumbline", on_load=IncidentsState.load)
def incidents() -> rx.Component:
    """Newest first."""
    state = IncidentsState
    return shell(
        "Incidents",
        tabs(
            ("Open", state.open_only, state.set_open_only(True), "incidents-open"),
            ("All", ~state.open_only, state.set_open_only(False), "incidents-all"),
        ),
        when(
            some(state.rows),
            div(each(state.rows, _incident), class_name="stack", data_testid="incident-list"),
            panel("Incidents", empty("No open incident", "Whatever a person has to look at appears here.")),
        ),
        _close_dialog(),
        here="/incidents",
        ready=state.ready,
        beside=as_of(state.as_of),
    )


def _incident(row: Row) -> rx.Component:
    about = div(
        badge(row["state"], row["tone"], "incident-state"),
        span(row["time"], class_name="muted nowrap"),
        when(row["account"], span(row["account"], class_name="strong")),
        when(row["order"], link(row["order"], href=row["order_href"])),
        span(row["kind"], class_name="faint small"),
        class_name="row",
    )
    return panel(
        row["title"],
        body(
            about,
            p(row["message"]),
            p(strong("What it means. "), row["meaning"], class_name="muted"),
            p(strong("What to do. "), row["advice"], class_name="note info"),
            when(row["who"], p(row["who"], class_name="faint small")),
            when(row["note"], p("“", row["note"], "”", class_name="note")),
        ),
        actions=[_acts(row)],
        data_incident=row["id"],
    )


def _acts(row: Row) -> rx.Component:
    state = IncidentsState
    unfreeze = confirm(
        button("Unfreeze the account …", class_name="btn tiny", type="button", data_testid="unfreeze"),
        title=rx.Var.create("Trust the account ") + row["account"] + " again?",
        text="It is compared with its exchange first, the last 24 hours included. It trades again only if nothing "
        "contradicts; otherwise it stays frozen and says why.",
        action="Compare and unfreeze",
        on_confirm=state.unfreeze(row["account_id"]),
        testid="confirm-unfreeze",
        danger=False,
    )
    return div(
        when(row["can_unfreeze"], unfreeze),
        when(row["can_see"], button("I am looking at it", class_name="btn tiny", type="button",
                                    on_click=state.acknowledge(row["id"]), data_testid="acknowledge")),
        when(row["is_open"], button("Close …", class_name="btn tiny", type="button",
                                    on_click=state.ask_close(row["id"]), data_testid="close-incident")),
        class_name="row",
    )  # fmt: skip


def _close_dialog() -> rx.Component:
    state = IncidentsState
    asked: Any = state.closing
    return dialog(
        form(
            p(asked["message"], class_name="note"),
            text_field("How was it settled?", "note", required=True, min_length=3, max_length=500,
                       wrong=state.errors["note"], hint="It stands at the incident and in the audit log."),
            p(state.errors["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("Close the incident", testid="confirm-close-incident"), class_name="actions"),
            on_submit=state.close,
            reset_on_submit=True,
        ),
        title=asked["title"],
        text="A closed incident stays in the list; the same trouble opens a new one.",
        is_open=asked["id"].bool(),
        on_open_change=state.set_closing,
        testid="close-incident-dialog",
    )  # fmt: skip
