"""Limits and kill switches."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, dialog
from app.components.fields import number_field, submit, text_field
from app.components.html import Row, button, div, each, form, link, p, pick, some, span, when
from app.components.panels import as_of, body, panel
from app.components.shell import hidden, shell
from app.components.tables import empty
from app.state.auth import AuthState
from app.state.risk import RiskState


@rx.page(route="/risk", title="Risk · Plumbline", on_load=RiskState.load)
def risk() -> rx.Component:
    """Each switch says what it will do."""
    state = RiskState
    return shell(
        "Risk",
        _everything(),
        when(
            some(state.accounts),
            div(each(state.accounts, _account), class_name="grid half"),
            panel(
                "Accounts",
                empty(
                    "No account yet",
                    "Limits belong to an account. Add a paper account first.",
                    link("Open settings", href="/settings", class_name="btn primary"),
                ),
            ),
        ),
        p("Every order passes these before it is sent: balance, largest order, largest exposure a symbol, kill switch. "
          "A refusal is shown with its reason. No limit and no switch ever refuses an exit.", class_name="note"),
        _dialog(),
        here="/risk",
        ready=state.ready,
        beside=as_of(state.as_of),
    )  # fmt: skip


def _everything() -> rx.Component:
    row = RiskState.everything
    buttons = when(
        AuthState.role == "admin",
        _switch_button(row, RiskState.ask_everything(True), RiskState.ask_everything(False), "global"),
        span("Only an admin may use it.", class_name="faint small"),
    )
    return panel("Kill switch for everything", body(_switch(row, "kill-global"), buttons))


def _switch(row: Any, testid: str) -> rx.Component:
    engaged = row["engaged"]
    return div(
        badge(pick(engaged, "ENGAGED", "Not engaged"), pick(engaged, "bad", "ok"), testid),
        when(
            engaged, span(row["words"], ": “", row["reason"], "”"), span("New entries are allowed.", class_name="muted")
        ),
        class_name="row",
    )


def _switch_button(row: Any, engage: Any, release: Any, name: Any) -> rx.Component:
    testid = rx.Var.create("switch-") + name
    return div(
        when(
            row["engaged"],
            button("Release …", class_name="btn", type="button", on_click=release, data_testid=testid),
            button("Engage …", class_name="btn danger", type="button", on_click=engage, data_testid=testid),
        )
    )


def _account(row: Row) -> rx.Component:
    limits = form(
        hidden("account_id", row["id"]),
        div(
            number_field("Largest order (quote)", "max_order_notional", default_value=row["max_order"],
                         id=rx.Var.create("order-") + row["id"]),
            number_field("Largest exposure a symbol (quote)", "max_symbol_exposure", default_value=row["max_symbol"],
                         id=rx.Var.create("symbol-") + row["id"]),
            class_name="form-grid",
        ),
        div(
            submit("Save limits", testid="save-limits", style="btn"),
            span(RiskState.errors["limits"], RiskState.errors["max_order_notional"],
                 RiskState.errors["max_symbol_exposure"], class_name="wrong", role="alert"),
            class_name="row",
            style={"margin-top": "10px"},
        ),
        on_submit=RiskState.save_limits,
        reset_on_submit=False,
    )  # fmt: skip
    ask, release = RiskState.ask(row["id"], True), RiskState.ask(row["id"], False)
    return panel(
        span(row["label"], " ", badge(row["kind"], row["kind"]), class_name="row"),
        body(limits, _switch(row, "kill-account"), _switch_button(row, ask, release, row["id"])),
    )


def _dialog() -> rx.Component:
    asked: Any = RiskState.asked
    engage = asked["act"] == "engage"
    return dialog(
        form(
            p(pick(engage, _ENGAGE, _RELEASE), class_name="note warn", style={"margin-bottom": "12px"}),
            text_field("Reason", "reason", required=True, min_length=3, max_length=300,
                       wrong=RiskState.errors["reason"],
                       hint="It stands in the audit log."),
            p(RiskState.errors["form"], class_name="wrong", role="alert"),
            div(
                close_button(),
                submit(pick(engage, "Engage the kill switch", "Release the kill switch"), testid="confirm-switch",
                       style="btn danger solid"),
                class_name="actions",
            ),
            on_submit=RiskState.switch,
            reset_on_submit=False,
        ),
        title=pick(engage, "Engage the kill switch for ", "Release the kill switch for ") + asked["name"] + "?",
        text="A kill switch stays as it is until a person changes it.",
        is_open=asked["scope"].bool(),
        on_open_change=RiskState.set_open,
        testid="switch-dialog",
    )  # fmt: skip


_ENGAGE = (
    "From this moment every new entry is refused, by hand or by strategy. Exits, protective stops and cancels go on. "
    "Nothing that is held is sold."
)
_RELEASE = "New entries are allowed again. Strategies that were stopped stay stopped until somebody starts them."
