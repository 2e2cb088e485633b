"""The list of live runs."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import account_name, badge, signed
from app.components.html import Row, button, link, some, td, tr, when
from app.components.panels import as_of, panel
from app.components.shell import shell
from app.components.start_run import start_dialog
from app.components.tables import data_table, empty
from app.state.runs import RunsState
from app.state.start_run import StartRunState


@rx.page(route="/runs", title="Live runs · Plumbline", on_load=RunsState.load)
def runs() -> rx.Component:
    """Running above, stopped below."""
    state = RunsState
    return shell(
        "Live runs",
        panel("Running", runs_table(state.active, "runs-active")),
        when(some(state.stopped), panel("Stopped", _stopped())),
        start_dialog(),
        here="/runs",
        ready=state.ready,
        beside=as_of(state.as_of),
        actions=[
            button(
                "Start a run",
                class_name="btn primary",
                type="button",
                on_click=StartRunState.open_for(""),
                data_testid="open-start",
            )
        ],
    )


def runs_table(rows: Any, testid: str) -> rx.Component:
    """Runs that trade."""
    return data_table(
        [
            "Run",
            "Strategy",
            "Account",
            "Market",
            "State",
            ">Position",
            ">Unrealised",
            ">Realised",
            "Last candle",
            "Since",
        ],
        rows,
        _running,
        label="Running strategies",
        testid=testid,
        nothing=empty(
            "Nothing is running",
            "A strategy trades only after you start it on an account. After a restart strategies stay stopped.",
            link("Choose a strategy", href="/strategies", class_name="btn"),
            testid=f"{testid}-empty",
        ),
    )


def _running(row: Row) -> rx.Component:
    return tr(
        td(link(row["id"], href=row["href"], data_testid="run-link")),
        td(link(row["strategy"], href=row["href"], class_name="strong"), " ", row["version"]),
        td(account_name(row), class_name="nowrap"),
        td(row["symbol"], " · ", row["timeframe"], class_name="nowrap"),
        td(badge(row["state"], row["tone"], "run-state")),
        td(row["quantity"], class_name="num"),
        td(signed(row["unrealised"]), class_name="num"),
        td(signed(row["realised"]), class_name="num"),
        td(row["decided"], class_name="nowrap muted"),
        td(row["started"], class_name="nowrap muted"),
    )


def _stopped() -> rx.Component:
    return data_table(
        ["Run", "Strategy", "Account", "Market", ">Position left", ">Realised", ">Fees", "Stopped", "Why"],
        RunsState.stopped,
        _ended,
        label="Stopped runs",
        testid="runs-stopped",
        nothing=empty("None", "No run has ended yet."),
    )


def _ended(row: Row) -> rx.Component:
    return tr(
        td(link(row["id"], href=row["href"])),
        td(row["strategy"], " ", row["version"]),
        td(account_name(row), class_name="nowrap"),
        td(row["symbol"], " · ", row["timeframe"], class_name="nowrap"),
        td(row["quantity"], class_name="num"),
        td(signed(row["realised"]), class_name="num"),
        td(row["fees"], class_name="num"),
        td(row["stopped"], class_name="nowrap muted"),
        td(row["why"], class_name="muted"),
    )
