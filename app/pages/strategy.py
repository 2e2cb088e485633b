"""One strategy: JSON on the left; problems, English and versions on the right."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import confirm
from app.components.fields import area, submit
from app.components.html import (
    Row,
    button,
    div,
    each,
    form,
    label,
    li,
    p,
    pick,
    some,
    span,
    td,
    tr,
    ul,
    when,
)
from app.components.panels import body, panel
from app.components.shell import shell
from app.components.start_run import start_dialog
from app.components.tables import data_table, empty
from app.state.start_run import StartRunState
from app.state.strategy import StrategyState


@rx.page(route="/strategies/[strategy_id]", title="Strategy · Plumbline", on_load=StrategyState.load)
def strategy() -> rx.Component:
    """The text is checked as it is typed; a version that was saved never changes."""
    state = StrategyState
    start = button(
        "Start a live run",
        class_name="btn primary",
        type="button",
        on_click=StartRunState.open_for(rx.State.strategy_id),  # type: ignore[attr-defined]
        data_testid="open-start",
    )
    return shell(
        state.name,
        div(_editor(), div(_problems(), _reading(), _versions(), class_name="stack"), class_name="grid two"),
        start_dialog(),
        here="/strategies",
        ready=state.ready,
        missing=state.missing,
        beside=span(
            badge(rx.Var.create("version ") + state.number, "info", "version"),
            when(state.archived, badge("archived", "")),
            class_name="row",
        ),
        actions=[_archive(), start],
    )


def _editor() -> rx.Component:
    state = StrategyState
    text = area(
        "document",
        key=state.editor_key,
        default_value=state.text,
        on_change=state.check.debounce(400),
        class_name="textarea editor",
        rows="32",
        spell_check=False,
        auto_complete="off",
        aria_describedby="problems",
        data_testid="strategy-json",
    )
    return panel(
        "Rules (JSON)",
        body(
            form(
                label("Strategy document", html_for="document", class_name="visually-hidden"),
                text,
                div(
                    submit("Save as a new version", testid="save-strategy"),
                    span(
                        pick(state.changed, "Changed since this version.", "Nothing changed."), class_name="faint small"
                    ),
                    span(state.errors["document"], class_name="wrong", role="alert", data_testid="save-error"),
                    class_name="row",
                    style={"margin-top": "10px"},
                ),
                on_submit=state.save,
                reset_on_submit=False,
            )
        ),
    )


def _problems() -> rx.Component:
    state = StrategyState
    fine = p("The strategy is valid.", class_name="up", role="status", data_testid="valid")
    return panel(
        "Check",
        body(
            div(
                when(
                    some(state.problems),
                    ul(each(state.problems, _problem), class_name="problems", data_testid="problems"),
                    fine,
                ),
                id="problems",
                aria_live="polite",
            ),
            when(some(state.not_live), _group("Cannot run live yet", state.not_live)),
            when(some(state.warnings), _group("Worth a thought", state.warnings)),
        ),
    )


def _group(title: str, rows: object) -> rx.Component:
    return div(span(title, class_name="warn strong small"), ul(each(rows, _problem), class_name="problems"))


def _problem(row: Row) -> rx.Component:
    return li(span(row["path"], class_name="mono muted"), span(row["message"]))


def _reading() -> rx.Component:
    stale = when(some(StrategyState.problems), span("of the last valid text", class_name="faint small"))
    text = p(StrategyState.reading, class_name="reading", data_testid="reading")
    return panel("In plain English", body(text), actions=[stale])


def _versions() -> rx.Component:
    return panel(
        "Versions",
        data_table(
            ["Version", "Fingerprint", "Saved", ""],
            StrategyState.versions,
            _version,
            label="Versions",
            testid="versions",
            nothing=empty("No versions", "Save one."),
        ),
    )


def _version(row: Row) -> rx.Component:
    show = button(
        "Open",
        class_name="btn quiet tiny",
        type="button",
        on_click=StrategyState.choose_version(row["number"]),
        disabled=StrategyState.number == row["number"],
    )
    return tr(
        td(row["number"], class_name="strong"),
        td(row["hash"], class_name="mono muted"),
        td(row["saved"], class_name="nowrap muted"),
        td(show, class_name="end"),
    )


def _archive() -> rx.Component:
    return confirm(
        button("Archive", class_name="btn quiet", type="button", data_testid="archive"),
        title=rx.Var.create("Archive “") + StrategyState.name + "”?",
        text="It leaves the list and cannot be started any more. Its versions, runs and orders stay on record.",
        action="Archive the strategy",
        on_confirm=StrategyState.archive,
        testid="confirm-archive",
    )
