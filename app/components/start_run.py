"""The dialog that starts a strategy on an account."""

from __future__ import annotations

import reflex as rx

from app.components.badges import badge
from app.components.dialogs import close_button, dialog
from app.components.fields import live_check, select_field, submit
from app.components.html import button, div, each, form, input_, label, link, option, p, select, some, span, when
from app.components.tables import empty
from app.state.start_run import StartRunState


def start_dialog() -> rx.Component:
    """Stands once on a page; `StartRunState.open_for(strategy_id)` opens it."""
    state = StartRunState
    no_strategy = empty(
        "No strategy yet",
        "Make one from a template first.",
        link("Strategies", href="/strategies", class_name="btn primary"),
    )
    no_account = empty(
        "No active account",
        "Add a paper account in the settings; it is ready within seconds.",
        link("Open settings", href="/settings", class_name="btn primary"),
    )
    return dialog(
        when(
            some(state.strategies),
            when(some(state.accounts), when(state.asked != "", _ask(), _form()), no_account),
            no_strategy,
        ),
        title="Start a live run",
        text="The strategy decides at each closed candle and trades by itself until somebody stops it.",
        is_open=state.is_open,
        on_open_change=state.set_open,
        testid="start-dialog",
    )


def _ask() -> rx.Component:
    """The second question about a live run: it names what it will do."""
    state = StartRunState
    return div(
        p(badge("LIVE", "LIVE"), " ", state.asked, class_name="note bad", data_testid="start-asked"),
        p(state.reading, class_name="note info"),
        p(state.errors["form"], class_name="wrong", role="alert"),
        div(
            button("Go back", class_name="btn", type="button", on_click=state.go_back),
            button("Trade real money", class_name="btn danger solid", type="button", on_click=state.start_live,
                   data_testid="start-run-live"),
            class_name="actions",
        ),
        class_name="stack",
    )  # fmt: skip


def _form() -> rx.Component:
    state, wrong = StartRunState, StartRunState.errors
    strategy = select_field(
        "Strategy",
        "strategy_id",
        state.strategies,
        value=state.strategy,
        on_change=state.choose,
        wrong=wrong["strategy_id"],
        full=True,
        data_testid="start-strategy",
    )
    account = select_field(
        "Account",
        "account_id",
        state.accounts,
        value=state.account,
        on_change=state.choose_account,
        wrong=wrong["account_id"],
        data_testid="start-account",
    )
    symbol = div(
        label("Symbol", html_for="start_symbol"),
        select(each(state.symbols, lambda name: option(name, value=name)), id="start_symbol", name="symbol",
               class_name="select"),
        span(wrong["symbol"], class_name="wrong", role="alert"),
        class_name="field",
    )  # fmt: skip
    no_stop = label(
        input_(type="checkbox", name="confirm_no_stop", id="confirm_no_stop", data_testid="confirm-no-stop"),
        "This strategy holds positions without a stop. I mean it.",
        html_for="confirm_no_stop",
        class_name="check full",
    )
    return form(
        div(
            strategy,
            div(p(state.reading, class_name="note info"), class_name="full"),
            account,
            symbol,
            when(state.without_stop, no_stop),
            when(state.is_live, live_check("This run trades real money.", wrong["confirm_live"])),
            class_name="form-grid",
        ),
        p(wrong["confirm_no_stop"], class_name="wrong", role="alert"),
        p(wrong["form"], class_name="wrong", role="alert", data_testid="start-error"),
        div(close_button(), submit("Start trading", testid="start-run"), class_name="actions"),
        on_submit=state.start,
        reset_on_submit=False,
    )
