"""Profile, exchange accounts and their keys, sessions."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import field, live_check, number_field, submit, text_field
from app.components.html import (
    Row,
    button,
    dd,
    details,
    div,
    dl,
    dt,
    form,
    fragment,
    li,
    ol,
    p,
    pick,
    pre,
    span,
    summary,
    td,
    textarea,
    tr,
    when,
)
from app.components.panels import as_of, body, facts, panel
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.components.tabs import tabs
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
        _key_dialog(),
        here="/settings",
        ready=state.ready,
        beside=as_of(state.as_of),
    )


def _add_button() -> rx.Component:
    return button(
        "Add an account",
        class_name="btn primary tiny",
        type="button",
        on_click=SettingsState.set_adding(True),
        data_testid="add-account",
    )


def _accounts() -> rx.Component:
    return data_table(
        ["Account", "Exchange", "State", "Key", "Private stream", "Books agree as of", "Added", ""],
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
        td(badge(row["kind"], row["kind"], "account-kind")),
        td(badge(row["state"], row["tone"], "account-state"), " ", span(row["why"], class_name="muted")),
        td(
            span(row["key"], class_name="mono", data_testid="account-key"),
            when(row["may"], p(row["may"], class_name="faint small", data_testid="account-may")),
            when(row["checked"], p("checked ", row["checked"], class_name="faint small")),
        ),
        td(badge(row["stream"], row["stream_tone"])),
        td(row["agree"], class_name="nowrap"),
        td(row["created"], class_name="nowrap muted"),
        td(_deeds(row), class_name="end"),
        data_account=row["id"],
    )


def _deeds(row: Row) -> rx.Component:
    state = SettingsState
    off = confirm(
        button("Switch off", class_name="btn quiet tiny", type="button", data_testid="account-off"),
        title=rx.Var.create("Switch off ") + row["label"] + "?",
        text="The exchange is neither asked nor sent anything for this account until you switch it on again.",
        action="Switch it off",
        on_confirm=state.want(row["id"], "DISABLED"),
        testid="confirm-off",
    )
    remove = confirm(
        button("Remove", class_name="btn quiet tiny", type="button", data_testid="account-remove"),
        title=rx.Var.create("Remove ") + row["label"] + "?",
        text="Its key is destroyed here, for good; delete it at the exchange too. Its orders, fills and figures stay "
        "in the books. What rests at the exchange stays there.",
        action="Remove the account",
        on_confirm=state.want(row["id"], "REMOVED"),
        testid="confirm-remove",
    )
    on = button("Switch on", class_name="btn quiet tiny", type="button", on_click=state.want(row["id"], "ACTIVE"),
                data_testid="account-on")  # fmt: skip
    key = button("Key …", class_name="btn tiny", type="button", on_click=state.look_at(row["id"]),
                 data_testid="account-key-open")  # fmt: skip
    return div(
        when(row["can_key"], key),
        when(row["can_off"], off),
        when(row["can_on"], on),
        remove,
        class_name="row end",
    )


def _add_dialog() -> rx.Component:
    state, wrong = SettingsState, SettingsState.errors
    return dialog(
        form(
            div(
                div(
                    tabs(
                        *((text, state.kind == kind, state.set_kind(kind), f"kind-{text.lower()}")
                          for text, kind in (("Paper", "PAPER"), ("Testnet", "TESTNET"), ("Live", "LIVE")))
                    ),
                    badge(state.kind, state.kind, "adding-kind"),
                    class_name="row full",
                ),
                p(rx.match(state.kind, ("TESTNET", _TESTNET), ("LIVE", _LIVE), _PAPER), class_name="note full"),
                text_field("Name", "label", required=True, max_length=60, placeholder="Main", full=True,
                           wrong=wrong["label"], data_testid="account-label"),
                when(state.kind == "PAPER", _opening_balances(), _choose_key()),
                when(state.kind == "LIVE", _live_consent()),
                class_name="form-grid",
            ),
            p(wrong["balances"], wrong["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("Add the account", testid="create-account"), class_name="actions"),
            on_submit=state.add_account,
            reset_on_submit=False,
        ),
        title="Add an account",
        text="An account is where orders go. The worker alone holds its key.",
        is_open=state.adding,
        on_open_change=state.set_adding,
        testid="account-dialog",
    )  # fmt: skip


_PAPER = "Our own exchange, speaking as Binance does. The worker makes the key. No money is involved."
_TESTNET = "Binance's test network: real programs, play money, wiped about once a month."
_LIVE = "Binance with real money. Losses are real."
_STEPS = (
    "At Binance: API Management, Create API, “Self-generated”, and paste this public key.",
    "Switch on “Enable Spot & Margin Trading”, and nothing else: no withdrawals, no transfers, no futures.",
    "Restrict the key to this machine's address.",
    "Copy the API key that Binance shows into the field below.",
)


def _opening_balances() -> rx.Component:
    wrong = SettingsState.errors
    return fragment(
        number_field("Opening balance, USDT", "usdt", placeholder="10000", wrong=wrong["usdt"],
                     data_testid="account-usdt"),
        number_field("Opening balance, BTC (optional)", "btc", wrong=wrong["btc"], data_testid="account-btc"),
    )  # fmt: skip


def _choose_key() -> rx.Component:
    """How a testnet or live account gets its key."""
    state = SettingsState
    choice = tabs(
        ("Made here (best)", ~state.own_key, state.set_own_key(False), "key-made-here"),
        ("I have one", state.own_key, state.set_own_key(True), "key-own"),
    )
    made = p("The worker makes an Ed25519 pair. You paste its public half at the exchange; the private one never "
             "leaves the worker.", class_name="hint full")  # fmt: skip
    return fragment(div(choice, class_name="full"), when(state.own_key, _own_key(), made))


def _own_key() -> rx.Component:
    wrong = SettingsState.errors
    secret = textarea(
        id="secret",
        name="secret",
        rows=4,
        class_name="textarea secret",
        auto_complete="off",
        spell_check=False,
        data_testid="account-secret",
    )
    return fragment(
        text_field("API key", "api_key", wrong=wrong["api_key"], full=True, auto_complete="off",
                   data_testid="account-api-key"),
        field(
            "API secret, or Ed25519 or RSA private key (PEM)",
            secret,
            control_id="secret",
            hint="It is sealed for the worker at once. Nobody can read it back, you neither.",
            wrong=wrong["secret"],
            full=True,
        ),
    )  # fmt: skip


def _live_consent() -> rx.Component:
    wrong = SettingsState.errors
    return fragment(
        text_field("Type the name once more", "label_again", wrong=wrong["label_again"], full=True,
                   auto_complete="off", data_testid="account-label-again"),
        live_check("This account trades real money. I know that I can lose it.", wrong["confirm_live"]),
    )  # fmt: skip


def _key_dialog() -> rx.Component:
    """An account's key: what it may do, the one on its way, another one."""
    state, row = SettingsState, SettingsState.looked_at
    in_use = dl(
        *_fact("Key in use", row["key"]),
        *_fact("It may", row["may"]),
        *_fact("Last checked", row["checked"]),
        class_name="facts",
    )
    return dialog(
        div(
            div(badge(row["kind"], row["kind"]), badge(row["state"], row["tone"], "key-state"), class_name="row"),
            when(row["may"], in_use),
            when(row["advice"], p(row["advice"], class_name="note warn", data_testid="key-advice")),
            when(row["refused"], _refused()),
            when(row["checking"], p("The worker is at work; this takes some seconds.", class_name="note info")),
            when(row["public_key"], _made_here()),
            _another_key(),
            class_name="stack",
        ),
        title=rx.Var.create("The key of ") + row["label"],
        text="Keys are checked with the exchange before they are used, and again each day.",
        is_open=state.key_of != "",
        on_open_change=state.close_key,
        testid="key-dialog",
        width="620px",
    )


def _fact(name: str, value: Any) -> tuple[rx.Component, rx.Component]:
    return dt(name), dd(pick(value, value, "—"))


def _refused() -> rx.Component:
    row = SettingsState.looked_at
    again = button("Check again", class_name="btn primary", type="button", on_click=SettingsState.check_again,
                   data_testid="check-again")  # fmt: skip
    return div(
        p(row["refused"], class_name="note bad", role="alert", data_testid="key-refused"),
        div(span("Put it right at the exchange, then:", class_name="muted"), again, class_name="row"),
        class_name="stack",
    )


def _made_here() -> rx.Component:
    state, row = SettingsState, SettingsState.looked_at
    copy = button("Copy", class_name="btn tiny", type="button", on_click=rx.set_clipboard(row["public_key"]))
    return form(
        ol(*(li(step) for step in _STEPS), class_name="stack steps"),
        pre(row["public_key"], class_name="mono pem", data_testid="public-key"),
        div(copy, class_name="row"),
        text_field("API key", "api_key", wrong=state.errors["api_key"], full=True, auto_complete="off",
                   id="brought_api_key", data_testid="brought-api-key"),
        p(state.errors["form"], class_name="wrong", role="alert"),
        div(submit("Check and use it", testid="bring-api-key"), class_name="actions"),
        on_submit=state.bring_api_key,
        reset_on_submit=False,
        class_name="stack",
    )  # fmt: skip


def _another_key() -> rx.Component:
    state = SettingsState
    return details(
        summary("Use another key"),
        form(
            div(_choose_key(), class_name="form-grid"),
            p("The key in use goes on working until the new one is checked.", class_name="hint"),
            div(submit("Use another key", testid="replace-key", style="btn"), class_name="actions"),
            on_submit=state.replace_key,
            reset_on_submit=False,
            class_name="stack",
        ),
        data_testid="another-key",
    )


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
