"""What can be done with orders besides cancelling one: replace it, or cancel all of an account."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.dialogs import close_button, dialog
from app.components.fields import number_field, select_field, submit, text_field
from app.components.html import button, div, each, form, input_, label, li, p, some, ul, when
from app.state.replace_order import CancelAllState, ReplaceState


def replace_button(order_id: Any) -> rx.Component:
    """Opens the replacement's form."""
    return button("Replace …", class_name="btn", type="button", on_click=ReplaceState.ask(order_id),
                  data_testid="replace-order")  # fmt: skip


def replace_dialog() -> rx.Component:
    """What is to change. A page with `replace_button` has it once."""
    state: Any = ReplaceState
    wrong, wanted = state.errors, state.wanted
    return dialog(
        form(
            div(
                when(wanted["price"], number_field("Limit price", "price", default_value=wanted["price"],
                                                   wrong=wrong["price"])),
                when(wanted["stop_price"], number_field("Stop price", "stop_price", wrong=wrong["stop_price"],
                                                        default_value=wanted["stop_price"])),
                number_field("Quantity", "quantity", default_value=wanted["quantity"], wrong=wrong["quantity"],
                             hint="Of both orders together: what this one fills until it is gone counts."),
                class_name="form-grid",
            ),
            p(wrong["form"], class_name="wrong", role="alert"),
            div(close_button(), submit("Replace the order", testid="confirm-replace"), class_name="actions"),
            on_submit=state.replace,
            reset_on_submit=False,
        ),
        title=rx.Var.create("Replace order ") + state.order_id + "?",
        text="It is cancelled. Once the exchange confirms that it is gone, one new order is placed for what is left. "
        "If it fills meanwhile, the new one is smaller, or none is made.",
        is_open=state.order_id.bool(),
        on_open_change=state.set_open,
        testid="replace-dialog",
    )  # fmt: skip


def cancel_all_button() -> rx.Component:
    """Opens the question which orders."""
    return button("Cancel all …", class_name="btn danger", type="button", on_click=CancelAllState.set_open(True),
                  data_testid="cancel-all")  # fmt: skip


def cancel_all_dialog() -> rx.Component:
    """Whose orders; afterwards what stays, and why. A page with `cancel_all_button` has it once."""
    state: Any = CancelAllState
    stops = label(
        input_(type="checkbox", id="include_stops", name="include_stops"),
        "Stops placed by hand too",
        html_for="include_stops",
        class_name="check",
    )
    kept = div(
        p("These stay:"),
        ul(each(state.kept, lambda words: li(words)), class_name="stack", data_testid="cancel-all-kept"),
        class_name="note",
    )
    return dialog(
        form(
            div(
                select_field("Account", "account_id", state.accounts, wrong=state.errors["account_id"], required=True),
                text_field("Symbol", "symbol", hint="Empty: every symbol.", wrong=state.errors["symbol"],
                           id="cancel-symbol", data_testid="cancel-symbol"),
                class_name="form-grid",
            ),
            stops,
            when(some(state.kept), kept),
            p(state.errors["form"], class_name="wrong", role="alert"),
            div(
                close_button("Go back"),
                submit("Cancel all of them", testid="confirm-cancel-all", style="btn danger solid"),
                class_name="actions",
            ),
            on_submit=state.cancel,
            reset_on_submit=False,
        ),
        title="Cancel every working order?",
        text="Entries, limits and targets are cancelled, those of strategies too. What protects a run's position "
        "stays, and what has filled stays filled.",
        is_open=state.is_open,
        on_open_change=state.set_open,
        testid="cancel-all-dialog",
    )  # fmt: skip
