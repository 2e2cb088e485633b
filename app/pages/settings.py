"""Profile, exchange accounts, sessions."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import number_field, submit, text_field
from app.components.html import Row, button, div, form, p, span, td, tr, when
from app.components.panels import as_of, body, facts, panel
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.state.auth import AuthState
from app.state.settings import SettingsState


@rx.page(route="/settings", title="Settings · Plumbline", on_load=SettingsState.load)
def settings() -> rx.Component:
    """One's own things."""
    state = SettingsState
    return shell(
        "Settings",
        panel("Exchange accounts", _accounts(), actions=[_add_button()]),
        panel("Profile", body(facts(("E-mail", AuthState.email), ("Role", AuthState.role)))),
        panel("Where you are signed in", _sessions()),
        _add_dialog(),
        here="/settings",
        ready=state.ready,
        beside=as_of(state.as_of),
    )


def _add_button() -> rx.Component:
    return button(
        "Add a paper account",
        class_name="btn primary tiny",
        type="button",
        on_click=SettingsState.set_adding(True),
        data_testid="add-account",
    )


def _accounts() -> rx.Component:
    return data_table(
        ["Account", "Exchange", "State", "Key", "Private stream", "Books agree as of", "Added"],
        SettingsState.accounts,
        _account,
        label="Exchange accounts",
        testid="accounts",
        nothing=empty(
            "No exchange account yet",
            "Start with a paper account: it trades on our own exchange, speaking as Binance does, without money.",
            testid="accounts-empty",
        ),
    )


def _account(row: Row) -> rx.Component:
    return tr(
        td(row["label"], class_name="strong"),
        td(badge(row["kind"], row["kind"])),
        td(badge(row["state"], row["tone"], "account-state"), " ", span(row["why"], class_name="muted")),
        td(row["key"], class_name="mono"),
        td(badge(row["stream"], row["stream_tone"])),
        td(row["agree"], class_name="nowrap"),
        td(row["created"], class_name="nowrap muted"),
    )


def _add_dialog() -> rx.Component:
    state, wrong = SettingsState, SettingsState.errors
    return dialog(
        form(
            div(
                text_field("Name", "label", required=True, max_length=60, placeholder="Paper 1", full=True,
                           wrong=wrong["label"], data_testid="account-label"),
                number_field("Opening balance, USDT", "usdt", placeholder="10000", wrong=wrong["usdt"],
                             data_testid="account-usdt"),
                number_field("Opening balance, BTC (optional)", "btc", wrong=wrong["btc"], data_testid="account-btc"),
                class_name="form-grid",
            ),
            p(wrong["balances"], wrong["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("Add the account", testid="create-account"), class_name="actions"),
            on_submit=state.add_account,
            reset_on_submit=False,
        ),
        title="Add a paper account",
        text="The worker makes its key and registers it with the paper exchange. No money is involved.",
        is_open=state.adding,
        on_open_change=state.set_adding,
        testid="account-dialog",
    )  # fmt: skip


def _sessions() -> rx.Component:
    return data_table(
        ["Browser", "Address", "Signed in", "Last seen", ""],
        SettingsState.sessions,
        _session,
        label="Sessions",
        testid="sessions",
        nothing=empty("No session", "You are signed in through none."),
    )


def _session(row: Row) -> rx.Component:
    end = confirm(
        button("End", class_name="btn quiet tiny", type="button", data_testid="end-session"),
        title="End this session?",
        text="That browser is signed out within five seconds. Strategies go on.",
        action="End the session",
        on_confirm=SettingsState.end(row["name"]),
        testid="confirm-end",
    )
    return tr(
        td(row["agent"], class_name="muted"),
        td(row["ip"], class_name="mono"),
        td(row["started"], class_name="nowrap muted"),
        td(row["seen"], class_name="nowrap"),
        td(when(row["current"], badge("this one", "info"), end), class_name="end"),
    )
