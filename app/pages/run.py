"""One live run: chart, position, plan, and why it did what it did."""

from __future__ import annotations

from typing import Any

import reflex as rx

from app.components.badges import account_name, badge, sign_class
from app.components.dialogs import close_button, confirm, dialog
from app.components.fields import submit
from app.components.html import (
    Row,
    button,
    dd,
    div,
    dl,
    dt,
    each,
    form,
    fragment,
    input_,
    label,
    li,
    link,
    p,
    pick,
    some,
    span,
    strong,
    td,
    tr,
    ul,
    when,
)
from app.components.kill_switch import ask_about, kill_dialog, switch_card
from app.components.lw_chart import lw_chart
from app.components.panels import as_of, body, panel, stat, stats
from app.components.shell import shell
from app.components.tables import data_table, empty
from app.state.run import RunState

_KEEP = "No new entries. The stop stays on the exchange and sells if the price falls to it."
_CLOSE = "No new entries. The stop is cancelled and the position is sold at the market price."
_TAKE_OVER = "No new entries, nothing is sold. Its orders stay on the exchange as they are; nobody moves them."
_TAKE_OVER_BARE = (
    "No new entries, nothing is sold. Its stops and targets are cancelled: the position has no protection."
)


@rx.page(route="/runs/[run_id]", title="Live run · Plumbline", on_load=RunState.load)
def run() -> rx.Component:
    """Everything about one run, live."""
    state, row = RunState, RunState.run
    stop = button("Stop …", class_name="btn danger", type="button", on_click=state.set_stopping(True),
                  data_testid="stop-run")  # fmt: skip
    return shell(
        row["strategy"],
        when(row["why"], p(row["why"], class_name="note warn", data_testid="stop-reason")),
        _figures(),
        div(
            div(panel("Candles it decides on", body(_chart())), panel("Decisions", _decisions()), class_name="stack"),
            div(_why(), _plan(), panel("Rules", body(p(state.reading, class_name="reading"))), class_name="stack"),
            class_name="grid two",
        ),
        div(panel("Orders", _orders()), panel("Fills", _fills()), class_name="grid half"),
        panel("Kill switches", body(each(state.switches, _switch))),
        _stop_dialog(),
        kill_dialog(),
        here="/runs",
        ready=state.ready,
        missing=state.missing,
        beside=span(
            badge(row["state"], row["tone"], "run-state"),
            span(
                row["symbol"],
                " · ",
                row["timeframe"],
                " · ",
                row["version"],
                " · ",
                account_name(row),
                class_name="muted",
            ),
            as_of(state.as_of),
            class_name="row",
        ),
        actions=[when(row["is_active"], stop)],
    )


def _switch(row: Row) -> rx.Component:
    card = switch_card(
        row, testid="kill-switch", engage=ask_about(row, release=False), release=ask_about(row, release=True)
    )
    return div(span(row["covers"], class_name="field-label"), card, class_name="stack")


def _figures() -> rx.Component:
    row, held = RunState.run, RunState.position
    return stats(
        stat("Position", row["quantity"], row["symbol"], testid="position"),
        stat("Average cost", _or_dash(held["average"]), "per unit"),
        stat("Last price", _or_dash(RunState.last["price"]), RunState.last["as_of"], testid="last-price"),
        stat("Unrealised", row["unrealised"], _or_dash(held["unrealised_pct"]), testid="unrealised",
             tone=sign_class(row["unrealised"])),
        stat("Realised", row["realised"], "after fees paid in quote", testid="realised",
             tone=sign_class(row["realised"])),
        stat("Fees", row["fees"], "of all fills"),
    )  # fmt: skip


def _or_dash(value: Any) -> Any:
    return pick(value, value, "—")


def _chart() -> rx.Component:
    state = RunState
    chart = lw_chart(
        "run-chart", label="Candles and fills of this run", data_url=state.chart_url, fresh=state.fresh,
        markers=state.markers, height=340,
    )  # fmt: skip
    return when(
        state.chart_url != "", chart, empty("Warming up", "The chart appears with the first candles it has decided on.")
    )


def _decisions() -> rx.Component:
    return data_table(
        ["Candle", ">Close", "Decision", "Why", "Order", ""],
        RunState.decisions,
        _decision,
        label="Decisions, newest first",
        testid="decisions",
        nothing=empty("No decision yet", "It decides at each closed candle; the first comes after its warm-up."),
        scroll=True,
    )


def _decision(row: Row) -> rx.Component:
    look = button("Why?", class_name="btn quiet tiny", type="button", on_click=RunState.look_at(row["key"]),
                  aria_label=rx.Var.create("Why, at ") + row["time"])  # fmt: skip
    return tr(
        td(row["time"], class_name="nowrap"),
        td(row["close"], class_name="num"),
        td(badge(row["action"], row["tone"])),
        td(row["reason"], class_name="muted"),
        td(when(row["order"], link(row["order"], href=row["order_href"]))),
        td(look, class_name="end"),
    )


def _why() -> rx.Component:
    state = RunState
    return panel(
        "Why, or why not",
        body(
            when(
                some(state.trace),
                ul(each(state.trace, _condition), class_name="trace", data_testid="trace"),
                p("After the first decision, each condition stands here with its values.", class_name="muted"),
            ),
            when(
                state.chosen != "",
                p("An earlier decision. Choose the newest to follow again.", class_name="faint small"),
            ),
        ),
    )


def _condition(row: Row) -> rx.Component:
    return li(
        when(row["truth"], badge(row["truth"], row["tone"]), span()),
        div(
            p(row["text"], class_name=row["class"]),
            when(row["values"], p(row["values"], class_name="faint small")),
            style={"padding-left": row["indent"]},
        ),
    )


def _plan() -> rx.Component:
    row = RunState.plan
    shown = body(
        dl(each(RunState.plan_facts, _plan_fact), class_name="facts"),
        when(some(RunState.parts), _parts()),
        p("The plan belongs to execution: its stop goes on protecting the position even when the run is stopped.",
          class_name="note"),
    )  # fmt: skip
    nothing = empty("No position was opened yet", "An entry makes a plan.")
    close = confirm(
        button("Close the position …", class_name="btn danger", type="button", data_testid="close-position"),
        title="Close the position",
        text=_CLOSE,
        action="Sell it now",
        on_confirm=RunState.close_position,
        testid="confirm-close",
    )
    take_over = confirm(
        button("Take over …", class_name="btn", type="button", data_testid="take-over"),
        title="Take the position over",
        text=_TAKE_OVER,
        action="I look after it",
        on_confirm=RunState.take_over,
        testid="confirm-take-over",
    )
    return panel(
        "Plan",
        when(row["state"], shown, nothing),
        actions=[
            when(row["closable"], take_over),
            when(row["closable"], close),
            badge(row["state"], row["tone"], "plan-state"),
        ],
    )


def _parts() -> rx.Component:
    return data_table(
        [">Quantity", ">Stop", ">Target", "State"],
        RunState.parts,
        lambda row: tr(
            td(link(row["quantity"], href=row["order_href"]), class_name="num"),
            td(_or_dash(row["stop"]), class_name="num"),
            td(_or_dash(row["target"]), class_name="num"),
            td(badge(row["state"], row["tone"])),
        ),
        label="Parts of the position",
        testid="plan-parts",
        nothing=empty("Nothing rests", "Its parts appear here."),
    )


def _plan_fact(row: Row) -> rx.Component:
    return fragment(dt(row["name"]), dd(when(row["href"], link(row["value"], href=row["href"]), span(row["value"]))))


def _orders() -> rx.Component:
    return data_table(
        ["Order", "Time", "Side", "Type", ">Filled", ">Average", "Status"],
        RunState.orders,
        lambda row: tr(
            td(link(row["id"], href=row["href"], data_testid="order-link")),
            td(row["time"], class_name="nowrap muted"),
            td(row["side"], class_name=row["side_class"]),
            td(row["type"], class_name="nowrap"),
            td(row["filled"], class_name="num"),
            td(row["average"], class_name="num"),
            td(span(badge(row["status"], row["tone"], "order-status"), title=row["reason"])),
        ),
        label="Orders of this run",
        testid="run-orders",
        nothing=empty("No orders yet", "They appear the moment they are decided."),
        scroll=True,
    )


def _fills() -> rx.Component:
    return data_table(
        ["Time", "Side", ">Quantity", ">Price", ">Fee", "Order"],
        RunState.fills,
        lambda row: tr(
            td(row["time"], class_name="nowrap muted"),
            td(row["side"], class_name=row["side_class"]),
            td(row["quantity"], class_name="num"),
            td(row["price"], class_name="num"),
            td(row["fee"], class_name="num"),
            td(link(row["order_id"], href=row["order_href"])),
            data_fill=row["trade_id"],
        ),
        label="Fills of this run",
        testid="run-fills",
        nothing=empty("No fills yet", "They appear the moment the exchange reports them."),
        scroll=True,
    )


def _stop_dialog() -> rx.Component:
    state = RunState
    return dialog(
        form(
            div(
                _mode("keep_protected", "Keep the position, protected", _KEEP, checked=True),
                _mode("close", "Close the position now", _CLOSE),
                _mode("take_over", "Take it over, keep its orders", _TAKE_OVER),
                _mode("take_over_and_cancel", "Take it over, cancel its orders", _TAKE_OVER_BARE),
                class_name="stack",
                role="radiogroup",
                aria_label="What becomes of the position",
            ),
            div(close_button("Go on trading"), submit("Stop the run", testid="confirm-stop", style="btn danger solid"),
                class_name="actions"),
            on_submit=state.stop,
            reset_on_submit=False,
        ),
        title="Stop this run?",
        text="What becomes of its position?",
        is_open=state.stopping,
        on_open_change=state.set_stopping,
        testid="stop-dialog",
    )  # fmt: skip


def _mode(value: str, title: str, text: str, *, checked: bool = False) -> rx.Component:
    return label(
        input_(type="radio", name="mode", value=value, default_checked=checked, data_testid=f"stop-{value}"),
        strong(title),
        span(text, class_name="muted"),
        class_name="choice",
    )
