"""The list of strategies, and making one from a template."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, dialog
from app.components.fields import submit, text_field
from app.components.html import Row, button, div, each, form, input_, label, link, p, span, strong, td, tr, when
from app.components.panels import panel
from app.components.shell import shell
from app.components.start_run import start_dialog
from app.components.tables import data_table, empty
from app.state.start_run import StartRunState
from app.state.strategies import StrategiesState


@rx.page(route="/strategies", title="Strategies · Plumbline", on_load=StrategiesState.load)
def strategies() -> rx.Component:
    """What each one does, in English."""
    state = StrategiesState
    return shell(
        "Strategies",
        panel("Your strategies", _table()),
        _new_dialog(),
        start_dialog(),
        here="/strategies",
        ready=state.ready,
        actions=[_new_button()],
    )


def _new_button() -> rx.Component:
    return button(
        "New strategy",
        class_name="btn primary",
        type="button",
        on_click=StrategiesState.set_creating(True),
        data_testid="new-strategy",
    )


def _table() -> rx.Component:
    return data_table(
        ["Name", "Market", "Version", "What it does", "Saved", "", ""],
        StrategiesState.rows,
        _line,
        label="Strategies",
        testid="strategies",
        nothing=empty(
            "No strategies yet",
            "Start from a template: each says what it does, and when it loses. You can change every rule afterwards.",
            testid="strategies-empty",
        ),
    )


def _line(row: Row) -> rx.Component:
    start = button(
        "Start",
        class_name="btn tiny",
        type="button",
        on_click=StartRunState.open_for(row["id"]),
        data_testid="open-start",
    )
    return tr(
        td(link(row["name"], href=row["href"], class_name="strong", data_testid="strategy-link")),
        td(row["market"], class_name="nowrap"),
        td(row["version"], title=row["hash"]),
        td(row["reading"], class_name="muted"),
        td(row["saved"], class_name="nowrap muted"),
        td(when(row["state"], badge(row["state"], "ok"))),
        td(start, class_name="end"),
    )


def _new_dialog() -> rx.Component:
    state = StrategiesState
    return dialog(
        form(
            div(
                div(each(state.templates, _template), class_name="stack full", role="group", aria_label="Template"),
                text_field("Symbol", "symbol", default_value="BTCUSDT", wrong=state.errors["symbol"]),
                text_field("Name (optional)", "name", max_length=100, wrong=state.errors["name"],
                           data_testid="strategy-name"),
                class_name="form-grid",
            ),
            p(state.errors["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("Create", testid="create-strategy"), class_name="actions"),
            on_submit=state.create,
            reset_on_submit=False,
        ),
        title="New strategy",
        text="Choose where to start from. Nothing trades until you start it on an account.",
        is_open=state.creating,
        on_open_change=state.set_creating,
        testid="strategy-dialog",
        width="640px",
    )  # fmt: skip


def _template(row: Row) -> rx.Component:
    is_chosen = StrategiesState.template == row["key"]
    return label(
        input_(
            type="radio",
            name="template",
            value=row["key"],
            checked=is_chosen,
            on_change=StrategiesState.set_template(row["key"]),
            data_testid=rx.Var.create("template-") + row["key"],
        ),
        strong(row["title"]),
        span(row["explains"], class_name="muted"),
        span(strong("Loses when: "), row["loses_when"], class_name="muted small"),
        class_name="choice",
    )
