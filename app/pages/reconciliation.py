"""Our books beside the exchange's: when they agreed, what differs, and what to do about it."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import submit, text_field
from app.components.html import Row, button, div, form, p, span, td, tr, when
from app.components.panels import as_of, panel
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.components.tabs import tabs
from app.state.auth import AuthState
from app.state.reconciliation import ReconciliationState


@rx.page(route="/reconciliation", title="Reconciliation · Plumbline", on_load=ReconciliationState.load)
def reconciliation() -> rx.Component:
    """The exchange is right about what happened, our books about what was wanted."""
    state = ReconciliationState
    whose = tabs(
        ("Mine", ~state.everybody, state.set_everybody(False), "whose-mine"),
        ("Everybody's", state.everybody, state.set_everybody(True), "whose-all"),
    )
    return shell(
        "Reconciliation",
        p("Each account is compared with its exchange every minute, after every reconnect and at every start. What the "
          "exchange knows and our books lack is taken over; what somebody did elsewhere is shown here, and never "
          "touched unless you say so.", class_name="note"),
        panel("Books", _accounts()),
        panel("Differences", _differences()),
        panel("Comparisons", _passes(), actions=[when(AuthState.role == "admin", whose)]),
        panel("What happened outside of Plumbline", _outside()),
        panel("Differences that were settled", _closed()),
        _ignore_dialog(),
        here="/reconciliation",
        ready=state.ready,
        beside=as_of(state.as_of),
        actions=[button("Compare all now", class_name="btn", type="button", on_click=state.compare(""),
                        data_testid="compare-all")],
    )  # fmt: skip


def _accounts() -> rx.Component:
    return data_table(
        ["Account", "Exchange", "State", "Live stream", "Books agree as of", ""],
        ReconciliationState.accounts,
        lambda row: tr(
            td(row["label"], class_name="strong"),
            td(badge(row["kind"], row["kind"])),
            td(badge(row["state"], row["tone"]), " ", span(row["reason"], class_name="muted")),
            td(badge(row["stream"], row["stream_tone"])),
            td(row["agrees"], " ", span(row["ago"], class_name="faint"), data_testid="agrees-at"),
            td(when(row["comparable"], button("Compare now", class_name="btn tiny", type="button",
                                              on_click=ReconciliationState.compare(row["id"]))), class_name="end"),
        ),
        label="Accounts and when their books agreed with the exchange",
        testid="books",
        nothing=empty("No account yet", "Add a paper account in the settings; it is compared from then on."),
    )  # fmt: skip


def _differences() -> rx.Component:
    return data_table(
        ["Since", "Account", "What differs", "State", ""],
        ReconciliationState.differences,
        lambda row: tr(
            td(row["since"], class_name="nowrap muted"),
            td(row["account"]),
            td(row["words"], when(row["note"], span(" “", row["note"], "”", class_name="muted"))),
            td(badge(row["state"], row["tone"], "difference-state")),
            td(_actions(row), class_name="end"),
            data_difference=row["id"],
        ),
        label="What differs between our books and the exchange",
        testid="differences",
        nothing=empty("Nothing differs", "Orders, trades and balances are the same here and at the exchange."),
    )


def _actions(row: Row) -> rx.Component:
    state = ReconciliationState
    adopt = confirm(
        button("Adopt", class_name="btn tiny", type="button", data_testid="adopt"),
        title="Take this order into our books?",
        text=rx.Var.create("From then on it can be cancelled here, and its fills are yours by hand. ") + row["words"],
        action="Adopt the order",
        on_confirm=state.adopt(row["id"]),
        testid="confirm-adopt",
        danger=False,
    )
    flatten = confirm(
        button("Flatten", class_name="btn danger tiny", type="button", data_testid="flatten"),
        title="Make it as if it had not been?",
        text=row["flatten_words"],
        action="Flatten",
        on_confirm=state.flatten(row["id"]),
        testid="confirm-flatten",
    )
    ignore = button("Ignore …", class_name="btn quiet tiny", type="button", on_click=state.ask_ignore(row["id"]),
                    data_testid="ignore")  # fmt: skip
    return div(
        when(row["can_adopt"], adopt),
        when(row["can_flatten"], flatten),
        when(row["can_ignore"], ignore),
        class_name="row",
        style={"justify-content": "flex-end"},
    )


def _ignore_dialog() -> rx.Component:
    state = ReconciliationState
    asked: Any = state.ignoring
    return dialog(
        form(
            p(asked["words"], class_name="note"),
            text_field("Why is it in order?", "reason", required=True, min_length=3, max_length=300,
                       wrong=state.errors["reason"], hint="It stands beside the difference and in the audit log."),
            p(state.errors["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("It is in order", testid="confirm-ignore"), class_name="actions"),
            on_submit=state.ignore,
            reset_on_submit=True,
        ),
        title="Ignore this difference?",
        text="It is no longer counted, and never booked, until it changes.",
        is_open=asked["id"].bool(),
        on_open_change=state.set_ignoring,
        testid="ignore-dialog",
    )  # fmt: skip


def _passes() -> rx.Component:
    return data_table(
        ["Time", "Account", "Why", ">Took", ">Orders asked", ">Repaired", ">Unresolved", "Result", "Found"],
        ReconciliationState.passes,
        lambda row: tr(
            td(row["time"], class_name="nowrap muted"),
            td(row["account"]),
            td(row["trigger"], class_name="nowrap"),
            td(row["took"], class_name="num"),
            td(row["checked"], class_name="num"),
            td(row["repaired"], class_name="num"),
            td(row["unresolved"], class_name="num"),
            td(badge(row["state"], row["tone"])),
            td(row["found"], class_name="muted"),
        ),
        label="Comparisons, newest first",
        testid="passes",
        nothing=empty("No comparison yet", "The first comes as soon as an account is active."),
        scroll=True,
    )


def _outside() -> rx.Component:
    return data_table(
        ["Time", "Account", "What", ">Change", "Asset", "In words"],
        ReconciliationState.outside,
        lambda row: tr(
            td(row["time"], class_name="nowrap muted"),
            td(row["account"]),
            td(row["kind"], class_name="nowrap"),
            td(row["change"], class_name="num"),
            td(row["asset"]),
            td(row["reason"], class_name="muted"),
        ),
        label="Deposits, withdrawals and trades made outside of Plumbline",
        testid="outside",
        nothing=empty("Nothing", "Deposits, withdrawals and trades made elsewhere appear here once they are booked."),
        scroll=True,
    )


def _closed() -> rx.Component:
    return data_table(
        ["Closed", "Account", "What differed", "What became of it", "By"],
        ReconciliationState.closed,
        lambda row: tr(
            td(row["closed"], class_name="nowrap muted"),
            td(row["account"]),
            td(row["words"]),
            td(badge(row["state"], row["tone"]), " ", span(row["note"], class_name="muted")),
            td(row["by"], class_name="muted"),
        ),
        label="Differences that were settled",
        testid="closed-differences",
        nothing=empty("None yet", "Whatever differed once stands here with what became of it."),
        scroll=True,
    )
