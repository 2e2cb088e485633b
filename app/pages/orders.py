"""The list of orders, and the form for one by hand."""

from __future__ import annotations

import reflex as rx

from app.components.badges import account_name, badge
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import live_check, number_field, select_field, submit
from app.components.html import (
    Row,
    button,
    div,
    each,
    form,
    input_,
    label,
    link,
    option,
    p,
    pick,
    select,
    some,
    span,
    td,
    tr,
    when,
)
from app.components.order_acts import cancel_all_button, cancel_all_dialog
from app.components.panels import as_of, panel
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.components.tabs import tabs
from app.state.order_form import OrderFormState
from app.state.orders import OrdersState

_OF_A_RUN = " It belongs to a run: without its protective stop the position is open to any loss."
_HEADINGS = [
    *("Order", "Time", "Account", "Symbol", "Side", "Type", ">Quantity", ">Price", ">Filled", ">Average"),
    *("Status", "From", ""),
]


@rx.page(route="/orders", title="Orders · Plumbline", on_load=OrdersState.load)
def orders() -> rx.Component:
    """Newest first, fifty a page, filtered in the database."""
    state = OrdersState
    return shell(
        "Orders",
        panel(
            tabs(("All", ~state.open_only, state.set_open_only(False), "orders-all"),
                 ("Open", state.open_only, state.set_open_only(True), "orders-open")),
            _table(),
            _pager(),
            actions=[_account_filter(), _symbol_filter()],
        ),
        _order_form(),
        cancel_all_dialog(),
        here="/orders",
        ready=state.ready,
        beside=as_of(state.as_of),
        actions=[
            cancel_all_button(),
            button("Place an order", class_name="btn primary", type="button", data_testid="place-order",
                   on_click=OrderFormState.set_open(True))
        ],
    )  # fmt: skip


def _account_filter() -> rx.Component:
    return select(
        option("All accounts", value=""),
        each(OrdersState.accounts, lambda row: option(row["label"], value=row["value"])),
        value=OrdersState.account,
        on_change=OrdersState.set_account,
        class_name="select tiny",
        aria_label="Account",
        data_testid="filter-account",
    )


def _symbol_filter() -> rx.Component:
    return input_(
        default_value=OrdersState.symbol,
        on_blur=OrdersState.set_symbol,
        placeholder="Symbol",
        class_name="input",
        style={"width": "120px", "height": "26px", "font-size": "12px"},
        aria_label="Symbol",
        data_testid="filter-symbol",
    )


def _table() -> rx.Component:
    return data_table(
        _HEADINGS,
        OrdersState.rows,
        order_line,
        label="Orders",
        testid="orders",
        nothing=empty(
            "No orders here",
            "Place one by hand, or start a strategy: its orders appear here the moment they are decided.",
            link("Start a strategy", href="/strategies", class_name="btn"),
            testid="orders-empty",
        ),
    )


def order_line(row: Row) -> rx.Component:
    """One order in the list."""
    return tr(
        td(link(row["id"], href=row["href"], data_testid="order-link")),
        td(row["time"], class_name="nowrap muted"),
        td(account_name(row), class_name="nowrap"),
        td(row["symbol"], class_name="strong"),
        td(row["side"], class_name=row["side_class"]),
        td(row["type"], class_name="nowrap"),
        td(row["quantity"], class_name="num"),
        td(row["price"], class_name="num"),
        td(row["filled"], class_name="num"),
        td(row["average"], class_name="num"),
        td(span(badge(row["status"], row["tone"], "order-status"), title=row["reason"])),
        td(_owner(row), class_name="nowrap"),
        td(when(row["can_cancel"], _cancel(row)), class_name="end"),
        data_order=row["id"],
    )


def _owner(row: Row) -> rx.Component:
    return when(row["run_href"], link(row["owner"], href=row["run_href"]), span(row["owner"], class_name="muted"))


def _cancel(row: Row) -> rx.Component:
    return confirm(
        button("Cancel", class_name="btn quiet tiny", type="button", data_testid="cancel-order"),
        title=rx.Var.create("Cancel order ") + row["id"] + "?",
        text=rx.Var.create("The exchange is asked to cancel: ") + row["words"]
        + ". What has filled stays filled, and it may still fill until the exchange confirms."
        + pick(row["run_href"], _OF_A_RUN, ""),
        action="Cancel the order",
        on_confirm=OrdersState.cancel(row["id"]),
        testid="confirm-cancel",
    )  # fmt: skip


def _pager() -> rx.Component:
    return div(
        when(OrdersState.is_paged, button("Newest", class_name="btn tiny", on_click=OrdersState.go_newest)),
        when(OrdersState.older, button("Older", class_name="btn tiny", on_click=OrdersState.go_older)),
        class_name="row",
        style={"padding": "8px 14px"},
    )


def _order_form() -> rx.Component:
    state = OrderFormState
    no_account = empty(
        "No active account",
        "Add a paper account in the settings; it is ready within seconds.",
        link("Open settings", href="/settings", class_name="btn primary"),
    )
    return dialog(
        when(some(state.accounts), when(state.asked != "", _ask(), _form()), no_account),
        title="Place an order",
        text="It is checked against balance, limits and the kill switch, written down, then sent once.",
        is_open=state.is_open,
        on_open_change=state.set_open,
        testid="order-dialog",
    )


def _form() -> rx.Component:
    state, wrong, is_buy = OrderFormState, OrderFormState.errors, OrderFormState.side == "BUY"
    side = tabs(
        ("Buy", state.side == "BUY", state.set_side("BUY"), "side-buy"),
        ("Sell", state.side == "SELL", state.set_side("SELL"), "side-sell"),
    )
    kind = tabs(
        ("Limit", state.kind == "LIMIT", state.set_kind("LIMIT"), "kind-limit"),
        ("Market", state.kind == "MARKET", state.set_kind("MARKET"), "kind-market"),
    )
    spend = number_field("Spend (quote)", "quote_quantity", wrong=wrong["quote_quantity"])
    size = number_field("Quantity (base)", "quantity", wrong=wrong["quantity"])
    return form(
        div(
            div(side, kind, class_name="row full"),
            select_field("Account", "account_id", state.accounts, wrong=wrong["account_id"], required=True,
                         value=state.account, on_change=state.choose_account),
            _symbol(),
            when(state.by_amount, spend, size),
            when(state.kind == "LIMIT", number_field("Limit price", "price", wrong=wrong["price"]), _by_amount()),
            when(state.is_live, live_check("This order trades real money.", wrong["confirm_live"])),
            class_name="form-grid",
        ),
        p(wrong["form"], class_name="wrong", role="alert", data_testid="order-error"),
        div(
            close_button(),
            submit(pick(is_buy, "Buy", "Sell"), testid="order-submit", style=pick(is_buy, "btn buy", "btn danger")),
            class_name="actions",
        ),
        on_submit=state.place,
        reset_on_submit=False,
        data_testid="order-form",
    )


def _ask() -> rx.Component:
    """The second question about a live order: it names what it will do."""
    state = OrderFormState
    return div(
        p(badge("LIVE", "LIVE"), " ", state.asked, class_name="note bad", data_testid="order-asked"),
        p(state.errors["form"], class_name="wrong", role="alert"),
        div(
            button("Go back", class_name="btn", type="button", on_click=state.go_back),
            button(pick(state.side == "BUY", "Buy with real money", "Sell real holdings"),
                   class_name="btn danger solid", type="button", on_click=state.send, data_testid="order-send-live"),
            class_name="actions",
        ),
        class_name="stack",
    )  # fmt: skip


def _symbol() -> rx.Component:
    choices = select(
        each(OrderFormState.symbols, lambda name: option(name, value=name)),
        id="symbol",
        name="symbol",
        value=OrderFormState.symbol,
        on_change=OrderFormState.choose_symbol,
        class_name="select",
        data_testid="symbol",
    )
    return div(
        label("Symbol", html_for="symbol"),
        choices,
        span(OrderFormState.last, class_name="hint", data_testid="last-price"),
        span(OrderFormState.errors["symbol"], class_name="wrong", role="alert"),
        class_name="field",
    )


def _by_amount() -> rx.Component:
    box = input_(
        type="checkbox",
        checked=OrderFormState.by_amount,
        on_change=OrderFormState.set_by_amount,
        id="by_amount",
        name="by_amount",
        disabled=OrderFormState.side == "SELL",
    )
    return label(box, "Size by amount to spend", html_for="by_amount", class_name="check")
