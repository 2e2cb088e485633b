"""Limits and kill switches."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.fields import number_field, submit
from app.components.html import Row, div, each, form, link, p, some, span, when
from app.components.kill_switch import ask_about, kill_dialog, switch_card
from app.components.panels import as_of, body, panel
from app.components.shell import hidden, shell
from app.components.tables import empty
from app.state.auth import AuthState
from app.state.kill import KillState
from app.state.risk import RiskState


@rx.page(route="/risk", title="Risk · Plumbline", on_load=RiskState.load)
def risk() -> rx.Component:
    """Each switch says what it will do."""
    state = RiskState
    return shell(
        "Risk",
        _everything(),
        p("A drill shows what a switch would do at this moment, and does nothing. The switches of a strategy and of a "
          "run are on the run's page.", class_name="note"),
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
        each(state.others, _other),
        kill_dialog(),
        here="/risk",
        ready=state.ready,
        beside=as_of(state.as_of),
    )  # fmt: skip


def _everything() -> rx.Component:
    row = RiskState.everything
    card = switch_card(
        row, testid="kill-global", engage=KillState.ask_everything(False), release=KillState.ask_everything(True)
    )
    seen = when(
        row["engaged"],
        div(badge(rx.Var.create("ENGAGED: ") + row["engaged"], "bad", "kill-global"),
            span(row["words"], ": “", row["reason"], "”"), class_name="row"),
        div(badge("Not engaged", "ok", "kill-global"), span("Only an admin may use it.", class_name="faint small"),
            class_name="row"),
    )  # fmt: skip
    return panel("Kill switch for everything", body(when(AuthState.role == "admin", card, seen)))


def _other(row: Row) -> rx.Component:
    card = switch_card(
        row, testid="kill-other", engage=ask_about(row, release=False), release=ask_about(row, release=True)
    )
    return panel(rx.Var.create("Kill switch for ") + row["covers"], body(card))


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
    card = switch_card(
        row, testid="kill-account", engage=ask_about(row, release=False), release=ask_about(row, release=True)
    )
    return panel(
        span(row["label"], " ", badge(row["kind"], row["kind"]), class_name="row"),
        body(limits, div(span("Kill switch", class_name="field-label"), card, class_name="stack")),
    )
