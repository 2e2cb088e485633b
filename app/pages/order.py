"""One order: what was asked, what became of it, and its timeline."""

from __future__ import annotations

import reflex as rx

from app.components.badges import account_name, badge
from app.components.dialogs import confirm
from app.components.html import Row, button, dd, div, dl, dt, each, fragment, li, link, ol, p, span, td, time, tr, when
from app.components.order_acts import replace_button, replace_dialog
from app.components.panels import as_of, body, panel, stat, stats
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.state.order import OrderState


@rx.page(route="/orders/[order_id]", title="Order · Plumbline", on_load=OrderState.load)
def order() -> rx.Component:
    """Every event in words, with the time it happened and the time it was recorded."""
    state, row = OrderState, OrderState.row
    return shell(
        rx.Var.create("Order ") + row["id"],
        stats(
            stat("Side", row["side"], row["type"], tone=row["side_class"]),
            stat("Symbol", row["symbol"], row["owner"]),
            stat("Quantity", row["quantity"], "asked for"),
            stat("Filled", row["filled"], "so far", testid="order-filled"),
            stat("Average price", row["average"], "of what has filled"),
        ),
        div(
            panel(
                "Timeline",
                body(
                    p(state.story, class_name="note", data_testid="story"),
                    ol(each(state.events, _event), class_name="timeline", data_testid="timeline"),
                ),
            ),
            div(panel("Order", body(dl(each(state.facts, _fact), class_name="facts"))), class_name="stack"),
            class_name="grid two",
        ),
        panel("Fills", _fills()),
        replace_dialog(),
        here="/orders",
        ready=state.ready,
        missing=state.missing,
        beside=span(
            badge(row["status"], row["tone"], "order-status"), " ", account_name(row), " ", as_of(state.as_of)
        ),
        actions=[
            link("All orders", href="/orders", class_name="btn"),
            when(row["run_href"], span(), when(row["can_cancel"], replace_button(row["id"]))),
            when(row["can_cancel"], _cancel()),
        ],
    )


def _event(row: Row) -> rx.Component:
    return li(
        time(row["time"], title=row["recorded"]),
        span(class_name="mark", aria_hidden="true"),
        div(
            p(row["words"]),
            p(span(row["edge"], class_name="mono"), " · ", row["recorded"], class_name="faint small"),
        ),
        data_testid="event",
    )


def _fact(row: Row) -> rx.Component:
    return fragment(dt(row["name"]), dd(row["value"]))


def _cancel() -> rx.Component:
    return confirm(
        button("Cancel the order", class_name="btn danger", type="button", data_testid="cancel-order"),
        title="Cancel this order?",
        text=rx.Var.create("The exchange is asked to cancel: ") + OrderState.row["words"]
        + ". What has filled stays filled, and it may still fill until the exchange confirms.",
        action="Cancel the order",
        on_confirm=OrderState.cancel,
        testid="confirm-cancel",
    )  # fmt: skip


def _fills() -> rx.Component:
    return data_table(
        ["Time", ">Quantity", ">Price", ">Value", ">Fee", "Liquidity", ">Trade id"],
        OrderState.fills,
        _fill,
        label="Fills of this order",
        testid="order-fills",
        nothing=empty("Nothing has filled", "Each fill appears here, with its fee, the moment it is known."),
    )


def _fill(row: Row) -> rx.Component:
    return tr(
        td(row["time"], class_name="muted nowrap"),
        td(row["quantity"], class_name="num"),
        td(row["price"], class_name="num"),
        td(row["value"], class_name="num"),
        td(row["fee"], class_name="num"),
        td(row["liquidity"]),
        td(row["trade_id"], class_name="num mono"),
    )
